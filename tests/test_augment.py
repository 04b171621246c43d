"""Augmentation: mirrored states are states of the mirrored world, colours keep their grey."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from relive.cubes.augment import (
    ColourJitter,
    apply_colour,
    can_mirror,
    mirror_states,
    temporal_stride,
)
from relive.cubes.states import camera_poses, model_states
from relive.errors import InputError
from relive.session import Camera, StateField, StateSchema

FIELDS = (
    StateField("x", "m", "linear", "camera.x"),
    StateField("y", "m", "linear", "camera.y"),
    StateField("z", "m", "linear", "camera.z"),
    StateField("yaw", "deg", "angle", "camera.yaw"),
    StateField("pitch", "rad", "angle", "camera.pitch"),
    StateField("roll", "turn", "angle", "camera.roll"),
    StateField("body_y", "m", "linear", "actor.y"),
    StateField("body_yaw", "rad", "angle", "actor.yaw"),
    StateField("vx", "m/s", "linear", "velocity.x"),
    StateField("vy", "m/s", "linear", "velocity.y"),
    StateField("health"),
)
FLIPPED = ["y", "yaw", "roll", "body_y", "body_yaw", "vy"]
TURNS = {"deg": 360.0, "rad": 2 * np.pi, "turn": 1.0}
MOTION = ("@forward", "@left", "@up", "@turn")


def schema(
    yaw_positive: str = "left", view: tuple[int, int, int, int] | None = None
) -> StateSchema:
    return StateSchema(FIELDS, Camera(90.0, yaw_positive=yaw_positive, view=view))


def apart(field: StateField, a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Largest difference of two columns; on the circle for angles."""
    difference = np.abs(a.astype(np.float64) - b)
    if field.kind == "angle":
        turn = TURNS[field.unit]
        difference = np.minimum(difference % turn, turn - difference % turn)
    return float(difference.max())


values = st.floats(-400, 400, width=32)
tables = st.lists(st.lists(values, min_size=11, max_size=11), min_size=1, max_size=5)


@settings(deadline=None)
@given(tables)
def test_mirrored_twice_is_the_first(table: list[list[float]]) -> None:
    states = np.array(table, np.float32)
    once = mirror_states(schema(), states)
    twice = mirror_states(schema(), once)
    assert twice.dtype == np.float32
    for column, field in enumerate(FIELDS):
        assert apart(field, twice[:, column], states[:, column]) < 1e-4, field
        lateral = field.name in FLIPPED
        expected = -states[:, column] if lateral else states[:, column]
        assert apart(field, once[:, column], expected) < 1e-4, field
        if not lateral:
            assert np.array_equal(once[:, column], states[:, column])


@settings(deadline=None)
@given(st.lists(st.floats(0, 360, width=32, exclude_max=True), min_size=1, max_size=6))
def test_degrees_of_one_positive_turn_stay_so(yaw: list[float]) -> None:
    states = np.zeros((len(yaw), 11), np.float32)
    states[:, 3] = yaw
    mirrored = mirror_states(schema(), states)[:, 3]
    assert ((mirrored >= 0) & (mirrored < 360)).all()


def test_signed_angles_stay_signed() -> None:
    states = np.zeros((3, 11), np.float32)
    states[:, 3] = -170, 0, 90
    assert mirror_states(schema(), states)[:, 3].tolist() == [170, 0, -90]
    states[:, 3] = 0, 90, 350
    assert mirror_states(schema(), states)[:, 3].tolist() == [0, 270, 10]


