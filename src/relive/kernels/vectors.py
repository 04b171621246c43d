"""Search of vectors, square by square, against what the squares before have chosen.

A frame is searched on quarters of pixels, where a candidate is a shift of one index, and at last
exactly.

Shapes: H W pixels, n n' squares of S pixels. Vectors are column and row, quarters of a pixel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relive.bitstream.detail import MAX_VECTOR as LIMIT
from relive.compiled import compiled, loosely
from relive.kernels.pictures import HALF, QUARTER, Floats, cut

Ints, Whole = NDArray[np.int64], NDArray[np.int32]
FOUR = 4
COLOURS, ANY = np.float32(3), np.float32(np.inf)
WORSE = np.float32(1.1)
"""What is refined may cost so many times more than what it may replace."""
OCTAVES: Floats = np.array([1 + 2 * math.log2(1 + n) for n in range(4 * LIMIT + 8)], np.float32)


class Scene(NamedTuple):
    """What a search sees.

    Attributes:
        goal: the true frame in grey, flat `[H * W]`.
        grey: the frame before, flat.
        fine: the same at quarters of pixels, flat `[(4H - 3) * (4W - 3)]`.
        x: columns of the pixels in it, flat `[H * W]`.
        y: rows.
        columns: the nearest quarters, int32 `[H * W]`.
        rows: the same.
        places: where these are in `fine`, whether or not they are inside, int32 `[H * W]`.
        size: H and W.
    """

    goal: Floats
    grey: Floats
    fine: Floats
    x: Floats
    y: Floats
    columns: NDArray[np.int32]
    rows: NDArray[np.int32]
    places: NDArray[np.int32]
    size: tuple[int, int]


@compiled
def enlarge(grey: Floats, fine: Floats) -> None:
    """Read a picture `[H, W]` at quarters of pixels: `[4H - 3, 4W - 3]`."""
    height, width = grey.shape
    for i in range(height):
        for j in range(width - 1):
            rise = (grey[i, j + 1] - grey[i, j]) * QUARTER
            for n in range(FOUR):
                fine[FOUR * i, FOUR * j + n] = grey[i, j] + np.float32(n) * rise
        fine[FOUR * i, FOUR * width - FOUR] = grey[i, width - 1]
    for i in range(height - 1):
        for j in range(fine.shape[1]):
            rise = (fine[FOUR * i + FOUR, j] - fine[FOUR * i, j]) * QUARTER
            for n in range(1, FOUR):
                fine[FOUR * i + n, j] = fine[FOUR * i, j] + np.float32(n) * rise


@compiled
def nearest(
    x: Floats, y: Floats, size: tuple[int, int], columns: Whole, rows: Whole, places: Whole
) -> None:
    """Quarters nearest to positions in pixels; those too far outside for any vector come nearer.

    Args:
        x: columns of positions `[n]`.
        y: rows.
        size: H and W of the picture.
        columns: takes those of the quarters `[n]`.
        rows: takes theirs.
        places: takes where they are in the picture at quarters `[n]`.
    """
    wide, high, far = FOUR * size[1] - FOUR, FOUR * size[0] - FOUR, np.float32(LIMIT + FOUR)
    right, low = np.float32(wide) + far, np.float32(high) + far
    for k in range(x.size):
        columns[k] = np.int32(min(max(-far, (x[k] - HALF) * np.float32(FOUR) + HALF), right))
        rows[k] = np.int32(min(max(-far, (y[k] - HALF) * np.float32(FOUR) + HALF), low))
        places[k] = rows[k] * (wide + 1) + columns[k]


@compiled
def vector_bits(dx: int, dy: int) -> np.float32:
    """Estimate the bits of a vector, less what was expected."""
    bits: np.float32 = OCTAVES[np.uint64(abs(dx))] + OCTAVES[np.uint64(abs(dy))]
    return bits


@compiled
def _middle(a: int, b: int, c: int) -> int:
    """Median of three."""
    return max(min(a, b), min(max(a, b), c))


@compiled
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


@loosely
def _row_error(seen: Floats, goal: Floats, start: int, count: int) -> np.float32:
    """Squared error of a row of pixels, three colours."""
    total = np.float32(0)
    for j in range(count):
        error = seen[j] - goal[np.uint64(start + j)]
        total += error * error
    return COLOURS * total


@compiled
def reach_of(scene: Scene, square: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """How far a square may go to the left, the right, up and down, in quarters."""
    height, width = scene.size
    top, left, side = square
    least = most = scene.columns[top * width + left]
    lowest = highest = scene.rows[top * width + left]
    for i in range(top, top + side):
        for k in range(i * width + left, i * width + left + side):
            column, row = scene.columns[np.uint64(k)], scene.rows[np.uint64(k)]
            least, most = min(least, column), max(most, column)
            lowest, highest = min(lowest, row), max(highest, row)
    return least, FOUR * width - FOUR - most, lowest, FOUR * height - FOUR - highest


@compiled
def best_on_grid(
    scene: Scene,
    square: tuple[int, int, int],
    reach: tuple[int, int, int, int],
    price: np.float32,
    expected: tuple[int, int],
    offered: Ints,
    first: int,
    count: int,
    least: np.float32,
    seen: Floats,
) -> tuple[int, np.float32]:
    """As `best_of`, on the grid of quarters, from the first vector on and with the cost.

    A vector must cost less than `least`; if none does, the number is 0. `reach` is that of the
    square, and `seen` has room for a row of it.
    """
    best = 0
    height, width = scene.size
    wide, high = FOUR * width - FOUR, FOUR * height - FOUR
    fine, goal = scene.fine, scene.goal
    columns, rows, places = scene.columns, scene.rows, scene.places
    top, left, side = square
    for number in range(first, count):
        dx, dy = offered[number, 0], offered[number, 1]
        same = number > first and dx == offered[best, 0] and dy == offered[best, 1]
        if same or max(abs(dx), abs(dy)) > LIMIT:
            continue
        cost = price * vector_bits(dx - expected[0], dy - expected[1])
        inside = -reach[0] <= dx <= reach[1] and -reach[2] <= dy <= reach[3]
        off = np.int32(dy * (wide + 1) + dx)
        for i in range(top, top + side):
            if cost >= least:
                break
            start = i * width + left
            if inside:
                for j in range(side):
                    seen[j] = fine[np.uint64(places[np.uint64(start + j)] + off)]
            else:
                for j in range(side):
                    k = np.uint64(start + j)
                    column = min(max(columns[k] + dx, 0), wide)
                    row = min(max(rows[k] + dy, 0), high)
                    seen[j] = fine[np.uint64(row * (wide + 1) + column)]
            cost += _row_error(seen, goal, start, side)
        if cost < least:
            best, least = number, cost
    return best, least


@compiled
def best_of(
    scene: Scene,
    square: tuple[int, int, int],
    price: np.float32,
    expected: tuple[int, int],
    offered: Ints,
    count: int,
) -> tuple[int, np.float32]:
    """Number of the cheapest of the first vectors offered, and its cost.

    That is squared error over three colours, and bits.

    Args:
        scene: what is searched.
        square: first row and column, and the side, pixels.
        price: squared error that one bit must save.
        expected: vector that costs least.
        offered: vectors `[k, 2]`.
        count: how many of them to try.
    """
    best, least = 0, np.float32(np.inf)
    height, width = scene.size
    grey, goal, x, y = scene.grey, scene.goal, scene.x, scene.y
    top, left, side = square
    for number in range(count):
        dx, dy = offered[number, 0], offered[number, 1]
        same = number > 0 and dx == offered[best, 0] and dy == offered[best, 1]
        if same or max(abs(dx), abs(dy)) > LIMIT:
            continue
        cost = price * vector_bits(dx - expected[0], dy - expected[1])
        right, down = np.float32(dx) * QUARTER, np.float32(dy) * QUARTER
        for i in range(top, top + side):
            if cost >= least:
                break
            start = i * width + left
            for j in range(side):
                k = np.uint64(start + j)
                column, row = cut(x[k] + right, width), cut(y[k] + down, height)
                c0, r0 = np.int32(column), np.int32(row)
                fx, fy = column - np.float32(c0), row - np.float32(r0)
                place = np.uint64(r0 * np.int32(width) + c0)
                beside = np.uint64(c0 < np.int32(width - 1))
                below = place + (np.uint64(width) if r0 < np.int32(height - 1) else np.uint64(0))
                upper, lower = grey[place], grey[below]
                upper += fx * (grey[place + beside] - upper)
                lower += fx * (grey[below + beside] - lower)
                error = upper + fy * (lower - upper) - goal[k]
                cost += COLOURS * error * error
        if cost < least:
            best, least = number, cost
    return best, least


AROUND: Ints = np.array(
    [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1)]
)


@compiled
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
    scene: Scene, price: Floats, begin: Ints, diagonal: bool, found: Ints, costs: Floats
) -> None:
    """Search the vectors of cubes, row by row.

    Args:
        scene: what is searched.
        price: squared error that one bit must save `[h, w]`.
        begin: where to begin `[h, w, k, 2]`.
        diagonal: see `refine`.
        found: takes the vectors `[h, w, 2]`.
        costs: takes what they cost `[h, w]`.
    """
    h, w = price.shape
    side = scene.size[0] // h
    offered = np.zeros((begin.shape[2] + 4, 2), np.int64)
    for i in range(h):
        for j in range(w):
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
    least, best = np.empty(kept + 1, np.float32), np.empty(kept + 1, np.int64)
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
                    error += _row_error(seen[first + row * width :], goal, start, side)
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
    scene: Scene, price: Floats, vectors: Ints, tried: NDArray[np.bool_], found: Ints
) -> None:
    """Search the vectors of the four blocks of some cubes, near those of the cubes around.

    Args:
        scene: what is searched.
        price: squared error that one bit must save `[h, w]`.
        vectors: of cubes `[h, w, 2]`.
        tried: which cubes `[h, w]`; the others keep their vector.
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
                        x, y, _ = refine(scene, square, price[i, j], expected, offered, True, ANY)
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
