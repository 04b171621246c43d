"""Rate control: the search for a number, and what it makes of a session."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import relive
from relive.codec.control import LAST, Control, Target, parse_bitrate, search, setting_of
from relive.errors import InputError
from relive.session import StateSchema


@pytest.fixture(name="waves", scope="module")
def _waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("waves") / "waves.mcap"
    y, x = np.mgrid[0:64, 0:96]
    with relive.Recorder(path, StateSchema(()), game="test:waves") as recorder:
        for n in range(20):
            wave = 128 + 60 * np.sin((x + 2 * n) / 3)[..., None] * np.cos(y / 5)[..., None]
            shades = np.array([1, 0.8, 0.6 + 0.02 * n])
            recorder.add((wave * shades).astype(np.uint8), np.zeros(0, np.float32), n * 40_000_000)
    return path


@dataclass(frozen=True)
class Result:
    """What a GOP would be at a number: bytes fall and so does the PSNR."""

    number: int

    @property
    def size(self) -> int:
        return int(200_000 * 2 ** (-0.17 * self.number)) + 40

    @property
    def psnr_db(self) -> float:
        return 58 - 0.55 * self.number


def tries(numbers: list[int]) -> list[Result]:
    return [Result(n) for n in numbers]


@pytest.mark.parametrize("guess", [-5, 0, 20, 40, LAST, 200])
@pytest.mark.parametrize("goal", [10.0, 30.0, 36.2, 57.9, 58.0, 70.0])
def test_search_finds_the_coarsest_number_that_meets_a_goal(goal: float, guess: int) -> None:
    meets = [n for n in range(LAST + 1) if Result(n).psnr_db >= goal]
    done, number = search(tries, lambda r: r.psnr_db, goal, guess, 0.6)
    assert number == max(meets, default=-1)
    assert len(done) <= 16


def test_search_ends_where_values_do_not_fall() -> None:
    def odd(numbers: list[int]) -> list[Result]:
        return [Result(n ^ 1) for n in numbers]

    done, number = search(odd, lambda r: r.psnr_db, 36.0, 40, 0.6)
    assert done[number].psnr_db >= 36.0


def test_a_floor_beyond_reach_is_told() -> None:
    control = Control(Target(psnr=59.0))
    assert control.choose(tries).number == 0
    assert not control.reached(1, 1.0)


def test_the_scale_goes_from_fine_to_coarse() -> None:
    settings = [setting_of(n) for n in range(LAST + 1)]
    assert [s.step for s in settings] == [min(n, 63) for n in range(LAST + 1)]
    prices = [s.price for s in settings]
    assert prices == sorted(prices)
    assert prices[-1] > prices[0]


@pytest.mark.parametrize(("text", "value"), [("300k", 3e5), ("1.2M", 1.2e6), ("250000", 250000.0)])
def test_bitrates_are_read(text: str, value: float) -> None:
    assert math.isclose(parse_bitrate(text), value)


@pytest.mark.parametrize("text", ["", "k", "0", "-3k", "fast", "inf", "nan", "3 kk"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="bits per second"):
        parse_bitrate(text)


@pytest.mark.parametrize(
    "wrong", [{"bitrate": -1.0}, {"psnr": 5.0}, {"psnr": math.nan}, {"bitrate": 1e5, "psnr": 30.0}]
)
def test_wrong_targets_leave_no_file(waves: Path, tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        relive.encode(waves, tmp_path / "x.relive", **wrong)
    assert not (tmp_path / "x.relive").exists()


def test_every_gop_has_the_psnr_that_was_asked_for(waves: Path, tmp_path: Path) -> None:
    report = relive.encode(waves, tmp_path / "a.relive", psnr=30.0, keyframe_interval=8)
    assert report.reached
    with relive.Replay.open(tmp_path / "a.relive") as replay:
        measured = [gop.psnr_db for gop in replay.gops]
        assert replay.header.quality == 0
    assert min(measured) >= 30.0
    assert max(measured) < 31.5
