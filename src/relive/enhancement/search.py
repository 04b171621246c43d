"""What the encoder of the enhancement layer chooses: levels; see also `vectors.py`, `modes.py`.

All by rate and distortion: squared error (0..255, sum over colours) plus `LAMBDA` · step² · bits,
where bits are estimated.

Shapes: H W padded pixels, h w cube grid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from relive.bitstream import GopDetail
from relive.config import CUBE_PX
from relive.enhancement.frame import to_array
from relive.kernels import frames, greys
from relive.kernels.levels import choose

LAMBDA = 0.11
NOTHING_BITS = 0.5  # of a block without levels
ROUNDING = 0.45
_BOUNDS = (  # of the classes of `level_contexts`
    np.array([0.25, 0.75, 1.25, 2.25, 3.75], np.float32),
    np.array([0.06, 0.2, 0.45, 0.9, 1.6], np.float32),
)


def squared_error(picture: Tensor, target: Tensor) -> Tensor:
    """Sum over colours and the pixels of cubes: `[3, H, W]` twice to `[h, w]`."""
    errors = picture.new_empty([side // CUBE_PX for side in picture.shape[1:]])
    greys.cube_errors(to_array(picture), to_array(target), errors.numpy())
    return errors


def pair_error(pair: Tensor, target: Tensor) -> Tensor:
    """Squared error of cubes, mean of colours, both frames added: `[2, 3, H, W]` to `[h, w]`.

    Args:
        pair: 0..1; what is beyond counts as these.
        target: the true pair.
    """
    errors = pair.new_empty([side // CUBE_PX for side in pair.shape[2:]])
    greys.pair_errors(to_array(pair), to_array(target), errors.numpy())
    return errors


def frame_error(frame: Tensor, target: Tensor) -> float:
    """Sum of squared differences of two frames of whole numbers `[3, H, W]`."""
    return float(frames.squared_error(to_array(frame).ravel(), to_array(target).ravel()))


@dataclass(frozen=True)
class LevelCosts:
    """Estimated bits of a level by what is around it; the encoder's guess of the nets.

    Attributes:
        bits: `[2, 10, 6, 6, 4]`: grey or colour, row plus column, sizes towards lower frequencies,
            sizes in the blocks around; of the sizes 0, 1, 2 and of 3.
    """

    bits: Tensor

    @classmethod
    def guess(cls) -> LevelCosts:
        """Bits under a plain model, for tables that were not measured."""
        colour, diagonal, inside, beside = torch.meshgrid(
            *(torch.arange(n, dtype=torch.float32) for n in (2, 10, 6, 6)), indexing="ij"
        )
        logit = -3.2 - 0.8 * colour - 0.12 * diagonal + 0.75 * inside + 0.55 * beside
        zero = F.softplus(logit) / 0.6931
        some = F.softplus(-logit) / 0.6931 + 1
        return cls(torch.stack([zero, some + 0.5, some + 2.0, some + 3.5], -1))

    def of(self, sizes: Tensor) -> Tensor:
        """Bits of 0, 1, 2, 3 at every place, given the sizes `[3, bh, bw, 8, 8]`: `[..., 4]`."""
        return self.bits.flatten(0, 3)[self.index(sizes)]

    @staticmethod
    def index(sizes: Tensor) -> Tensor:
        """Row of every place among the contexts of `bits`, int64 `[3, bh, bw, 8, 8]`."""
        m = sizes.clamp(max=4)
        left, above = F.pad(m, (0, 0, 0, 0, 1, 0))[:, :, :-1], F.pad(m, (0,) * 4 + (0, 0, 1, 0))
        near = left + above[:, :-1]
        inside, beside = level_contexts(m.flatten(0, 2), near.flatten(0, 2))
        return _rows(_COLOUR, inside.view_as(sizes), beside.view_as(sizes))


def _rows(colour: Tensor, inside: Tensor, beside: Tensor) -> Tensor:
    """Row of places `[..., 8, 8]` among the contexts, with classes of `level_contexts`."""
    return ((colour * 10 + _diagonals()) * 6 + inside) * 6 + beside


_COLOUR = torch.tensor([0, 1, 1])[:, None, None, None, None]


def _diagonals() -> Tensor:
    """Row plus column of a coefficient, at most 9, `[8, 8]`."""
    return (torch.arange(8)[:, None] + torch.arange(8)[None, :]).clamp(max=9)


def level_contexts(own: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
    """Classes 0..5 of the sizes towards lower frequencies and in the blocks left and above.

    Args:
        own: sizes of blocks, at most 4 `[n, 8, 8]`.
        near: those of the block to the left plus those of the block above `[n, 8, 8]`.
    """
    p = F.pad(own, (2, 0, 2, 0))
    lower = p[..., 2:, 1:-1] + p[..., 1:-1, 2:]
    lower = lower + 0.5 * (p[..., 1:-1, 1:-1] + p[..., 2:, :-2] + p[..., :-2, 2:])
    smooth = F.avg_pool2d(near[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    inside, beside = (
        torch.bucketize(part, torch.from_numpy(bounds))
        for part, bounds in zip((lower, smooth), _BOUNDS, strict=True)
    )
    return inside, beside


def choose_levels(coefficients: Tensor, steps: Tensor, costs: LevelCosts) -> Tensor:
    """Quantise by rate and distortion: whole numbers `[3, bh, bw, 8, 8]`.

    Every level is rounded, rounded down, or 0, under what was chosen before it; then every block is
    that or nothing.

    Args:
        coefficients: of what the prediction left.
        steps: of the quantiser, for every cube `[h, w]`.
        costs: bits of levels.
    """
    chosen = torch.zeros_like(coefficients)
    choose(
        to_array(coefficients),
        to_array(steps),
        to_array(costs.bits),
        _BOUNDS,
        np.float32(LAMBDA),
        np.float32(ROUNDING),
        np.float32(NOTHING_BITS),
        chosen.numpy(),
    )
    return chosen


def fit_costs(layers: Iterable[GopDetail]) -> LevelCosts:
    """Count sizes by context over layers; few counts stay near the guess."""
    guess = LevelCosts.guess()
    counts = 20 * torch.exp2(-guess.bits)
    for layer in layers:
        for levels in layer.levels:
            sizes = torch.from_numpy(np.abs(levels.astype(np.float32)))
            index = LevelCosts.index(sizes) * 4 + sizes.long().clamp(max=3)
            counts += torch.bincount(index.flatten(), minlength=counts.numel()).view_as(counts)
    bits = -torch.log2(counts / counts.sum(-1, keepdim=True))
    bits[..., 1:] += 1  # sign
    return LevelCosts(bits)
