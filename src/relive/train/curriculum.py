"""Curriculum of masked pretraining: which cubes to hide is learned, from easy to hard.

After CL-MAE (Madan et al., arXiv 2308.16572): the masking module is first a partner of the
autoencoder and hides what is easy to rebuild, then random masks follow, then it is an adversary and
hides what is hard. Two things are different here. Hidden cubes are gathered away, so a mask has an
exact count and no gradient; the losses that pull CL-MAE's soft masks to 0, 1 and the ratio have
nothing to do. And the module is trained by the sampling loss of AdaMAE (Bandara et al., arXiv
2211.09120), a policy gradient that takes the errors of the hidden cubes for its reward.

Shapes: B batch, H W pixels, h w cube grid, N = h·w cubes, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relive.config import CUBE_PX
from relive.errors import InputError
from relive.model.context import ResidualConv
from relive.model.masks import hidden_count, hide_highest
from relive.model.parts import PatchConv, PointConv, in_float32, start_at_zero

DIVERSITY = 0.5
RANGE = 4.0  # of the logits: no cube is ever certain to be hidden, or to be seen


class MaskingModule(nn.Module):
    """Tell how much each cube is worth hiding; all alike at the start, so masks are random then.

    A cube is embedded in two steps: one linear map of all of it hardly sees texture, or a
    difference without a mean, and these are what makes a cube hard.

    Args:
        dim: D, width of the features, a multiple of 8.
    """

    def __init__(self, dim: int = 64) -> None:
        super().__init__()
        half, side = dim // 2, 4
        self.patches = nn.Sequential(
            PatchConv(12, half, side),
            nn.GELU(),
            PatchConv(half, dim, CUBE_PX // side),
            nn.GELU(),
        )
        self.mix = nn.Sequential(ResidualConv(dim), ResidualConv(dim), nn.GroupNorm(8, dim))
        self.score = PointConv(dim, 1)
        start_at_zero(self.score)

    def forward(self, frames: Tensor, difference: Tensor | None = None) -> Tensor:
        """Look at a pair.

        Args:
            frames: the true pair `[B, 2, 3, H, W]`, 0..1.
            difference: the pair less its warped reference `[B, 2, 3, H, W]`; None, and zeros in
                its place, where there is none.

        Returns:
            Logits of hiding, float32 `[B, h, w]`, within ±`RANGE`.
        """
        beside = torch.zeros_like(frames) if difference is None else difference
        pictures = torch.cat([frames, beside], 1).flatten(1, 2)  # [B, 12, H, W]
        score = self.score(self.mix(self.patches(pictures)))[:, 0].float()  # [B, h, w]
        return RANGE * torch.tanh(score / RANGE)


def draw(
    logits: Tensor, hidden: int, generator: torch.Generator | Sequence[torch.Generator]
) -> Tensor:
    """Draw a mask: cubes one after the other, each by its share of the logits that are left.

    Sampling without replacement by the Gumbel-top-k trick (Kool et al., arXiv 1903.06059). Equal
    logits give a random mask.

    Args:
        logits: of hiding `[B, h, w]`.
        hidden: cubes to hide in every row, see `relive.model.masks.hidden_count`; 0 <= hidden < N.
        generator: source of chance, on any device; or one for each row, and then a row's mask does
            not depend on the rows beside it.

    Returns:
        True = hidden, bool `[B, h, w]` on the device of the logits.

    Raises:
        InputError: The count does not fit the grid.
        ValueError: There are more or fewer generators than rows.
    """
    cubes = logits[0].numel()
    if not 0 <= hidden < cubes:
        raise InputError(f"of {cubes} cubes 0 to {cubes - 1} can be hidden, not {hidden}")
    return hide_highest(draw_scores(logits, generator), hidden)


def draw_scores(logits: Tensor, generator: torch.Generator | Sequence[torch.Generator]) -> Tensor:
    """Draw an order in which cubes are hidden, the highest first; float32 `[B, h, w]`.

    Arguments and errors are those of `draw`.
    """
    return logits.detach().float() + _gumbel(logits, generator)


def _gumbel(like: Tensor, generator: torch.Generator | Sequence[torch.Generator]) -> Tensor:
    """Draw from the Gumbel distribution, float32 `[B, h, w]`."""
    if isinstance(generator, torch.Generator):
        u = torch.rand(like.shape, generator=generator, device=generator.device)
    elif len(generator) == len(like):
        u = torch.stack(
            [torch.rand(like.shape[1:], generator=g, device=g.device) for g in generator]
        )
    else:
        raise ValueError(f"{len(generator)} generators for {len(like)} rows")
    u = u.to(like.device).clamp(1e-12, 1 - 1e-7)  # neither logarithm is of zero
    return -(-u.log()).log()


def masking_loss(
    logits: Tensor,
    masked: Tensor,
    errors: Tensor,
    difficulty: float,
    diversity: float = DIVERSITY,
) -> Tensor:
    """Teach the masking module by the errors that its mask led to.

    With p the softmax of a row's logits the loss is −difficulty · mean(advantage · log p) over the
    cubes that were hidden and decoded, plus `diversity` times `sameness`. The advantage is the
    error, brought to mean 0 and deviation 1 in its row: so a cube is compared with the others of
    its picture, neither a difficult picture nor a late update weighs more, and log p counts only by
    differences of logits. The balance of both is a logit of about advantage / diversity.

    Args:
        logits: from `MaskingModule` `[B, h, w]`.
        masked: the hidden cubes, bool `[B, h, w]`.
        errors: mean squared error of every cube `[B, h, w]`; NaN where it was not decoded. Gets no
            gradient.
        difficulty: 1 hides what is hard, -1 what is easy, 0 nothing in particular.
        diversity: weight of `sameness`.

    Returns:
        Scalar.
    """
    with in_float32(logits):
        flat = logits.float().flatten(1)  # [B, N]
        measured = (masked & errors.isfinite()).flatten(1)
        advantage = _advantage(errors.detach().float().flatten(1), measured)
        reward = (advantage * flat.log_softmax(1)).sum(1) / measured.sum(1).clamp_min(1)
        return diversity * sameness(flat) - difficulty * reward.mean()


def _advantage(errors: Tensor, measured: Tensor) -> Tensor:
    """Bring the measured errors of a row to mean 0 and deviation 1, `[B, N]`; 0 elsewhere."""
    count = measured.sum(1, keepdim=True).clamp_min(1)
    known = torch.where(measured, errors, 0)
    centred = torch.where(measured, known - known.sum(1, keepdim=True) / count, 0)
    deviation = (centred.square().sum(1, keepdim=True) / count).sqrt()
    return centred / deviation.clamp_min(1e-8)


def sameness(logits: Tensor) -> Tensor:
    """How far masks repeat themselves: the same cubes in every draw, or in every row.

    The first part keeps the entropy of a row's distribution p up: half of the variance of its
    logits, which is to second order the divergence of p from the uniform distribution. (The entropy
    itself lets go of cubes once they are improbable, and the reward does not: masks would end up
    the same in every draw.) The second part is the mean of N·⟨p, q⟩ − 1 over pairs of rows: masks
    of a batch shall differ (CL-MAE has such a loss). Both are 0 for uniform distributions.

    Args:
        logits: of the cubes `[B, N]`.

    Returns:
        Scalar; with one row the first part alone.
    """
    rows, cubes = logits.shape
    spread = logits.var(1, correction=0).mean() / 2
    if rows < 2:
        return spread
    p = logits.softmax(1)
    alike = cubes * p @ p.T - 1  # [B, B]
    return spread + (alike.sum() - alike.diagonal().sum()) / (rows * (rows - 1))


@dataclass(frozen=True)
class Curriculum:
    """Three phases of a third each (specification, "Progressive curriculum learning approach").

    Attributes:
        first: share of hidden cubes at the start.
        second: at the end of the easy phase.
        last: at the end of the run.
        every: the module is updated once in so many updates (reading.md, row 20).
    """

    first: float = 0.85
    second: float = 0.90
    last: float = 0.95
    every: int = 8

    def __post_init__(self) -> None:
        """Refuse what is no curriculum.

        Raises:
            InputError: The ratios do not rise within [0, 1), or the module is never updated.
        """
        if not 0 <= self.first <= self.second <= self.last < 1:
            raise InputError(
                f"mask ratios rise from 0 to below 1, not {self.first}, {self.second}, {self.last}"
            )
        if self.every < 1:
            raise InputError(f"the masking module is updated every 1 or more, not {self.every}")

    def difficulty(self, share: float) -> float:
        """What masks aim at, by the share of the run that is done, 0..1.

        Returns:
            -1 easy, 0 neutral (masks are random, the module is not asked), 1 adversarial.
        """
        return float(min(2, max(0, int(share * 3))) - 1)

    def ratio(self, share: float) -> float:
        """Share of hidden cubes, to six decimals: `hidden_count` takes it as it is written."""
        share = min(1.0, max(0.0, share))
        early, late = min(1.0, share * 3), max(0.0, share * 3 - 1) / 2
        rise = (self.second - self.first) * early + (self.last - self.second) * late
        return round(self.first + rise, 6)

    def hidden(self, share: float, num_cubes: int) -> int:
        """Cubes to hide out of `num_cubes`."""
        return hidden_count(num_cubes, self.ratio(share))

    def updates_module(self, update: int) -> bool:
        """Whether the module learns in this update, counted from 0; never in the neutral phase."""
        return update % self.every == 0
