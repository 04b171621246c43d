"""Choice of levels by rate and distortion, block by block, in the order of coding.

Shapes: bh bw blocks of 8x8 coefficients.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from relive.bitstream.detail import BLOCK, MAX_LEVEL
from relive.compiled import compiled, inner, loosely
from relive.kernels.pictures import HALF, ONE, Floats

TWO, THREE = np.float32(2), np.float32(3)
MOST = np.float32(4)
"""Sizes beyond count as this among the neighbours of others."""


@inner
def _class(value: np.float32, bounds: Floats) -> int:
    """How many bounds a value exceeds."""
    number = 0
    for bound in bounds:
        if value > bound:
            number += 1
    return number


@inner
def _beside(
    sizes: Floats, i: int, j: int, near: Floats, bounds: Floats, classes: NDArray[np.int64]
) -> None:
    """Classes `[8, 8]` of what is in the blocks to the left and above, smoothed over 3x3.

    Args:
        sizes: whole numbers `[bh, bw, 8, 8]`, so that sums are exact in any order.
        i: row of the block.
        j: its column.
        near: room, zeros at its margins `[2, 10, 10]`.
        bounds: of the classes.
        classes: takes the result.
    """
    nothing, own, across = True, near[0], near[1]
    for k in range(BLOCK):
        for n in range(BLOCK):
            left = min(sizes[i, j - 1, k, n], MOST) if j else np.float32(0)
            total = left + (min(sizes[i - 1, j, k, n], MOST) if i else np.float32(0))
            own[k + 1, n + 1] = total
            nothing &= total == 0
    if nothing:
        classes[:] = _class(np.float32(0), bounds)
        return
    for k in range(BLOCK):
        for n in range(BLOCK):
            across[k + 1, n] = own[k + 1, n] + own[k + 1, n + 1] + own[k + 1, n + 2]
    for k in range(BLOCK):
        high = TWO if k in (0, BLOCK - 1) else THREE
        for n in range(BLOCK):
            total = across[k, n] + across[k + 1, n] + across[k + 2, n]
            count = high * (TWO if n in (0, BLOCK - 1) else THREE)
            classes[k, n] = _class(total / count, bounds)


@inner
def _inside(sizes: Floats, k: int, n: int) -> np.float32:
    """Sizes towards lower frequencies of coefficient k, n, weighted."""
    total = np.float32(0)
    if n > 0:
        total += min(sizes[k, n - 1], MOST)
    if k > 0:
        total += min(sizes[k - 1, n], MOST)
    if n > 0 and k > 0:
        total += HALF * min(sizes[k - 1, n - 1], MOST)
    if n > 1:
        total += HALF * min(sizes[k, n - 2], MOST)
    if k > 1:
        total += HALF * min(sizes[k - 2, n], MOST)
    return total


@loosely
def _greatest(block: Floats) -> np.float32:
    """Greatest size of a coefficient of a block `[64]`."""
    greatest = np.float32(0)
    for k in range(block.size):
        size = abs(block[np.uint64(k)])
        greatest = size if size > greatest else greatest
    return greatest


@inner
def _cost(level: np.float32, size: np.float32, price: np.float32, bits: Floats) -> np.float32:
    """What a level of 1 and more costs where a coefficient has a size, steps squared."""
    some = bits[min(int(level), 3)]
    if level > 3:
        some += np.float32(2 * math.log2(level - 2))
    cost: np.float32 = (level - size) * (level - size) + price * some
    return cost


@compiled
def choose(
    coefficients: Floats,
    steps: Floats,
    table: Floats,
    bounds: tuple[Floats, Floats],
    price: np.float32,
    rounding: np.float32,
    nothing: np.float32,
    levels: Floats,
) -> None:
    """Choose levels: rounded, rounded down, or 0; then the block, or nothing.

    Args:
        coefficients: `[3, bh, bw, 8, 8]`.
        steps: of the quantiser, for every two by two blocks.
        table: bits of the sizes 0, 1, 2 and of 3, see `LevelCosts` `[2, 10, 6, 6, 4]`.
        bounds: of the classes inside a block and beside it.
        price: of a bit, steps squared.
        rounding: added before the fraction is cut.
        nothing: bits of a block without levels.
        levels: takes the result, zeros `[3, bh, bw, 8, 8]`.
    """
    near, sizes = np.zeros((2, 10, 10), np.float32), np.empty((BLOCK, BLOCK), np.float32)
    chosen, classes = np.zeros(coefficients.shape[1:], np.float32), np.empty((8, 8), np.int64)
    first = _class(np.float32(0), bounds[0])
    for colour in range(coefficients.shape[0]):
        chosen[:] = 0
        for i in range(coefficients.shape[1]):
            for j in range(coefficients.shape[2]):
                block, scale = coefficients[colour, i, j], ONE / steps[i // 2, j // 2]
                if _greatest(block.reshape(block.size)) * scale + rounding < ONE:
                    continue
                empty = price * nothing
                for k in range(BLOCK):
                    for n in range(BLOCK):
                        sizes[k, n] = abs(block[k, n]) * scale
                        empty += sizes[k, n] * sizes[k, n]
                _beside(chosen, i, j, near, bounds[1], classes)
                own, total, some = chosen[i, j], np.float32(0), False
                for k in range(BLOCK):
                    for n in range(BLOCK):
                        size = sizes[k, n]
                        inside = _class(_inside(own, k, n), bounds[0]) if some else first
                        bits = table[min(colour, 1), min(k + n, 9), inside, classes[k, n]]
                        best, least = np.float32(0), size * size + price * bits[0]
                        top = min(np.floor(size + rounding), np.float32(MAX_LEVEL))
                        if top >= ONE:
                            for tried in (top - ONE, top):
                                if tried >= ONE:
                                    cost = _cost(tried, size, price, bits)
                                    if cost < least:
                                        best, least = tried, cost
                        some = some or bool(best > 0)
                        own[k, n] = best
                        total += least
                if total < empty:
                    for k in range(BLOCK):
                        for n in range(BLOCK):
                            sign = ONE if block[k, n] > 0 else -ONE
                            levels[colour, i, j, k, n] = sign * own[k, n]
                else:
                    own[:] = 0
