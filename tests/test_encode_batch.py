"""Many sessions at once: what is made, tried again, kept, refused; with a small random model."""

import errno
import json
import os
import signal
from collections import deque
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relive.batch import Settings, encode_batch
from relive.batch.manifest import MANIFEST, Manifest
from relive.batch.plan import settle
from relive.batch.pool import LocalPool
from relive.batch.run import REPORT, TRIES, _Run
from relive.batch.task import Made, Outcome, Task
from relive.batch.work import work
from relive.cli import run
from relive.codec import Replay
from relive.errors import InputError
from relive.session import Recorder, StateField, StateSchema
from relive.session.processes import alone
from small_model import write_small_model

Capsys = pytest.CaptureFixture[str]
SCHEMA = StateSchema((StateField("health", unit="hp", step=1.0),))
FRAMES, WIDTH, HEIGHT = 4, 32, 32


@pytest.fixture(autouse=True)
def _same_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker sets these for its process; here they are put back."""
    for name in ("RELIVE_GOPS_AT_A_TIME", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


def record(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    with Recorder(path, SCHEMA, game="test") as recorder:
        for n in range(FRAMES):
            recorder.add(np.roll(picture, n, 1), np.array([n], np.float32), n * 40_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sessions in a tree, and a model."""
    record(tmp_path / "in" / "a.mcap", 1)
    record(tmp_path / "in" / "below" / "b.mcap", 2)
    write_small_model(tmp_path / "m.safetensors")
    return tmp_path


def settings(folder: Path, **more: Any) -> Settings:
    return Settings(model=folder / "m.safetensors", preset="fast", **more)


def task(folder: Path, *known: Made, force: bool = False, **more: Any) -> Task:
    settled, model_id = settle(settings(folder, **more))
    session, out = folder / "in" / "a.mcap", folder / "out" / "a.relive"
    return Task("a.mcap", session, out, settled, model_id, known, force)


def outcome(file: str = "a.mcap") -> Made:
    return Made(file, "s", "r", "m", {}, 4, 100, 30.0, 1.0, 1.0, False, True)


