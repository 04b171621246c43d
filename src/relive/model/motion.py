"""Motion hypotheses: the tables, and the warp; the search is in `motion_search.py`.

Shapes: B batch, M hypotheses, H W pixels, h w cube grid. Index 0 is always "copy".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from relive.config import CUBE_PX
from relive.kernels import poses as kernels
from relive.model.warp import Pinhole, camera_positions, kernels_may, relative_pose, sample

NUM_MOTION = 32
NEAREST, FARTHEST = 20.0, 1200.0  # depth in world units

_LINE = (1, 2, 4, 6, 8, 12, 16)
DISPLACEMENTS: tuple[tuple[int, int], ...] = (
    (0, 0),
    *((s * d, 0) for d in _LINE for s in (1, -1)),
    *((0, s * d) for d in (1, 2, 4, 8) for s in (1, -1)),
    *((sx * d, sy * d) for d in (2, 6) for sx in (1, -1) for sy in (1, -1)),
    (3, 0),
)  # pixels a frame; frame 1 of the pair moves once, frame 2 twice


@dataclass(frozen=True)
class Motion:
    """What is known of the camera in one step, for a batch.

    Attributes:
        camera: the pinhole camera, or None where the game has none.
        turns: rotation of each frame of the pair to the reference `[B, 2, 3, 3]`.
        shifts: translation of each frame of the pair to the reference `[B, 2, 3]`.
        origin_px: column and row of the picture's top left corner in the whole frame `[B, 2]`; not
            zero for training crops.
        known: 1 where the session has a camera `[B]`; elsewhere displacements are used.
        past_turn: rotation of the first frame of the pair to the frame before the reference
            `[B, 3, 3]`, where that is known; a learned depth sees parallax by it.
        past_shift: translation to the frame before the reference `[B, 3]`.
    """

    camera: Pinhole | None
    turns: Tensor
    shifts: Tensor
    origin_px: Tensor
    known: Tensor
    past_turn: Tensor | None = None
    past_shift: Tensor | None = None

    @classmethod
    def from_poses(
        cls,
        camera: Pinhole | None,
        poses: Tensor,
        origin_px: Tensor,
        known: Tensor,
        past: Tensor | None = None,
    ) -> Motion:
        """Build from the poses of the reference frame and of the pair.

        Args:
            camera: the pinhole camera or None.
            poses: x, y, z, yaw, pitch, roll in world units and radians `[B, 3, 6]`, float64.
            origin_px: `[B, 2]`.
            known: `[B]`.
            past: the same of the frame before the reference `[B, 6]`, if the last decoded pair
                holds it.
        """
        turn, shift = relative_pose(poses[:, :1], poses[:, 1:])
        motion = cls(camera, turn.float(), shift.float(), origin_px, known)
        if past is None:
            return motion
        turn, shift = relative_pose(past, poses[:, 1])
        return replace(motion, past_turn=turn.float(), past_shift=shift.float())

    def step(self, row: int) -> Motion:
        """One row of the batch, where all share one camera and one place of it, as a batch of 1."""
        one = slice(row, row + 1)
        past = None if self.past_turn is None else self.past_turn[one]
        shift = None if self.past_shift is None else self.past_shift[one]
        return replace(
            self,
            turns=self.turns[one],
            shifts=self.shifts[one],
            past_turn=past,
            past_shift=shift,
        )

    def before(self) -> Motion:
        """Motion of frame 0 of the pair from the frame before the reference, as its frame 0."""
        if self.past_turn is None or self.past_shift is None:
            raise ValueError("what is before the reference is not known")
        return replace(self, turns=self.past_turn[:, None], shifts=self.past_shift[:, None])


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def inverse_depths() -> Tensor:
    """Table of the camera hypotheses: copy (as 0), rotation only (0), then near to far; `[M]`."""
    steps = torch.arange(NUM_MOTION - 2, device="cpu") / (NUM_MOTION - 3)
    return torch.cat([torch.zeros(2, device="cpu"), 1 / (NEAREST * (FARTHEST / NEAREST) ** steps)])


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _displacements() -> Tensor:
    """Table of the hypotheses without a camera, float32 `[M, 2]`."""
    return torch.tensor(DISPLACEMENTS, dtype=torch.float32, device="cpu")


def pixel_centres(motion: Motion, height: int, width: int, step: int) -> tuple[Tensor, Tensor]:
    """Centres of every `step` pixels in the whole frame: columns `[B, W]`, rows `[B, H]`."""
    columns, rows = (
        origin[:, None] + (torch.arange(count // step, device=origin.device) + 0.5) * step
        for origin, count in zip(motion.origin_px.unbind(1), (width, height), strict=True)
    )
    return columns, rows


def positions(
    motion: Motion, frame: int, choice: Tensor, height: int, width: int, step: int = 1
) -> tuple[Tensor, Tensor]:
    """Where the pixels of one frame of the pair lie in the reference, for given hypotheses.

    Args:
        motion: what is known of the camera.
        frame: 0 or 1, the frame of the pair.
        choice: hypothesis of every pixel, int64, broadcastable to `[B, M, H/step, W/step]`.
        height: H of the picture.
        width: W of the picture.
        step: sampling distance in pixels.

    Returns:
        Columns and rows in pixels of the whole frame, each `[B, M, H/step, W/step]`.
    """
    xs, ys = pixel_centres(motion, height, width, step)
    plain = xs[:, None, None, :], ys[:, None, :, None]
    if motion.camera is None or not bool(motion.known.any()):
        return _displaced(plain, choice, frame)
    if bool(motion.known.all()) and kernels_may(choice, xs):
        return _projected(motion, motion.camera, frame, choice, xs, ys)
    camera = motion.camera
    nearness = inverse_depths().to(choice.device)[choice]
    moved = camera_positions(
        camera, motion.turns[:, frame], motion.shifts[:, frame], nearness, xs, ys
    )
    scene = camera.shows(xs, ys) & (choice > 0)
    x, y = (torch.where(scene, m, p) for m, p in zip(moved, plain, strict=True))
    if bool(motion.known.all()):
        return x, y
    known = motion.known.bool()[:, None, None, None]
    other_x, other_y = _displaced(plain, choice, frame)
    return torch.where(known, x, other_x), torch.where(known, y, other_y)


def _projected(
    motion: Motion, camera: Pinhole, frame: int, choice: Tensor, xs: Tensor, ys: Tensor
) -> tuple[Tensor, Tensor]:
    """As `positions`, all of the batch with a camera; `xs` `[B, W]` and `ys` `[B, H]`."""
    shape = torch.broadcast_shapes(choice.shape, (len(xs), 1, ys.shape[1], xs.shape[1]))
    found, which = xs.new_empty(2, *shape), choice.expand(shape).numpy()
    turns, shifts = (part[:, frame].contiguous() for part in (motion.turns, motion.shifts))
    for row in range(shape[0]):
        kernels.positions(
            view_of(camera),
            xs[row].numpy(),
            ys[row].numpy(),
            turns[row].numpy(),
            shifts[row].numpy(),
            inverse_depths().numpy(),
            which[row],
            found[0, row].numpy(),
            found[1, row].numpy(),
        )
    return found[0], found[1]


def to_pixels(cubes: Tensor) -> Tensor:
    """Repeat what cubes have for their pixels: `[B, h, w]` to `[B, H, W]`."""
    return cubes.repeat_interleave(CUBE_PX, 1).repeat_interleave(CUBE_PX, 2)


def cube_positions(
    motion: Motion, frame: int, choice: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """As `positions`, for hypotheses of cubes int64 `[B, h, w]`: each `[B, H, W]`."""
    origin = motion.origin_px
    if motion.camera is None or not kernels_may(choice, origin) or not bool(motion.known.all()):
        x, y = positions(motion, frame, to_pixels(choice)[:, None], height, width)
        return x[:, 0], y[:, 0]
    found = origin.new_empty(2, len(choice), height, width)
    turns, shifts = (part[:, frame].contiguous() for part in (motion.turns, motion.shifts))
    for row in range(len(choice)):
        kernels.cube_positions(
            view_of(motion.camera),
            origin[row].numpy(),
            turns[row].numpy(),
            shifts[row].numpy(),
            inverse_depths().numpy(),
            choice[row].contiguous().numpy(),
            found[0, row].numpy(),
            found[1, row].numpy(),
        )
    return found[0], found[1]


def view(motion: Motion, height: int, width: int, step: int = 1) -> Tensor:
    """Which pixels show the scene, bool `[B, 1, H/step, W/step]`; none without a camera."""
    xs, ys = pixel_centres(motion, height, width, step)
    if motion.camera is None:
        return torch.zeros_like(ys[:, None, :, None] + xs[:, None, None, :], dtype=torch.bool)
    return motion.camera.shows(xs, ys) & motion.known.bool()[:, None, None, None]


def screen_positions(
    motion: Motion, height: int, width: int, step: int = 1
) -> tuple[Tensor, Tensor]:
    """Places of the pixels in the whole frame: columns and rows, each `[B, H/step, W/step]`."""
    xs, ys = pixel_centres(motion, height, width, step)
    shape = (xs.shape[0], ys.shape[1], xs.shape[1])
    return xs[:, None, :].expand(shape), ys[:, :, None].expand(shape)


def scene_positions(
    motion: Motion, frame: int, inverse_depth: Tensor, height: int, width: int, step: int = 1
) -> tuple[Tensor, Tensor]:
    """Where the scene at the pixels of one frame of the pair lies in the reference.

    Differentiable in the inverse depth. Only for games with a camera.

    Args:
        motion: what is known of the camera.
        frame: 0 or 1, the frame of the pair.
        inverse_depth: one over the distance along the view in world units, `[B, H/step, W/step]`
            or broadcastable to it.
        height: H of the picture.
        width: W of the picture.
        step: sampling distance in pixels.

    Returns:
        Columns and rows in pixels of the whole frame, each `[B, H/step, W/step]`.
    """
    if motion.camera is None:
        raise ValueError("scene_positions needs a camera")
    xs, ys = pixel_centres(motion, height, width, step)
    turn, shift = motion.turns[:, frame], motion.shifts[:, frame]
    x, y = camera_positions(motion.camera, turn, shift, inverse_depth[:, None], xs, ys)
    return x[:, 0], y[:, 0]


def _displaced(plain: tuple[Tensor, Tensor], choice: Tensor, frame: int) -> tuple[Tensor, Tensor]:
    """Positions by the table of displacements; frame 1 of the pair moves twice as far."""
    table = _displacements().to(choice.device)
    dx, dy = (table[choice] * (frame + 1)).unbind(-1)
    return plain[0] - dx, plain[1] - dy


def view_of(camera: Pinhole) -> kernels.View:
    """The camera as kernels take it."""
    return kernels.View(
        (np.float32(camera.focal_x_px), np.float32(camera.focal_y_px)),
        (np.float32(camera.centre_x_px), np.float32(camera.centre_y_px)),
        *(camera.left_px, camera.top_px, camera.right_px, camera.bottom_px),
    )


def warp(
    motion: Motion, reference: Tensor, choice: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Warp the previous reconstruction to both frames of the pair.

    Args:
        motion: what is known of the camera.
        reference: the whole previous frame `[B, 3, H0, W0]`.
        choice: hypotheses int64 `[B, h, w]`.
        height: H of the picture.
        width: W of the picture.

    Returns:
        Warped frames `[B, 2, 3, H, W]` and validity `[B, 2, 1, H, W]` (1 where the reference saw
        the place).
    """
    right, bottom = reference.shape[-1], reference.shape[-2]
    if motion.camera is not None:
        bottom = min(bottom, motion.camera.bottom_px)
    still = to_pixels(choice == 0)
    warped, valid = [], []
    for frame in range(2):
        x, y = cube_positions(motion, frame, choice, height, width)
        warped.append(sample(reference, x, y))
        inside = (x >= 0) & (x <= right) & (y >= 0) & (y <= bottom) | still
        valid.append(inside[:, None].float())
    return torch.stack(warped, 1), torch.stack(valid, 1)


