"""The walk over a frame of the enhancement layer, in one kernel; see `detail_walk.py`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relive.bitstream.array_kernel import (
    BAD_WEIGHT,
    DAMAGED,
    DECODES,
    DONE,
    FamilyNets,
    Sink,
    code_array,
    code_plain,
    code_raw,
)
from relive.bitstream.detail import (
    BASE,
    COLOURS,
    MAX_OFFSET,
    MOVED,
    NUM_STEPS,
    OFFSET_UNIT,
)
from relive.bitstream.detail_frame import Frame, Grid, Grids, Nets, Places
from relive.bitstream.detail_layout import STARTS
from relive.bitstream.layout import GROUPS
from relive.bitstream.level_kernel import code_levels, code_signs, set_ends
from relive.bitstream.vector_kernel import class_of, code_vectors
from relive.compiled import compiled, inner

_MODE_ROWS, _SOURCE_ROWS, _SPLIT_ROWS, _OFFSET_ROWS, _END_ROWS = (
    STARTS[name] for name in ("mode", "source", "split", "offset", "end")
)
FIRST = np.int64(0)  # a plain 0 would be compiled apart
_WEIGHT_BITS = np.array([8, 9])  # gain, shift


@inner
def cube_class(step: int, offset: int) -> int:
    """Class of the step of a cube."""
    return class_of(min(max(step + OFFSET_UNIT * offset, 0), NUM_STEPS - 1))


@inner
def _code_grid(
    sink: Sink,
    nets: FamilyNets,
    net: int | np.int64,
    places: Places,
    features: Grid,
    starts: Grid,
    chosen: npt.NDArray[np.bool_],
    values: Grid,
) -> bool:
    """Code a value of every chosen place in place, group after group.

    Args:
        sink: takes or gives the symbols.
        nets: of the family.
        net: number of the net.
        places: the grid.
        features: those of the family before its neighbours `[k, n]`.
        starts: first rows of the blocks of features.
        chosen: places that have a value `[n]`.
        values: `[n]`.
    """
    known, size = len(features), nets.low.shape[2]
    for group in range(GROUPS):
        count = 0
        for k in range(places.bounds[group], places.bounds[group + 1]):
            spot = places.order[k]
            if not chosen[spot]:
                continue
            row = sink.rows[count]
            for f in range(known):
                row[f] = features[f, spot] + starts[f]
            for f in range(3):
                row[known + f] = places.place[f, k] + starts[known + 1 + f]
            for f in range(4):
                near = 2 * size
                if group:
                    near = values[places.around[f, k]] + size * (group == 1)
                row[known + 3 + f] = near + starts[known]
            sink.symbols[count] = values[spot]
            count += 1
        if not count:
            continue
        if not code_array(sink, nets, net, count, known + 7):
            return False
        count = 0
        for k in range(places.bounds[group], places.bounds[group + 1]):
            spot = places.order[k]
            if chosen[spot]:
                values[spot] = sink.symbols[count]
                count += 1
    return True


@inner
def _code_weights(sink: Sink, weights: Grid) -> int:
    """Code in place whether there are weights, and which."""
    given = 0
    for colour in range(COLOURS):
        if weights[colour, 0] or weights[colour, 1]:
            given = 1
    some = code_plain(sink, given, 2)
    if some < 0:
        return DAMAGED
    if some:
        values, bits = np.empty(COLOURS, np.int64), np.empty(COLOURS, np.int64)
        for part in range(2):
            middle = 1 << (_WEIGHT_BITS[part] - 1)
            for k in range(COLOURS):
                bits[k] = _WEIGHT_BITS[part]
                values[k] = 0 if sink.kind == DECODES else weights[k, part] + middle
            if not code_raw(sink, values, bits):
                return DAMAGED
            for k in range(COLOURS):
                weights[k, part] = values[k] - middle
                if abs(weights[k, part]) >= middle:
                    return BAD_WEIGHT
    return DONE


@inner
def _code_modes(sink: Sink, nets: Nets, grids: Grids, frame: Frame, before: Frame) -> bool:
    """Code modes, sources and splits, as far as the frame has them."""
    cubes, number = len(frame.modes), frame.number
    features, chosen = np.empty((4, cubes), np.int64), np.empty(cubes, np.bool_)
    for cube in range(cubes):
        features[0, cube] = before.modes[cube] + 1 if number > 1 else 0
        features[1, cube], features[2, cube] = frame.depths[cube], frame.motion[cube]
        features[3, cube] = class_of(frame.step)
    net = 2 if number == 1 else number % 2
    if not _code_grid(
        sink, nets.mode, net, grids.cubes, features, _MODE_ROWS, frame.plain, frame.modes
    ):
        return False
    if number > 1:
        for cube in range(cubes):
            features[0, cube], features[1, cube] = frame.modes[cube], before.sources[cube]
            features[2, cube] = class_of(frame.step)
            chosen[cube] = frame.modes[cube] != BASE
        if not _code_grid(
            sink, nets.source, FIRST, grids.cubes, features[:3], _SOURCE_ROWS, chosen, frame.sources
        ):
            return False
    for cube in range(cubes):
        features[0, cube], features[1, cube] = frame.modes[cube], class_of(frame.step)
        chosen[cube] = frame.modes[cube] >= MOVED
    return _code_grid(
        sink, nets.split, FIRST, grids.cubes, features[:2], _SPLIT_ROWS, chosen, frame.split
    )


@inner
def _code_copies(sink: Sink, nets: Nets, grids: Grids, frame: Frame) -> bool:
    """Code which cubes of frame 0 are copies, as splits of a mode that is never split."""
    cubes = len(frame.modes)
    features, copied = np.empty((2, cubes), np.int64), np.empty(cubes, np.int64)
    for cube in range(cubes):
        features[0, cube], features[1, cube] = BASE, class_of(frame.step)
        copied[cube] = frame.modes[cube] == MOVED
    if not _code_grid(
        sink, nets.split, FIRST, grids.cubes, features, _SPLIT_ROWS, frame.plain, copied
    ):
        return False
    for cube in range(cubes):
        frame.modes[cube] = MOVED * copied[cube]
    return True


@inner
def _code_ends(
    sink: Sink, nets: FamilyNets, grids: Grids, frame: Frame, before: Frame, colour: int
) -> bool:
    """Code the ends of the blocks of a colour."""
    blocks = len(grids.cube_of)
    if sink.kind != DECODES:
        set_ends(frame.levels[colour], frame.ends[colour])
    features, chosen = np.empty((7, blocks), np.int64), np.empty(blocks, np.bool_)
    for block in range(blocks):
        cube = grids.cube_of[block]
        chosen[block] = frame.plain[cube]
        features[0, block] = before.ends[colour, block] + 1 if frame.number else 0
        features[1, block] = before.around[colour, block]
        features[2, block] = frame.ends[0, block] + 1 if colour else 0
        features[3, block] = frame.ends[1, block] + 1 if colour == 2 else 0
        features[4, block], features[5, block] = frame.modes[cube], frame.depths[cube]
        features[6, block] = cube_class(frame.step, before.offsets[cube])
    net = colour + (COLOURS if frame.number else 0)
    if not _code_grid(
        sink, nets, net, grids.blocks, features, _END_ROWS, chosen, frame.ends[colour]
    ):
        return False
    for block in range(blocks):
        total = 0
        for k in range(4):
            total += frame.ends[colour, grids.direct[k, block]]
        frame.around[colour, block] = total
    return True


@inner
def _code_offsets(sink: Sink, nets: FamilyNets, grids: Grids, frame: Frame, before: Frame) -> bool:
    """Code the offsets of cubes that have levels; the others keep that of the frame before."""
    cubes = len(frame.modes)
    features, chosen = np.empty((4, cubes), np.int64), np.zeros(cubes, np.bool_)
    values = np.empty(cubes, np.int64)
    for cube in range(cubes):
        values[cube] = features[0, cube] = before.offsets[cube] + MAX_OFFSET
        features[1, cube], features[2, cube] = frame.depths[cube], frame.modes[cube]
        features[3, cube] = class_of(frame.step)
    for block in range(len(grids.cube_of)):
        for colour in range(COLOURS):
            if frame.ends[colour, block]:
                chosen[grids.cube_of[block]] = True
    for cube in range(cubes):
        if chosen[cube]:
            values[cube] = frame.offsets[cube] + MAX_OFFSET
    net = min(frame.number, 1)
    if not _code_grid(sink, nets, net, grids.cubes, features, _OFFSET_ROWS, chosen, values):
        return False
    for cube in range(cubes):
        frame.offsets[cube] = values[cube] - MAX_OFFSET
    return True


@compiled
def code_frame(sink: Sink, nets: Nets, grids: Grids, frame: Frame, before: Frame) -> int:
    """Code all of a frame but its palettes.

    Args:
        sink: takes or gives the symbols.
        nets: of all families.
        grids: of the frame.
        frame: is full, or fills up; `ends` are 0, sums around and what is seen come here.
        before: the frame before, all 0 where there is none.

    Returns:
        `DONE`, or what is wrong.
    """
    if frame.number:
        end = _code_weights(sink, frame.weights)
        if end:
            return end
        if not _code_modes(sink, nets, grids, frame, before):
            return DAMAGED
    elif not _code_copies(sink, nets, grids, frame):
        return DAMAGED
    end = code_vectors(sink, nets.vector, grids, frame, before)
    if end:
        return end
    for colour in range(COLOURS):
        if not _code_ends(sink, nets.end, grids, frame, before, colour):
            return DAMAGED
    if not _code_offsets(sink, nets.offset, grids, frame, before):
        return DAMAGED
    classes = np.empty(len(frame.modes), np.int64)
    for cube in range(len(classes)):
        classes[cube] = cube_class(frame.step, frame.offsets[cube])
    spots = np.empty(len(grids.cube_of), np.int64)
    for colour in range(COLOURS):
        count = 0
        for block in range(len(spots)):
            if frame.ends[colour, block]:
                spots[count] = block
                count += 1
        live = spots[:count]
        sizes = np.zeros((count, frame.levels.shape[2]), np.int64)
        net = colour + (COLOURS if frame.number else 0)
        about = frame, before.seen[colour], grids.cube_of, classes
        if not code_levels(sink, nets.level, net, about, colour, live, sizes):
            return DAMAGED
        if not code_signs(sink, live, sizes, frame.levels[colour]):
            return DAMAGED
    return DONE
