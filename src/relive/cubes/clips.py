"""Training samples: steps of a session with the frame before, cut to a crop.

Shapes: H W pixels of the crop, H0 W0 of the whole frame, S fields that the model reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relive.config import CUBE_PX
from relive.cubes.states import camera_poses, has_camera, model_states
from relive.cubes.store import SessionStore


@dataclass(frozen=True)
class Crop:
    """A window into one session: its first frame and its top left corner in pixels."""

    store: SessionStore
    start: int
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Step:
    """One step of one crop.

    Attributes:
        frames: the pair `[2, H, W, 3]`.
        before: the whole frame before the pair `[H0, W0, 3]`; the first frame itself at a start.
        poses: of the frame before and of the pair `[3, 6]`.
        past: of the first frame of the last pair `[6]`.
        has_camera: whether the poses mean anything.
        states: raw values `[3, S]`.
        known: `[S]`.
        seconds: since the frame before `[3]`.
    """

    frames: NDArray[np.uint8]
    before: NDArray[np.uint8]
    poses: NDArray[np.float64]
    past: NDArray[np.float64]
    has_camera: bool
    states: NDArray[np.float32]
    known: NDArray[np.float32]
    seconds: NDArray[np.float32]


def draw_crop(
    stores: list[SessionStore], num_steps: int, size: tuple[int, int], rng: np.random.Generator
) -> Crop:
    """Draw a session, a start and a crop of (width, height) on the cube grid, where it fits."""
    store = stores[rng.integers(len(stores))]
    count, full_height, full_width = store.frames.shape[:3]
    width = min(size[0], full_width // CUBE_PX * CUBE_PX)
    height = min(size[1], full_height // CUBE_PX * CUBE_PX)
    start = int(rng.integers(0, max(1, count - 2 * num_steps)))
    x = int(rng.integers(0, (full_width - width) // CUBE_PX + 1)) * CUBE_PX
    y = int(rng.integers(0, (full_height - height) // CUBE_PX + 1)) * CUBE_PX
    return Crop(store, start, x, y, width, height)


def read_step(crop: Crop, index: int, names: tuple[str, ...]) -> Step:
    """Read step `index` of a crop; the model reads the state fields `names`."""
    store, first = crop.store, crop.start + 2 * index
    before = first - 1 if index else first  # a keyframe knows nothing of the frame before
    past = max(crop.start, before - 1)
    past, *rows = np.array([past, before, first, first + 1]).clip(0, len(store.frames) - 1)
    states = store.states[rows]
    values, known = model_states(store.schema, states, names)
    window = store.frames[rows[1:], crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
    return Step(
        np.ascontiguousarray(window),
        np.ascontiguousarray(store.frames[rows[0]]),
        camera_poses(store.schema, states),
        camera_poses(store.schema, store.states[[past]])[0],
        has_camera(store.schema),
        values,
        known,
        ((store.times_ns[rows] - store.times_ns[rows[0]]) / 1e9).astype(np.float32),
    )
