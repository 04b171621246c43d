"""How well two divisions of the same pixels agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def adjusted_rand(found: NDArray[np.uint8], true: NDArray[np.uint8]) -> float:
    """Adjusted Rand index (Hubert and Arabie, "Comparing partitions", J. Classification 1985).

    Args:
        found: labels, any shape.
        true: labels of the same shape; names need not be the same.

    Returns:
        1 for the same division, 0 in the mean for chance; 1 where both have one region.
    """
    table = np.bincount(found.ravel().astype(np.int64) * 256 + true.ravel(), minlength=1 << 16)
    counts = table.reshape(256, 256).astype(np.float64)
    both, one, other = (_pairs(x) for x in (counts, counts.sum(1), counts.sum(0)))
    every = _pairs(counts.sum())
    expected = one * other / every if every else 0.0
    most = (one + other) / 2
    return 1.0 if most == expected else float((both - expected) / (most - expected))


def _pairs(counts: NDArray[np.float64]) -> float:
    return float((counts * (counts - 1) / 2).sum())
