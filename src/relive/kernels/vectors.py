"""Search of vectors, square by square, against what the squares before have chosen.

A frame is searched on quarters of pixels, and at last exactly.

Shapes: H W pixels, n n' squares of S pixels. Vectors are column and row, quarters of a pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relive.compiled import compiled, inner
from relive.kernels.pictures import Floats
from relive.kernels.vector_costs import Ints, Scene, best_of, best_on_grid, reach_of, row_error

ANY = np.float32(np.inf)
WORSE = np.float32(1.1)
"""What is refined may cost so many times more than what it may replace."""


@inner
def _middle(a: int, b: int, c: int) -> int:
    """Median of three."""
    return max(min(a, b), min(max(a, b), c))


@inner
def expect(vectors: Ints, i: int, j: int) -> tuple[int, int]:
    """Median of the vectors to the left, above, and above to the right; 0 outside."""
    lx = ly = ux = uy = rx = ry = 0
    if j > 0:
        lx, ly = vectors[i, j - 1, 0], vectors[i, j - 1, 1]
    if i > 0:
        ux, uy = vectors[i - 1, j, 0], vectors[i - 1, j, 1]
        if j + 1 < vectors.shape[1]:
            rx, ry = vectors[i - 1, j + 1, 0], vectors[i - 1, j + 1, 1]
    return _middle(lx, ux, rx), _middle(ly, uy, ry)


AROUND: Ints = np.array(
    [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1)]
)


@inner
def refine(
    scene: Scene,
    square: tuple[int, int, int],
    price: np.float32,
    expected: tuple[int, int],
    offered: Ints,
    diagonal: bool,
    most: np.float32,
) -> tuple[int, int, np.float32]:
    """Search the vector of a square: the best of those offered, then finer and finer around it.

    Args:
        scene: what is searched.
        square: its first row and column, and its side, pixels.
        price: squared error that one bit must save.
        expected: vector that costs least.
        offered: vectors to try `[k, 2]`; 0 and the expected one are tried at last, too.
        diagonal: all eight neighbours; without, four.
        most: what a vector that is offered may cost; if all cost more, that is returned, and 0.

    Returns:
        The vector, and what it costs.
    """
    tried, seen = np.empty((11, 2), np.int64), np.empty(square[2], np.float32)
    reach = reach_of(scene, square)
    best, least = best_on_grid(
        scene, square, reach, price, expected, offered, 0, len(offered), most, seen
    )
    if least >= most:
        return 0, 0, most
    x, y = offered[best, 0], offered[best, 1]
    around = len(AROUND) if diagonal else 5
    for unit in (4, 2, 1):
        for k in range(around):
            tried[k, 0], tried[k, 1] = x + unit * AROUND[k, 0], y + unit * AROUND[k, 1]
        best, least = best_on_grid(
            scene, square, reach, price, expected, tried, 1, around, least, seen
        )
        x, y = tried[best, 0], tried[best, 1]
    tried[0, 0], tried[0, 1] = x, y
    tried[1, 0] = tried[1, 1] = 0
    tried[2, 0], tried[2, 1] = expected
    best, least = best_of(scene, square, price, expected, tried, 3)
    return tried[best, 0], tried[best, 1], least


@compiled
def search_cubes(
    scene: Scene,
    price: Floats,
    begin: Ints,
    tried: NDArray[np.bool_],
    diagonal: bool,
    found: Ints,
    costs: Floats,
) -> None:
    """Search the vectors of cubes, row by row.

    Args:
        scene: what is searched.
        price: squared error that one bit must save `[h, w]`.
        begin: where to begin `[h, w, k, 2]`.
        tried: which cubes `[h, w]`.
        diagonal: see `refine`.
        found: takes the vectors, zeros `[h, w, 2]`.
        costs: takes what they cost, zeros `[h, w]`.
    """
    h, w = price.shape
    side = scene.size[0] // h
    offered = np.zeros((begin.shape[2] + 4, 2), np.int64)
    for i in range(h):
        for j in range(w):
            if not tried[i, j]:
                continue
            expected = expect(found, i, j)
            offered[0] = 0
            offered[1, 0], offered[1, 1] = expected
            offered[2] = found[i, j - 1] if j else found[i, j]
            offered[3] = found[i - 1, j] if i else found[i, j]
            offered[4:] = begin[i, j]
            square = i * side, j * side, side
            x, y, cost = refine(scene, square, price[i, j], expected, offered, diagonal, ANY)
            found[i, j, 0], found[i, j, 1], costs[i, j] = x, y, cost


@compiled
def offer_far(
    small: Floats,
    there: Floats,
    margin: int,
    far: Ints,
    tried: NDArray[np.bool_],
    offered: Ints,
) -> None:
    """Name the displacements of halved pictures that explain each of some cubes best.

    Args:
        small: the true frame, halved `[H/2, W/2]`.
        there: where to search, the same way, with a margin on all sides.
        margin: as many pixels.
        far: displacements, columns and rows `[n, 2]`.
        tried: which cubes `[h, w]`.
        offered: takes the best, n >= k, the best first `[h, w, k, 2]`.
    """
    h, w = tried.shape
    side, width = len(small) // h, there.shape[1]
    goal, seen = small.ravel(), there.ravel()
    kept = offered.shape[2]
    least, best = np.empty(kept + 1, np.float32), np.zeros(kept + 1, np.int64)  # no error: first
    for i in range(h):
        for j in range(w):
            if not tried[i, j]:
                continue
            least[:] = ANY
            for n in range(len(far)):
                first = (margin + i * side + far[n, 1]) * width + margin + j * side + far[n, 0]
                error = np.float32(0)
                for row in range(side):
                    start = (i * side + row) * w * side + j * side
                    error += row_error(seen[first + row * width :], goal, start, side)
                k = kept
                while k > 0 and least[k - 1] > error:
                    least[k], best[k] = least[k - 1], best[k - 1]
                    k -= 1
                least[k], best[k] = error, n
            for k in range(kept):
                offered[i, j, k] = far[best[k]]


@compiled
def search_far(
    scene: Scene,
    price: Floats,
    begin: Ints,
    tried: NDArray[np.bool_],
    diagonal: bool,
    found: Ints,
    costs: Floats,
) -> None:
    """Search again, where that is asked for, from vectors that are offered.

    Args:
        scene: what is searched.
        price: squared error that one bit must save `[h, w]`.
        begin: where to begin `[h, w, k, 2]`.
        tried: which cubes `[h, w]`.
        diagonal: see `refine`.
        found: vectors so far `[h, w, 2]`, changed where others cost less.
        costs: what they cost `[h, w]`, changed alike.
    """
    h, w = price.shape
    side = scene.size[0] // h
    offered = np.zeros((begin.shape[2] + 2, 2), np.int64)
    for i in range(h):
        for j in range(w):
            if tried[i, j]:
                offered[2:] = begin[i, j]
                offered[0] = found[i, j - 1] if j else found[i, j]
                offered[1] = found[i - 1, j] if i else found[i, j]
                expected = expect(found, i, j)
                square = i * side, j * side, side
                most = WORSE * costs[i, j]
                x, y, cost = refine(scene, square, price[i, j], expected, offered, diagonal, most)
                if cost < costs[i, j]:
                    found[i, j, 0], found[i, j, 1], costs[i, j] = x, y, cost


@compiled
def search_blocks(
    scene: Scene,
    price: Floats,
    vectors: Ints,
    tried: NDArray[np.bool_],
    diagonal: bool,
    found: Ints,
) -> None:
    """Search the vectors of the four blocks of some cubes, near those of the cubes around.

    Args:
        scene: what is searched.
        price: squared error that one bit must save `[h, w]`.
        vectors: of cubes `[h, w, 2]`.
        tried: which cubes `[h, w]`; the others keep their vector.
        diagonal: see `refine`.
        found: takes the vectors `[2h, 2w, 2]`.
    """
    h, w = tried.shape
    side = scene.size[0] // (2 * h)
    offered = np.zeros((6, 2), np.int64)
    for i in range(h):
        for j in range(w):
            offered[0] = vectors[i, j]
            offered[2], offered[3] = vectors[max(i - 1, 0), j], vectors[min(i + 1, h - 1), j]
            offered[4], offered[5] = vectors[i, max(j - 1, 0)], vectors[i, min(j + 1, w - 1)]
            expected = vectors[i, j, 0], vectors[i, j, 1]
            for row in range(2 * i, 2 * i + 2):
                for column in range(2 * j, 2 * j + 2):
                    found[row, column] = vectors[i, j]
                    if tried[i, j]:
                        square = row * side, column * side, side
                        x, y, _ = refine(
                            scene, square, price[i, j], expected, offered, diagonal, ANY
                        )
                        found[row, column, 0], found[row, column, 1] = x, y


@compiled
def cheapest(errors: Floats, bits: Floats, price: Floats, weight: np.float32, best: Ints) -> None:
    """Number of the cheapest vector of every square.

    Args:
        errors: of vectors `[h, w, n]`.
        bits: of vectors `[n]`.
        price: squared error that one bit must save `[h, w]`.
        weight: of errors.
        best: takes the numbers `[h, w]`.
    """
    for i in range(len(errors)):
        for j in range(errors.shape[1]):
            line, least = errors[i, j], np.float32(np.inf)
            for n in range(line.size):
                cost = weight * line[n] + price[i, j] * bits[n]
                if cost < least:
                    best[i, j], least = n, cost
