"""The loops of `palettes.py`: what is around a pixel says which colours are likely.

Pixels go by diagonals, all cubes at once: what is left, above and between is known then.

Shapes: n cubes with a palette, S pixels of a side, P most colours, m pixels of a diagonal.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relive.bitstream.learning import FULL, STEP
from relive.compiled import compiled, inner
from relive.config import CUBE_PX

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
LEFT, ABOVE, CORNER = 3, 2, 1  # weights
ONE, MOST = np.float32(STEP), np.float32(FULL)


@compiled
def context(left: int, above: int, corner: int, y: int, x: int) -> int:
    """Number of a context: pattern of the pixels around (-1 outside), and parity of the place."""
    if x == 0:
        pattern = 0 if y == 0 else 1
    elif y == 0:
        pattern = 2
    elif left == above:
        pattern = 3 if left == corner else 4
    elif left == corner:
        pattern = 5
    else:
        pattern = 6 if above == corner else 7
    return (2 * (y % 2) + x % 2) * 8 + pattern


@inner
def rank_colours(left: int, above: int, corner: int, order: Bytes) -> None:
    """Order colours `[P]`: those around (-1 outside) by weight, then the others as they are."""
    weights = np.zeros(len(order), np.int64)
    if left >= 0:
        weights[left] += LEFT
    if above >= 0:
        weights[above] += ABOVE
    if corner >= 0:
        weights[corner] += CORNER
    place = 0
    for weight in range(LEFT + ABOVE + CORNER, -1, -1):
        for colour in range(len(order)):
            if weights[colour] == weight:
                order[place] = colour
                place += 1


@compiled
def lay_out(
    coded: Bytes,
    wanted: Bytes,
    sizes: Bytes,
    diagonal: int,
    table: Floats,
    order: Bytes,
    contexts: Ints,
    counts: Floats,
    ranks: Ints,
) -> None:
    """Say what comes on a diagonal.

    Args:
        coded: indices so far `[n, S, S]`.
        wanted: what is to be coded `[n, S, S]`; not looked at by a decoder.
        sizes: colours of the cubes `[n]`.
        diagonal: row and column add up to it.
        table: counts of the ranks `[contexts, P]`.
        order: takes the colours of the ranks `[m, P]`.
        contexts: takes numbers of contexts `[m]`.
        counts: takes the counts of the ranks, 0 where there is no such colour `[m, P]`.
        ranks: takes the ranks of what is wanted `[m]`.
    """
    row = 0
    for n in range(len(coded)):
        for y in range(max(0, diagonal - CUBE_PX + 1), min(diagonal, CUBE_PX - 1) + 1):
            x = diagonal - y
            left = int(coded[n, y, x - 1]) if x else -1
            above = int(coded[n, y - 1, x]) if y else -1
            corner = int(coded[n, y - 1, x - 1]) if x and y else -1
            rank_colours(left, above, corner, order[row])
            contexts[row] = context(left, above, corner, y, x)
            for k in range(order.shape[1]):
                counts[row, k] = table[contexts[row], k] if k < sizes[n] else np.float32(0)
                if order[row, k] == wanted[n, y, x]:
                    ranks[row] = k
            row += 1


@compiled
def take(
    ranks: Ints,
    sizes: Bytes,
    diagonal: int,
    order: Bytes,
    contexts: Ints,
    coded: Bytes,
    table: Floats,
) -> bool:
    """Write the indices of a diagonal, and learn; as `lay_out`. False where one is no colour."""
    row = 0
    for n in range(len(coded)):
        for y in range(max(0, diagonal - CUBE_PX + 1), min(diagonal, CUBE_PX - 1) + 1):
            rank = ranks[row]
            if rank >= sizes[n] or order[row, rank] >= sizes[n]:
                return False
            coded[n, y, diagonal - y] = order[row, rank]
            table[contexts[row], rank] += ONE
            row += 1
    for line in table:
        while line.sum() > MOST:
            for k in range(len(line)):
                line[k] = np.ceil(line[k] / np.float32(2))
    return True
