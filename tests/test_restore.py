"""Missing frames, hidden parts, frames in between: filled and marked; what is known stays."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from relive.errors import InputError
from relive.restore import Hidden, Output, interpolate, restore
from relive.restore.completing import complete
from relive.restore.depth import depth_labels
from relive.restore.filling import smooth_filling
from relive.restore.gaps import SessionGaps
from relive.restore.interpolating import grid
from relive.restore.opening import fill_states, state_at
from relive.restore.scroll import learn_scroll
from relive.session import Camera, Recorder, Session, StateField, StateSchema
from relive.session.marks import GENERATED

WIDTH, HEIGHT, FRAMES, STEP_NS = 96, 64, 12, 100_000_000
WALL_DISTANCE, PACE = 60.0, 3.0
SCHEMA = StateSchema(
    (
        StateField("x", "m", "linear", "camera.x"),
        StateField("y", "m", "linear", "camera.y"),
        StateField("z", "m", "linear", "camera.z"),
        StateField("yaw", "deg", "angle", "camera.yaw"),
        StateField("weapon", "", "category", "other"),
    ),
    Camera(90.0, 1.0, "left", (0, 0, WIDTH, HEIGHT - 8)),
)


def texture() -> NDArray[np.uint8]:
    """A wall with detail, twice as wide as the view."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 255, (HEIGHT // 4, WIDTH, 3)).astype(np.float64)
    wall = coarse.repeat(4, 0).repeat(4, 1)
    for axis in (0, 1):
        wall = (np.roll(wall, 1, axis) + 2 * wall + np.roll(wall, -1, axis)) / 4
    return wall.astype(np.uint8)


