"""How fine to code every cube: finer what later frames are predicted from.

After macroblock-tree rate control (Garrett-Glaser, "A novel macroblock-tree algorithm for
high-performance optimization of dependent video coding in H.264/AVC", 2009), on true frames: what
a cube is worth to later frames goes from the last frame of the GOP back along the motion. The share
that is passed on is what prediction saves of the bits; coefficients too small to be coded at the
step at hand pass everything on.

Shapes: F frames, H W padded pixels, h w cube grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream.detail import MAX_OFFSET, NUM_STEPS, OFFSET_UNIT, step_size
from relive.config import CUBE_PX
from relive.enhancement.frame import VECTOR_UNITS, enlarge
from relive.enhancement.transform import dct
from relive.enhancement.vectors import coarse_vectors
from relive.kernels.greys import halve_frames

STRENGTH = 2.0
"""Numbers of steps that a doubled worth is finer by."""
KEYFRAME_FINER, EVEN_FINER = 3, 1
"""Of keyframes and of every other step, in numbers of steps, without look-ahead."""
HALF = 2
REACH = 8
"""Of the search, pixels of the halved picture."""
DEAD_ZONE = 0.8
"""Of the quantiser step: what is smaller is not coded, and what it was predicted from stays."""
LEAST = 0.1
"""Bits of a cube: flat cubes pass nothing on, rather than divide by 0."""


@dataclass(frozen=True)
class Plan:
    """Quantiser steps of a GOP.

    Attributes:
        steps: number of each frame's step, int `[F]`.
        offsets: int8 `[F, h, w]`, see `GopDetail`.
    """

    steps: NDArray[np.int64]
    offsets: NDArray[np.int8]

    def part(self, step: int) -> Plan:
        """Return that of one step: two frames."""
        rows = slice(2 * step, 2 * step + 2)
        return Plan(self.steps[rows], self.offsets[rows])


def flat_plan(step: int, count: int, h: int, w: int) -> Plan:
    """Plan without look-ahead: one step for all cubes of a frame, finer where more follows.

    Args:
        step: number of the quantiser step.
        count: steps of the GOP.
        h: rows of cubes.
        w: columns of cubes.
    """
    finer = np.where(np.arange(count) % 2 == 0, EVEN_FINER, 0)
    finer[0] = KEYFRAME_FINER
    steps = (step - finer).clip(min=0).repeat(2)
    return Plan(steps, np.zeros((2 * count, h, w), np.int8))


def look_ahead(frames: NDArray[np.uint8], count: int, step: int) -> Plan:
    """Plan the steps of a GOP.

    Args:
        frames: uint8 `[n, H, W, 3]`.
        count: frames to plan; those beyond n are like the last.
        step: number of the step of what nothing is predicted from.
    """
    gain = STRENGTH * torch.log2(worth(torch.from_numpy(frames), step_size(step)))  # [n, h, w]
    mean = gain.mean((1, 2)).round()
    offsets = ((mean[:, None, None] - gain) / OFFSET_UNIT).round().clamp(-MAX_OFFSET, MAX_OFFSET)
    rows = np.arange(count).clip(max=len(frames) - 1)
    steps = (step - mean).long().clamp(0, NUM_STEPS - 1)
    return Plan(steps.numpy()[rows], offsets.to(torch.int8).numpy()[rows])


def worth(frames: Tensor, step: float) -> Tensor:
    """What a bit in a cube is worth to its frame and to all later ones, over its frame alone.

    Args:
        frames: uint8 `[n, H, W, 3]`.
        step: of the quantiser, in levels of 255.

    Returns:
        `[n, h, w]`, 1 and more.
    """
    n, height, width, _ = frames.shape
    small = torch.empty(n, 1, height // HALF, width // HALF)
    halve_frames(frames.contiguous().numpy(), small[:, 0].numpy())
    cut = DEAD_ZONE * step / 3**0.5  # grey is the mean of three colours
    intra = _bits(small - _flat(small), cut)
    h, w = intra.shape[1:]
    price = intra.new_ones(h, w)
    worths = [intra.new_ones(h, w)]
    for index in range(n - 1, 0, -1):
        vectors = coarse_vectors(small[index, 0], small[index - 1, 0], price, REACH)
        inter = _bits((small[index] - _moved(small[index - 1], vectors))[None], cut)[0]
        share = (1 - inter / (intra[index] + LEAST)).clamp(0, 1)
        worths.append(1 + _splat(worths[-1] * share, vectors))
    return torch.stack(worths[::-1])


def _flat(small: Tensor) -> Tensor:
    """Give every cube of halved pictures its mean."""
    size = CUBE_PX // HALF
    return F.avg_pool2d(small, size).repeat_interleave(size, -1).repeat_interleave(size, -2)


def _bits(pictures: Tensor, cut: float) -> Tensor:
    """About the bits of DCT coefficients beyond a dead zone: `[n, 1, H/2, W/2]` to `[n, h, w]`."""
    return torch.log2(1 + (dct(pictures[:, 0]) / cut).square()).sum((-1, -2))


def _moved(small: Tensor, vectors: Tensor) -> Tensor:
    """Cubes of the picture before, `[1, H/2, W/2]`, at vectors `[h, w, 2]` of whole pixels."""
    height, width = small.shape[-2:]
    whole = (vectors / (HALF * VECTOR_UNITS)).round()
    dx, dy = (enlarge(part, (height, width)).long() for part in whole.unbind(-1))
    x = (torch.arange(width) + dx).clamp(0, width - 1)
    y = (torch.arange(height)[:, None] + dy).clamp(0, height - 1)
    return small[0, y, x][None]


def _splat(amount: Tensor, vectors: Tensor) -> Tensor:
    """Hand amounts `[h, w]` to the cubes of the frame before that they come from, by area."""
    h, w = amount.shape
    x, y = (
        (grid + part / (VECTOR_UNITS * CUBE_PX)).clamp(0, side - 1)
        for grid, part, side in zip(
            (torch.arange(w).expand(h, w), torch.arange(h)[:, None].expand(h, w)),
            vectors.unbind(-1),
            (w, h),
            strict=True,
        )
    )
    left, top = x.floor(), y.floor()
    total = amount.new_zeros(h * w)
    for dy in (0, 1):
        for dx in (0, 1):
            column, row = (left + dx).clamp(max=w - 1), (top + dy).clamp(max=h - 1)
            part = (1 - (x - left - dx).abs()) * (1 - (y - top - dy).abs())
            total.index_add_(0, (row * w + column).long().flatten(), (amount * part).flatten())
    return total.view(h, w)
