"""Training samples: steps of a session with the frame before, cut to a crop.

Shapes: H W pixels of the crop, H0 W0 of the whole frame, S fields that the model reads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relive.cubes.augment import apply_colour, mirror_states
from relive.cubes.states import camera_poses, has_camera, model_states
from relive.cubes.store import SessionStore


@dataclass(frozen=True)
class Crop:
    """A window into one session.

    Attributes:
        store: the session.
        start: its first frame.
        x, y: top left corner in pixels, of the mirrored frame where it is mirrored.
        width, height: in pixels.
        stride: frames of the session from one frame of the clip to the next.
        mirrored: left and right change sides, in the picture and in the state.
        colour: affine map of RGB `[3, 4]` for the whole clip, see `augment.ColourJitter`.
    """

    store: SessionStore
    start: int
    x: int
    y: int
    width: int
    height: int
    stride: int = 1
    mirrored: bool = False
    colour: NDArray[np.float32] | None = None


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


def read_step(crop: Crop, index: int, names: tuple[str, ...]) -> Step:
    """Read step `index` of a crop; the model reads the state fields `names`."""
    store, first = crop.store, 2 * index
    before = first - 1 if index else first  # a keyframe knows nothing of the frame before
    offsets = np.array([max(0, before - 1), before, first, first + 1])
    past, *rows = (crop.start + crop.stride * offsets).clip(0, len(store.frames) - 1)
    states, past_state = store.states[rows], store.states[[past]]
    if crop.mirrored:
        states, past_state = (mirror_states(store.schema, s) for s in (states, past_state))
    values, known = model_states(store.schema, states, names)
    frames, whole = read_pixels(crop, rows)
    return Step(
        frames,
        whole,
        camera_poses(store.schema, states),
        camera_poses(store.schema, past_state)[0],
        has_camera(store.schema),
        values,
        known,
        ((store.times_ns[rows] - store.times_ns[rows[0]]) / 1e9).astype(np.float32),
    )


def read_pixels(crop: Crop, rows: list[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read a crop of frames `rows[1:]` and the whole of frame `rows[0]`, augmented alike.

    Returns:
        `[2, H, W, 3]` and `[H0, W0, 3]`.
    """
    store, left = crop.store, crop.x
    if crop.mirrored:
        left = store.frames.shape[2] - crop.x - crop.width
    window = np.s_[crop.y : crop.y + crop.height, left : left + crop.width]
    frames, whole = store.frames[rows[1:]][:, *window], store.frames[rows[0]]
    if crop.mirrored:
        frames, whole = frames[:, :, ::-1], whole[:, ::-1]
    if crop.colour is not None:
        frames, whole = (apply_colour(pixels, crop.colour) for pixels in (frames, whole))
    return np.ascontiguousarray(frames), np.ascontiguousarray(whole)