def walk(missing: set[int], path: Path) -> list[NDArray[np.uint8]]:
    """Strafe along a wall: looking along +x, moving to the right (-y); returns all true frames."""
    wall, frames = texture(), []
    focal = WIDTH / 2
    pixels_a_step = round(focal * PACE / WALL_DISTANCE * 10) / 10
    columns = np.arange(WIDTH)
    with Recorder(path, SCHEMA, game="test", force=True) as recorder:
        for index in range(FRAMES):
            at = columns + 40 + index * pixels_a_step
            low, part = at.astype(int), (at % 1)[None, :, None]
            frame = (wall[:, low] * (1 - part) + wall[:, low + 1] * part).astype(np.uint8)
            frame[HEIGHT - 8 :] = 77  # what lies over the view
            frames.append(frame)
            state = [0.0, -index * PACE, 0.0, 0.0, index // 6]
            recorder.add(None if index in missing else frame, state, 5 + index * STEP_NS)
        recorder.event("hello", "world", 5)
    return frames


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


def test_missing_frames_come_back_from_both_sides(tmp_path: Path) -> None:
    frames = walk({3, 7, 8}, tmp_path / "in.mcap")
    tally = restore(tmp_path / "in.mcap", Output(tmp_path / "out.mcap", tmp_path / "sure.npz"))
    assert (tally.frames, tally.generated, tally.repaired) == (FRAMES, 3, 0)
    with Session.open(tmp_path / "in.mcap") as lost, Session.open(tmp_path / "out.mcap") as whole:
        assert whole.present.all()
        assert (whole.times_ns == lost.times_ns).all()
        assert (whole.states == lost.states).all()
        assert np.flatnonzero(whole.generated).tolist() == [3, 7, 8]
        assert not lost.generated.any()
        for index in range(FRAMES):
            if index not in (3, 7, 8):
                assert (whole.frame(index) == frames[index]).all()
        for index in (3, 7, 8):
            mean = (frames[index - 1].astype(float) + frames[min(index + 1, FRAMES - 1)]) / 2
            plain = psnr(mean.astype(np.uint8), frames[index])
            assert psnr(whole.frame(index), frames[index]) > 3 + plain
        marks = [event for event in whole.events if event.name == GENERATED]
        assert [event.time_ns for event in marks] == whole.times_ns[[3, 7, 8]].tolist()
        assert json.loads(marks[0].payload)["share"] == 1
        assert any(event.name == "hello" for event in whole.events)
    with np.load(tmp_path / "sure.npz") as maps:
        assert sorted(maps.files) == ["000003", "000007", "000008"]
        assert maps["000003"].shape == (HEIGHT, WIDTH)


def test_hidden_rectangle_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    frames = walk(set(), tmp_path / "in.mcap")
    hide = [Hidden.parse("30,20,16,12@0.35-0.65")]
    tally = restore(tmp_path / "in.mcap", tmp_path / "out.mcap", hide=hide)
    assert (tally.generated, tally.repaired) == (0, 3)
    with Session.open(tmp_path / "out.mcap") as whole:
        for index in range(FRAMES):
            apart = (whole.frame(index) != frames[index]).any(-1)
            apart[20:32, 30:46] = False
            assert not apart.any()
        assert np.flatnonzero(whole.generated).tolist() == [4, 5, 6]
        inside = np.s_[20:32, 30:46]
        assert psnr(whole.frame(5)[inside], frames[5][inside]) > 25


def test_what_is_hidden_has_no_say_in_what_replaces_it(tmp_path: Path) -> None:
    frames = walk(set(), tmp_path / "a.mcap")
    part = (slice(10, 40), slice(20, 60))
    with Recorder(tmp_path / "b.mcap", SCHEMA, game="test") as recorder:
        for index, frame in enumerate(frames):
            other = frame.copy()
            if index in (5, 6):
                other[part] = 255 - other[part]
            state = [0.0, -index * PACE, 0.0, 0.0, index // 6]
            recorder.add(other, state, 5 + index * STEP_NS)
    hidden = np.zeros((HEIGHT, WIDTH), np.bool_)
    hidden[part] = True
    made = []
    for name in "ab":
        with Session.open(tmp_path / f"{name}.mcap") as session:
            lost = np.zeros(FRAMES, np.bool_)
            gaps = SessionGaps(session, lost, {5: hidden, 6: hidden})
            made.append(complete(gaps, 5))
    np.testing.assert_array_equal(made[0].pixels[hidden], made[1].pixels[hidden])
    np.testing.assert_array_equal(made[0].confidence, made[1].confidence)


def test_mask_file_must_fit(tmp_path: Path) -> None:
    walk(set(), tmp_path / "in.mcap")
    np.savez(tmp_path / "m.npz", hidden=np.zeros((2, 2), np.bool_))
    with pytest.raises(InputError, match="'hidden' is bool"):
        restore(tmp_path / "in.mcap", tmp_path / "out.mcap", mask=tmp_path / "m.npz")
    assert not (tmp_path / "out.mcap").exists()
    assert not list(tmp_path.glob(".relive-*"))


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,0,4", "1,2,3,4@3-2", "a,b,c,d", "1,2,3,4@1..2-3"]
)
def test_rectangles_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--hide"):
        Hidden.parse(text)


def test_rectangle_outside_the_picture_is_refused(tmp_path: Path) -> None:
    walk(set(), tmp_path / "in.mcap")
    with pytest.raises(InputError, match="does not lie in a frame"):
        restore(tmp_path / "in.mcap", tmp_path / "out.mcap", hide=[Hidden(90, 0, 20, 5)])


def test_everything_hidden_is_refused(tmp_path: Path) -> None:
    walk(set(), tmp_path / "in.mcap")
    with pytest.raises(InputError, match="nothing is known"):
        restore(tmp_path / "in.mcap", tmp_path / "out.mcap", hide=[Hidden(0, 0, WIDTH, HEIGHT)])
    assert not (tmp_path / "out.mcap").exists()


def test_interpolation_keeps_what_was_recorded_and_marks_the_rest(tmp_path: Path) -> None:
    frames = walk(set(range(1, FRAMES, 2)), tmp_path / "in.mcap")
    tally = interpolate(tmp_path / "in.mcap", tmp_path / "out.mcap", Fraction(10))
    assert (tally.frames, tally.generated) == (FRAMES - 1, FRAMES // 2 - 1)
    with Session.open(tmp_path / "out.mcap") as whole:
        assert np.flatnonzero(whole.generated).tolist() == list(range(1, FRAMES - 1, 2))
        for index in range(1, FRAMES - 1, 2):
            mean = (frames[index - 1].astype(float) + frames[index + 1]) / 2
            plain = psnr(mean.astype(np.uint8), frames[index])
            assert psnr(whole.frame(index), frames[index]) > 3 + plain
        assert set(whole.states[:, 4]) <= {0.0, 1.0}


def test_times_of_a_rate_do_not_drift() -> None:
    times = grid(1000, 1000 + 10_000_000_000, Fraction(60000, 1001))
    assert times[-1] == 1000 + round(Fraction(len(times) - 1) * 1001 * 1_000_000_000 / 60000)
    assert set(np.diff(times)) <= {16683333, 16683334}


def test_angles_go_the_short_way_and_categories_are_held() -> None:
    times = np.array([0, 100], np.int64)
    states = np.array([[0, 0, 0, 350, 1], [4, 0, 0, 10, 3]], np.float32)
    middle = state_at(SCHEMA, times, states, 50)
    assert middle[0] == 2
    assert middle[3] % 360 == 0
    assert middle[4] == 1
    assert (state_at(SCHEMA, times, states, 100) == states[1]).all()


def test_states_that_are_lost_are_guessed_between_those_that_are_known() -> None:
    times = np.arange(4, dtype=np.int64) * 10
    states = np.zeros((4, 5), np.float32)
    states[3, 0] = 3
    stated = np.array([True, False, False, True])
    assert fill_states(SCHEMA, times, states, stated)[:, 0].tolist() == [0, 1, 2, 3]


def test_scroll_is_learned_from_the_pictures() -> None:
    wall = texture()
    moves = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [-1, 0], [0, -1], [1, 0]], np.float64)
    at = np.concatenate([np.zeros((1, 2)), moves.cumsum(0)]).astype(int)

    def read(index: int) -> NDArray[np.uint8]:
        return np.roll(wall, (-3 * at[index, 1], -5 * at[index, 0]), (0, 1))

    learned = learn_scroll(moves, read)
    assert learned is not None
    assert np.abs(learned.matrix - [[-5, 0], [0, -3]]).max() < 0.1
    assert not learned.overlay.any()
    assert learn_scroll(moves, lambda _: wall) is None


