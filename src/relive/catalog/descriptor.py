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
ROWS, COLUMNS = 3, 4


def describe(sent: Array) -> Array:
    """Describe keyframes.

    Args:
        sent: what was sent of their latents `[n, h, w, D]` (`StoredCodes.dequantise`).

    Returns:
        float32 `[n, ROWS * COLUMNS * D]`; Euclidean distances compare pictures.
    """
    pooled = _pooled(_pooled(sent, 1, ROWS), 2, COLUMNS)
    return pooled.reshape(len(sent), ROWS * COLUMNS * sent.shape[-1])


def weights(part: tuple[int, int, int, int], width: int, height: int) -> Array:
    """How much of every cell of the grid a part of the picture covers.

    Args:
        part: x, y, w, h in pixels.
        width: of the picture.
        height: of the picture.

    Returns:
        float32 `[ROWS * COLUMNS]`, 0 … 1.
    """
    x, y, w, h = part
    down = _covered(y / height, (y + h) / height, ROWS)
    across = _covered(x / width, (x + w) / width, COLUMNS)
    covered: Array = np.outer(down, across).reshape(-1)
    return covered


def _covered(low: float, high: float, parts: int) -> Array:
    """Share of equal parts of 0 … 1 that lies between two places."""
    edges = np.arange(parts + 1) / parts
    inside = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    shares: Array = (inside.clip(0) * parts).astype(np.float32)
    return shares


def _pooled(values: Array, axis: int, parts: int) -> Array:
    """Mean over equal parts of an axis; a cube on a border counts for both by its share."""
    length = values.shape[axis]
    shares = np.stack([_covered(n / length, (n + 1) / length, parts) for n in range(length)])
    shares /= shares.sum(0)
    moved: Array = np.moveaxis(np.tensordot(values, shares, (axis, 0)), -1, axis)
    return moved.astype(np.float32)
