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
class Batch:
    """One step of every chain as tensors."""

    frames: Tensor  # [B, 2, 3, H, W]
    before: Tensor  # [B, 3, H0, W0]
    motion: Motion
    states: Tensor  # [B, 3, S]
    known: Tensor  # [B, S]
    seconds: Tensor  # [B, 3]
    is_delta: Tensor  # [B]


@dataclass(frozen=True)
class Sight:
    """What both sides know of a step before its codes, and where it comes from."""

    choice: Tensor  # motion hypotheses [B, h, w]
    warped: Warped
    carry: Carry  # of the step before
    context: Context
    pyramid: Pyramid