def test_a_folder_is_encoded_once_and_a_bad_file_stops_nothing(
    folder: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    Path("in/bad.mcap").write_bytes(b"no session")
    Path("in/.hidden.mcap").write_bytes(b"no session")
    Path("out").mkdir()
    Path("out/.dead.relive.part").write_bytes(b"of a run that was killed")
    command = ["encode", "--batch", "in", "-o", "out", "--model", "m.safetensors"]
    command += ["--preset", "fast", "--workers", "1", "--json"]
    assert run(command) == 3
    said = capsys.readouterr()
    values = json.loads(said.out)
    assert [values[key] for key in ("sessions", "ok", "failed", "encoded")] == [3, 2, 1, 2]
    assert [problem["file"] for problem in values["problems"]] == ["bad.mcap"]
    assert "bad.mcap: FAILED: " in said.err
    assert "1 of 3 sessions failed" in said.err
    names = {path.name for path in Path("out").rglob("*") if path.is_file()}
    assert names == {"a.relive", "b.relive", MANIFEST, REPORT, ".lock"}
    with Replay.open(Path("out/below/b.relive"), "m.safetensors") as replay:
        assert replay.num_frames == FRAMES
    files = {row["file"]: row for row in json.loads(Path("out", REPORT).read_text())["files"]}
    assert files["a.mcap"]["bytes"] == Path("out/a.relive").stat().st_size
    assert (files["a.mcap"]["tries"], files["bad.mcap"]["tries"]) == (1, 1)

    Path("in/bad.mcap").unlink()
    before = Path("out/a.relive").stat()
    assert run(command) == 0
    values = json.loads(capsys.readouterr().out)
    assert [values[key] for key in ("ok", "encoded", "skipped")] == [2, 0, 2]
    assert Path("out/a.relive").stat().st_mtime_ns == before.st_mtime_ns


def test_a_killed_worker_gives_its_task_back(folder: Path) -> None:
    pool = LocalPool(1)
    try:
        pool.start(task(folder))
        assert pool.room() == 0
        worker = pool._workers[0].process
        assert worker.pid
        os.kill(worker.pid, signal.SIGKILL)
        ended: list[tuple[Task, Outcome]] = []
        while not ended:
            ended = pool.ended()
        assert ended[0][1].again
        assert "SIGKILL" in ended[0][1].reason
        assert pool.room() == 1
    finally:
        pool.close()


class Answers:
    """A pool that answers from a list."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes, self.tasks = list(outcomes), deque[Task]()

    def room(self) -> int:
        return 1 - len(self.tasks)

    def start(self, task: Task) -> None:
        self.tasks.append(task)

    def ended(self) -> list[tuple[Task, Outcome]]:
        return [(self.tasks.popleft(), self.outcomes.pop(0))]

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("outcomes", "status", "tries"),
    [
        ([Outcome(reason="killed", again=True), Outcome(outcome())], "ok", 2),
        ([Outcome(reason="killed", again=True)] * TRIES, "failed", TRIES),
        ([Outcome(reason="no session")], "failed", 1),
    ],
)
def test_what_may_pass_is_tried_again(
    folder: Path, outcomes: list[Outcome], status: str, tries: int
) -> None:
    said: list[str] = []
    with Manifest(folder) as manifest:
        batch = _Run(manifest, 1, lambda done, total, line: said.append(f"{done}/{total} {line}"))
        batch.encode(deque([task(folder)]), Answers(*outcomes))
    assert (batch.rows[0].status, batch.rows[0].tries, len(said)) == (status, tries, tries)


def test_a_result_is_known_by_content(folder: Path) -> None:
    first = work(task(folder))
    assert first.made is not None
    assert first.part is not None
    assert first.part.name.startswith(".")
    out = first.part.replace(folder / "out" / "a.relive")
    assert work(task(folder, first.made)) == Outcome(first.made)

    other = work(task(folder, first.made, quality=1))  # ours, with other settings: made anew
    assert other.part is not None
    other.part.unlink()

    foreign = work(task(folder))
    assert (foreign.made, foreign.again) == (None, False)
    assert "--force" in foreign.reason
    out.write_bytes(out.read_bytes()[:-1])
    assert "--force" in work(task(folder, first.made)).reason
    forced = work(task(folder, first.made, force=True))
    assert forced.made is not None
    assert forced.made.result == first.made.result


def test_a_line_whose_result_was_never_renamed_does_no_harm(folder: Path) -> None:
    made = work(task(folder)).made
    assert made is not None
    again = work(task(folder, made))
    assert again.part is not None
    assert again.made is not None
    assert again.made.result == made.result


def test_bad_sessions_and_hosts_are_told_apart_from_bad_luck(folder: Path) -> None:
    good = task(folder)
    wrong_model = Task("a.mcap", good.session, good.out, good.settings, "0" * 16)
    assert "same version of relive on every host" in work(wrong_model).reason
    gone = Task("x.mcap", folder / "in" / "x.mcap", good.out, good.settings, good.model_id)
    assert not work(gone).again

    def fill(_done: int, _total: int) -> None:
        raise OSError(28, "No space left on device")

    full = work(good, fill)
    assert full.again
    assert list((folder / "out").iterdir()) == []


def test_a_damaged_session_is_encoded_and_told(folder: Path) -> None:
    path = folder / "in" / "a.mcap"
    path.write_bytes(path.read_bytes()[:-20])
    result = work(task(folder))
    assert result.made is not None
    assert result.made.damaged
    assert result.made.frames == FRAMES


def test_a_manifest_forgives_a_cut_line_and_nothing_else(tmp_path: Path) -> None:
    path, line = tmp_path / MANIFEST, json.dumps(asdict(outcome()))
    path.write_text(f"{line}\n{line[:20]}")
    with Manifest(tmp_path) as manifest:
        assert manifest.of("a.mcap") == (outcome(),)
        manifest.add(outcome("b.mcap"))
    with Manifest(tmp_path) as manifest:
        assert manifest.of("b.mcap") == (outcome("b.mcap"),)
    path.write_text("{}\n")
    with pytest.raises(InputError, match="line 1"):
        Manifest(tmp_path)


@pytest.mark.parametrize(
    "args",
    [
        ["-o", "out"],
        ["a.mcap", "--batch", "in", "-o", "out"],
        ["in/a.mcap", "-o", "x.relive", "--ray", "local"],
        ["--batch", "nowhere", "-o", "out"],
        ["--batch", "out", "-o", "out"],
        ["--batch", "in", "-o", "m.safetensors"],
        ["--batch", "in", "-o", "out", "--workers", "0"],
        ["--batch", "in", "-o", "out", "--keyframe-interval", "7"],
        ["--batch", "in", "-o", "out", "--quality", "5", "--psnr", "40"],
    ],
)
def test_wrong_uses_are_one_line(
    folder: Path, args: list[str], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    Path("out").mkdir()
    assert run(["encode", *args]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(Path("out").rglob("*.relive"))


def test_a_folder_belongs_to_one_run(folder: Path) -> None:
    (folder / "out").mkdir()
    with alone(folder / "out", "encodes"), pytest.raises(InputError, match="another process"):
        encode_batch(folder / "in", folder / "out", settings(folder))


@pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed")
def test_without_ray_its_extra_is_named(
    folder: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert run(["encode", "--batch", "in", "-o", "out", "--ray", "local"]) == 2
    assert "relive[scale]" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("ray") is None, reason="RAY IS NOT TESTED: pip install ray==2.60.0")
@pytest.mark.filterwarnings("ignore")
def test_a_local_ray_cluster_does_the_same(folder: Path) -> None:
    (folder / "in" / "bad.mcap").write_bytes(b"no session")
    result = encode_batch(folder / "in", folder / "out", settings(folder), workers=1, ray="local")
    assert [result[key] for key in ("ok", "failed", "encoded")] == [2, 1, 2]
    again = encode_batch(folder / "in", folder / "out", settings(folder), workers=1)
    assert [again[key] for key in ("ok", "skipped", "encoded")] == [2, 2, 0]


def test_odd_files_are_failures_of_their_own(folder: Path) -> None:
    os.mkfifo(folder / "in" / "pipe.mcap")  # whoever reads it waits
    (folder / "in" / "gone.mcap").symlink_to("nowhere")
    (folder / "in" / "up").symlink_to("..")
    (folder / "in" / "two\nlines.mcap").write_bytes(b"")
    lines: list[str] = []
    result = encode_batch(
        folder / "in",
        folder / "in" / "out",
        settings(folder),
        workers=1,
        report=lambda _done, _all, line: lines.append(line),
    )
    reasons = {row["file"]: row["reason"] for row in result["files"] if row["status"] == "failed"}
    assert result["ok"] == 2
    assert reasons["pipe.mcap"].endswith("pipe.mcap is no regular file")
    assert reasons["gone.mcap"].endswith("gone.mcap: No such file or directory")
    assert len(reasons) == 3
    assert not any("\n" in line for line in lines)


def test_a_folder_that_cannot_be_read_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if Path(path).name == "below":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(InputError, match=r"cannot read .*below: Permission denied"):
        encode_batch(folder / "in", folder / "out", settings(folder))
    assert not (folder / "out").exists()
