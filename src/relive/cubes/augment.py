"""Augmentation of clips: mirrored pictures with mirrored states, colours, the stride in time.

Specification, "Data preprocessing"; reading.md, row 22: a mirrored frame contradicts its state, so
the state is mirrored by the roles of its fields, or nothing is.

Shapes: n frames, S state fields.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from relive.cubes.states import has_camera
from relive.errors import InputError
from relive.session import StateField, StateSchema

_LATERAL: Final = ("y", "yaw", "roll")  # what changes sign with the world's y
_SPATIAL: Final = ("camera", "actor", "velocity")
_FULL_TURN: Final = {"deg": 360.0, "rad": 2 * math.pi, "turn": 1.0}

_LUMA: Final = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709
_YIQ: Final = np.array(  # NTSC; grey has no I and no Q
    [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]]
)


def _lateral(field: StateField) -> bool:
    first, _, rest = field.role.partition(".")
    return first in _SPATIAL and rest.rpartition(".")[2] in _LATERAL


def mirror_states(schema: StateSchema, states: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mirror the world, y to −y, as a horizontal flip of the picture does.

    What changes sign are fields whose role says that they are lateral: `y`, `yaw` and `roll` of a
    camera, an actor or a velocity. Everything else stays. Angles that all lie within one positive
    turn, as 0..360 degrees do, stay within it.

    Args:
        schema: of the session.
        states: raw values `[n, S]`.

    Returns:
        Mirrored values, float32 `[n, S]`; mirrored again they are the first ones, angles up to
        whole turns.
    """
    mirrored = np.array(states, np.float32)
    for column, field in enumerate(schema.fields):
        if _lateral(field):
            mirrored[:, column] = _opposite(field, mirrored[:, column])
    return mirrored


def _opposite(field: StateField, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Change the sign `[n]`, within the range that an angle is counted in."""
    if field.kind != "angle":
        return -values
    turn = np.float32(_FULL_TURN[field.unit])
    if not bool(((values >= 0) & (values < turn)).all()):
        return -values
    # in float64: the difference of a small angle and the turn must not be rounded up to the turn
    opposite = ((float(turn) - values.astype(np.float64)) % float(turn)).astype(np.float32)
    return np.where(opposite < turn, opposite, np.float32(0))


def can_mirror(schema: StateSchema, width: int) -> bool:
    """Whether a mirrored picture, with its mirrored state, is one that the game could show.

    Not where the camera's part of the picture lies off the middle column. And not where the state
    places things but no camera: then nobody says which axis the picture's columns run along.

    Args:
        schema: of the session.
        width: of the whole frame in pixels.
    """
    if not has_camera(schema):
        return not any(field.role.partition(".")[0] in _SPATIAL for field in schema.fields)
    view = schema.camera.view if schema.camera else None
    return view is None or 2 * view[0] + view[2] == width


@dataclass(frozen=True)
class ColourJitter:
    """How far the colours of a clip are changed; one draw serves all of its frames.

    Attributes:
        brightness: all values times 1 ± brightness.
        contrast: distance from mid-grey times 1 ± contrast.
        saturation: distance from the luma (BT.709) times 1 ± saturation.
        hue: turn of the colours about grey (in YIQ), ± share of a full turn.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.03

    def __post_init__(self) -> None:
        """Refuse ranges that turn colours inside out.

        Raises:
            InputError: A range is outside 0..1, or the hue outside 0..0.5.
        """
        for name, most in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0.5)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise InputError(f"colour jitter: {name} {value} is not within 0..{most}")

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw a change of colours: brightness, then contrast, saturation, hue.

        Args:
            rng: source of chance.

        Returns:
            Affine map of red, green and blue in 0..1, float32 `[3, 4]`: matrix, then offset.
        """
        bright, contrast, saturation = (
            1 + rng.uniform(-r, r) for r in (self.brightness, self.contrast, self.saturation)
        )
        turn = 2 * math.pi * rng.uniform(-self.hue, self.hue)
        colours = _hue(turn) @ _saturation(saturation)
        matrix = colours * (contrast * bright)
        offset = colours @ np.full(3, 0.5 * (1 - contrast))
        return np.column_stack([matrix, offset]).astype(np.float32)


def _saturation(factor: float) -> NDArray[np.float64]:
    return factor * np.eye(3) + (1 - factor) * np.tile(_LUMA, (3, 1))


def _hue(turn_rad: float) -> NDArray[np.float64]:
    cos, sin = math.cos(turn_rad), math.sin(turn_rad)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    rotated: NDArray[np.float64] = np.linalg.inv(_YIQ) @ turn @ _YIQ
    return rotated


def apply_colour(frames: NDArray[Any], matrix: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Change the colours of frames.

    Args:
        frames: `[..., 3]`, uint8 or float in 0..1.
        matrix: from `ColourJitter.draw` `[3, 4]`.

    Returns:
        uint8 `[..., 3]`, rounded and clipped.
    """
    scale = np.float32(1 if frames.dtype == np.uint8 else 255)
    changed = frames.reshape(-1, 3).astype(np.float32) @ (matrix[:, :3].T * scale)
    changed += matrix[:, 3] * np.float32(255)
    np.rint(changed, out=changed)
    np.clip(changed, 0, 255, out=changed)
    return changed.astype(np.uint8).reshape(frames.shape)


def temporal_stride(fps: float) -> int:
    """Frames of the source for one of a clip: 2 at 30 and 4 at 60 frames/s (specification).

    Raises:
        InputError: The rate is not over 0.
    """
    if not fps > 0:
        raise InputError(f"a frame rate is over 0, not {fps}")
    if fps >= 45:
        return 4
    return 2 if fps >= 20 else 1
