"""Sums over cubes, from which the weights of a frame are fitted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relive.compiled import loosely
from relive.kernels.pictures import Floats

MIDDLE = np.float32(128)


@loosely
def moments(x: Floats, y: Floats, side: int, sums: NDArray[np.float64]) -> None:
    """Sums of x, y, x², xy and y² over cubes, around 128.

    Args:
        x: `[3, H, W]`.
        y: the same.
        side: of a cube, pixels.
        sums: takes the result `[5, 3, h, w]`.
    """
    for plane in range(3):
        for i in range(sums.shape[2]):
            for j in range(sums.shape[3]):
                a = b = aa = ab = bb = np.float32(0)
                for row in range(side):
                    for column in range(side):
                        p = x[plane, i * side + row, j * side + column] - MIDDLE
                        q = y[plane, i * side + row, j * side + column] - MIDDLE
                        a += p
                        b += q
                        aa += p * p
                        ab += p * q
                        bb += q * q
                sums[0, plane, i, j], sums[1, plane, i, j] = a, b
                sums[2, plane, i, j], sums[3, plane, i, j] = aa, ab
                sums[4, plane, i, j] = bb
