"""Order and neighbourhoods on the cube grid: what is known when a cube is coded.

Depths go in three groups, each coded as one array: cubes at even row and even column (A), at odd
row and odd column (B, which sees its four diagonal A), and the rest (C, which sees its four direct
A and B). Motion goes in two: the even squares of a checkerboard, then the odd ones, which see four
neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.int64]

DIRECT = ((-1, 0), (0, -1), (0, 1), (1, 0))
DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))


@dataclass(frozen=True)
class Group:
    """Cubes coded together.

    Attributes:
        cubes: raster positions int64 `[n]`.
        around: raster positions of their four neighbours int64 `[4, n]`; a neighbour outside the
            grid is replaced by the one on the other side, or, where both are, by the cube.
    """

    cubes: Index
    around: Index


def _around(
    rows: Index, cols: Index, h: int, w: int, offsets: tuple[tuple[int, int], ...]
) -> Index:
    places = []
    for dy, dx in offsets:
        y = np.where((rows + dy >= 0) & (rows + dy < h), rows + dy, rows - dy)
        x = np.where((cols + dx >= 0) & (cols + dx < w), cols + dx, cols - dx)
        outside = (y < 0) | (y >= h) | (x < 0) | (x >= w)
        places.append(np.where(outside, rows * w + cols, y * w + x))
    return np.stack(places)  # [4, n]


def _group(chosen: npt.NDArray[np.bool_], offsets: tuple[tuple[int, int], ...]) -> Group:
    rows, cols = np.nonzero(chosen)
    h, w = chosen.shape
    return Group(rows * w + cols, _around(rows, cols, h, w, offsets))


@lru_cache(maxsize=16)
def depth_groups(h: int, w: int) -> tuple[Group, Group, Group]:
    """Return groups A, B, C of an `h` x `w` grid."""
    y, x = np.indices((h, w))
    first = (y % 2 == 0) & (x % 2 == 0)
    second = (y % 2 == 1) & (x % 2 == 1)
    rest = ~(first | second)
    return _group(first, DIRECT), _group(second, DIAGONAL), _group(rest, DIRECT)


@lru_cache(maxsize=16)
def motion_groups(h: int, w: int) -> tuple[Group, Group]:
    """Return the even and the odd squares of the checkerboard."""
    y, x = np.indices((h, w))
    even = (y + x) % 2 == 0
    return _group(even, DIRECT), _group(~even, DIRECT)
