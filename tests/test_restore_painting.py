"""What no other frame explains is painted from around, and what one explains is not."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from relive.restore import blend
from relive.restore.candidates import PAINTED, explain
from relive.restore.completing import Completed, complete
from relive.restore.gaps import SessionGaps
from relive.restore.painting import UNTRIED, paint, trial_of
from relive.restore.sources import Gap
from relive.session import Recorder, Session, StateSchema

HEIGHT, WIDTH, LOST, STEP_NS = 96, 128, 2, 100_000_000
HOLES = np.zeros((HEIGHT, WIDTH), np.bool_)
HOLES[16:32, 32:48] = HOLES[48:64, 80:96] = HOLES[64:80, 16:32] = True


def slope() -> NDArray[np.uint8]:
    """A smooth picture."""
    rows, columns = np.indices((HEIGHT, WIDTH))
    return np.stack([rows + 40, columns + 20, rows + columns], -1).astype(np.uint8)


def record(path: Path, pictures: list[NDArray[np.uint8]]) -> None:
    with Recorder(path, StateSchema(()), game="test") as recorder:
        for index, picture in enumerate(pictures):
            recorder.add(picture, [], index * STEP_NS)


def filled(path: Path, pictures: list[NDArray[np.uint8]]) -> Completed:
    record(path, pictures)
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


def test_no_trial_takes_all_that_is_known() -> None:
    island = np.zeros((HEIGHT, WIDTH), np.bool_)
    island[40:48, 40:48] = True
    assert not trial_of(island).any()
    assert (paint(noise(1), island)[1] == UNTRIED).all()


def test_a_painting_is_told_by_a_trial() -> None:
    known = ~HOLES
    picture = np.where((np.arange(WIDTH) < WIDTH // 2)[:, None], slope(), noise(1))
    paintings, off = paint(picture, known)
    for painting, wrong in zip(paintings, off, strict=True):
        assert (painting == picture)[known].all()
        assert np.abs(painting - picture)[48:80, 16:32].mean() < 4
        assert wrong[72, 24] < 4
        assert wrong[56, 120] > 30


def test_a_painting_is_a_candidate_where_part_is_known(tmp_path: Path) -> None:
    record(tmp_path / "s.mcap", [slope()] * 5)
    with Session.open(tmp_path / "s.mcap") as session:
        lost = np.zeros(5, np.bool_)
        partly = SessionGaps(session, lost, {LOST: HOLES})
        assert PAINTED in kinds(partly)
        lost[LOST] = True
        assert PAINTED not in kinds(SessionGaps(session, lost, {}))


def test_holes_of_a_neighbour_are_looked_at_in_the_one_behind(tmp_path: Path) -> None:
    record(tmp_path / "s.mcap", [slope()] * 7)
    part, other = np.zeros_like(HOLES), np.zeros_like(HOLES)
    part[16:32, 32:48] = other[:16, :16] = True
    with Session.open(tmp_path / "s.mcap") as session:
        lost = np.zeros(7, np.bool_)
        hidden = {0: other, 1: HOLES, 2: part, 3: HOLES, 4: other, 5: other}
        gaps = SessionGaps(session, lost, hidden)
        near, behind = gaps.gaps_around(3)
        assert times(near) == [2, 4]
        assert times(behind) == [0, 4]  # frame 1 lacks it, too; nothing is wanted of frame 4
        whole = SessionGaps(session, lost, {3: HOLES})
        assert [times(gap) for gap in whole.gaps_around(3)] == [[2, 4]]
        assert [times(gap) for gap in gaps.gaps_around(0)] == [[1, 1]]
        lost[3] = True  # nothing known of it tells how far to believe those behind
        assert [times(gap) for gap in SessionGaps(session, lost, hidden).gaps_around(3)] == [[2, 4]]


def test_a_large_picture_is_blended_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "s.mcap", [np.roll(slope(), index, 1) for index in range(5)])
    with Session.open(tmp_path / "s.mcap") as session:
        gaps = SessionGaps(session, np.zeros(5, np.bool_), {LOST: HOLES})
        around = gaps.gaps_around(LOST)
        candidates = explain(*around)
        whole, sure = blend.blend(around[0], candidates)
        monkeypatch.setattr(blend, "WHOLE_PX", HEIGHT * WIDTH - 1)
        monkeypatch.setattr(blend, "PART_PX", 48)
        monkeypatch.setattr(blend, "MARGIN_PX", 16)
        inner = np.zeros(HOLES.shape, np.int64)
        for part, wider in blend.parts(*HOLES.shape):
            inner[part] += 1
            assert all(w.stop - w.start <= 80 for w in wider)
        assert (inner == 1).all()
        colours, certain = blend.blend(around[0], candidates)
    assert np.abs(colours - whole)[HOLES].mean() < 1
    assert np.abs(certain - sure)[HOLES].mean() < 0.05
    assert not colours[:, 96:].any()  # nothing is lost there


def times(gap: Gap) -> list[int]:
    return [side.time_ns // STEP_NS for side in (gap.before, gap.after)]


def kinds(gaps: SessionGaps) -> set[int]:
    return {one.kind for one in explain(*gaps.gaps_around(LOST)).explanations}
