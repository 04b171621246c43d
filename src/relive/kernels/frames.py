"""Frames of the enhancement layer, as encoder and decoder put them together.

What each loop does is defined by `relive.enhancement.frame` and `relive.enhancement.deblock`.

Shapes: H W pixels, h w cubes, blocks of 8x8 pixels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relive.bitstream.detail import (
    BASE,
    BLOCK,
    BOTH,
    MEAN,
    MOVED,
    MOVED_MEAN,
    OLDER,
    WARPED,
)
from relive.compiled import compiled, inner, loosely
from relive.kernels.pictures import HALF, ONE, QUARTER, Floats, copy_square, read_rows

ROUND_UP = np.float32(0.5 + 1 / 64)
TWO, NINE, THREE, SIXTEEN = (np.float32(n) for n in (2, 9, 3, 16))
WHITE, ZERO = np.float32(255), np.float32(0)
ROOTS: Floats = np.array([3**-0.5, 2**-0.5, 6**-0.5], np.float32)
DCT: Floats = np.array(
    [
        [
            math.sqrt((2 if k else 1) / BLOCK) * math.cos(math.pi * (2 * i + 1) * k / (2 * BLOCK))
            for i in range(BLOCK)
        ]
        for k in range(BLOCK)
    ],
    np.float32,
)


class Before(NamedTuple):
    """A frame before: flat `[3 * H * W]`, columns and rows in it `[H * W]`, H and W."""

    flat: Floats
    x: Floats
    y: Floats
    size: tuple[int, int]


@inner
def read_block(
    before: Before, i: int, j: int, vector: NDArray[np.int64], factor: int, seen: Floats
) -> None:
    """Read a block of a frame before at some times its vector, into `[3, 64]`."""
    shift = np.float32(factor * vector[0]) * QUARTER, np.float32(factor * vector[1]) * QUARTER
    start = i * BLOCK * before.size[1] + j * BLOCK
    read_rows(
        before.flat, before.size, before.x, before.y, shift, start, seen, 0, BLOCK, BLOCK, BLOCK
    )


@inner
def _whole(seen: Floats) -> None:
    """Round to whole numbers in 0..255, halves up, in place."""
    for plane in range(seen.shape[0]):
        for k in range(seen.shape[1]):
            value = np.floor(seen[plane, k] + ROUND_UP)
            seen[plane, k] = min(max(value, ZERO), WHITE)


@inner
def _average(a: Floats, b: Floats) -> None:
    """Mean of whole numbers, halves up, into `a`."""
    for plane in range(a.shape[0]):
        for k in range(a.shape[1]):
            a[plane, k] = np.floor((a[plane, k] + b[plane, k] + ONE) * HALF)


@inner
def _paste(block: Floats, i: int, j: int, picture: Floats) -> None:
    """Undo `copy_square` for a block."""
    for plane in range(3):
        for k in range(BLOCK * BLOCK):
            picture[plane, i * BLOCK + k // BLOCK, j * BLOCK + k % BLOCK] = block[plane, k]


@compiled
def predict(
    base: Floats,
    added: Before,
    last: Before,
    older: Before,
    modes: NDArray[np.int64],
    sources: NDArray[np.int64],
    vectors: NDArray[np.int64],
    prediction: Floats,
) -> None:
    """Predict a frame block by block.

    Args:
        base: decoded from the codes `[3, H, W]`.
        added: what was added to the frame before; empty if that is not known.
        last: the frame before.
        older: the frame before that; not read where no source names it.
        modes: `[h, w]`.
        sources: `[h, w]`.
        vectors: `[2h, 2w, 2]`.
        prediction: takes the result `[3, H, W]`.
    """
    rooms = np.empty((3, 3, BLOCK * BLOCK), np.float32)
    own, seen, other = rooms[0], rooms[1], rooms[2]
    nowhere = np.zeros(2, np.int64)
    for i in range(vectors.shape[0]):
        for j in range(vectors.shape[1]):
            mode, source = modes[i // 2, j // 2], sources[i // 2, j // 2]
            if mode != WARPED and mode != MOVED:
                copy_square(base, i, j, BLOCK, own)
                if added.flat.size:
                    read_block(added, i, j, nowhere, 0, seen)
                    own += seen
                _whole(own)
            if mode != BASE:
                if source != OLDER:
                    read_block(last, i, j, vectors[i, j], 1, seen)
                    _whole(seen)
                if source == OLDER:
                    read_block(older, i, j, vectors[i, j], 1, seen)
                    _whole(seen)
                elif source == BOTH:
                    read_block(older, i, j, vectors[i, j], 2, other)
                    _whole(other)
                    _average(seen, other)
                if mode in (MEAN, MOVED_MEAN):
                    _average(own, seen)
            _paste(seen if mode in (WARPED, MOVED) else own, i, j, prediction)


@loosely
def _some(levels: Floats) -> bool:
    """Whether a block of levels `[64]` has any but 0; all are looked at, by vector units."""
    total = ZERO
    for k in range(levels.size):
        total += abs(levels[np.uint64(k)])
    return bool(total != ZERO)


@inner
def _inverse(levels: Floats, step: np.float32, half: Floats, pixels: Floats) -> None:
    """Pixels of a block `[64]` from its levels `[64]`."""
    for k in range(BLOCK):
        for j in range(BLOCK):
            half[k, j] = ZERO
    for k in range(BLOCK):
        for n in range(BLOCK):
            level = levels[np.uint64(k * BLOCK + n)]
            if level != 0:
                value = level * step
                for j in range(BLOCK):
                    half[k, j] += value * DCT[n, j]
    for i in range(BLOCK):
        for j in range(BLOCK):
            pixels[i * BLOCK + j] = ZERO
        for k in range(BLOCK):
            for j in range(BLOCK):
                pixels[i * BLOCK + j] += DCT[k, i] * half[k, j]


@compiled
def reconstruct(frame: Floats, levels: Floats, steps: Floats) -> None:
    """Add what levels say, rounded to whole numbers in 0..255, to a prediction in place.

    Args:
        frame: a prediction `[3, H, W]`; stays as it is where a block has no levels.
        levels: `[3, 2h, 2w, 64]`.
        steps: `[h, w]`.
    """
    half = np.empty((BLOCK, BLOCK), np.float32)
    rooms = np.empty((2, 3, BLOCK * BLOCK), np.float32)
    planes, block = rooms[0], rooms[1]
    coded = np.empty(3, np.bool_)
    for i in range(levels.shape[1]):
        for j in range(levels.shape[2]):
            for plane in range(3):
                coded[plane] = _some(levels[plane, i, j])
            if not (coded[0] or coded[1] or coded[2]):
                continue
            for plane in range(3):
                if coded[plane]:
                    _inverse(levels[plane, i, j], steps[i // 2, j // 2], half, planes[plane])
                else:
                    planes[plane] = ZERO
            copy_square(frame, i, j, BLOCK, block)
            for k in range(BLOCK * BLOCK):
                grey = planes[0, k] * ROOTS[0]
                tint, green = planes[1, k] * ROOTS[1], planes[2, k] * ROOTS[2]
                block[0, k] += grey + tint + green
                block[1, k] += grey - green - green
                block[2, k] += grey - tint + green
            for plane in range(3):
                for k in range(BLOCK * BLOCK):
                    block[plane, k] = min(max(np.rint(block[plane, k]), ZERO), WHITE)
            _paste(block, i, j, frame)


@compiled
def coded_edges(levels: Floats, across: NDArray[np.bool_], down: NDArray[np.bool_]) -> None:
    """Mark the edges of blocks with levels, and no others.

    Args:
        levels: `[3, 2h, 2w, 64]`.
        across: takes edges between columns `[2h, 2w - 1]`.
        down: takes edges between rows `[2h - 1, 2w]`.
    """
    rows, columns = levels.shape[1:3]
    coded = np.empty((rows, columns), np.bool_)
    for i in range(rows):
        for j in range(columns):
            coded[i, j] = _some(levels[0, i, j]) or _some(levels[1, i, j]) or _some(levels[2, i, j])
            if j:
                across[i, j - 1] = coded[i, j - 1] or coded[i, j]
            if i:
                down[i - 1, j] = coded[i - 1, j] or coded[i, j]


@compiled
def changed_edges(
    grid: NDArray[np.int64], across: NDArray[np.bool_], down: NDArray[np.bool_]
) -> None:
    """Mark the edges at which a grid of squares `[n, n', k]` changes, too."""
    times = across.shape[0] // grid.shape[0]
    for i in range(across.shape[0]):
        for j in range(times - 1, across.shape[1], times):
            here, there = grid[i // times, j // times], grid[i // times, (j + 1) // times]
            for k in range(grid.shape[2]):
                across[i, j] |= here[k] != there[k]
    for i in range(times - 1, down.shape[0], times):
        for j in range(down.shape[1]):
            here, there = grid[i // times, j // times], grid[(i + 1) // times, j // times]
            for k in range(grid.shape[2]):
                down[i, j] |= here[k] != there[k]


@inner
def _bound(value: np.float32, limit: np.float32) -> np.float32:
    return min(max(value, -limit), limit)


@inner
def _smooth(
    flat: Floats, at: int, across: int, plane: int, limit: np.float32, bend: np.float32
) -> None:
    """Filter one line of pixels across an edge, all three colours.

    Args:
        flat: frame `[3 * H * W]`.
        at: index of q0 in red.
        across: from one pixel of the line to the next.
        plane: from one colour to the next.
        limit: of a change.
        bend: what is bent as much or more, summed over colours, is left alone.
    """
    before = after = ZERO
    one, two, size = np.uint64(across), np.uint64(2 * across), np.uint64(plane)
    p = np.uint64(at)
    for _ in range(3):
        before += flat[p - one - two] - TWO * flat[p - two] + flat[p - one]
        after += flat[p + two] - TWO * flat[p + one] + flat[p]
        p += size
    if abs(before) + abs(after) >= bend:
        return
    p, half = np.uint64(at), limit * HALF
    for _ in range(3):
        p2, p1, p0 = flat[p - one - two], flat[p - two], flat[p - one]
        q0, q1, q2 = flat[p], flat[p + one], flat[p + two]
        change = _bound((NINE * (q0 - p0) - THREE * (q1 - p1)) / SIXTEEN, limit)
        flat[p - two] = p1 + _bound(((p2 + p0) * HALF - p1 + change) * HALF, half)
        flat[p - one] = p0 + change
        flat[p] = q0 - change
        flat[p + one] = q1 + _bound(((q2 + q0) * HALF - q1 - change) * HALF, half)
        p += size


@compiled
def deblock(
    frame: Floats,
    across: NDArray[np.bool_],
    down: NDArray[np.bool_],
    steps: Floats,
    strength: np.float32,
    bend: np.float32,
) -> None:
    """Filter a frame in place, to whole numbers in 0..255.

    Args:
        frame: `[3, H, W]`.
        across: edges between columns `[2h, 2w - 1]`.
        down: edges between rows `[2h - 1, 2w]`.
        steps: of the quantiser `[h, w]`.
        strength: sixteenths of a level for each unit of the step.
        bend: share of the step.
    """
    height, width = frame.shape[1:]
    flat = frame.reshape(frame.size)
    for i in range(across.shape[0]):
        for j in range(across.shape[1]):
            if across[i, j]:
                step = (steps[i // 2, (j + 1) // 2] + steps[i // 2, j // 2]) / TWO
                limit, start = np.floor(strength * step) / SIXTEEN, i * BLOCK * width
                for row in range(BLOCK):
                    at = start + row * width + (j + 1) * BLOCK
                    _smooth(flat, at, 1, height * width, limit, bend * step)
    for i in range(down.shape[0]):
        for j in range(down.shape[1]):
            if down[i, j]:
                step = (steps[(i + 1) // 2, j // 2] + steps[i // 2, j // 2]) / TWO
                limit, start = np.floor(strength * step) / SIXTEEN, (i + 1) * BLOCK * width
                for column in range(BLOCK):
                    at = start + j * BLOCK + column
                    _smooth(flat, at, width, height * width, limit, bend * step)
    for k in range(flat.size):
        flat[k] = min(max(np.rint(flat[k]), ZERO), WHITE)


@loosely
def squared_error(a: Floats, b: Floats) -> np.float64:
    """Sum of squared differences of two frames of whole numbers `[n]`."""
    total = np.float64(0)
    for start in range(0, a.size, 4096):
        part = ZERO
        for k in range(start, min(start + 4096, a.size)):
            part += (a[k] - b[k]) * (a[k] - b[k])
        total += np.float64(part)
    return total
