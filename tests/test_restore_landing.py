"""What is small, bright or far away does not vanish: recorded pixels ask where they went."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from relive.restore import restore
from relive.restore.candidates import DEPTH, FLOW, LANDED, SHIFT, Candidates, explain
from relive.restore.flow import dense_flow
from relive.restore.gaps import SessionGaps
from relive.restore.landing import UNBELIEVABLE, drop
from relive.session import Camera, Recorder, Session, StateField, StateSchema

WIDTH, HEIGHT, FRAMES, STEP_NS = 128, 64, 9, 100_000_000
FOCAL, WALL, TORCH, PACE = WIDTH / 2, 128.0, 32.0, 4.0
SCHEMA = StateSchema(
    (
        StateField("x", "m", "linear", "camera.x"),
        StateField("y", "m", "linear", "camera.y"),
        StateField("z", "m", "linear", "camera.z"),
        StateField("yaw", "deg", "angle", "camera.yaw"),
    ),
    Camera(90.0, 1.0, "left", (0, 0, WIDTH, HEIGHT)),
)
TOP, SIZE = 24, 10


def torch_column(index: int) -> int:
    """The torch is four times as near as the wall, and moves 8 pixels a frame to the left."""
    return 90 - round(FOCAL * PACE / TORCH) * index


def picture(index: int) -> NDArray[np.uint8]:
    """A dark wall with faint detail, a bright torch before it."""
    wall = np.random.default_rng(5).integers(0, 14, (HEIGHT, 2 * WIDTH, 3)).astype(np.uint8)
    start = round(FOCAL * PACE / WALL) * index
    frame = wall[:, start : start + WIDTH].copy()
    glow = np.random.default_rng(6).integers(120, 255, (SIZE, SIZE, 3))
    at = torch_column(index)
    frame[TOP : TOP + SIZE, at : at + SIZE] = glow
    return frame


def record(path: Path, missing: int) -> None:
    with Recorder(path, SCHEMA, game="test", force=True) as recorder:
        for index in range(FRAMES):
            frame = None if index == missing else picture(index)
            recorder.add(frame, [0.0, -index * PACE, 0.0, 0.0], index * STEP_NS)


def found(path: Path, missing: int, stated: bool = True) -> Candidates:
    with Session.open(path) as session:
        told = np.ones(FRAMES, np.bool_)
        told[missing] = stated
        gaps = SessionGaps(session, ~session.present, {}, None, told)
        return explain(*gaps.gaps_around(missing))


def error_at_torch(candidates: Candidates, kind: int, index: int) -> float:
    """Mean difference of the better explanation of a kind, where the torch is."""
    rows, at = slice(TOP, TOP + SIZE), torch_column(index)
    truth = picture(index)[rows, at : at + SIZE].astype(np.float32)
    both = candidates.colours.reshape(-1, 2, HEIGHT, WIDTH, 3).mean(1)
    chosen = [both[k] for k, one in enumerate(candidates.explanations) if one.kind == kind]
    return min(float(np.abs(one[rows, at : at + SIZE] - truth).mean()) for one in chosen)


def test_pixels_that_are_followed_bring_the_torch_along(tmp_path: Path) -> None:
    record(tmp_path / "in.mcap", 4)
    candidates = found(tmp_path / "in.mcap", 4)
    assert error_at_torch(candidates, LANDED, 4) < 12
    assert error_at_torch(candidates, FLOW, 4) < 40
    assert error_at_torch(candidates, DEPTH, 4) > 60  # the wall beside it agrees with itself


def test_torch_is_in_the_restored_frame(tmp_path: Path) -> None:
    record(tmp_path / "in.mcap", 4)
    restore(tmp_path / "in.mcap", tmp_path / "out.mcap")
    with Session.open(tmp_path / "out.mcap") as whole:
        made, at = whole.frame(4), torch_column(4)
    assert made[TOP : TOP + SIZE, at : at + SIZE].mean() > 140
    made[TOP : TOP + SIZE, at - 2 : at + SIZE + 2] = 0
    assert made.max() < 80  # and nowhere else


def test_shift_is_asked_only_where_part_of_the_frame_is_known(tmp_path: Path) -> None:
    record(tmp_path / "in.mcap", 4)
    assert SHIFT not in {one.kind for one in found(tmp_path / "in.mcap", 4).explanations}
    hidden = np.zeros((HEIGHT, WIDTH), np.bool_)
    hidden[20:40, 40:60] = True
    with Session.open(tmp_path / "in.mcap") as session:
        gaps = SessionGaps(session, ~session.present, {2: hidden})
        assert SHIFT in {one.kind for one in explain(*gaps.gaps_around(2)).explanations}


def test_a_guessed_state_says_so(tmp_path: Path) -> None:
    record(tmp_path / "in.mcap", 4)
    with Session.open(tmp_path / "in.mcap") as session:
        told = np.ones(FRAMES, np.bool_)
        told[4] = False
        gaps = SessionGaps(session, ~session.present, {}, None, told)
        assert [gaps.source(index).guessed for index in (3, 4)] == [False, True]
        assert gaps.between(4 * STEP_NS, session.states[4]).target.guessed
        assert not gaps.between(4 * STEP_NS, session.states[4], False).target.guessed


def test_the_surest_of_those_that_fall_on_one_place_stays() -> None:
    moves = np.zeros((4, 6, 2), np.float32)
    moves[1, 1, 0] = 2  # falls on what stands at 1, 3
    errors = np.full((4, 6), 5, np.float32)
    errors[1, 3] = 4
    values = np.arange(24, dtype=np.float32).reshape(4, 6, 1)
    assert drop(moves, errors, values).values[1, 3, 0] == values[1, 3, 0]
    errors[1, 1] = 1
    landed = drop(moves, errors, values)
    assert landed.values[1, 3, 0] == values[1, 1, 0]
    errors[:, :3] = -1  # do not fall
    landed = drop(moves, errors, values)
    assert landed.fell.all(0).tolist() == [False] * 3 + [True] * 3
    assert landed.errors[1, 1] == UNBELIEVABLE
    assert values[1, 3, 0] <= landed.values[1, 2, 0] <= values[2, 5, 0]  # filled from around it


def test_flow_finds_far_motion() -> None:
    rng = np.random.default_rng(1)
    blocks = rng.integers(0, 255, (8, 24, 3)).astype(np.uint8)
    wall = cv2.resize(blocks, (360, 120), interpolation=cv2.INTER_CUBIC)
    flow = dense_flow(wall[:, 24:264].copy(), wall[:, :240].copy())
    assert np.abs(np.median(flow[20:-20, 40:-40], (0, 1)) - [24, 0]).max() < 0.5


@pytest.mark.parametrize("side", [1, 15, 17, 31])
def test_small_pictures_have_a_flow_too(side: int) -> None:
    picture = np.zeros((side, side, 3), np.uint8)
    assert dense_flow(picture, picture).shape == (side, side, 2)
