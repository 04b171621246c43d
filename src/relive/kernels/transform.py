"""What levels would cost, over the DCT coefficients of blocks; see `relive.enhancement.modes`."""

from __future__ import annotations

import math

import numpy as np

from relive.compiled import loosely
from relive.kernels.pictures import Floats

LEVEL, OCTAVE = np.float32(0.45), np.float32(0.25)
"""Of a level, and of each octave of its size; in steps squared."""


@loosely
def level_costs(coefficients: Floats, square: Floats, costs: Floats) -> None:
    """What predictions cost, error and levels, in squared error.

    A coefficient is left out, at its square, or coded, at what a level of its size costs.

    Args:
        coefficients: of what they leave `[n, m, k]`.
        square: of the quantiser steps `[m]`.
        costs: takes the result `[n, m]`.
    """
    for n in range(coefficients.shape[0]):
        for m in range(coefficients.shape[1]):
            row = coefficients[n, m]
            scale = np.float32(1) / square[m]
            total = np.float32(0)
            for k in range(row.size):
                total += min(row[k] * row[k] * scale, LEVEL)
            for k in range(row.size):
                size = row[k] * row[k] * scale
                if size > LEVEL:
                    octaves = np.float32(math.log2(1 + math.sqrt(size)))
                    total += min(size - LEVEL, OCTAVE * octaves)
            costs[n, m] = total * square[m]
