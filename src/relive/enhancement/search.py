"""What the encoder of the enhancement layer chooses: vectors and levels; `modes.py` has modes.

All by rate and distortion: squared error (0..255, sum over colours) plus `LAMBDA` · step² · bits,
where bits are estimated.

Shapes: H W padded pixels, h w cube grid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from relive.bitstream import GopDetail
from relive.bitstream.detail import MAX_LEVEL, MAX_VECTOR
from relive.config import CUBE_PX
from relive.enhancement.frame import VECTOR_UNITS, Reference

LAMBDA = 0.11
NOTHING_BITS = 0.5  # of a block without levels
ROUNDING = 0.45
RANGE = 8  # of the search, pixels of the halved picture
COARSE = 2
FAR = 4  # displacements of the whole picture that are tried beyond the range


def squared_error(difference: Tensor, size: int = CUBE_PX) -> Tensor:
    """Sum over colours and the pixels of squares: `[C, H, W]` to `[H/size, W/size]`."""
    total = difference.square().sum(0, keepdim=True)
    return F.avg_pool2d(total[None], size)[0, 0] * size**2


def vector_cost(vectors: Tensor, expected: Tensor | float = 0) -> Tensor:
    """Estimate the bits of vectors `[..., 2]`."""
    return (1 + 2 * torch.log2(1 + (vectors - expected).abs())).sum(-1)


def _shifted(vectors: Tensor, dy: int, dx: int) -> Tensor:
    """The vector of the cube `dy` up and `dx` to the left, 0 outside."""
    h, w = vectors.shape[:2]
    padded = F.pad(vectors, (0, 0, max(dx, 0), max(-dx, 0), max(dy, 0), 0))
    column = max(-dx, 0)
    return padded[:h, column : column + w]


def _expected(vectors: Tensor) -> Tensor:
    """Median of the vectors to the left, above, and above to the right."""
    near = [_shifted(vectors, 0, 1), _shifted(vectors, 1, 0), _shifted(vectors, 1, -1)]
    return torch.stack(near).median(0).values


def search_vectors(target: Tensor, reference: Reference, price: float) -> Tensor:
    """Search the vector of every cube: int64 `[h, w, 2]`, quarters of a pixel.

    Args:
        target: the true frame `[3, H, W]`.
        reference: the frame before.
        price: squared error that one bit must save.
    """
    goal, grey = target.mean(0, keepdim=True), reference.picture.mean(0, keepdim=True)
    h, w = (side // CUBE_PX for side in target.shape[-2:])

    def cost(vectors: Tensor, expected: Tensor) -> Tensor:
        error = 3 * squared_error(reference.moved(vectors, grey) - goal)
        return error + price * vector_cost(vectors, expected)

    found = _coarse(goal, reference.moved(target.new_zeros(h, w, 2), grey), price)
    for unit in (4, 2, 1):
        expected = _expected(found)
        best = _Best(found, cost(found, expected))
        for dy in (-unit, 0, unit):
            for dx in (-unit, 0, unit):
                if dx or dy:
                    tried = found + target.new_tensor([dx, dy])
                    best.offer(tried, cost(tried, expected))
        found = best.vectors
    chosen = torch.zeros_like(found)
    for _ in range(2):
        expected = _expected(chosen)
        best = _Best(chosen, cost(chosen, expected))
        others = [found, expected, _shifted(chosen, 0, 1), _shifted(chosen, 1, 0)]
        for tried in (*others, torch.zeros_like(found)):
            best.offer(tried, cost(tried, expected))
        chosen = best.vectors
    return chosen.round().long().clamp(-MAX_VECTOR, MAX_VECTOR)


class _Best:
    """The cheapest vector of every cube so far."""

    def __init__(self, vectors: Tensor, cost: Tensor) -> None:
        self.vectors, self._cost = vectors, cost

    def offer(self, vectors: Tensor, cost: Tensor) -> None:
        """Take vectors where they cost less; `[h, w, 2]` or one for all `[2]`."""
        self.vectors = torch.where((cost < self._cost)[..., None], vectors, self.vectors)
        self._cost = torch.minimum(cost, self._cost)


def _coarse(goal: Tensor, warped: Tensor, price: float) -> Tensor:
    """Whole steps of two pixels, on halved pictures: float `[h, w, 2]`."""
    small, there = (F.avg_pool2d(p[None], COARSE)[0] for p in (goal, warped))
    height, width = small.shape[-2:]
    margin = MAX_VECTOR // (COARSE * VECTOR_UNITS)
    padded = F.pad(there[None], (margin,) * 4, mode="replicate")[0]
    size = CUBE_PX // COARSE
    nothing = small.new_full((height // size, width // size), torch.inf)
    best = _Best(small.new_zeros(*nothing.shape, 2), nothing)
    unit = COARSE * VECTOR_UNITS
    near = product(range(-RANGE, RANGE + 1), repeat=2)
    for dy, dx in (*near, *_far(small[0], there[0], margin)):
        seen = padded[:, margin + dy :, margin + dx :][:, :height, :width]
        tried = small.new_tensor([dx * unit, dy * unit])
        error = 3 * COARSE**2 * squared_error(seen - small, size)
        best.offer(tried, error + price * vector_cost(tried))
    return best.vectors


def _far(goal: Tensor, there: Tensor, limit: int) -> list[tuple[int, int]]:
    """Displacements beyond `RANGE` that explain most of a picture: rows and columns, best first.

    Phase correlation: the peaks of the inverse transform of the normalised cross spectrum. Finds
    scrolling maps, where every cube moves alike and further than a search could look.

    Args:
        goal: `[H, W]`.
        there: the picture before `[H, W]`.
        limit: of a displacement.
    """
    height, width = goal.shape
    spectra = [torch.fft.rfft2(p - p.mean()) for p in (there, goal)]
    cross = spectra[0] * spectra[1].conj()
    peaks = torch.fft.irfft2(cross / (cross.abs() + 1e-3), s=goal.shape)
    found = []
    for place in peaks.flatten().topk(min(4 * FAR, peaks.numel())).indices.tolist():
        dy, dx = (place // width + height // 2) % height - height // 2, place % width
        dx = (dx + width // 2) % width - width // 2
        if RANGE < max(abs(dy), abs(dx)) <= limit:
            found.append((dy, dx))
    return found[:FAR]


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
        inside, beside = level_contexts(sizes)
        return ((_COLOUR * 10 + _diagonals()) * 6 + inside) * 6 + beside


_COLOUR = torch.tensor([0, 1, 1])[:, None, None, None, None]


def _diagonals() -> Tensor:
    """Row plus column of a coefficient, at most 9, `[8, 8]`."""
    return (torch.arange(8)[:, None] + torch.arange(8)[None, :]).clamp(max=9)


def level_contexts(sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Classes 0..5 of the sizes towards lower frequencies and in the blocks left and above."""
    m = sizes.clamp(max=4)
    p = F.pad(m, (2, 0, 2, 0))
    lower = p[..., 2:, 1:-1] + p[..., 1:-1, 2:]
    lower = lower + 0.5 * (p[..., 1:-1, 1:-1] + p[..., 2:, :-2] + p[..., :-2, 2:])
    q = F.pad(m.permute(0, 3, 4, 1, 2), (1, 0, 1, 0))
    near = (q[..., 1:, :-1] + q[..., :-1, 1:]).permute(0, 3, 4, 1, 2)
    flat = near.flatten(0, 2)[:, None]
    smooth = F.avg_pool2d(flat, 3, 1, 1, count_include_pad=False)[:, 0].view_as(near)
    inside = torch.bucketize(lower, torch.tensor([0.25, 0.75, 1.25, 2.25, 3.75]))
    beside = torch.bucketize(smooth, torch.tensor([0.06, 0.2, 0.45, 0.9, 1.6]))
    return inside, beside


