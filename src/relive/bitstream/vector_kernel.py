"""Vectors of a frame of the enhancement layer; see `detail_walk.py`."""

from __future__ import annotations

import numpy as np

from relive.bitstream.array_kernel import (
    BAD_VECTOR,
    DAMAGED,
    DECODES,
    DONE,
    FamilyNets,
    Sink,
    code_array,
    code_raw,
)
from relive.bitstream.detail import BASE, MAX_VECTOR, MOVED
from relive.bitstream.detail_frame import Frame, Grid, Grids
from relive.bitstream.detail_layout import STARTS, STEP_CLASSES, VECTOR_CLASSES
from relive.bitstream.layout import GROUPS
from relive.compiled import inner

_ROWS = STARTS["vector"]
_SPREADS = np.array([1, 2, 5, 13, 33])


@inner
def class_of(step: int) -> int:
    """Class of a quantiser step."""
    return min(step // 4, STEP_CLASSES - 1)


@inner
def _spread(near: Grid, axis: int) -> tuple[int, int]:
    """Middle of the two middle ones of four vectors, and the class of what they differ by."""
    least = most = total = near[0, axis]
    for k in range(1, 4):
        value = near[k, axis]
        least, most, total = min(least, value), max(most, value), total + value
    kind = 0
    for bound in _SPREADS:
        if most - least >= bound:
            kind += 1
    return (total - least - most) >> 1, kind


@inner
def _bits_of(symbol: int) -> int:
    """Number of raw bits behind a class of vectors."""
    return max((symbol + 1) // 2 - 1, 0)


@inner
def _code_near(
    sink: Sink, nets: FamilyNets, near: Grid, about: Grid, step: int, group: int, vectors: Grid
) -> int:
    """Code vectors in place as differences from the middle of those near.

    Args:
        sink: takes or gives the symbols.
        nets: of the family.
        near: four for each `[n, 4, 2]`.
        about: modes `[n]`.
        step: class of the frame's step.
        group: its number.
        vectors: `[n, 2]`.
    """
    count, starts = len(vectors), _ROWS
    first = np.full(count, VECTOR_CLASSES)
    middles, raw, bits = (
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count, np.int64),
    )
    for axis in range(2):
        for n in range(count):
            middles[n], kind = _spread(near[n], axis)
            row = sink.rows[n]
            row[0], row[1] = kind + starts[0], first[n] + starts[1]
            row[2], row[3] = about[n] + starts[2], step + starts[3]
            row[4] = group + starts[4]
            difference = vectors[n, axis] - middles[n]
            size, length = abs(difference), 0
            while size >> length:
                length += 1
            sink.symbols[n] = 2 * length - (difference > 0) if length else 0
            raw[n] = size
        if not code_array(sink, nets, axis, count, len(_ROWS) - 1):
            return DAMAGED
        for n in range(count):
            first[n] = sink.symbols[n]
            bits[n] = _bits_of(first[n])
            base = 1 << bits[n] if first[n] else 0
            raw[n] = 0 if sink.kind == DECODES else raw[n] - base
        if not code_raw(sink, raw, bits):
            return DAMAGED
        for n in range(count):
            size = (1 << bits[n]) + raw[n] if first[n] else 0
            vectors[n, axis] = middles[n] + (size if first[n] % 2 else -size)
            if abs(vectors[n, axis]) > MAX_VECTOR:
                return BAD_VECTOR
    return DONE


@inner
def code_vectors(sink: Sink, nets: FamilyNets, grids: Grids, frame: Frame, before: Frame) -> int:
    """Code a vector for every moved cube, then those of the other blocks of split ones."""
    cubes, step = len(frame.modes), class_of(frame.step)
    vectors, wanted = np.empty((cubes, 2), np.int64), frame.vectors.copy()
    near, part = np.empty((cubes, 4, 2), np.int64), np.empty((cubes, 2), np.int64)
    about, spots = np.empty((2, cubes), np.int64)
    for cube in range(cubes):
        vectors[cube] = frame.vectors[grids.parts[0, cube]]
    for group in range(GROUPS):
        count = 0
        for k in range(grids.cubes.bounds[group], grids.cubes.bounds[group + 1]):
            spot = grids.cubes.order[k]
            if frame.modes[spot] < MOVED:
                continue
            for f in range(4):
                if group:
                    near[count, f] = vectors[grids.cubes.around[f, k]]
                else:
                    near[count, f] = before.vectors[grids.parts[0, spot]]
            about[count] = frame.modes[spot] if frame.number else BASE
            part[count], spots[count] = vectors[spot], spot
            count += 1
        if count:
            end = _code_near(sink, nets, near, about, step, group, part[:count])
            if end:
                return end
        for n in range(count):
            vectors[spots[n]] = part[n]
    for cube in range(cubes):
        for k in range(4):
            frame.vectors[grids.parts[k, cube]] = vectors[cube]
    for k in range(1, 4):
        count = 0
        for cube in range(cubes):
            if frame.split[cube]:
                block = grids.parts[k, cube]
                for f in range(4):
                    near[count, f] = frame.vectors[grids.direct[f, block]]
                about[count], part[count], spots[count] = frame.modes[cube], wanted[block], block
                count += 1
        if count:
            end = _code_near(sink, nets, near, about, step, GROUPS - 1, part[:count])
            if end:
                return end
        for n in range(count):
            frame.vectors[spots[n]] = part[n]
    return DONE
