"""Search of motion hypotheses: the best of every cube, in squared error and agreement.

Shapes: B batch, M hypotheses, H W pixels, h w cube grid. Index 0 is always "copy".
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from relive.config import CUBE_PX
from relive.kernels import greys
from relive.kernels import poses as kernels
from relive.model.motion import (
    NUM_MOTION,
    Motion,
    inverse_depths,
    pixel_centres,
    positions,
    view_of,
)
from relive.model.warp import Pinhole, kernels_may, sample


def search(
    motion: Motion, reference: Tensor, frames: Tensor, smoothness: float = 2e-4, step: int = 4
) -> Tensor:
    """Choose the hypothesis of every cube: least squared error of both frames, neighbours alike.

    Args:
        motion: what is known of the camera.
        reference: previous reconstruction, the whole frame `[B, 3, H0, W0]`.
        frames: the pair to be coded `[B, 2, 3, H, W]`.
        smoothness: mean squared error that a differing neighbour costs.
        step: sampling distance in pixels.

    Returns:
        Hypotheses int64 `[B, h, w]`.
    """
    cost = _errors(motion, reference, frames, step)
    choice = cost.argmin(1)
    for _ in range(2):
        choice = (cost - smoothness * _alike(choice)).argmin(1)
    return choice


FINE_STEP, FINE_ROUNDS = 2, 3
STEADY = 0.5
"""What the hypothesis of the cube one step before is worth, in neighbours."""


def search_finely(
    motion: Motion, reference: Tensor, frames: Tensor, smoothness: float, before: Tensor | None
) -> Tensor:
    """As `search`, on every other pixel, with the step before, one half of a chessboard at a time.

    Args:
        motion: as there.
        reference: as there.
        frames: as there.
        smoothness: as there.
        before: hypotheses of the step before int64 `[B, h, w]`, which are cheap to take again; None
            after a keyframe.

    Returns:
        Hypotheses int64 `[B, h, w]`.
    """
    cost = _errors(motion, reference, frames, FINE_STEP)
    if before is not None:
        cost = cost - STEADY * smoothness * _each(before)
    choice = cost.argmin(1)
    rows, columns = (torch.arange(n, device=choice.device) for n in choice.shape[1:])
    black = (rows[:, None] + columns[None, :]) % 2 == 0
    for _ in range(FINE_ROUNDS):
        for half in (black, ~black):
            better = (cost - smoothness * _alike(choice)).argmin(1)
            choice = torch.where(half, better, choice)
    return choice


def _errors(motion: Motion, reference: Tensor, frames: Tensor, step: int) -> Tensor:
    """Mean squared error of every hypothesis, both frames added, `[B, M, h, w]`."""
    height, width = frames.shape[-2:]
    every = torch.arange(NUM_MOTION, device=frames.device)[None, :, None, None]
    fit = motion.camera is not None and bool(motion.known.all()) and step == FINE_STEP
    if motion.camera is not None and fit and kernels_may(reference, frames):
        return _projected_errors(motion, motion.camera, *_greys(reference, frames), step)
    grey = reference.mean(1, keepdim=True)
    blurred = F.avg_pool2d(grey, step, 1, padding=step // 2, count_include_pad=False)
    targets = F.avg_pool2d(frames.mean(2), step)  # [B, 2, H/step, W/step]
    if motion.camera is not None and bool(motion.known.all()) and kernels_may(blurred, targets):
        return _projected_errors(motion, motion.camera, blurred, targets, step)
    error = torch.zeros(1, device=frames.device)
    for frame in range(2):
        x, y = torch.broadcast_tensors(*positions(motion, frame, every, height, width, step))
        # avg_pool with stride 1 puts the mean of pixels k-1 and k at index k: half a pixel later
        late = 0.5 if step % 2 == 0 else 0.0
        seen = sample(blurred, (x + late).flatten(1, 2), (y + late).flatten(1, 2)).view_as(x)
        error = error + (seen - targets[:, frame, None]).square()
    return F.avg_pool2d(error, CUBE_PX // step)


def _greys(reference: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """What `_errors` compares, with a step of two pixels."""
    b, _, height, width = reference.shape
    blurred = reference.new_empty(b, 1, height + 1, width + 1)
    targets = frames.new_empty(b, 2, *(side // FINE_STEP for side in frames.shape[-2:]))
    for row in range(b):
        greys.blur(reference[row].contiguous().numpy(), blurred[row, 0].numpy())
        for frame in range(2):
            greys.halve(frames[row, frame].contiguous().numpy(), targets[row, frame].numpy())
    return blurred, targets


def _projected_errors(
    motion: Motion, camera: Pinhole, blurred: Tensor, targets: Tensor, step: int
) -> Tensor:
    """As `_errors`, all of the batch with a camera; pictures in grey, blurred to the step."""
    height, width = (step * side for side in targets.shape[-2:])
    xs, ys = pixel_centres(motion, height, width, step)
    sums = xs.new_zeros(len(xs), height // CUBE_PX, width // CUBE_PX, NUM_MOTION)
    late = np.float32(0.5 if step % 2 == 0 else 0.0)
    for row in range(len(xs)):
        for frame in range(2):
            kernels.add_errors(
                view_of(camera),
                xs[row].numpy(),
                ys[row].numpy(),
                motion.turns[row, frame].contiguous().numpy(),
                motion.shifts[row, frame].contiguous().numpy(),
                inverse_depths().numpy(),
                blurred[row, 0].contiguous().numpy(),
                targets[row, frame].contiguous().numpy(),
                late,
                CUBE_PX // step,
                sums[row].numpy(),
            )
    return sums.permute(0, 3, 1, 2) * (step / CUBE_PX) ** 2


def _each(choice: Tensor) -> Tensor:
    """1 at the hypotheses of the cubes: `[B, h, w]` to `[B, M, h, w]`."""
    return F.one_hot(choice, NUM_MOTION).permute(0, 3, 1, 2).float()


def _alike(choice: Tensor) -> Tensor:
    """How many of the four neighbours have a hypothesis: `[B, h, w]` to `[B, M, h, w]`."""
    padded = F.pad(_each(choice), (1, 1, 1, 1))
    beside = padded[:, :, 1:-1, 2:] + padded[:, :, 1:-1, :-2]
    return beside + padded[:, :, 2:, 1:-1] + padded[:, :, :-2, 1:-1]
