"""What levels would cost, over the DCT coefficients of blocks; see `relive.enhancement.modes`."""

from __future__ import annotations

import math

import numpy as np

from relive.compiled import loosely
from relive.kernels.pictures import ONE, Floats

LEVEL, OCTAVE = np.float32(0.45), np.float32(0.25)
"""Of a level, and of each octave of its size; in steps squared."""
CURVE, OFFSET = np.float32(-0.33582878), np.float32(-0.65871759)
"""log2 of 1 to 2 is near ``CURVE x² + 2 x + OFFSET - 1``."""


@loosely
def _octaves(sizes: Floats) -> None:
    """log2(1 + √x) of every x, within 0.01, in place: exponent and a parabola of the mantissa."""
    for k in range(sizes.size):
        sizes[k] = ONE + math.sqrt(sizes[k])
    bits = sizes.view(np.int32)
    for k in range(sizes.size):
        exponent = np.float32((bits[k] >> 23) - 128)
        bits[k] = (bits[k] & 0x007FFFFF) | 0x3F800000
        sizes[k] = exponent + (CURVE * sizes[k] + np.float32(2)) * sizes[k] + OFFSET


@loosely
def level_costs(coefficients: Floats, square: Floats, costs: Floats) -> None:
    """What predictions cost, error and levels, in squared error.

    A coefficient is left out, at its square, or coded, at what a level of its size costs.

    Args:
        coefficients: of what they leave `[n, m, k]`.
        square: of the quantiser steps `[m]`.
        costs: takes the result `[n, m]`.
    """
    rooms = np.empty((2, coefficients.shape[2]), np.float32)
    sizes, octaves = rooms[0], rooms[1]
    for n in range(coefficients.shape[0]):
        for m in range(coefficients.shape[1]):
            scale = ONE / square[m]
            for k in range(sizes.size):
                sizes[k] = octaves[k] = coefficients[n, m, k] * coefficients[n, m, k] * scale
            _octaves(octaves)
            total = np.float32(0)
            for k in range(sizes.size):
                total += min(sizes[k], LEVEL + OCTAVE * octaves[k])
            costs[n, m] = total * square[m]