def source_cubes(
    motion: Motion,
    choice: Tensor,
    h: int,
    w: int,
    inverse_depth: Tensor | None = None,
    flow: Tensor | None = None,
) -> Tensor:
    """Find the cube of the step before that shows what a cube shows: its centre, first frame.

    Args:
        motion: what is known of the camera.
        choice: hypotheses int64 `[B, h, w]`; all zero for a learned warp.
        h: rows of the cube grid.
        w: columns of the cube grid.
        inverse_depth: `Warped.inverse_depth` `[B, h, w]`; without it that of the hypotheses. A cube
            of hypothesis 0 and of inverse depth 0 is fixed to the screen.
        flow: `Warped.flow`, pixels a frame `[B, 2, h, w]`, for cubes without a camera; without it
            that of the hypotheses.

    Returns:
        Index row * w + column into the grid of the picture (or crop), int64 `[B, h, w]`; -1 where
        the place was not seen.
    """
    height, width = h * CUBE_PX, w * CUBE_PX
    x, y = screen_positions(motion, height, width, CUBE_PX)
    table = _displacements().to(choice.device)[choice].permute(0, 3, 1, 2)
    dx, dy = (table if flow is None else flow).unbind(1)
    from_x, from_y = x - dx, y - dy
    if motion.camera is not None:
        depth = inverse_depths().to(choice.device)[choice]
        depth = depth if inverse_depth is None else inverse_depth
        known = motion.known.bool()[:, None, None]
        scene = view(motion, height, width, CUBE_PX)[:, 0] & ((choice > 0) | (depth > 0))
        moved_x, moved_y = scene_positions(motion, 0, depth, height, width, CUBE_PX)
        # the overlay hides the scene: what comes from below the view was not seen
        moved_y = moved_y.where(moved_y < motion.camera.bottom_px, torch.inf)
        from_x = moved_x.where(scene, x.where(known, from_x))
        from_y = moved_y.where(scene, y.where(known, from_y))
    column = ((from_x - motion.origin_px[:, 0, None, None]) / CUBE_PX).floor()
    row = ((from_y - motion.origin_px[:, 1, None, None]) / CUBE_PX).floor()
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    return (row * w + column).where(inside, -1.0).long()
