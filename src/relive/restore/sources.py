"""What a frame can be made of: the frames beside it, and what is known of the frame itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from relive.model.warp import Pinhole, relative_pose
from relive.restore.kernels import Eye

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Source:
    """A recorded frame beside the one that is looked for.

    Attributes:
        pixels: uint8 `[H, W, 3]`.
        known: bool `[H, W]`; False where the frame itself is hidden or damaged.
        state: float32 `[S]`.
        pose: x, y, z, yaw, pitch, roll in world units and radians `[6]`.
        time_ns: its time.
        place: of the actor, where the state tells it, `[2]`.
        guessed: the state was not recorded, and so the pose is somewhere near.
    """

    pixels: Frame
    known: Mask
    state: NDArray[np.float32]
    pose: NDArray[np.float64]
    time_ns: int
    place: NDArray[np.float64] | None = None
    guessed: bool = False


@dataclass(frozen=True)
class Gap:
    """A frame to be completed, and its neighbours on both sides.

    Attributes:
        target: what is known of it; all of `known` is False where it is missing.
        before: the nearest source that is earlier, or the later one again where there is none.
        after: the nearest later one, or the earlier one again.
        camera: the pinhole camera, or None where the game has none.
        scrolls: pixels that the picture moves from `before` to the target and from the target to
            `after`, `[2, 2]`, as the states say; None where they say nothing.
        overlay: what stands still while the picture moves, bool `[H, W]`.
    """

    target: Source
    before: Source
    after: Source
    camera: Pinhole | None
    scrolls: NDArray[np.float64] | None = None
    overlay: Mask | None = None

    @property
    def shares(self) -> tuple[float, float]:
        """How far the target is from `before` and from `after`; both sum to 1."""
        span = self.after.time_ns - self.before.time_ns
        if span <= 0:
            return 0.5, 0.5
        share = (self.target.time_ns - self.before.time_ns) / span
        return share, 1 - share


def eye(camera: Pinhole, source: Source, target: Source) -> Eye:
    """The target's camera as seen from a source."""
    return eye_between(camera, source.pose, target.pose)


def eye_between(camera: Pinhole, source: NDArray[np.float64], target: NDArray[np.float64]) -> Eye:
    """The camera at pose `target` as seen from pose `source`, both `[6]`."""
    turn, shift = relative_pose(*(torch.from_numpy(pose)[None] for pose in (source, target)))
    focal = np.float32(camera.focal_x_px), np.float32(camera.focal_y_px)
    centre = np.float32(camera.centre_x_px), np.float32(camera.centre_y_px)
    moved = turn[0].float().numpy(), shift[0].float().numpy()
    return Eye(focal, centre, *moved, np.float32(camera.bottom_px))
