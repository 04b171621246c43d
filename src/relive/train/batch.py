"""One step of training as tensors: what was read, and what both sides know of it.

Shapes: B batch, H W pixels of the crop, H0 W0 of the whole frame, h w cube grid, S state fields.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from relive.model.context import Carry, Context, Pyramid
from relive.model.motion import Motion
from relive.model.warping import Warped


@dataclass(frozen=True)
class View:
    """What a step saw from where, kept for comparison with later steps; a batch of one.

    Attributes:
        latents: dequantised `[1, h, w, D]`.
        regions: int64 `[1, h, w]`.
        pose: x, y, z, yaw, pitch, roll of the pair's first frame `[1, 6]`, float64.
        inverse_depth: `[1, h, w]`.
    """

    latents: Tensor
    regions: Tensor
    pose: Tensor
    inverse_depth: Tensor


@dataclass(frozen=True)
class Batch:
    """One step of every chain as tensors."""

    frames: Tensor  # [B, 2, 3, H, W]
    before: Tensor  # [B, 3, H0, W0]
    motion: Motion
    states: Tensor  # [B, 3, S]
    known: Tensor  # [B, S]
    seconds: Tensor  # [B, 3]
    is_delta: Tensor  # [B]
    poses: Tensor  # of the pair's first frame [B, 6], float64
    views: tuple[View | None, ...] = ()  # an earlier view of each chain


@dataclass(frozen=True)
class Sight:
    """What both sides know of a step before its codes, and where it comes from."""

    choice: Tensor  # motion hypotheses [B, h, w]
    warped: Warped
    carry: Carry  # of the step before
    context: Context
    pyramid: Pyramid
