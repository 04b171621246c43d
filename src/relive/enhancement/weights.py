"""Choose the weights of a frame: flashes and fades change every pixel of a colour alike.

```
 mean and spread ─► guess ─► vectors under it ─► least squares ─► weights (─► vectors under them)
```

Shapes: H W padded pixels, h w cube grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from relive.bitstream.detail import MAX_GAIN, MAX_SHIFT
from relive.config import CUBE_PX
from relive.enhancement.frame import GAIN_UNITS, Reference, enlarge, weighted
from relive.enhancement.search import squared_error
from relive.enhancement.vectors import WIDE, VectorSearch, search_vectors

WEIGHT_BITS = 51
ROUNDS = 3
MIN_CUBES = 4
NEAR = 2.0  # levels that leave vectors as they are
SEEN = 1.0  # levels by which the mean of a colour must change


def choose_weights(
    target: Tensor,
    own: Tensor,
    reference: Reference,
    price: Tensor,
    how: VectorSearch = WIDE,
) -> tuple[Tensor, Tensor]:
    """Choose weights, and search vectors under them or such that are near.

    Args:
        target: the true frame `[3, H, W]`.
        own: decoded from the codes, with what was added before `[3, H, W]`.
        reference: the frame before.
        price: squared error that one bit must save `[h, w]`.
        how: to search.

    Returns:
        Gain and offset of every colour int64 `[3, 2]`, 0 where they do not pay; vectors int64
        `[h, w, 2]`.
    """
    grid = [side // CUBE_PX for side in target.shape[-2:]]
    none = torch.zeros(3, 2, dtype=torch.long)
    least = float(price.mean()) * WEIGHT_BITS
    warped = reference.moved(target.new_zeros(*grid, 2))
    start = guess_weights(target, warped)
    if not bool((_shifts(start) > SEEN).any()):
        return none, search_vectors(target, reference, price, how)
    if _saved(target, own, warped, start) <= least:
        start = none
    vectors = search_vectors(target, reference.weighted(start), price, how)
    moved = reference.moved(vectors)
    fitted = fit_weights(target, own, moved)
    if _saved(target, own, moved, fitted) <= least:
        fitted = none
    if bool((_shifts(fitted - start) > NEAR).any()):
        vectors = search_vectors(target, reference.weighted(fitted), price, how)
    return fitted, vectors


def guess_weights(target: Tensor, picture: Tensor) -> Tensor:
    """Weights that give a picture mean and spread of another `[3, H, W]`: int64 `[3, 2]`."""
    here, there = target.flatten(1), picture.flatten(1)
    gain = here.std(1) / there.std(1).clamp(min=1)
    return _whole(gain, here.mean(1) - gain * there.mean(1))


def fit_weights(target: Tensor, own: Tensor, moved: Tensor) -> Tensor:
    """Fit weights by least squares, over the cubes that follow them: int64 `[3, 2]`.

    Args:
        target: the true frame `[3, H, W]`.
        own: what else may predict a cube `[3, H, W]`.
        moved: the frame before, moved `[3, H, W]`.
    """
    limit = squared_error(own - target)
    kept = torch.ones_like(limit, dtype=torch.bool)
    weights = torch.zeros(3, 2, dtype=torch.long)
    for _ in range(ROUNDS):
        if int(kept.sum()) < MIN_CUBES:
            break
        seen = enlarge(kept, target.shape[-2:]) > 0
        x, y = moved[:, seen], target[:, seen]
        x0, y0 = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
        gain = ((x - x0) * (y - y0)).sum(1) / (x - x0).square().sum(1).clamp(min=1)
        weights = _whole(gain, (y0 - gain[:, None] * x0)[:, 0])
        error = squared_error(weighted(moved, weights) - target)
        kept = error < torch.minimum(limit, 2 * error.median())
    return weights


def _shifts(weights: Tensor) -> Tensor:
    """By how many levels weights `[3, 2]` change the middle of each colour: `[3]`."""
    gain, offset = weights.float().unbind(-1)
    return (128 / GAIN_UNITS * gain + offset).abs()


def _saved(target: Tensor, own: Tensor, moved: Tensor, weights: Tensor) -> float:
    """Squared error that weights save, where every cube takes the better prediction."""
    limit = squared_error(own - target)
    before, after = (
        torch.minimum(limit, squared_error(picture - target)).sum()
        for picture in (moved, weighted(moved, weights))
    )
    return float(before - after)


def _whole(gain: Tensor, offset: Tensor) -> Tensor:
    """Gain and offset of every colour `[3]` as integers `[3, 2]`."""
    units = ((gain - 1) * GAIN_UNITS).round().clamp(-MAX_GAIN, MAX_GAIN)
    return torch.stack([units, offset.round().clamp(-MAX_SHIFT, MAX_SHIFT)], -1).long()
