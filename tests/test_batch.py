"""A corpus of real games: what a file of takes means, and what comes of it."""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relive.cli import run
from relive.errors import InputError
from relive.session import Session
from relive.session.batch import record_batch
from relive.session.batch_spec import Take, read_batch

Capsys = pytest.CaptureFixture[str]

CONFIG = Path(__file__).parents[1] / "configs" / "corpus.toml"
PLAN_SHA256 = "0cd63ae996fbe895094455157be0bd23815ed3f73eedf71b8bf77b877134f425"
"""Of the lines `SPLIT/GAME-SEED FRAMES WARMUP_TICS` of the 87 Doom sessions that the program before
this one recorded (tools/record_corpus.py, removed): the published results stand on them."""

CRASH = """
import os, signal
import gymnasium, numpy as np

class Crash(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, how, render_mode="rgb_array"):
        self.how, self.render_mode = how, render_mode

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        if self.how == "raise":
            raise RuntimeError("the dragon\\nis loose")
        os.kill(os.getpid(), signal.SIGSEGV)

    def render(self):
        return np.zeros((8, 8, 3), np.uint8)

gymnasium.register("Crash-v0", Crash)
"""


def read(folder: Path, text: str) -> tuple[Take, ...]:
    (folder / "spec.toml").write_text(text)
    return read_batch(folder / "spec.toml")


def manifest_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return values


def test_the_bundled_corpus_is_the_one_of_the_published_results() -> None:
    takes = read_batch(CONFIG)
    old = [take for take in takes if take.game.startswith("doom:")]
    lines = sorted(
        f"{take.file.removesuffix('.mcap')} {take.play.frames} {take.play.warmup_frames}"
        for take in old
    )
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == PLAN_SHA256
    assert all(take.play.warmup_s == 0 and take.play.player is None for take in old)
    others = [(take.split, take.game.partition(":")[0]) for take in takes if take not in old]
    for game in ("crafter", "gym"):
        counts = [others.count((split, game)) for split in ("train", "valid", "test_known")]
        assert counts == [6, 1, 1]


def test_sessions_follow_from_a_take(tmp_path: Path) -> None:
    takes = read(
        tmp_path,
        """
        [[take]]
        split = "train"
        games = ["doom:Freedoom2/MAP01", "crafter:survival"]
        sessions = 2
        seed = 10
        seconds = 11.43
        warmup_s = [5, 40]
        [[take]]
        split = "train"
        games = ["gym:a:B-v0", "gym:C-v1"]
        seeds = [7, 5]
        frames = 9
        warmup_frames = [0, 1, 2, 3]
        player = "sticky"
        """,
    )
    assert [take.file for take in takes] == [
        "train/freedoom2-map01-10.mcap",
        "train/freedoom2-map01-11.mcap",
        "train/crafter-survival-12.mcap",
        "train/crafter-survival-13.mcap",
        "train/gym-a-B-v0-7.mcap",
        "train/gym-a-B-v0-5.mcap",
        "train/gym-C-v1-7.mcap",
        "train/gym-C-v1-5.mcap",
    ]
    assert [take.play.warmup_frames for take in takes[4:]] == [0, 1, 2, 3]
    drawn = [take.play.warmup_s for take in takes[:4]]
    assert all(5 <= seconds <= 40 for seconds in drawn)
    assert len(set(drawn)) == 4
    assert (takes[0].play.num_frames(35), takes[2].play.num_frames(10)) == (400, 114)
    shorter = read(
        tmp_path,
        '[[take]]\nsplit="train"\ngames=["crafter:survival"]\nseeds=[13]\nframes=1\n'
        "warmup_s=[5, 40]",
    )
    assert shorter[0].play.warmup_s == drawn[3]  # whatever else is in the file


