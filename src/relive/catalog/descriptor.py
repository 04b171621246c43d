"""What a keyframe looks like, as one vector, from its codes alone.

```
 codes of the keyframe ──► sum of codewords ──► mean over a 3×4 grid ──► vector
                             [h, w, D]             [3, 4, D]
```

Only keyframes have one: codes of later steps say what is new against a prediction, and that needs
pixels. So the time resolution of a search by picture is the interval of keyframes. The grid was
chosen on validation maps (docs/search.md): finer ones forget what moved by a cube.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Part = tuple[float, float, float, float]
"""Left, top, right and bottom edge of a part of the grid of cubes, each 0 … 1."""
WHOLE: Part = (0.0, 0.0, 1.0, 1.0)
ROWS, COLUMNS = 3, 4


def describe(sent: Array, part: Part = WHOLE) -> Array:
    """Describe keyframes.

    Args:
        sent: what was sent of their latents `[n, h, w, D]` (`StoredCodes.dequantise`).
        part: cubes count by how much of them it covers; cells that it leaves out are 0.

    Returns:
        float32 `[n, ROWS * COLUMNS * D]`; Euclidean distances compare pictures.
    """
    left, top, right, bottom = part
    pooled = _pooled(_pooled(sent, 1, ROWS, top, bottom), 2, COLUMNS, left, right)
    return pooled.reshape(len(sent), ROWS * COLUMNS * sent.shape[-1])


def coverage(part: Part) -> Array:
    """How much of every cell of the grid a part covers: float32 `[ROWS * COLUMNS]`, 0 … 1."""
    left, top, right, bottom = part
    covered: Array = np.outer(_covered(top, bottom, ROWS), _covered(left, right, COLUMNS))
    return covered.reshape(-1)


def _covered(low: float, high: float, parts: int) -> Array:
    """Share of equal parts of 0 … 1 that lies between two places."""
    edges = np.arange(parts + 1) / parts
    inside = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    shares: Array = (inside.clip(0) * parts).astype(np.float32)
    return shares


def _pooled(values: Array, axis: int, parts: int, low: float, high: float) -> Array:
    """Mean of what lies between two places, over equal parts of an axis.

    A cube on a border counts for both sides by its share.
    """
    length = values.shape[axis]
    cubes = [(max(n / length, low), min((n + 1) / length, high)) for n in range(length)]
    shares = np.stack([_covered(*cube, parts) for cube in cubes])  # [length, parts]
    total = shares.sum(0)
    shares /= np.where(total > 0, total, 1)
    moved: Array = np.moveaxis(np.tensordot(values, shares, (axis, 0)), -1, axis)
    return moved.astype(np.float32)
