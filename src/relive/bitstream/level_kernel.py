"""Levels of the blocks of a colour, band by band, and their signs; see `detail_walk.py`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relive.bitstream.array_kernel import (
    DECODES,
    RAW_BITS,
    FamilyNets,
    Sink,
    code_array,
    code_plain,
    code_raw,
)
from relive.bitstream.detail import BAND_MEMBERS, BAND_OF, BLOCK, ESCAPE, NUM_BANDS
from relive.bitstream.detail_frame import Bytes, Frame, Grid
from relive.bitstream.detail_layout import STARTS, SUMS
from relive.compiled import compiled, inner

_ROWS = STARTS["level"]
_MEMBERS = np.concatenate([np.asarray(members) for members in BAND_MEMBERS])
_FIRST = np.cumsum([0, *(len(members) for members in BAND_MEMBERS)])
_BAND_OF = np.asarray(BAND_OF).reshape(-1).astype(np.int64)
MOST_MEMBERS = max(len(members) for members in BAND_MEMBERS)
SEEN = 3
"""Sizes beyond count as this among what is known of a block."""


def _lower() -> Grid:
    """Numbers of the coefficients towards lower frequencies of each of `_MEMBERS`; -1: no more."""
    row, column = np.divmod(np.arange(BLOCK * BLOCK), BLOCK)
    down, right = (place[_MEMBERS, None] - place[None, :] for place in (row, column))
    near = (down >= 0) & (right >= 0) & (down + right >= 1) & (down + right <= 2)
    found = np.full((len(near), int(near.sum(1).max())), -1)
    for own, line in zip(found, near, strict=True):
        own[: line.sum()] = np.flatnonzero(line)
    return found


_LOWER = _lower()


@inner
def set_ends(levels: npt.NDArray[np.int16], ends: Grid) -> None:
    """Bands up to the last one with a level, `[blocks, 64]` to `[blocks]`."""
    for block in range(len(levels)):
        end = 0
        for cell in range(levels.shape[1]):
            if levels[block, cell]:
                end = max(end, _BAND_OF[cell] + 1)
        ends[block] = end


@inner
def code_levels(
    sink: Sink,
    nets: FamilyNets,
    net: int,
    about: tuple[Frame, Bytes, Grid, Grid],
    colour: int,
    live: Grid,
    sizes: Grid,
) -> bool:
    """Code the sizes of a colour, up to the escape, band by band.

    Args:
        sink: takes or gives the symbols.
        nets: of the family.
        net: number of the net.
        about: the frame; `seen` of the colour in the frame before; the cubes of blocks; classes of
            the steps of cubes.
        colour: of the frame.
        live: blocks whose end is not 0 `[n]`.
        sizes: takes their sizes, zeros `[n, 64]`.
    """
    frame, old, cube_of, classes = about
    levels, ends = frame.levels[colour], frame.ends[colour]
    cells = sizes.shape[1]
    known, block = np.zeros(sizes.shape, np.int64), np.empty((len(live), 5), np.int64)
    for n in range(len(live)):
        spot = live[n]
        cube = cube_of[spot]
        beside = min(frame.around[colour, spot] // 2, 2 * NUM_BANDS)
        block[n, 0], block[n, 1] = ends[spot] + _ROWS[1], beside + _ROWS[4]
        block[n, 2], block[n, 3] = frame.modes[cube] + _ROWS[8], frame.depths[cube] + _ROWS[9]
        block[n, 4] = classes[cube] + _ROWS[10]
    for band in range(NUM_BANDS):
        count = 0
        for n in range(len(live)):
            if ends[live[n]] <= band:
                continue
            spot, whole = live[n], 0
            for cell in range(cells):
                whole += known[n, cell]
            for k in range(_FIRST[band], _FIRST[band + 1]):
                member, near = _MEMBERS[k], 0
                for one in _LOWER[k]:
                    if one >= 0:
                        near += known[n, one]
                row = sink.rows[count]
                for f in range(5):
                    row[f] = block[n, f]
                row[5] = min(whole, SUMS - 1) + _ROWS[3]
                row[6] = min(near, SUMS - 1) + _ROWS[2]
                row[7] = member + _ROWS[0]
                row[8] = old[spot, member] + _ROWS[5]
                row[9] = (frame.seen[0, spot, member] if colour else 0) + _ROWS[6]
                row[10] = (frame.seen[1, spot, member] if colour == 2 else 0) + _ROWS[7]
                sink.symbols[count] = min(abs(int(levels[spot, member])), ESCAPE)
                count += 1
        if not count:
            break
        if not code_array(sink, nets, net, count, len(_ROWS) - 1):
            return False
        count = 0
        for n in range(len(live)):
            if ends[live[n]] > band:
                for k in range(_FIRST[band], _FIRST[band + 1]):
                    size = sink.symbols[count]
                    sizes[n, _MEMBERS[k]], known[n, _MEMBERS[k]] = size, min(size, SEEN)
                    count += 1
    for n in range(len(live)):
        for cell in range(cells):
            frame.seen[colour, live[n], cell] = known[n, cell] + 1
    return True


@inner
def code_signs(sink: Sink, live: Grid, sizes: Grid, levels: npt.NDArray[np.int16]) -> bool:
    """Code what is left of the levels: what lies beyond the escape, and signs.

    Args:
        sink: takes or gives the symbols.
        live: blocks that have levels `[n]`.
        sizes: of these `[n, 64]`, changed.
        levels: of all blocks `[blocks, 64]`, changed.
    """
    far = 0
    for size in sizes.flat:
        far += size == ESCAPE
    if far:
        beyond, bits = np.zeros(far, np.int64), np.full(far, 2 * RAW_BITS)
        far = 0
        for n in range(len(live)):
            for cell in range(sizes.shape[1]):
                if sizes[n, cell] == ESCAPE:
                    if sink.kind != DECODES:
                        beyond[far] = max(abs(int(levels[live[n], cell])) - ESCAPE, 0)
                    far += 1
        if not code_raw(sink, beyond, bits):
            return False
        far = 0
        for n in range(len(live)):
            for cell in range(sizes.shape[1]):
                if sizes[n, cell] == ESCAPE:
                    sizes[n, cell] += beyond[far]
                    far += 1
    for n in range(len(live)):
        for cell in range(sizes.shape[1]):
            size = sizes[n, cell]
            if size:
                negative = code_plain(sink, int(levels[live[n], cell] < 0), 2)
                if negative < 0:
                    return False
                levels[live[n], cell] = -size if negative else size
    return True


@compiled
def scan_levels(levels: npt.NDArray[np.int16], coded: npt.NDArray[np.bool_]) -> int:
    """Look over the levels of frames.

    Args:
        levels: `[F, 3, 2h, 2w, 64]`.
        coded: takes which cubes have any other than 0, `[F, h, w]`.

    Returns:
        The greatest size of a level.
    """
    greatest = np.int64(0)
    frames, colours, rows, columns, cells = levels.shape
    for frame in range(frames):
        coded[frame] = False
        for colour in range(colours):
            for row in range(rows):
                for column in range(columns):
                    least, most = np.int16(0), np.int16(0)
                    block = levels[frame, colour, row, column]
                    for cell in range(cells):
                        least, most = min(least, block[cell]), max(most, block[cell])
                    if least != 0 or most != 0:
                        coded[frame, row // 2, column // 2] = True
                        greatest = max(greatest, np.int64(most), -np.int64(least))
    return int(greatest)