TAKE = '[[take]]\nsplit = "train"\ngames = ["doom:freedoom2/map01"]\nframes = 4\nseed = 1\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "take: Field required"),
        ("take = 3 =", "is not TOML"),
        (TAKE + "speed = 3", r"take.0.speed: Extra inputs"),
        (TAKE + "seconds = 3", "either seconds or frames"),
        (TAKE + "seeds = [3]", "either seeds, or sessions and seed"),
        (TAKE + "warmup_frames = [3, 4]", "2 numbers, the sessions are 1"),
        (TAKE + "warmup_s = [4, 3]", "range"),
        (TAKE + 'player = "sticky"', "'sticky' does not play doom games; choose scripted"),
        (TAKE + "actions = [1]", "only gym games"),
        (TAKE.replace("doom:", "quake:"), "unknown game 'quake:freedoom2/map01'"),
        (TAKE.replace("doom:", "doom:doom:"), "unknown game"),
        (TAKE.replace("train", "../train"), "pattern"),
        (TAKE.replace("frames = 4", "frames = 0"), "greater than or equal to 1"),
        (TAKE + TAKE, "two sessions would be train/freedoom2-map01-1.mcap"),
        (TAKE + TAKE.replace("train", "valid"), "seed 1 is in train and in valid"),
        (
            TAKE
            + TAKE.replace("train", "new").replace("seed = 1", "seed = 2")
            + "[split.new]\nunknown = true",
            "doom:freedoom2/map01 is in train, but new is a split of unknown games",
        ),
        (TAKE + "[split.new]\nunknown = true", "split.new: no take belongs to it"),
        (
            'reserved = ["doom:freedoom2/map0*"]\n' + TAKE.replace("map01", "MAP01"),
            "doom:freedoom2/map01 is reserved",
        ),
    ],
)
def test_a_wrong_spec_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, text)
    assert str(caught.value).count("\n") == 0
    assert "spec.toml" in str(caught.value)


def test_no_reserved_map_is_in_the_bundled_corpus(tmp_path: Path) -> None:
    text = CONFIG.read_text()
    for game in ("freedoom2/map21", "freedoom2/map32", "freedoom1/e4m9", "deadly_corridor"):
        with pytest.raises(InputError, match="reserved"):
            read(tmp_path, text + TAKE.replace("freedoom2/map01", game))


MIXED = """
[[take]]
split = "train"
games = ["gym:CartPole-v1"]
seeds = [1, 2]
frames = 6
player = "sticky"
warmup_frames = 3

[[take]]
split = "train"
games = ["crafter:survival"]
seed = 3
seconds = 0.5

[[take]]
split = "bad"
games = ["gym:crash_game:Crash-v0"]
seed = 1
frames = 6
options = { how = "kill" }

[[take]]
split = "bad"
games = ["gym:crash_game:Crash-v0"]
seed = 2
frames = 6
options = { how = "raise" }

[[take]]
split = "bad"
games = ["doom:chess"]
frames = 6
"""


