"""Order and neighbourhoods on the cube grid: what is known when a cube is coded.

Cubes go in three groups, each coded as one array: even rows and even columns (A), odd rows and odd
columns (B, which sees its four diagonal A), and the rest (C, which sees its four direct A and B).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.int64]
Offsets = tuple[tuple[int, int], ...]

DIRECT = ((-1, 0), (0, -1), (0, 1), (1, 0))
LINE = ((-1, -1), (-1, -1), (1, 1), (1, 1))
DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))


@dataclass(frozen=True)
class Group:
    """Cubes coded together.

    Attributes:
        cubes: raster positions int64 `[n]`.
        around: raster positions of their four neighbours int64 `[4, n]`; a neighbour outside the
            grid is replaced by the one on the opposite side.
    """

    cubes: Index
    around: Index

    def of(self, chosen: npt.NDArray[np.bool_]) -> Group:
        """What of the group is chosen, `[all cubes]`."""
        inside = chosen[self.cubes]
        return Group(self.cubes[inside], self.around[:, inside])


def _around(rows: Index, cols: Index, h: int, w: int, offsets: Offsets) -> Index:
    places = []
    for dy, dx in offsets:
        y = np.where((rows + dy >= 0) & (rows + dy < h), rows + dy, rows - dy)
        x = np.where((cols + dx >= 0) & (cols + dx < w), cols + dx, cols - dx)
        places.append(y * w + x)
    return np.stack(places)  # [4, n]


def _direct(h: int, w: int) -> Offsets:
    """Return the four neighbours of a cube; on a grid one cube wide, two of them twice."""
    vertical, horizontal = h > 1, w > 1
    if vertical and horizontal:
        return DIRECT
    return tuple((dy * vertical, dx * horizontal) for dy, dx in LINE)


def _group(chosen: npt.NDArray[np.bool_], offsets: Offsets) -> Group:
    rows, cols = np.nonzero(chosen)
    h, w = chosen.shape
    return Group(rows * w + cols, _around(rows, cols, h, w, offsets))


@lru_cache(maxsize=16)
def cube_groups(h: int, w: int) -> tuple[Group, Group, Group]:
    """Return groups A, B, C of an `h` x `w` grid."""
    y, x = np.indices((h, w))
    first = (y % 2 == 0) & (x % 2 == 0)
    second = (y % 2 == 1) & (x % 2 == 1)
    rest = ~(first | second)
    direct = _direct(h, w)
    return _group(first, direct), _group(second, DIAGONAL), _group(rest, direct)


@lru_cache(maxsize=16)
def all_cubes(h: int, w: int) -> tuple[Group]:
    """Return all cubes as one group that knows no neighbours."""
    cubes = np.arange(h * w)
    return (Group(cubes, np.zeros((4, h * w), np.int64)),)


@lru_cache(maxsize=16)
def direct_neighbours(h: int, w: int) -> Index:
    """Return the four direct neighbours of every cube, int64 `[4, cubes]`."""
    rows, cols = np.divmod(np.arange(h * w), w)
    return _around(rows, cols, h, w, _direct(h, w))
