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
from relive.enhancement.frame import GAIN_UNITS, Reference, to_array
from relive.enhancement.search import squared_error
from relive.enhancement.vectors import WIDE, VectorSearch, search_vectors
from relive.kernels.weights import moments

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
    warped = _Moments(target, reference.moved(target.new_zeros(*grid, 2)))
    start = warped.spread()
    if not bool((_shifts(start) > SEEN).any()):
        return none, search_vectors(target, reference, price, how)
    limit = squared_error(own, target)
    if warped.saved(start, limit) <= least:
        start = none
    vectors = search_vectors(target, reference.weighted(start), price, how)
    moved = _Moments(target, reference.moved(vectors))
    fitted = moved.fit(limit)
    if moved.saved(fitted, limit) <= least:
        fitted = none
    if bool((_shifts(fitted - start) > NEAR).any()):
        vectors = search_vectors(
            target, reference.weighted(fitted), price, how, vectors[:, :, None]
        )
    return fitted, vectors


class _Moments:
    """Sums over the cubes of a frame and of a picture that may predict it, around 128.

    What they say of errors leaves out that pictures are whole numbers in 0..255.

    Args:
        target: the true frame `[3, H, W]`.
        picture: `[3, H, W]`.
    """

    def __init__(self, target: Tensor, picture: Tensor) -> None:
        height, width = target.shape[1:]
        sums = torch.empty(5, 3, height // CUBE_PX, width // CUBE_PX, dtype=torch.float64)
        moments(to_array(picture), to_array(target), CUBE_PX, sums.numpy())
        self.x, self.y, self.xx, self.xy, self.yy = sums  # [3, h, w]

    def spread(self) -> Tensor:
        """Weights that give the picture mean and spread of the frame: int64 `[3, 2]`."""
        count = self.x[0].numel() * CUBE_PX**2
        x, y, xx, yy = (part.sum((1, 2)) / count for part in (self.x, self.y, self.xx, self.yy))
        gain = ((yy - y.square()) / (xx - x.square()).clamp(min=1)).clamp(min=0).sqrt()
        return _whole(gain, y - gain * x)

    def fit(self, limit: Tensor) -> Tensor:
        """Weights by least squares, over the cubes that follow them: int64 `[3, 2]`.

        Args:
            limit: squared error of what else may predict a cube `[h, w]`.
        """
        kept = torch.ones_like(limit, dtype=torch.bool)
        weights = torch.zeros(3, 2, dtype=torch.long)
        for _ in range(ROUNDS):
            if int(kept.sum()) < MIN_CUBES:
                break
            count = int(kept.sum()) * CUBE_PX**2
            x, y, xx, xy = (
                part[:, kept].sum(1) / count for part in (self.x, self.y, self.xx, self.xy)
            )
            gain = (xy - x * y) / (xx - x.square()).clamp(min=1 / count)
            weights = _whole(gain, y - gain * x)
            error = self.error(weights)
            kept = error < torch.minimum(limit, 2 * error.median())
        return weights

    def error(self, weights: Tensor) -> Tensor:
        """Squared error of every cube under weights int64 `[3, 2]`: `[h, w]`."""
        units, offset = weights.double().unbind(-1)
        gain = (1 + units / GAIN_UNITS)[:, None, None]
        shift = (offset + 128 * units / GAIN_UNITS)[:, None, None]  # of the middle
        error = self.yy - 2 * gain * self.xy - 2 * shift * self.y + gain.square() * self.xx
        error = error + 2 * gain * shift * self.x + CUBE_PX**2 * shift.square()
        total: Tensor = error.sum(0)
        return total

    def saved(self, weights: Tensor, limit: Tensor) -> float:
        """Squared error that weights save, where every cube takes the better prediction."""
        before, after = (
            torch.minimum(limit, self.error(w)).sum() for w in (torch.zeros_like(weights), weights)
        )
        return float(before - after)


def _shifts(weights: Tensor) -> Tensor:
    """By how many levels weights `[3, 2]` change the middle of each colour: `[3]`."""
    gain, offset = weights.float().unbind(-1)
    return (128 / GAIN_UNITS * gain + offset).abs()


def _whole(gain: Tensor, shift: Tensor) -> Tensor:
    """Gains, and by how much the middle of a colour moves, `[3]` each, as integers `[3, 2]`."""
    units = ((gain - 1) * GAIN_UNITS).round().clamp(-MAX_GAIN, MAX_GAIN)
    offset = (shift - 128 * units / GAIN_UNITS).round().clamp(-MAX_SHIFT, MAX_SHIFT)
    return torch.stack([units, offset], -1).long()
