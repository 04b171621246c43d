"""Tints over all of a picture: told by what lies beside the scene, taken out, and put in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from relive.model.warp import Pinhole
from relive.restore.completing import complete, complete_between
from relive.restore.gaps import SessionGaps
from relive.restore.sources import Gap, Source
from relive.restore.tint import Tint, beside, tint_alike, tint_between
from relive.session import Recorder, Session
from relive.view import open_view
from relive.view.light import FADE_S, Moment, median_tint, sure_looks
from relive.view.render import Looks
from room import FPS, HEIGHT, SCHEMA, STATUS_PX, VIEW, WIDTH, poses, see

SCENE = np.s_[: HEIGHT - STATUS_PX]
FIXED = np.zeros((HEIGHT, WIDTH), np.bool_)
FIXED[HEIGHT - STATUS_PX :] = True
STEP_NS = 1_000_000_000 // FPS
RED = range(24, 33)  # frames under a flash


def status(number: int) -> NDArray[np.uint8]:
    """A status bar with a number in it."""
    bar = np.random.default_rng(3).integers(0, 255, (STATUS_PX, WIDTH, 3)).astype(np.uint8)
    bar[:, 10:30] = np.random.default_rng(number).integers(0, 255, (STATUS_PX, 20, 3))
    return bar


def picture(index: int, red: bool) -> NDArray[np.uint8]:
    plain = see(poses(60)[index], gun=False)
    plain[HEIGHT - STATUS_PX :] = status(index)
    return (plain * 0.6 + 0.4 * np.array([255, 0, 0])).astype(np.uint8) if red else plain


@pytest.fixture(scope="module")
def flashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flash") / "flash.mcap"
    with Recorder(path, SCHEMA, game="test:room") as recorder:
        for index, pose in enumerate(poses(60)):
            state = [*pose[:3], np.degrees(pose[3]), 100]
            recorder.add(picture(index, index in RED), state, index * STEP_NS)
    return path


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    return float(np.abs(one.astype(float) - other)[where].mean())


def test_what_lies_beside_the_scene_tells_the_tint() -> None:
    plain, red = picture(3, False), picture(9, True)
    tint = tint_between(plain, red, FIXED)
    assert tint is not None
    assert abs(tint.gain - 0.6) < 0.02
    assert np.abs(np.array(tint.offset) - [102, 0, 0]).max() < 2
    back = tint.then(tint.inverse)
    assert back.is_none
    half = tint.part(0.5).apply_to_frame(plain)
    assert np.abs(half - (plain / 2 + tint.apply_to_frame(plain) / 2)).max() < 1.5
    other = tint_between(plain, picture(9, False), FIXED)
    assert other is not None
    assert other.is_none


def test_nothing_is_said_of_a_tint_where_nothing_tells() -> None:
    plain = picture(3, False)
    flat, noise = plain.copy(), plain.copy()
    flat[FIXED] = 90
    noise[FIXED] = np.random.default_rng(1).integers(0, 255, (STATUS_PX * WIDTH, 3))
    assert tint_between(flat, flat, FIXED) is None
    assert tint_between(plain, noise, FIXED) is None
    assert tint_between(plain, plain, beside(None, FIXED.shape)) is None
    assert Tint().apply_to_frame(plain) is plain


def test_a_hidden_part_has_the_tint_of_its_frame(flashed: Path) -> None:
    first = RED[0]
    hidden = np.zeros((HEIGHT, WIDTH), np.bool_)
    hidden[16:48, 30:90] = True
    with Session.open(flashed) as session:
        lost = np.zeros(session.num_frames, np.bool_)
        gaps = SessionGaps(session, lost, {first: hidden})
        made = complete(gaps, first).pixels
    assert apart(made, picture(first, True), hidden) < 8


def test_a_missing_frame_has_half_of_the_tint_between_its_neighbours(flashed: Path) -> None:
    index = RED[0]
    with Session.open(flashed) as session:
        lost = np.zeros(session.num_frames, np.bool_)
        lost[index] = True
        gaps = SessionGaps(session, lost, {})
        made = complete_between(gaps.between(index * STEP_NS, session.states[index])).pixels
    half = (picture(index, True) / 2 + picture(index, False) / 2).astype(np.uint8)
    assert apart(made, half, ~FIXED) < 6


def test_a_neighbour_that_tells_nothing_has_its_tint_by_way_of_the_other_one() -> None:
    middle = WIDTH // 2
    left, right = np.zeros_like(FIXED), np.zeros_like(FIXED)
    left[FIXED], right[FIXED] = True, True
    left[:, middle:], right[:, :middle] = False, False
    nothing, pose = np.zeros(0, np.float32), poses(60)[0]

    def at(index: int, red: bool, known: NDArray[np.bool_]) -> Source:
        return Source(picture(index, red), known, nothing, pose, index * STEP_NS)

    camera = Pinhole.from_fov(90.0, 1.0, VIEW)
    sides = at(20, False, FIXED | ~FIXED), at(28, False, right | ~FIXED)
    for first, last in (sides, sides[::-1]):
        alike = tint_alike(Gap(at(24, True, left), first, last, camera))
        for side in (alike.before, alike.after):
            index = side.time_ns // STEP_NS
            assert apart(side.pixels, picture(index, True), ~FIXED) < 3


def test_a_view_tells_its_moment_once(flashed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, between = [], Moment.between

    def counted(*given: Any) -> Moment:
        told.append(given)
        return between(*given)

    monkeypatch.setattr(Moment, "between", counted)
    with open_view(flashed) as opened:
        pose = opened.viewer.memory.poses[50]
        opened.view(pose, RED[4] * STEP_NS, False, True)
    assert len(told) == 1


def test_a_view_has_the_tint_of_its_moment(flashed: Path) -> None:
    moment = RED[4]
    with open_view(flashed) as opened:
        viewer = opened.viewer
        viewer.memory.usable[moment - 1 : moment + 2] = False
        pose = viewer.memory.poses[50].copy()  # was only seen without the flash
        red = opened.view(pose, moment * STEP_NS, True, False)
        plain = opened.view(pose, 50 * STEP_NS, True, False)
    assert red.plan.around == (moment - 2, moment + 2)
    assert plain.plan.around == (50, 50)
    assert apart(red.pixels, picture(50, True), ~FIXED) < 8
    assert apart(plain.pixels, picture(50, False), ~FIXED) < 8


def test_far_from_all_frames_a_moment_has_the_usual_tint() -> None:
    plain, red = picture(3, False), picture(9, True)
    sources = [picture(index, False) for index in (1, 2, 5)] + [red]
    at_once = Moment.between(red, red, 0, 0.0, sources, FIXED)
    assert at_once.tint_of(red).is_none
    half = Moment.between(red, red, 0, FADE_S, sources, FIXED).tint_of(plain)
    assert abs(half.gain - 0.8) < 0.02
    late = Moment.between(red, red, 0, 100.0, sources, FIXED)
    assert late.tint_of(plain).is_none
    assert median_tint([]) == Tint()


def test_sources_that_no_neighbour_bears_out_are_left_out() -> None:
    near = np.ones((3, 4, 4), np.float32)
    near[2, 2:] = -1
    trust = np.full_like(near, 0.8)
    trust[1], trust[2, 2:] = 0.1, 0
    colours = np.zeros((*near.shape, 3), np.float32)
    assert sure_looks(Looks(colours, near, trust, near, near)).tolist() == [0, 2]
    assert sure_looks(Looks(colours, near, trust * 0.1, near, near)).tolist() == [0, 1, 2]
