"""What restore and interpolate write: marks go along, and a run that is refused leaves nothing."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from relive.cli.run import run
from relive.errors import InputError
from relive.restore import Hidden, Output, interpolate, restore
from relive.session import Recorder, Region, RegionSchema, Session
from test_restore import FRAMES, HEIGHT, SCHEMA, STEP_NS, WIDTH, walk

REGIONS = RegionSchema((Region(0, "wall", "simple", 1), Region(1, "floor", "simple", 1)))


def test_marks_of_a_frame_go_along_to_another_rate(tmp_path: Path) -> None:
    walk({3}, tmp_path / "in.mcap")
    restore(tmp_path / "in.mcap", tmp_path / "whole.mcap")
    rate = Fraction(1_000_000_000, STEP_NS + 100)  # each frame a bit later than it was recorded
    interpolate(tmp_path / "whole.mcap", tmp_path / "out.mcap", rate)
    with Session.open(tmp_path / "out.mcap") as out:
        assert np.flatnonzero(out.generated).tolist() == [3]
        assert out.times_ns[3] != 5 + 3 * STEP_NS


def test_a_state_between_two_that_are_not_known_is_not_known(tmp_path: Path) -> None:
    frames = walk(set(), tmp_path / "in.mcap")
    with Recorder(tmp_path / "half.mcap", SCHEMA) as recorder:
        for index, frame in enumerate(frames[:6]):
            state = None if index in (2, 3) else [0.0, -index, 0.0, 0.0, 0]
            recorder.add(frame, state, index * STEP_NS)
    interpolate(tmp_path / "half.mcap", tmp_path / "out.mcap", Fraction(20))
    with Session.open(tmp_path / "out.mcap") as out:
        assert np.flatnonzero(~out.stated).tolist() == [3, 4, 5, 6, 7]


def test_one_side_alone_is_less_sure(tmp_path: Path) -> None:
    walk({0, 6}, tmp_path / "in.mcap")
    restore(tmp_path / "in.mcap", Output(tmp_path / "out.mcap", tmp_path / "sure.npz"))
    with np.load(tmp_path / "sure.npz") as maps:
        assert maps["000000"].mean() < maps["000006"].mean() - 50


def test_what_nobody_else_shows_is_filled_from_around(tmp_path: Path) -> None:
    frames = walk(set(), tmp_path / "in.mcap")
    with Recorder(tmp_path / "one.mcap", SCHEMA) as recorder:
        recorder.add(frames[0], [0.0] * 5, 0)
    hide = [Hidden.parse("10,10,4,4")]
    tally = restore(tmp_path / "one.mcap", tmp_path / "out.mcap", hide=hide)
    assert (tally.repaired, tally.confidence) == (1, 0.0)


def test_regions_of_a_frame_that_is_repaired_in_part_stay(tmp_path: Path) -> None:
    frames = walk(set(), tmp_path / "in.mcap")
    with Recorder(tmp_path / "r.mcap", SCHEMA, REGIONS) as recorder:
        for index, frame in enumerate(frames):
            state = [0.0, -index, 0.0, 0.0, 0]
            recorder.add(frame, state, index * STEP_NS, np.ones((HEIGHT, WIDTH), np.uint8))
    restore(tmp_path / "r.mcap", tmp_path / "out.mcap", hide=[Hidden.parse("10,10,4,4@0.1-0.4")])
    with Session.open(tmp_path / "out.mcap") as out:
        maps = out.regions(0, FRAMES)
    assert maps is not None
    assert maps.all()


@pytest.mark.parametrize("kind", ["same", "foreign", "file for a folder", "folder for a file"])
def test_what_cannot_be_written_is_refused_before_anything_is(kind: str, tmp_path: Path) -> None:
    walk({3}, tmp_path / "in.mcap")
    out, sure = tmp_path / "out.mcap", tmp_path / "sure"
    if kind == "same":
        out = sure
    elif kind == "foreign":
        sure.mkdir()
        (sure / "mine.txt").write_text("mine")
    elif kind == "file for a folder":
        sure.write_text("mine")
    else:
        out.mkdir()
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(InputError):
        restore(tmp_path / "in.mcap", Output(out, sure, force=True))
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["restore", "--mask", "array.npy"], "array.npy is no .npz file"),
        (["restore", "--mask", "empty.npz"], "empty.npz is no .npz file"),
        (["interpolate", "--fps", "1e5000"], "'1e5000' is no number of frames"),
        (["interpolate", "--fps", "1e99999999"], "'1e99999999' is no number of frames"),
    ],
)
def test_bad_arguments_are_told_in_a_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    walk({3}, tmp_path / "in.mcap")
    np.save("array.npy", np.ones((HEIGHT, WIDTH), np.bool_))
    Path("empty.npz").touch()
    assert run([words[0], "in.mcap", "-o", "out.mcap", *words[1:]]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
