"""Pixels drawn towards the colours that a game has; whole numbers throughout, so exact everywhere.

Shapes: H W picture, N colours. Colours are 0..255.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relive.compiled import compiled
from relive.kernels.pictures import Floats

Ints = NDArray[np.int32]
CELL = 8
"""Side of the cells that know the colours near them, in levels."""
CELLS = 256 // CELL
NEAR = 8
"""Colours that a pixel is drawn to at most."""
SLOT_BITS = 11
"""Of a table that counts colours: room for several times as many as are counted."""
KNOWN_BITS = 14
"""Of a table of what was drawn before: most pixels have a colour that came already."""
OCTAVE = 16
"""Entries of the table of weights for half the weight."""


@compiled
def find_near(colours: Ints, near: NDArray[np.uint8]) -> None:
    """Find the colours nearest to the middle of every cell.

    Args:
        colours: red, green and blue `[N, 3]`, N >= NEAR.
        near: takes their numbers, the nearest first, of equally near ones the lower number first
            `[CELLS, CELLS, CELLS, NEAR]`.
    """
    best = np.empty(NEAR, np.int64)
    for r in range(CELLS):
        for g in range(CELLS):
            for b in range(CELLS):
                best[:] = 1 << 40
                for n in range(len(colours)):
                    distance = 0
                    for plane, cell in enumerate((r, g, b)):
                        part = 2 * colours[n, plane] - (2 * CELL * cell + CELL - 1)
                        distance += part * part
                    if distance >= best[NEAR - 1]:
                        continue
                    k = NEAR - 1
                    while k > 0 and best[k - 1] > distance:
                        best[k], near[r, g, b, k] = best[k - 1], near[r, g, b, k - 1]
                        k -= 1
                    best[k], near[r, g, b, k] = distance, n


@compiled
def pull(
    frame: Floats,
    colours: Ints,
    near: NDArray[np.uint8],
    weights: Ints,
    halving: int,
    tint: Ints,
    out: Floats,
) -> None:
    """Replace each pixel by the mean of the colours near it, weighted by their distance.

    Args:
        frame: whole numbers `[3, H, W]`.
        colours: as the frame has them, that is tinted, `[N, 3]`.
        near: numbers of colours by cell, from `find_near`, before the tint.
        weights: 2^15 · 2^(-i / OCTAVE).
        halving: log2 of the squared distance that halves the weight of a colour.
        tint: what is left of a colour in 256ths, then 256 times what is added to red, green, blue.
        out: takes the result, whole numbers `[3, H, W]`.
    """
    _, height, width = frame.shape
    cells = np.empty((3, 256), np.int64)  # of values of red, green and blue
    for plane in range(3):
        for value in range(256):
            plain = (256 * value - tint[1 + plane]) // tint[0]
            cells[plane, value] = min(max(plain, 0), 255) // CELL
    distances = np.empty(NEAR, np.int32)
    known, found = np.full(1 << KNOWN_BITS, -1, np.int32), np.empty(1 << KNOWN_BITS, np.int32)
    for i in range(height):
        for j in range(width):
            red, green, blue = (
                np.int32(frame[0, i, j]),
                np.int32(frame[1, i, j]),
                np.int32(frame[2, i, j]),
            )
            own = red << 16 | green << 8 | blue
            slot = np.uint64(own * 40503 >> 8) & np.uint64((1 << KNOWN_BITS) - 1)
            if known[slot] == own:
                out[0, i, j] = found[slot] >> 16
                out[1, i, j] = found[slot] >> 8 & 255
                out[2, i, j] = found[slot] & 255
                continue
            numbers = near[cells[0, red], cells[1, green], cells[2, blue]]
            least = np.int32(1 << 30)
            for k in range(NEAR):
                colour = colours[numbers[k]]
                off = (colour[0] - red, colour[1] - green, colour[2] - blue)
                distances[k] = off[0] * off[0] + off[1] * off[1] + off[2] * off[2]
                least = min(least, distances[k])
            reds, greens, blues, weight = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
            for k in range(NEAR):
                place = ((distances[k] - least) * OCTAVE) >> halving
                if place < len(weights):
                    share, colour = weights[place], colours[numbers[k]]
                    weight += share
                    reds += share * colour[0]
                    greens += share * colour[1]
                    blues += share * colour[2]
            # float64 is exact for numbers this small, and divides faster
            half, once = weight / 2.0, 1.0 * weight
            a = np.int32(np.floor((reds + half) / once))
            b = np.int32(np.floor((greens + half) / once))
            c = np.int32(np.floor((blues + half) / once))
            known[slot], found[slot] = own, a << 16 | b << 8 | c
            out[0, i, j], out[1, i, j], out[2, i, j] = a, b, c


@compiled
def count_colours(picture: Floats, values: Ints, counts: NDArray[np.int64]) -> int:
    """Count how many pixels have which colour, up to as many colours as there is room for.

    Args:
        picture: whole numbers `[3, H, W]`.
        values: takes the colours 0xRRGGBB, as they come `[M]`.
        counts: takes their pixels `[M]`.

    Returns:
        How many colours there are; M + 1 where they are more than M.
    """
    table = np.full(1 << SLOT_BITS, -1, np.int32)
    places = np.empty(1 << SLOT_BITS, np.int32)
    used = 0
    for i in range(picture.shape[1]):
        for j in range(picture.shape[2]):
            value = np.int32(0)
            for plane in range(3):
                value = (value << 8) + np.int32(picture[plane, i, j])
            slot = (value * 40503 >> 8) & (len(table) - 1)
            while table[slot] not in (-1, value):
                slot = (slot + 1) & (len(table) - 1)
            if table[slot] < 0:
                if used == len(values):
                    return used + 1
                table[slot], places[slot] = value, used
                values[used], counts[used] = value, 0
                used += 1
            counts[places[slot]] += 1
    return used


@compiled
def share_near(
    found: Ints, counts: NDArray[np.int64], colours: Ints, kept: int, added: Ints
) -> int:
    """Count the pixels whose colour, give or take 1, is one of a game's colours under a tint.

    Args:
        found: colours of a picture `[M, 3]`.
        counts: pixels of each `[M]`.
        colours: of the game `[N, 3]`.
        kept: of a colour, in 256ths.
        added: to red, green and blue, in 256ths `[3]`.
    """
    hits = 0
    for m in range(len(found)):
        for n in range(len(colours)):
            close = True
            for plane in range(3):
                tinted = (colours[n, plane] * kept + added[plane]) >> 8
                if abs(tinted - found[m, plane]) > 1:
                    close = False
                    break
            if close:
                hits += counts[m]
                break
    return hits