def test_what_fails_is_named_and_the_rest_is_recorded(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crash_game.py").write_text(CRASH)
    monkeypatch.syspath_prepend(tmp_path)  # the processes inherit it
    (tmp_path / "spec.toml").write_text(MIXED)
    out = tmp_path / "corpus"
    command = ["record", "--batch", str(tmp_path / "spec.toml"), "-o", str(out), "--json"]
    assert run([*command, "--jobs", "2"]) == 1
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert (result["ok"], result["failed"], result["recorded"]) == (3, 3, 3)
    assert printed.err.splitlines()[-1].startswith("relive: 3 of 6 sessions failed")
    reasons = {row["file"]: row["reason"] for row in result["failures"]}
    assert "SIGSEGV" in reasons["bad/gym-crash_game-Crash-v0-1.mcap"]
    assert reasons["bad/gym-crash_game-Crash-v0-2.mcap"] == "RuntimeError: the dragon is loose"
    assert "no such game" in reasons["bad/chess-0.mcap"]

    manifest = manifest_of(out)
    rows = {row["file"]: row for row in manifest["sessions"]}
    assert {name for name, row in rows.items() if row["status"] == "failed"} == set(reasons)
    row = rows["train/gym-CartPole-v1-1.mcap"]
    assert (row["game"], row["seed"], row["frames"]) == ("gym:CartPole-v1", 1, 6)
    assert row["bytes"] == (out / row["file"]).stat().st_size
    assert rows["train/crafter-survival-3.mcap"]["seconds"] == 0.5
    assert manifest["splits"]["bad"]["failed"] == 3
    assert manifest["splits"]["train"]["frames"] == 17
    left = [path.name for path in out.rglob("*") if path.is_file() and path.suffix != ".mcap"]
    # What a crash leaves is of no use, and the next run writes over it.
    assert {*left} <= {".lock", "manifest.json", "gym-crash_game-Crash-v0-1.mcap.part"}

    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.mcap")}
    assert run([*command, "--split", "train"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["skipped"], again["recorded"], again["failed"]) == (3, 0, 0)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.mcap")} == times
    assert manifest_of(out) == manifest  # the failures of the other split are still told


def test_only_whole_sessions_of_the_take_are_kept(tmp_path: Path) -> None:
    text = TAKE.replace("doom:freedoom2/map01", "gym:CartPole-v1").replace(
        "frames = 4", "frames=40"
    )
    takes = read(tmp_path, text)
    out = tmp_path / "corpus"
    assert record_batch(takes, out, jobs=1)["recorded"] == 1
    path = out / takes[0].file
    with Session.open(path) as session:
        frames, states = session.frames(0, 40), session.states
    path.write_bytes(path.read_bytes()[:-200])
    assert record_batch(takes, out, jobs=1)["recorded"] == 1
    with Session.open(path) as session:
        assert not session.damaged
        assert np.array_equal(session.frames(0, 40), frames)
        assert np.array_equal(session.states, states)

    longer = read(tmp_path, text.replace("40", "41"))
    refused = record_batch(longer, out, jobs=1)
    assert (refused["ok"], refused["failed"]) == (0, 1)
    assert "is another session (gym:CartPole-v1, 40 frames)" in refused["failures"][0]["reason"]
    assert record_batch(longer, out, jobs=1, force=True)["frames"] == 41


def test_one_run_at_a_time(tmp_path: Path) -> None:
    takes = read(tmp_path, TAKE)
    with pytest.raises(InputError, match="no split 'test'; there are train"):
        record_batch(takes, tmp_path / "c", splits=["test"])
    with (tmp_path / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process records"):
            record_batch(takes, tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "mine"}')
    with pytest.raises(InputError, match="is not the manifest of a corpus"):
        record_batch(takes, tmp_path)


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["gym:CartPole-v1", "--batch", "spec.toml"],
        ["gym:CartPole-v1", "--jobs", "2"],
        ["gym:CartPole-v1", "--split", "train"],
        ["--batch", "spec.toml", "--seed", "2"],
        ["--batch", "spec.toml", "--seconds", "2"],
        ["--batch", "nowhere.toml"],
        ["--batch", "spec.toml", "--jobs", "0"],
        ["--batch", "spec.toml", "--split", "nowhere"],
    ],
)
def test_wrong_usage(
    tmp_path: Path, args: list[str], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.toml").write_text(TAKE)
    assert run(["record", *args, "-o", "out"]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert not printed.out
    assert not (tmp_path / "out").exists()


def test_ctrl_c_keeps_what_is_whole(tmp_path: Path) -> None:
    text = TAKE.replace("doom:freedoom2/map01", "gym:CartPole-v1")
    text += TAKE.replace("doom:freedoom2/map01", "crafter:survival").replace("= 4", "= 100000")
    (tmp_path / "spec.toml").write_text(text)
    out = tmp_path / "corpus"
    command = [sys.executable, "-m", "relive", "record", "--batch", str(tmp_path / "spec.toml")]
    process = subprocess.Popen(
        [*command, "-o", str(out), "--jobs", "1"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    part = out / "train" / "crafter-survival-1.mcap.part"
    end_s = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 100_000) and time.monotonic() < end_s:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.splitlines()[1:] == [
        f"relive: interrupted: 1 of 2 sessions are in {out}; the same command goes on"
    ]
    assert [path.name for path in out.rglob("*.mcap*")] == ["gym-CartPole-v1-1.mcap"]
    assert manifest_of(out)["ok"] == 1
    assert _is_gone(process.pid)


def _is_gone(group: int) -> bool:
    """Wait until no process of a group is left; Python's own resource tracker ends last."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