def test_scroll_leaves_what_stands_still_and_is_not_taken_in_by_a_new_episode() -> None:
    wall = texture()
    moves = np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [1, 0], [40, -30], [1, 0]], np.float64)
    at = np.concatenate([np.zeros((1, 2)), moves.cumsum(0)]).astype(int)

    def read(index: int) -> NDArray[np.uint8]:
        frame = np.roll(wall, (-3 * at[index, 1], -5 * at[index, 0]), (0, 1))
        if index > 5:
            frame = 255 - frame[::-1]
        frame[-12:] = wall[:12]
        return frame

    learned = learn_scroll(moves, read)
    assert learned is not None
    assert np.abs(learned.matrix - [[-5, 0], [0, -3]]).max() < 0.1
    assert learned.overlay[-10:].all()
    assert learned.overlay[:-14].mean() < 0.05


def test_depths_are_as_dense_as_their_parallax() -> None:
    labels = depth_labels(160.0, 20.0)
    assert labels[0] == 0
    assert (np.diff(labels) > 0).all()
    assert len(labels) <= 64


def test_smooth_filling_leaves_what_is_known() -> None:
    pixels = np.full((9, 7, 3), 100, np.uint8)
    known = np.ones((9, 7), np.bool_)
    known[2:5, 2:6] = False
    pixels[~known] = 0
    assert (smooth_filling(pixels, known) == 100).all()


def test_state_that_stops_half_way_is_kept_as_unknown_and_guessed(tmp_path: Path) -> None:
    wall, path = texture(), tmp_path / "in.mcap"
    with Recorder(path, SCHEMA) as recorder:
        for index in range(6):
            state = None if index in (2, 3, 5) else [0, index, 0, 0, index]
            frame = None if index == 3 else wall[:, index : index + WIDTH].copy()
            recorder.add(frame, state, index * STEP_NS)
    with Session.open(path) as session:
        assert session.stated.tolist() == [True, True, False, False, True, False]
        assert session.states[:, 1].tolist() == [0, 1, 1, 1, 4, 4]
    tally = restore(path, tmp_path / "out.mcap")
    assert tally.generated == 1
    with Session.open(tmp_path / "out.mcap") as whole:
        assert whole.states[:, 1].tolist() == [0, 1, 2, 3, 4, 4]
        assert whole.states[:, 4].tolist() == [0, 1, 1, 1, 4, 4]
        assert whole.stated.tolist() == [True, True, False, False, True, False]
