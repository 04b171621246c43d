"""Which clips a training sees: maps alike, and of each map every kind of motion in fair shares.

Everything is a function of numbers: chain `n` of slot `s` in phase `p` of the run with seed `r` is
the same on any number of processes, and after any interruption.

Shapes: T frames of a session, H W pixels of a crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from relive.config import CUBE_PX
from relive.cubes.augment import ColourJitter, can_mirror, temporal_stride
from relive.cubes.clips import Crop
from relive.cubes.states import camera_poses, has_camera
from relive.cubes.store import SessionStore

MOTIONS = ("turning", "shooting", "walking", "standing")
LOOK_AHEAD = 8  # frames after a start that say what it shows
TURN_RAD = 0.026  # mean turn of a frame from which a clip counts as turning: 1.5 degrees
WALK_UNITS = 0.5  # mean way of a frame, in world units
CHANGED_LEVELS = 2.0  # without a camera: mean difference of frames from which something moves
SHOT_FIELDS = ("ammo",)


@dataclass(frozen=True)
class Augmentation:
    """What a clip goes through before it is seen; the defaults leave it alone.

    Attributes:
        mirror: share of clips with left and right exchanged.
        colour: of the clips' colours, the same over a clip.
        stride: frames from one to the next; 0 for the specification's: 2 at 30 frames/s, 4 at 60.
    """

    mirror: float = 0.0
    colour: ColourJitter | None = None
    stride: int = 1


def motions_of(store: SessionStore) -> NDArray[np.int8]:
    """Tell for every frame what the next ones show: an index into `MOTIONS`, `[T]`."""
    count = len(store.frames)
    if has_camera(store.schema):
        poses = camera_poses(store.schema, store.states)
        turned = np.abs(np.angle(np.exp(1j * np.diff(poses[:, 3]))))
        walked = np.linalg.norm(np.diff(poses[:, :3], axis=0), axis=1)
    else:
        small = np.asarray(store.frames[:, ::8, ::8]).astype(np.int16)
        changed = np.abs(np.diff(small, axis=0)).mean((1, 2, 3))
        turned = np.zeros(count - 1)
        walked = np.where(changed > CHANGED_LEVELS, 2 * WALK_UNITS, 0)
    motions = np.full(count, MOTIONS.index("standing"), np.int8)
    motions[_ahead(walked, count) > WALK_UNITS] = MOTIONS.index("walking")
    motions[_ahead(turned, count) > TURN_RAD] = MOTIONS.index("turning")
    motions[_ahead(_shots(store), count) > 0] = MOTIONS.index("shooting")
    return motions


def _shots(store: SessionStore) -> NDArray[np.float64]:
    """1 where ammunition was spent from a frame to the next `[T - 1]`."""
    names = [field.name for field in store.schema.fields]
    columns = [names.index(name) for name in SHOT_FIELDS if name in names]
    spent = np.diff(store.states[:, columns], axis=0)
    shot = (spent < 0) & (spent > -5)  # a new weapon changes it more
    return np.asarray(shot.any(1), np.float64)


def _ahead(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Mean of the next `LOOK_AHEAD` values, `[T - 1]` to `[T]`."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.arange(count).clip(0, max(0, count - 2))
    last = (first + LOOK_AHEAD).clip(max=len(values))
    return np.asarray((sums[last] - sums[first]) / np.maximum(last - first, 1))


class Sampler:
    """Draws clips of sessions that may share a batch: one size, one camera.

    Args:
        stores: the sessions.
        balanced: maps in equal shares, kinds of motion by the square root of their number;
            otherwise every session and every start alike.
    """

    def __init__(self, stores: Sequence[SessionStore], balanced: bool = True) -> None:
        self.stores, self.balanced = list(stores), balanced

    @cached_property
    def _maps(self) -> list[list[int]]:
        maps: dict[str, list[int]] = {}
        for number, store in enumerate(self.stores):
            maps.setdefault(store.game or store.name, []).append(number)
        return list(maps.values())

    @cached_property
    def _motions(self) -> list[NDArray[np.int8]]:
        return [motions_of(store) for store in self.stores]

    def draw(
        self, num_steps: int, size: tuple[int, int], rng: np.random.Generator, how: Augmentation
    ) -> Crop:
        """Draw a session, a start and a crop.

        Args:
            num_steps: pairs of frames of the clip; a shorter session repeats its last frame.
            size: width and height in pixels; smaller where the frame is.
            rng: source of chance.
            how: what the clip goes through.
        """
        if self.balanced:
            number = int(rng.choice(self._maps[rng.integers(len(self._maps))]))
        else:
            number = int(rng.integers(len(self.stores)))
        store = self.stores[number]
        stride = how.stride or temporal_stride(store.fps)
        start = self._start(number, max(1, len(store.frames) - 2 * num_steps * stride), rng)
        height, width = store.frames.shape[1:3]
        x, crop_width = _place(width, size[0], rng)
        y, crop_height = _place(height, size[1], rng)
        mirrored = bool(rng.random() < how.mirror) and can_mirror(store.schema, width)
        colour = None if how.colour is None else how.colour.draw(rng)
        return Crop(store, start, x, y, crop_width, crop_height, stride, mirrored, colour)

    def _start(self, number: int, last: int, rng: np.random.Generator) -> int:
        if not self.balanced:
            return int(rng.integers(last))
        motions = self._motions[number][:last]
        counts = np.bincount(motions, minlength=len(MOTIONS))
        shares = np.sqrt(counts)
        motion = rng.choice(len(MOTIONS), p=shares / shares.sum())
        return int(rng.choice(np.flatnonzero(motions == motion)))


def _place(side: int, wanted: int, rng: np.random.Generator) -> tuple[int, int]:
    """Where on the cube grid a crop begins, and how long it is: pixels of one direction."""
    length = min(wanted, side // CUBE_PX * CUBE_PX)
    return int(rng.integers(0, (side - length) // CUBE_PX + 1)) * CUBE_PX, length


def kinds_of(stores: Sequence[SessionStore]) -> list[list[SessionStore]]:
    """Group sessions that may share a batch: the same frame size and camera."""
    groups: dict[object, list[SessionStore]] = {}
    for store in stores:
        key = (store.frames.shape[1:3], repr(store.schema.camera))
        groups.setdefault(key, []).append(store)
    return list(groups.values())
