"""What no other frame explains is painted from around, and what one explains is not."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from relive.restore.completing import Completed, complete
from relive.restore.gaps import SessionGaps
from relive.restore.painting import paint_share, trial_of
from relive.session import Recorder, Session, StateSchema

HEIGHT, WIDTH, LOST = 96, 128, 2
HOLES = np.zeros((HEIGHT, WIDTH), np.bool_)
HOLES[16:32, 32:48] = HOLES[48:64, 80:96] = HOLES[64:80, 16:32] = True


def slope() -> NDArray[np.uint8]:
    """A smooth picture."""
    rows, columns = np.indices((HEIGHT, WIDTH))
    return np.stack([rows + 40, columns + 20, rows + columns], -1).astype(np.uint8)


def filled(path: Path, pictures: list[NDArray[np.uint8]]) -> Completed:
    with Recorder(path, StateSchema(()), game="test") as recorder:
        for index, picture in enumerate(pictures):
            recorder.add(picture, [], index * 100_000_000)
    with Session.open(path) as session:
        lost = np.zeros(len(pictures), np.bool_)
        return complete(SessionGaps(session, lost, {LOST: HOLES}), LOST)


def noise(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def test_what_no_other_frame_explains_is_painted(tmp_path: Path) -> None:
    pictures = [noise(seed) for seed in range(5)]
    pictures[LOST] = slope()
    made = filled(tmp_path / "s.mcap", pictures)
    assert np.abs(made.pixels.astype(int) - slope())[HOLES].mean() < 4
    assert made.confidence[HOLES].max() < 0.1
    assert (made.pixels == slope())[~HOLES].all()


def test_what_another_frame_shows_is_not_painted(tmp_path: Path) -> None:
    made = filled(tmp_path / "s.mcap", [noise(1)] * 5)
    assert np.abs(made.pixels.astype(int) - noise(1))[HOLES].mean() < 1
    assert made.confidence[HOLES].min() > 0.8


def test_a_frame_that_lacks_nothing_is_left_as_it_is(tmp_path: Path) -> None:
    with Recorder(tmp_path / "s.mcap", StateSchema(()), game="test") as recorder:
        recorder.add(noise(1), [], 0)
    with Session.open(tmp_path / "s.mcap") as session:
        gaps = SessionGaps(session, np.zeros(1, np.bool_), {0: np.zeros_like(HOLES)})
        made = complete(gaps, 0)
    assert (made.pixels == noise(1)).all()
    assert made.share == 0
    assert made.confidence.min() == 1


@pytest.mark.parametrize("corner", [np.s_[:16, :16], np.s_[-16:, -16:]])
def test_a_trial_lies_beside_what_is_lost(corner: tuple[slice, slice]) -> None:
    known = np.ones((HEIGHT, WIDTH), np.bool_)
    known[corner] = False
    around = np.zeros_like(known)
    around[
        tuple(slice(part.start and part.start - 8, part.stop and part.stop + 8) for part in corner)
    ] = True
    trial = trial_of(known)
    assert trial.sum() > 100
    assert not (trial & ~around).any()
    assert not (trial & ~known).any()


def test_how_wrong_is_told_by_a_trial() -> None:
    seen = np.ones((HEIGHT, WIDTH), np.bool_)
    tried = slope().astype(np.float32)
    tried[:, : WIDTH // 2] += 60
    painting, take = paint_share(slope(), ~HOLES, tried, seen)
    assert take[70, 20] > 0.9
    assert take[56, 90] < 0.1
    assert take[~HOLES].max() == 0
    assert np.abs(painting - slope())[HOLES].mean() < 4
    trial = trial_of(~HOLES)
    assert trial.any()
    assert not (trial & HOLES).any()