@pytest.mark.parametrize("yaw_positive", ["left", "right"])
@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_poses_of_mirrored_states_are_mirrored_poses(yaw_positive: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    states = rng.uniform(-1, 1, (3, 11)).astype(np.float32)
    states[:, 3] = rng.uniform(0, 360, 3)
    kind = schema(yaw_positive)
    poses, mirrored = (camera_poses(kind, s) for s in (states, mirror_states(kind, states)))
    assert np.allclose(mirrored[:, [0, 2, 4]], poses[:, [0, 2, 4]])
    assert np.allclose(mirrored[:, 1], -poses[:, 1])
    for angle in (3, 5):  # yaw and roll
        opposite = np.exp(-1j * poses[:, angle])
        assert np.allclose(np.exp(1j * mirrored[:, angle]), opposite, atol=1e-5)
    motion, _ = model_states(kind, states, MOTION)
    other, _ = model_states(kind, mirror_states(kind, states), MOTION)
    assert np.allclose(other[:, [0, 2]], motion[:, [0, 2]], atol=1e-5)
    assert np.allclose(other[:, 1], -motion[:, 1], atol=1e-5)
    assert np.allclose(np.exp(1j * other[:, 3]), np.exp(-1j * motion[:, 3]), atol=1e-5)


def test_the_given_states_stay_as_they_were() -> None:
    states = np.ones((2, 11), np.float32)
    states.setflags(write=False)  # as a memory-mapped store gives them
    mirror_states(schema(), states)


def test_pictures_are_mirrored_only_where_the_game_could_show_them() -> None:
    assert can_mirror(schema(), 320)
    assert can_mirror(schema(view=(20, 0, 280, 200)), 320)
    assert not can_mirror(schema(view=(0, 0, 280, 200)), 320)
    assert can_mirror(StateSchema((StateField("health"),)), 320)
    # a map from above: nobody says which axis runs along the columns
    assert not can_mirror(StateSchema((StateField("x", role="actor.x"),)), 320)


# --- colours


def test_no_jitter_leaves_pictures_alone() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    matrix = ColourJitter(0, 0, 0, 0).draw(np.random.default_rng(1))
    assert matrix.shape == (3, 4)
    assert matrix.dtype == np.float32
    assert np.array_equal(apply_colour(frames, matrix), frames)
    assert np.array_equal(apply_colour(frames / 255, matrix), frames)


@given(st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_grey_stays_grey(seed: int, level: int) -> None:
    matrix = ColourJitter().draw(np.random.default_rng(seed))
    grey = apply_colour(np.full((1, 1, 3), level, np.uint8), matrix)
    assert int(grey.max()) - int(grey.min()) <= 1


def test_each_change_is_what_it_says() -> None:
    colour = np.array([0.6, 0.4, 0.2])

    def changed(seed: int, **ranges: float) -> NDArray[np.float64]:
        jitter = ColourJitter(**{**dict.fromkeys(("brightness", "contrast"), 0.0), **ranges})
        matrix = jitter.draw(np.random.default_rng(seed)).astype(np.float64)
        return matrix[:, :3] @ colour + matrix[:, 3]

    luma = np.array([0.2126, 0.7152, 0.0722])
    off = {"saturation": 0.0, "hue": 0.0}
    for seed in range(20):
        scaled = changed(seed, brightness=0.2, **off) / colour
        assert np.ptp(scaled) < 1e-6
        assert 0.8 <= scaled[0] <= 1.2
        stretched = (changed(seed, contrast=0.2, **off) - 0.5) / (colour - 0.5)
        assert np.ptp(stretched) < 1e-5
        paler = changed(seed, saturation=0.2, hue=0.0)
        assert luma @ paler == pytest.approx(luma @ colour, abs=1e-6)
        turned = changed(seed, saturation=0.0, hue=0.03)
        assert np.array([0.299, 0.587, 0.114]) @ turned == pytest.approx(0.437, abs=1e-6)
    assert np.abs(changed(0, saturation=0.0, hue=0.5) - colour).max() > 0.05


def test_values_are_rounded_and_clipped() -> None:
    matrix = np.concatenate([np.eye(3) * 2, np.full((3, 1), -0.5)], 1).astype(np.float32)
    frames = np.array([[[0, 100, 255]]], np.uint8)
    assert apply_colour(frames, matrix).tolist() == [[[0, 72, 255]]]  # 200 - 127.5, to even


def test_ranges_and_rates_are_checked() -> None:
    with pytest.raises(InputError, match=r"hue 0\.6"):
        ColourJitter(hue=0.6)
    with pytest.raises(InputError, match="frame rate"):
        temporal_stride(float("nan"))
    rates = (15, 24, 30, 35, 60, 59.94, 120)
    assert [temporal_stride(rate) for rate in rates] == [1, 2, 2, 2, 4, 4, 4]
