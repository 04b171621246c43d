"""Reading of pictures between their pixels.

Pictures are handed on flat and indices are unsigned: numba then checks no index for being negative,
and reading takes half as long.

Shapes: C planes, H W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relive.compiled import compiled, inner

Floats = NDArray[np.float32]
MOST_SPOTS = 256
"""Pixels that are read at a time: what is known of them stays near."""
QUARTER, HALF, ONE = np.float32(0.25), np.float32(0.5), np.float32(1)


@compiled
def cut(place: np.float32, side: int) -> np.float32:
    """Column or row of a position in pixels, from the first to the last; NaN is the first."""
    place -= HALF
    if not place > np.float32(0):
        return np.float32(0)
    end = np.float32(side - 1)
    return place if place < end else end


@inner
def copy_square(picture: Floats, i: int, j: int, side: int, square: Floats) -> None:
    """Copy square i, j of `[3, H, W]` to `[3, side * side]`."""
    for plane in range(3):
        for row in range(side):
            for column in range(side):
                square[plane, row * side + column] = picture[
                    np.uint64(plane), np.uint64(i * side + row), np.uint64(j * side + column)
                ]


@compiled
def read_rows(
    flat: Floats,
    size: tuple[int, int],
    x: Floats,
    y: Floats,
    shift: tuple[np.float32, np.float32],
    start: int,
    seen: Floats,
    to: int,
    line: int,
    rows: int,
    count: int,
) -> None:
    """Read rows of pixels of three planes, bilinear, edges replicated.

    Args:
        flat: picture, `[3 * H * W]`.
        size: H and W.
        x: columns of the pixels in it; 0.5 is the centre of the first pixel, `[n]`.
        y: rows.
        shift: added to both.
        start: first pixel of `x` and `y` to read for.
        seen: takes the result `[3, m]`.
        to: where in it.
        line: from one row to the next there.
        rows: how many.
        count: of pixels in each.
    """
    height, width = size
    area, wide = np.uint64(height * width), np.uint64(width)
    for i in range(rows):
        for k in range(count):
            here, there = np.uint64(start + i * width + k), np.uint64(to + i * line + k)
            column, row = cut(x[here] + shift[0], width), cut(y[here] + shift[1], height)
            c0, r0 = np.int32(column), np.int32(row)
            fx, fy = column - np.float32(c0), row - np.float32(r0)
            a, b = (ONE - fx) * (ONE - fy), fx * (ONE - fy)
            c, d = (ONE - fx) * fy, fx * fy
            p = np.uint64(r0 * np.int32(width) + c0)
            right = np.uint64(c0 < np.int32(width - 1))
            q = p + (wide if r0 < np.int32(height - 1) else np.uint64(0))
            seen[0, there] = a * flat[p] + b * flat[p + right] + c * flat[q] + d * flat[q + right]
            p, q = p + area, q + area  # a loop over planes would take half as long again
            seen[1, there] = a * flat[p] + b * flat[p + right] + c * flat[q] + d * flat[q + right]
            p, q = p + area, q + area
            seen[2, there] = a * flat[p] + b * flat[p + right] + c * flat[q] + d * flat[q + right]


class Spots(NamedTuple):
    """Room for where some pixels are read: four weights `[4, n]`, three places int32 `[3, n]`."""

    shares: Floats
    places: NDArray[np.int32]


@inner
def _find_spots(
    size: tuple[int, int], x: Floats, y: Floats, start: int, count: int, found: Spots
) -> None:
    """Find where `count` pixels are read, from `start` on: a loop of its own, for vector units."""
    right, low, wide = np.float32(size[1] - 1), np.float32(size[0] - 1), np.int32(size[1])
    for k in range(count):
        here, there = np.uint64(start + k), np.uint64(k)
        column, row = x[here] - HALF, y[here] - HALF
        column = column if column > np.float32(0) else np.float32(0)  # NaN is the first, too
        row = row if row > np.float32(0) else np.float32(0)
        column, row = column if column < right else right, row if row < low else low
        c0, r0 = np.int32(column), np.int32(row)
        fx, fy = column - np.float32(c0), row - np.float32(r0)
        found.shares[0, there], found.shares[1, there] = (ONE - fx) * (ONE - fy), fx * (ONE - fy)
        found.shares[2, there], found.shares[3, there] = (ONE - fx) * fy, fx * fy
        found.places[0, there] = r0 * wide + c0
        found.places[1, there] = np.int32(1) if column < right else np.int32(0)
        found.places[2, there] = wide if row < low else np.int32(0)


@inner
def _read_three(
    flat: Floats, size: tuple[int, int], x: Floats, y: Floats, seen: Floats, found: Spots
) -> None:
    """Read three planes as `read_rows` does, `MOST_SPOTS` pixels at a time, `[n]` each."""
    area, shares, places = np.uint64(size[0] * size[1]), found.shares, found.places
    for start in range(0, x.size, MOST_SPOTS):
        count = min(MOST_SPOTS, x.size - start)
        _find_spots(size, x, y, start, count, found)
        for k in range(count):
            at, there = np.uint64(k), np.uint64(start + k)
            p, right = np.uint64(places[0, at]), np.uint64(places[1, at])
            q = p + np.uint64(places[2, at])
            a, b, c, d = shares[0, at], shares[1, at], shares[2, at], shares[3, at]
            seen[0, there] = a * flat[p] + b * flat[p + right] + c * flat[q] + d * flat[q + right]
            p, q = p + area, q + area
            seen[1, there] = a * flat[p] + b * flat[p + right] + c * flat[q] + d * flat[q + right]
            p, q = p + area, q + area
            seen[2, there] = a * flat[p] + b * flat[p + right] + c * flat[q] + d * flat[q + right]


@inner
def _read_plane(flat: Floats, size: tuple[int, int], x: Floats, y: Floats, seen: Floats) -> None:
    """Read one plane as `read_rows` does three: `[H * W]`, `[n]` twice, into `[n]`."""
    height, width = size
    for k in range(x.size):
        here = np.uint64(k)
        column, row = cut(x[here], width), cut(y[here], height)
        c0, r0 = np.int32(column), np.int32(row)
        fx, fy = column - np.float32(c0), row - np.float32(r0)
        p = np.uint64(r0 * np.int32(width) + c0)
        right = np.uint64(c0 < np.int32(width - 1))
        q = p + (np.uint64(width) if r0 < np.int32(height - 1) else np.uint64(0))
        upper = (ONE - fx) * (ONE - fy) * flat[p] + fx * (ONE - fy) * flat[p + right]
        seen[here] = upper + (ONE - fx) * fy * flat[q] + fx * fy * flat[q + right]


@compiled
def read(picture: Floats, size: tuple[int, int], x: Floats, y: Floats, seen: Floats) -> None:
    """Read a picture `[C, H * W]` at positions `[n]` each; `seen` takes `[C, n]`."""
    room = Spots(np.empty((4, MOST_SPOTS), np.float32), np.empty((3, MOST_SPOTS), np.int32))
    whole = len(picture) - len(picture) % 3
    for plane in range(0, whole, 3):
        three = slice(plane, plane + 3)
        _read_three(picture[three].ravel(), size, x, y, seen[three], room)
    for plane in range(whole, len(picture)):
        _read_plane(picture[plane], size, x, y, seen[plane])
