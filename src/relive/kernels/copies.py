"""Search for cubes that a frame shows more than once: tiles, letters, flat pixel art.

Shapes: H W pixels, h w cubes of S x S pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relive.compiled import compiled, inner
from relive.kernels.pictures import Floats
from relive.kernels.vector_costs import Ints


@inner
def _drawn(copied: NDArray[np.bool_], i: int, j: int, top: int, left: int, side: int) -> bool:
    """Whether a square lies in cubes that come before cube i, j and are no copies."""
    h, w = copied.shape
    if top < 0 or left < 0 or top > (h - 1) * side or left > (w - 1) * side:
        return False
    for row in range(top // side, (top + side - 1) // side + 1):
        for column in range(left // side, (left + side - 1) // side + 1):
            if row > i or (row == i and column >= j) or copied[row, column]:
                return False
    return True


@inner
def _error(
    frame: Floats, i: int, j: int, dx: int, dy: int, side: int, limit: np.float32
) -> np.float32:
    """Squared error of a copy, or more than the limit."""
    total = np.float32(0)
    for row in range(i * side, i * side + side):
        for plane in range(3):
            for column in range(j * side, j * side + side):
                error = frame[plane, row, column] - frame[plane, row + dy, column + dx]
                total += error * error
        if total > limit:
            break
    return total


@compiled
def find(
    frame: Floats, worth: Floats, far: Ints, reach: int, copied: NDArray[np.bool_], vectors: Ints
) -> None:
    """Find the cubes that are to be copied from elsewhere in the frame, row by row.

    Tried are the vectors of the cubes to the left and above, those from afar, and every cube within
    reach that comes before and is no copy.

    Args:
        frame: the true frame `[3, H, W]`.
        worth: squared error below which a copy pays `[h, w]`.
        far: vectors that are likely, columns and rows, pixels `[k, 2]`.
        reach: of a component.
        copied: takes which cubes, False before `[h, w]`.
        vectors: takes where from, pixels, 0 before `[h, w, 2]`.
    """
    h, w = worth.shape
    side = frame.shape[1] // h
    rows = reach // side
    for i in range(h):
        for j in range(w):
            least = worth[i, j]
            for n in range(2 + len(far) + (rows + 1) * (2 * rows + 1)):
                if n == 0:
                    dx, dy = vectors[i, j - 1] if j else vectors[i, j]
                elif n == 1:
                    dx, dy = vectors[i - 1, j] if i else vectors[i, j]
                elif n < 2 + len(far):
                    dx, dy = far[n - 2]
                else:
                    place = n - 2 - len(far)
                    dx = (place % (2 * rows + 1) - rows) * side
                    dy = (place // (2 * rows + 1) - rows) * side
                if least <= 0:
                    break
                if max(abs(dx), abs(dy)) <= reach and _drawn(
                    copied, i, j, i * side + dy, j * side + dx, side
                ):
                    error = _error(frame, i, j, dx, dy, side, least)
                    if error < least:
                        least = error
                        copied[i, j] = True
                        vectors[i, j, 0], vectors[i, j, 1] = dx, dy