def choose_levels(coefficients: Tensor, step: float, costs: LevelCosts) -> Tensor:
    """Quantise by rate and distortion: whole numbers `[3, bh, bw, 8, 8]`.

    Every level is rounded, rounded down, or 0; then every block is that or nothing.

    Args:
        coefficients: of what the prediction left.
        step: of the quantiser.
        costs: bits of levels.
    """
    size = coefficients.abs() / step
    nearest = (size + ROUNDING).floor().clamp(max=MAX_LEVEL)
    levels, bits = nearest, torch.zeros_like(size)
    live = nearest.flatten().nonzero()[:, 0]  # the others stay 0
    near, true = nearest.flatten()[live], size.flatten()[live]
    table = costs.bits.flatten(0, 3)
    for _ in range(2):
        context = costs.index(levels)
        here = table[context.flatten()[live]]
        best = torch.zeros_like(near)
        least = true.square() + LAMBDA * here[:, 0]
        spent = here[:, 0]
        for tried in (near - 1, near):
            some = here.gather(1, tried.long().clamp(max=3)[:, None])[:, 0]
            some = some + 2 * torch.log2((tried - 2).clamp(min=1))
            cost = (tried - true).square() + LAMBDA * some
            better = cost < least
            best, spent = torch.where(better, tried, best), torch.where(better, some, spent)
            least = torch.minimum(cost, least)
        levels = torch.zeros_like(size)
        levels.view(-1)[live] = best
        bits = table[:, 0][context]
        bits.view(-1)[live] = spent
    cost = ((levels - size).square() + LAMBDA * bits).sum((-1, -2))
    nothing = size.square().sum((-1, -2)) + LAMBDA * NOTHING_BITS
    kept = (cost < nothing)[..., None, None]
    return torch.where(kept, levels * coefficients.sign(), 0.0)


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
