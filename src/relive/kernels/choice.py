"""Choice of how cubes are predicted: every way is tried on a cube before the next cube.

```
 ways (mode, source, vectors) ─► predictions, alone and with the base ─► squared error ─► finalists
                                                      what each leaves to code ─► the cheapest
```

Shapes: H W pixels, h w cubes of S x S pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from relive.compiled import compiled, inner, loosely
from relive.config import CUBE_PX
from relive.kernels.frames import ROOTS, Before
from relive.kernels.pictures import HALF, ONE, QUARTER, Floats, copy_square, read_rows
from relive.kernels.vector_costs import Ints

SIDE = CUBE_PX
BLOCK = SIDE // 2
WAYS = 8
WARPED_LAST, WARPED_OLDER, WARPED_BOTH, MOVED_LAST, MOVED_BOTH, SPLIT_LAST, SPLIT_BOTH, OWN = range(
    WAYS
)


class Vectors(NamedTuple):
    """Of cubes in the last frame `[h, w, 2]`, of their blocks `[2h, 2w, 2]`, in the older frame."""

    cubes: Ints
    blocks: Ints
    older: Ints


@inner
def _read(
    before: Before, corner: tuple[int, int], side: int, vector: Ints, factor: int, seen: Floats
) -> None:
    """Read a square of a frame before at some times a vector into its place in `[3, S * S]`."""
    shift = np.float32(factor * vector[0]) * QUARTER, np.float32(factor * vector[1]) * QUARTER
    start = corner[0] * before.size[1] + corner[1]
    to = corner[0] % SIDE * SIDE + corner[1] % SIDE
    read_rows(
        before.flat, before.size, before.x, before.y, shift, start, seen, to, SIDE, side, side
    )


@inner
def _read_blocks(before: Before, i: int, j: int, vectors: Ints, factor: int, seen: Floats) -> None:
    """Read the four blocks of cube i, j at some times their vectors."""
    for row in range(2 * i, 2 * i + 2):
        for column in range(2 * j, 2 * j + 2):
            corner = row * BLOCK, column * BLOCK
            _read(before, corner, BLOCK, vectors[row, column], factor, seen)


@inner
def _mean(a: Floats, b: Floats, mixed: Floats) -> None:
    for plane in range(3):
        for k in range(SIDE * SIDE):
            mixed[plane, k] = HALF * (a[plane, k] + b[plane, k])


@inner
def _see(
    way: int,
    i: int,
    j: int,
    last: Before,
    older: Before,
    vectors: Vectors,
    seen: Floats,
    far: Floats,
) -> None:
    """Predict cube i, j in a way, `seen[way]`; `far` `[3, S * S]` is room for the older frame."""
    corner, vector = (i * SIDE, j * SIDE), vectors.cubes[i, j]
    if way == WARPED_LAST:
        _read(last, corner, SIDE, vector, 0, seen[way])
    elif way == WARPED_OLDER:
        _read(older, corner, SIDE, vector, 0, seen[way])
    elif way == WARPED_BOTH:
        _mean(seen[WARPED_LAST], seen[WARPED_OLDER], seen[way])
    elif way == MOVED_LAST:
        _read(last, corner, SIDE, vector, 1, seen[way])
    elif way == MOVED_BOTH:
        _read(older, corner, SIDE, vector, 2, far)
        _mean(seen[MOVED_LAST], far, seen[way])
    elif way == SPLIT_LAST:
        _read_blocks(last, i, j, vectors.blocks, 1, seen[way])
    elif way == SPLIT_BOTH:
        _read_blocks(older, i, j, vectors.blocks, 2, far)
        _mean(seen[SPLIT_LAST], far, seen[way])
    else:
        _read(older, corner, SIDE, vectors.older[i, j], 1, seen[way])


@loosely
def _errors(target: Floats, base: Floats, seen: Floats) -> tuple[np.float32, np.float32]:
    """Squared errors of a prediction, and of its mean with the base picture; all `[3, S * S]`."""
    alone = mixed = np.float32(0)
    for plane in range(3):
        for k in range(SIDE * SIDE):
            error = seen[plane, k] - target[plane, k]
            other = HALF * (error + base[plane, k] - target[plane, k])
            alone += error * error
            mixed += other * other
    return alone, mixed


@inner
def _leave(target: Floats, base: Floats, seen: Floats, share: np.float32, rest: Floats) -> None:
    """What a share of a prediction, the remainder from the base picture, leaves to code.

    As blocks of decorrelated colours, for the transform: `rest` is `[3 * 4 * 64]`.
    """
    for k in range(SIDE * SIDE):
        red, green, blue = (
            (target[0, k] - base[0, k]) - share * (seen[0, k] - base[0, k]),
            (target[1, k] - base[1, k]) - share * (seen[1, k] - base[1, k]),
            (target[2, k] - base[2, k]) - share * (seen[2, k] - base[2, k]),
        )
        row, column = k // SIDE, k % SIDE
        place = (row // BLOCK * 2 + column // BLOCK) * 64 + row % BLOCK * BLOCK + column % BLOCK
        rest[place] = (red + green + blue) * ROOTS[0]
        rest[place + 256] = (red - blue) * ROOTS[1]
        rest[place + 512] = (red - green - green + blue) * ROOTS[2]


@compiled
def rank(
    target: Floats,
    base: Floats,
    last: Before,
    older: Before,
    vectors: Vectors,
    bits: Floats,
    price: Floats,
    ranked: Ints,
    rests: Floats,
) -> None:
    """Try every way on every cube and keep the best.

    Args:
        target: the true frame `[3, H, W]`.
        base: decoded from the codes, with what was added before `[3, H, W]`.
        last: the frame before.
        older: the frame before that; not read where no way to it is tried.
        vectors: of all ways.
        bits: to name each way, alone and in the mean with the base picture, and the base picture
            `[2 WAYS + 1, h, w]`; ways of infinite bits are not tried.
        price: squared error that one bit must save `[h, w]`.
        ranked: takes the numbers of the base picture alone and of the n best ways `[1 + n, h, w]`:
            twice that of the way, and 1 more in the mean with the base picture; 2 WAYS is the base.
        rests: takes what they leave to code, blocks of 8x8 of decorrelated colours
            `[1 + n, h, w, 3 * 4 * 64]`.
    """
    h, w = price.shape
    seen = np.empty((WAYS, 3, SIDE * SIDE), np.float32)
    rooms = np.empty((3, 3, SIDE * SIDE), np.float32)
    room, true, own = rooms[0], rooms[1], rooms[2]
    costs = np.empty(2 * WAYS, np.float32)
    for i in range(h):
        for j in range(w):
            copy_square(target, i, j, SIDE, true)
            copy_square(base, i, j, SIDE, own)
            for way in range(WAYS):
                costs[2 * way] = costs[2 * way + 1] = np.inf
                if bits[2 * way, i, j] < np.inf:
                    _see(way, i, j, last, older, vectors, seen, room)
                    alone, mixed = _errors(true, own, seen[way])
                    costs[2 * way] = alone + price[i, j] * bits[2 * way, i, j]
                    costs[2 * way + 1] = mixed + price[i, j] * bits[2 * way + 1, i, j]
            ranked[0, i, j] = 2 * WAYS
            _leave(true, own, own, ONE, rests[0, i, j])
            for n in range(1, len(ranked)):
                number = np.argmin(costs)
                costs[number] = np.inf
                ranked[n, i, j] = number
                share = HALF if number % 2 else ONE
                _leave(true, own, seen[number // 2], share, rests[n, i, j])
