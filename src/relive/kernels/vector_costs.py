"""What vectors cost a square: squared error in the frame before, and bits.

A frame is read on quarters of pixels, where a candidate is a shift of one index, or exactly.

Shapes: H W pixels. Vectors are column and row, quarters of a pixel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relive.bitstream.detail import MAX_VECTOR as LIMIT
from relive.compiled import compiled, inner, loosely
from relive.kernels.pictures import HALF, QUARTER, Floats, cut

Ints = NDArray[np.int64]
Whole = NDArray[np.int32]
FOUR = 4
COLOURS, MIDDLE = np.float32(3), np.float32(128)
OCTAVES: Floats = np.array([1 + 2 * math.log2(1 + n) for n in range(4 * LIMIT + 8)], np.float32)


class Quarters(NamedTuple):
    """A frame before as a search sees it, and where the pixels of the frame at hand lie in it.

    Attributes:
        grey: the frame before, flat `[H * W]`.
        fine: the same at quarters of pixels, flat `[(4H - 3) * (4W - 3)]`.
        x: columns of the pixels in it, flat `[H * W]`.
        y: rows.
        columns: the nearest quarters, int32 `[H * W]`.
        rows: the same.
        places: where these are in `fine`, whether or not they are inside, int32 `[H * W]`.
    """

    grey: Floats
    fine: Floats
    x: Floats
    y: Floats
    columns: Whole
    rows: Whole
    places: Whole


class Scene(NamedTuple):
    """What a search sees.

    Attributes:
        goal: the true frame in grey, flat `[H * W]`.
        before: the frame before.
        size: H and W.
    """

    goal: Floats
    before: Quarters
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
def halve(grey: Floats, small: Floats) -> None:
    """Means of two by two pixels around 0, that is less 128: `[H, W]` to `[H/2, W/2]`."""
    for i in range(len(small)):
        upper, lower = grey[2 * i], grey[2 * i + 1]
        for j in range(small.shape[1]):
            total = upper[2 * j] + upper[2 * j + 1] + lower[2 * j] + lower[2 * j + 1]
            small[i, j] = total * QUARTER - MIDDLE


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


@inner
def vector_bits(dx: int, dy: int) -> np.float32:
    """Estimate the bits of a vector, less what was expected."""
    bits: np.float32 = OCTAVES[np.uint64(abs(dx))] + OCTAVES[np.uint64(abs(dy))]
    return bits


@loosely
def row_error(seen: Floats, goal: Floats, start: int, count: int) -> np.float32:
    """Squared error of a row of pixels, three colours."""
    total = np.float32(0)
    for j in range(count):
        error = seen[j] - goal[np.uint64(start + j)]
        total += error * error
    return COLOURS * total


@inner
def reach_of(scene: Scene, square: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """How far a square may go to the left, the right, up and down, in quarters."""
    height, width = scene.size
    top, left, side = square
    columns, rows = scene.before.columns, scene.before.rows
    least = most = columns[top * width + left]
    lowest = highest = rows[top * width + left]
    for i in range(top, top + side):
        for k in range(i * width + left, i * width + left + side):
            column, row = columns[np.uint64(k)], rows[np.uint64(k)]
            least, most = min(least, column), max(most, column)
            lowest, highest = min(lowest, row), max(highest, row)
    return least, FOUR * width - FOUR - most, lowest, FOUR * height - FOUR - highest


@inner
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
    fine, goal, before = scene.before.fine, scene.goal, scene.before
    columns, rows, places = before.columns, before.rows, before.places
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
            cost += row_error(seen, goal, start, side)
        if cost < least:
            best, least = number, cost
    return best, least


@inner
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
    grey, goal, x, y = scene.before.grey, scene.goal, scene.before.x, scene.before.y
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
