"""What bad input gets: one line, the designed exit code, the input untouched, no half output."""

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from relive.cli import run
from relive.session import Recorder, Session, StateField, StateSchema

Capsys = pytest.CaptureFixture[str]
SCHEMA = StateSchema((StateField("health", unit="hp", step=1.0),))


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A recording of 20 frames, 48×32."""
    path = tmp_path / "whole.mcap"
    rng = np.random.default_rng(1)
    with Recorder(path, SCHEMA) as recorder:
        for n in range(20):
            frame = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
            recorder.add(frame, np.array([n], np.float32), n * 40_000_000)
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video of 10 frames, 64×48, 25 frames/s."""
    path = tmp_path / "video.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25, width=64, height=48, pix_fmt="bgr0")
        for n in range(10):
            picture = np.full((48, 64, 3), 20 * n, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_csv(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["time_s,health", *rows]) + "\n", encoding="utf-8")
    return path


def refused(capsys: Capsys, args: list[str | Path], code: int = 2) -> str:
    """Run, expect the exit code and exactly one line, and return the line."""
    inputs = {path: digest(path) for path in map(Path, args[1:]) if path.is_file()}
    out = Path(args[args.index("-o") + 1]) if "-o" in args else None
    before = sorted(out.parent.iterdir()) if out else []
    assert run([str(arg) for arg in args]) == code
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("relive: ")
    assert {path: digest(path) for path in inputs} == inputs
    assert out is None or sorted(out.parent.iterdir()) == before
    return captured.err


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("verb", ["info", "verify"])
def test_not_mcap(tmp_path: Path, capsys: Capsys, verb: str) -> None:
    path = tmp_path / "text.mcap"
    path.write_text("hello")
    assert "text.mcap" in refused(capsys, [verb, path])


def test_empty_file(tmp_path: Path, capsys: Capsys) -> None:
    path = tmp_path / "empty.mcap"
    path.touch()
    refused(capsys, ["info", path])


@pytest.mark.parametrize("kept", [20, 60, 300])
def test_cut_before_the_first_frame(session: Path, capsys: Capsys, kept: int) -> None:
    session.write_bytes(session.read_bytes()[:kept])
    refused(capsys, ["info", session])
    refused(capsys, ["encode", session, "-o", session.with_suffix(".relive")])


def test_zero_frames(tmp_path: Path, capsys: Capsys) -> None:
    path = tmp_path / "none.mcap"
    Recorder(path, SCHEMA).close()
    assert "no frames" in refused(capsys, ["info", path])
    refused(capsys, ["encode", path, "-o", tmp_path / "none.relive"])


def test_cut_in_the_middle_is_damaged_not_lost(session: Path, capsys: Capsys) -> None:
    data = session.read_bytes()
    session.write_bytes(data[: len(data) * 95 // 100])
    assert run(["info", str(session)]) == 0
    assert "yes" in capsys.readouterr().out
    assert run(["verify", str(session)]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    fixed = session.with_name("fixed.mcap")
    assert run(["repair", str(session), "-o", str(fixed)]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    with Session.open(fixed) as repaired:
        assert len(repaired) == 16
        assert not repaired.damaged


def test_not_a_video(tmp_path: Path, capsys: Capsys) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("no video at all\n" * 100)
    assert "notes.mp4" in refused(capsys, ["import", path, "-o", tmp_path / "out.mcap"])


def test_missing_input(tmp_path: Path, capsys: Capsys) -> None:
    nowhere = tmp_path / "nowhere"
    refused(capsys, ["import", nowhere, "-o", tmp_path / "out.mcap"])
    refused(capsys, ["encode", nowhere, "-o", tmp_path / "out.relive"])
    refused(capsys, ["decode", nowhere, "-o", tmp_path / "out.mp4"])
    refused(capsys, ["compare", nowhere, nowhere])


def test_a_session_is_not_a_replay(session: Path, capsys: Capsys) -> None:
    line = refused(capsys, ["decode", session, "-o", session.with_suffix(".mp4")])
    assert "relive encode" in line


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([f"{n / 25},{n}" for n in range(4)], "4"),
        ([f"{n / 25},nan" for n in range(10)], "nan"),
        ([f"{n / 25},{n},{n}" for n in range(10)], "3"),
        ([f"{abs(5 - n) / 25},{n}" for n in range(10)], ""),
        ([f"{n / 25},full" for n in range(10)], "full"),
    ],
    ids=["too few rows", "NaN", "wrong width", "times go backwards", "no number"],
)
def test_bad_state_of_a_video(video: Path, capsys: Capsys, rows: list[str], reason: str) -> None:
    state = write_csv(video.with_name("state.csv"), rows)
    out = video.with_name("out.mcap")
    assert reason in refused(capsys, ["import", video, "--state", state, "-o", out]).lower()


def test_existing_output_is_kept(session: Path, video: Path, capsys: Capsys) -> None:
    out = video.with_name("kept.mcap")
    out.write_text("mine")
    assert "--force" in refused(capsys, ["import", video, "-o", out])
    assert "--force" in refused(capsys, ["record", "doom:deathmatch", "-o", out])
    assert "--force" in refused(capsys, ["encode", session, "-o", out])
    assert "--force" in refused(capsys, ["repair", session, "-o", out])
    assert out.read_text() == "mine"


def test_import_works_and_force_overwrites(video: Path, capsys: Capsys) -> None:
    state = write_csv(video.with_name("state.csv"), [f"{n / 25},{n}" for n in range(10)])
    out = video.with_name("out.mcap")
    for force in ([], ["--force"]):
        args = ["import", video, "--state", state, "-o", out, *force]
        assert run([str(arg) for arg in args]) == 0
    assert capsys.readouterr().err == ""
    with Session.open(out) as imported:
        assert (len(imported), imported.width, imported.height) == (10, 64, 48)
        assert imported.states[:, 0].tolist() == list(range(10))


def test_unknown_game_lists_what_there_is(tmp_path: Path, capsys: Capsys) -> None:
    line = refused(capsys, ["record", "doom:chess", "-o", tmp_path / "a.mcap"])
    assert "deathmatch" in line
    refused(capsys, ["record", "gym:NoSuchEnv-v0", "-o", tmp_path / "a.mcap"])


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_no_space_left(video: Path, capsys: Capsys) -> None:
    # The import writes beside its name and then renames: lead that name to the full device.
    part = video.with_name("out.mcap.part")
    part.symlink_to("/dev/full")
    assert run(["import", str(video), "-o", str(video.with_name("out.mcap"))]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "space" in err.lower()
    assert sorted(video.parent.iterdir()) == [video]
    assert Path("/dev/full").is_char_device()


def test_a_device_is_no_output(session: Path, video: Path, capsys: Capsys) -> None:
    # A link, so that a mistake here never replaces the device itself.
    out = video.with_name("device.mcap")
    out.symlink_to("/dev/null")
    for args in (["import", video], ["encode", session], ["record", "doom:deathmatch"]):
        assert "device.mcap" in refused(capsys, [*args, "-o", out, "--force"])
    assert out.is_symlink()


def test_ctrl_c_finalises_a_recording(tmp_path: Path) -> None:
    out = tmp_path / "stopped.mcap"
    command = [sys.executable, "-m", "relive", "record", "doom:my_way_home", "-o", str(out)]
    with subprocess.Popen([*command, "--seconds", "600"], stderr=subprocess.PIPE) as process:
        wait_until(
            lambda: (out.exists() and out.stat().st_size > 200_000) or process.poll() is not None
        )
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.decode().count("\n") == 1
    with Session.open(out) as session:
        assert len(session) > 10
        assert not session.damaged


def wait_until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
