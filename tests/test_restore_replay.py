"""A damaged replay is restored; marks go through files, `info` and the verbs."""

import json
from pathlib import Path

import numpy as np
import pytest

import relive
from relive.cli.run import run
from relive.container import ReplayReader
from relive.restore import Output, restore
from relive.session import Session
from relive.session.marks import MARKS
from short_replay import FRAMES, MISSING, write_short

GOP = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session, its replay, and the same replay without its third GOP."""
    folder = write_short(tmp_path_factory.mktemp("short"), GOP)
    data = bytearray((folder / "s.relive").read_bytes())
    with ReplayReader.open(folder / "s.relive") as reader:
        gops = reader.gops
    data[gops[2].codes_at + 20] ^= 255
    (folder / "hurt.relive").write_bytes(data)
    return folder


def test_damaged_gop_and_missing_frame_are_filled(folder: Path) -> None:
    model = folder / "m.safetensors"
    out = Output(folder / "whole.mcap")
    tally = restore(folder / "hurt.relive", out, model=model)
    lost = [MISSING, *range(2 * GOP, 3 * GOP)]
    assert (tally.frames, tally.generated) == (FRAMES, len(lost))
    with Session.open(folder / "whole.mcap") as whole, Session.open(folder / "s.mcap") as was:
        assert whole.present.all()
        assert np.flatnonzero(whole.generated).tolist() == lost
        assert (whole.times_ns == was.times_ns).all()
        assert np.abs(whole.states - was.states).max() < 0.5  # those that were lost are guessed
        assert np.flatnonzero(~whole.stated).tolist() == lost[1:]  # guessed, and said so
        assert [e.name for e in was.events] == [e.name for e in whole.events if e.name not in MARKS]
        with relive.Replay.open(folder / "hurt.relive", model) as replay:
            assert (whole.frame(0) == replay.frame(0)).all()


def test_marks_survive_encoding(folder: Path) -> None:
    model = folder / "m.safetensors"
    source = folder / "s.mcap"
    restore(source, Output(folder / "again.relive", model=model))
    with relive.Replay.open(folder / "again.relive", model) as replay:
        assert np.flatnonzero(replay.generated).tolist() == [MISSING]
        assert replay.present.all()


def test_session_without_state_from_the_middle_is_encoded(folder: Path) -> None:
    model, path = folder / "m.safetensors", folder / "half.mcap"
    with Session.open(folder / "s.mcap") as session, relive.Recorder(path, session.schema) as out:
        for index in range(FRAMES):
            state = session.states[index] if index < FRAMES // 2 else None
            there = index % 10 and session.present[index]
            frame = session.frame(index) if there else None
            out.add(frame, state, int(session.times_ns[index]))
    relive.encode(path, folder / "half.relive", model=model, preset="fast")
    with relive.Replay.open(folder / "half.relive", model) as replay:
        assert replay.stated.tolist() == [index < FRAMES // 2 for index in range(FRAMES)]
        assert replay.present.sum() == FRAMES - FRAMES // 10 - 1
        assert len(replay.frames(0, FRAMES)) == FRAMES
    tally = restore(folder / "half.relive", folder / "full.mcap", model=model)
    assert tally.generated == FRAMES // 10 + 1


def test_verbs_say_what_they_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = folder / "film"
    arguments = ["interpolate", str(folder / "s.mcap"), "-o", str(made), "--fps", "70", "--json"]
    assert run([*arguments, "--confidence", str(folder / "sure")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["frames"] == 2 * FRAMES - 1
    assert said["generated"] == FRAMES
    assert len(list(made.glob("*.png"))) == said["frames"]
    assert len(list((folder / "sure").glob("*.png"))) == said["generated"]
    assert run(["restore", str(folder / "s.mcap"), "-o", str(folder / "r.mcap"), "-q"]) == 0
    capsys.readouterr()
    assert run(["info", str(folder / "r.mcap"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["generated"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["restore", "s.mcap", "-o", "s.mcap"], "is the input itself"),
        (["restore", "s.mcap", "-o", "x.txt"], "name a .mcap"),
        (["restore", "s.mcap", "-o", "x.mcap", "--hide", "5"], "is not x,y,w,h"),
        (["restore", "s.mcap", "-o", "x.mcap", "--mask", "m.safetensors"], "no .npz file"),
        (
            ["restore", "s.mcap", "-o", "x.mcap", "--confidence", "y.txt"],
            "an .npz file or a folder",
        ),
        (["restore", "none.mcap", "-o", "x.mcap"], "cannot read"),
        (["interpolate", "s.mcap", "-o", "x.mcap", "--fps", "0"], "not a rate"),
        (["interpolate", "s.mcap", "-o", "x.mcap", "--fps", "fast"], "no number of frames"),
    ],
)
def test_wrong_uses_are_one_line(
    folder: Path,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert run(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not list(folder.glob("x.*"))
