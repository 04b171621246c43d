"""Copies within the first frame of a GOP: what it shows more than once is coded once.

```
 base ─► + levels of what is no copy ─► picture ─► read at whole pixels ─► copies ─► + levels
```

A copy comes from cubes that are no copies, so there are two rounds and no more. Games of tiles
repeat most of a picture; AV1 has the same as intra block copy.

Shapes: H W padded pixels, h w cube grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream.detail import MAX_OFFSET, MAX_VECTOR, MOVED, OFFSET_UNIT
from relive.config import CUBE_PX
from relive.enhancement.frame import (
    VECTOR_UNITS,
    Reference,
    predict,
    reconstruct,
    to_array,
    to_blocks,
    whole,
)
from relive.enhancement.look_ahead import STRENGTH
from relive.enhancement.search import LAMBDA, LevelCosts, choose_levels
from relive.enhancement.transform import forward
from relive.enhancement.vectors import COARSE, far_vectors, grey_of
from relive.kernels.copies import find
from relive.kernels.transform import level_costs

COPY_BITS = 16
"""What it costs to say so, and to say where."""
SHARE = 0.7
"""Of what a cube costs without, a copy may cost: it inherits what its source lost."""


@dataclass(frozen=True)
class Copies:
    """Which cubes are copies, bool `[h, w]`, and from where, whole pixels int64 `[h, w, 2]`."""

    copied: Tensor
    vectors: Tensor

    @property
    def modes(self) -> Tensor:
        """As the layer has them, int64 `[h, w]`."""
        return self.copied * MOVED

    def finer(self, offsets: NDArray[np.int8]) -> NDArray[np.int8]:
        """Offsets `[h, w]` with a finer step for what is copied, as look-ahead makes them."""
        gain = STRENGTH / OFFSET_UNIT * torch.log2(1 + self.uses())
        finer: NDArray[np.int8] = offsets - gain.round().to(torch.int8).numpy()
        return finer.clip(-MAX_OFFSET, MAX_OFFSET)

    def uses(self) -> Tensor:
        """How often each cube is copied, the one nearest to a source, int64 `[h, w]`."""
        h, w = self.copied.shape
        cubes = torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy")
        nearest = (self.vectors + CUBE_PX // 2) // CUBE_PX
        x, y = (torch.stack(cubes, -1) + nearest)[self.copied].unbind(-1)
        return torch.bincount(y * w + x, minlength=h * w).view(h, w)


def find_copies(target: Tensor, base: Tensor, price: Tensor, flat: Tensor) -> tuple[Copies, Tensor]:
    """Find the copies in a frame.

    Args:
        target: the true frame `[3, H, W]`.
        base: decoded from the codes `[3, H, W]`.
        price: squared error that one bit must save `[h, w]`.
        flat: what a cube costs with a palette, squared error `[h, w]`.

    Returns:
        The copies, and what a cube costs without copy and palette, squared error `[h, w]`.
    """
    h, w = price.shape
    alone = costs_alone(target, base, price)
    worth = SHARE * torch.minimum(alone, flat) - COPY_BITS * price
    small = F.avg_pool2d(grey_of(target)[None, None] - 128, COARSE)[0, 0]
    far = far_vectors(small, small, worth > 0) if bool((worth > 0).any()) else []
    offered = np.array(far, np.int64).reshape(-1, 2) * COARSE
    copied = torch.zeros(h, w, dtype=torch.bool)
    vectors = torch.zeros(h, w, 2, dtype=torch.long)
    arrays = copied.numpy(), vectors.numpy()
    find(to_array(target), to_array(worth), offered, MAX_VECTOR, *arrays)
    return Copies(copied, vectors), alone


def costs_alone(target: Tensor, base: Tensor, price: Tensor) -> Tensor:
    """What cubes cost as levels on a picture, squared error `[h, w]`; see `find_copies`."""
    h, w = price.shape
    parts = forward(target - base).view(3, h, 2, w, 2, 64).permute(1, 3, 0, 2, 4, 5)
    costs = target.new_empty(1, h * w)
    level_costs(
        to_array(parts.reshape(1, h * w, -1)), to_array(price.flatten() / LAMBDA), costs.numpy()
    )
    return costs.view(h, w)


def code_copies(
    target: Tensor, base: Tensor, copies: Copies, steps: Tensor, costs: LevelCosts
) -> tuple[Tensor, Tensor]:
    """Predict a frame with copies and choose its levels.

    Args:
        target: the true frame `[3, H, W]`.
        base: decoded from the codes `[3, H, W]`.
        copies: in the frame.
        steps: of the quantiser `[h, w]`.
        costs: of levels.

    Returns:
        Prediction `[3, H, W]`, as `predict_copies` will give, and levels `[3, 2h, 2w, 8, 8]`.
    """
    prediction = whole(base)
    levels = choose_levels(forward(target - prediction), steps, costs)
    if not copies.copied.any():
        return prediction, levels
    vectors = to_blocks(copies.vectors)
    prediction = predict_copies(base, copies.modes, vectors, levels, steps)
    later = choose_levels(forward(target - prediction), steps, costs)
    copied = to_blocks(copies.copied)[..., None, None]
    return prediction, torch.where(copied, later, levels)


def predict_copies(
    base: Tensor, modes: Tensor, vectors: Tensor, levels: Tensor, steps: Tensor
) -> Tensor:
    """Predict the first frame of a GOP, `[3, H, W]`, whole numbers in 0..255.

    Args:
        base: decoded from the codes `[3, H, W]`.
        modes: int64 `[h, w]`, `MOVED` where a cube is a copy.
        vectors: of blocks, whole pixels int64 `[2h, 2w, 2]`.
        levels: float32 `[3, 2h, 2w, 8, 8]`; those of copies are not used.
        steps: of the quantiser `[h, w]`.
    """
    if not modes.any():
        return whole(base)
    own = to_blocks(modes == 0)[..., None, None]
    first = reconstruct(whole(base), levels * own, steps)
    height, width = base.shape[1:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    there = Reference(first, None, x, y)
    return predict(base, there, modes, torch.zeros_like(modes), VECTOR_UNITS * vectors)
