"""The order in which the enhancement layer of a GOP is coded: one class for both directions.

    frame ─► modes ─► vectors ─► ends of blocks, by colour ─► offsets ─► by colour: levels, by band

Modes, vectors, ends and offsets go in groups A ► B ► C (`grid.py`), levels of a band all at once.
The codes of the base tier are known before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import Ints
from relive.bitstream.detail import (
    BAND_MEMBERS,
    BLOCK,
    COLOURS,
    ESCAPE,
    MAX_OFFSET,
    MAX_VECTOR,
    MOVED,
    NUM_BANDS,
    NUM_STEPS,
    OFFSET_UNIT,
    GopDetail,
)
from relive.bitstream.detail_layout import (
    DEPTHS,
    FAMILIES,
    MOTIONS,
    OFFSETS,
    STARTS,
    SUMS,
    VECTOR_CLASSES,
    around,
    join_vector,
    place_rows,
    split_vector,
    spread_class,
    step_class,
    vector_bits,
)
from relive.bitstream.detail_places import LOWER, Places, ends_of
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.grid import Group, direct_neighbours
from relive.errors import FormatError

Rows = npt.NDArray[np.int64]
Grid = npt.NDArray[np.int64]
RAW_BITS = 6


class DetailModel(Protocol):
    """What the walk drives."""

    def code(self, family: str, net: int, rows: Rows, symbols: Ints) -> Ints:
        """Code int32 symbols `[n]` with a net, given their feature rows `[features, n]`."""
        ...

    def raw(self, symbols: Ints, ways: int) -> Ints:
        """Code int32 symbols `[n]` below `ways`, all equally likely."""
        ...


def walk_detail(model: DetailModel, detail: GopDetail, codes: GopCodes) -> GopDetail:
    """Code the layer of a GOP through a model and return what was coded.

    Args:
        model: encodes, decodes or collects.
        detail: what is to be coded; for a decoder its `steps`, `strengths` and shapes alone.
        codes: of the base tier.
    """
    frames, h, w = detail.modes.shape
    walk = DetailWalk(model, h, w)
    coded = GopDetail.empty(frames, h, w)
    for step in range(frames // 2):
        walk.step(detail.part(step), codes.part(step), coded.part(step))
    return coded


def _wide(values: npt.NDArray[np.uint8], highest: int) -> Grid:
    return np.minimum(values.reshape(-1).astype(np.int64), highest)


@dataclass(frozen=True)
class _Frame:
    """One frame on the way: its arrays are full, or fill up."""

    number: int
    step: int  # number of the quantiser step
    offsets: Grid  # of cubes [cubes]
    depths: Grid  # of the base tier [cubes]
    motion: Grid  # [cubes]
    modes: Grid  # [cubes]
    vectors: Grid  # [cubes, 2]
    levels: npt.NDArray[np.int16]  # [colours, blocks, 64]


class DetailWalk:
    """Codes the layer of one GOP, a step at a time, and remembers the frame before.

    With `delta` it begins as after a keyframe of zeros.
    """

    def __init__(self, model: DetailModel, h: int, w: int, *, delta: bool = False) -> None:
        self._model = model
        self._cubes, self._blocks = Places.of(h, w), Places.of(2 * h, 2 * w)
        self._direct = direct_neighbours(2 * h, 2 * w)
        y, x = np.divmod(np.arange(4 * h * w), 2 * w)
        self._cube_of = (y // 2) * w + x // 2
        self._number = 2 if delta else 0
        # of the frame before
        self._offsets = np.zeros(h * w, np.int64)
        self._modes = np.zeros(h * w, np.int64)
        self._vectors = np.zeros((h * w, 2), np.int64)
        self._ends = np.zeros((COLOURS, 4 * h * w), np.int64)
        self._around = np.zeros_like(self._ends)  # sums of the ends of the direct neighbours
        self._seen = np.zeros((COLOURS, 4 * h * w, BLOCK * BLOCK), np.uint8)  # 1 + size; 0: none

    def step(self, detail: GopDetail, codes: GopCodes, coded: GopDetail) -> None:
        """Code the two frames of the next step.

        Args:
            detail: of this step alone; for a decoder its `steps`, `strengths` and shapes alone.
            codes: of this step alone.
            coded: takes what was coded.
        """
        coded.steps[:], coded.strengths[:] = detail.steps, detail.strengths
        coded.levels[:] = detail.levels
        for row in range(len(detail.steps)):
            frame = _Frame(
                self._number,
                int(detail.steps[row]),
                detail.offsets[row].reshape(-1).astype(np.int64),
                _wide(codes.depths[0], DEPTHS - 1),
                _wide(codes.motion[0, 0], MOTIONS - 1),
                detail.modes[row].reshape(-1).astype(np.int64),
                detail.vectors[row].reshape(-1, 2).astype(np.int64),
                coded.levels[row].reshape(COLOURS, -1, BLOCK * BLOCK),
            )
            self._frame(frame)
            coded.offsets[row] = frame.offsets.reshape(coded.offsets.shape[1:])
            coded.modes[row] = frame.modes.reshape(coded.modes.shape[1:])
            coded.vectors[row] = frame.vectors.reshape(coded.vectors.shape[1:])
            self._number += 1

    def _frame(self, frame: _Frame) -> None:
        """Code all of a frame."""
        if frame.number:
            self._code_modes(frame)
            self._code_vectors(frame)
        ends, around = np.zeros_like(self._ends), np.zeros_like(self._around)
        seen = np.ones_like(self._seen)
        for colour in range(COLOURS):
            ends[colour] = ends_of(frame.levels[colour])
            self._code_ends(frame, colour, ends)
            around[colour] = ends[colour][self._direct].sum(axis=0)
        self._code_offsets(frame, ends)
        for colour in range(COLOURS):
            live = np.flatnonzero(ends[colour])
            history = (self._seen[colour], *(seen[:colour]))
            sizes = self._code_levels(frame, colour, live, (ends, around), history)
            seen[colour, live] = np.minimum(sizes, 3) + 1
            self._code_signs(live, sizes, frame.levels[colour])
        self._modes, self._vectors, self._offsets = frame.modes, frame.vectors, frame.offsets
        self._ends, self._around, self._seen = ends, around, seen

    def _code_grid(
        self, name: tuple[str, int], places: Places, values: Grid, features: list[Grid]
    ) -> None:
        """Code a value of every place, group after group.

        Args:
            name: family and number of the net.
            places: the grid.
            values: `[n]`.
            features: `[n]` each, those of the family before its neighbours.
        """
        (family, net), count = name, len(features)
        starts = STARTS[family][:, None]
        rows = np.empty((count + 7, len(places.order)), np.int64)
        rows[:count] = np.stack(features)[:, places.order] + starts[:count]
        rows[count : count + 3] = places.place + starts[count + 1 : count + 4]
        begin = 0
        for index, group in enumerate(places.groups):
            here = rows[:, begin : begin + len(group.cubes)]
            here[-4:] = around(values, FAMILIES[family].size, index, group) + starts[count]
            given = values[group.cubes].astype(np.int32)
            values[group.cubes] = self._model.code(family, net, here, given)
            begin += len(group.cubes)

    def _code_modes(self, frame: _Frame) -> None:
        net = 2 if frame.number == 1 else frame.number % 2
        before = self._modes + 1 if frame.number > 1 else np.zeros_like(self._modes)
        step = np.full_like(before, step_class(frame.step))
        features = [before, frame.depths, frame.motion, step]
        self._code_grid(("mode", net), self._cubes, frame.modes, features)

    def _code_vectors(self, frame: _Frame) -> None:
        vectors, moved = frame.vectors, frame.modes >= MOVED
        for index, every in enumerate(self._cubes.groups):
            inside = moved[every.cubes]
            cubes = every.cubes[inside]
            if not len(cubes):
                continue
            near = vectors[every.around[:, inside]] if index else self._vectors[cubes][None]
            near = np.broadcast_to(near, (4, len(cubes), 2))
            middle = np.sort(near, axis=0)[1:3].sum(axis=0) >> 1
            first = np.full(len(cubes), VECTOR_CLASSES)
            for axis in range(2):
                rows = place_rows(
                    "vector",
                    [
                        spread_class(near[:, :, axis]),
                        first,
                        frame.modes[cubes],
                        np.full(len(cubes), step_class(frame.step)),
                        np.full(len(cubes), index),
                    ],
                )
                symbols, raw = split_vector(vectors[cubes, axis] - middle[:, axis])
                coded = self._model.code("vector", axis, rows, symbols.astype(np.int32))
                first = coded.astype(np.int64)
                raw = self._raw(raw, vector_bits(first))
                vectors[cubes, axis] = join_vector(first, raw) + middle[:, axis]
        if int(np.abs(vectors).max()) > MAX_VECTOR:
            raise FormatError(f"enhancement packet: a vector exceeds {MAX_VECTOR}")

    def _code_ends(self, frame: _Frame, colour: int, ends: Grid) -> None:
        now, old = ends[colour], self._ends[colour]
        none = np.zeros_like(now)
        features = [
            old + 1 if frame.number else none,
            self._around[colour],
            ends[0] + 1 if colour else none,
            ends[1] + 1 if colour == 2 else none,
            frame.modes[self._cube_of],
            frame.depths[self._cube_of],
            _classes(frame.step, self._offsets)[self._cube_of],
        ]
        self._code_grid(("end", _net(frame, colour)), self._blocks, now, features)

    def _code_offsets(self, frame: _Frame, ends: Grid) -> None:
        """Code the offsets of cubes that have levels; the others keep that of the frame before."""
        has = np.zeros(len(frame.offsets), np.bool_)
        has[self._cube_of[ends.any(axis=0)]] = True
        before = self._offsets + MAX_OFFSET
        now = np.where(has, frame.offsets + MAX_OFFSET, before)
        step = np.full_like(now, step_class(frame.step))
        features = np.stack([before, frame.depths, frame.modes, step])
        places = self._cubes.place_of()
        for index, every in enumerate(self._cubes.groups):
            inside = has[every.cubes]
            group = Group(every.cubes[inside], every.around[:, inside])
            here = group.cubes
            if not len(here):
                continue
            near = around(now, OFFSETS, index, group)
            rows = place_rows("offset", [*features[:, here], near, *places[:, here]])
            symbols = now[here].astype(np.int32)
            now[here] = self._model.code("offset", min(frame.number, 1), rows, symbols)
        frame.offsets[:] = now - MAX_OFFSET

    def _code_levels(
        self,
        frame: _Frame,
        colour: int,
        live: Grid,
        ends_around: tuple[Grid, Grid],
        history: tuple[npt.NDArray[np.uint8], ...],
    ) -> Grid:
        """Code the sizes of a colour, up to the escape, band by band.

        Args:
            frame: at hand.
            colour: of it.
            live: blocks whose end is not 0 `[n]`.
            ends_around: ends, and sums of those around `[colours, blocks]` each.
            history: 1 + sizes of the frame before and of the colours before `[blocks, 64]` each.

        Returns:
            Sizes int64 `[n, 64]`.
        """
        cubes = self._cube_of[live]
        ends, around = (of[colour, live] for of in ends_around)
        beside = np.minimum(around // 2, 2 * NUM_BANDS)
        step = _classes(frame.step, frame.offsets)[cubes]
        blocks = np.stack([ends, beside, frame.modes[cubes], frame.depths[cubes], step])
        start = STARTS["level"][:-1, None, None]
        blocks += start[[1, 4, 8, 9, 10], 0]
        before = np.zeros((3, len(live), BLOCK * BLOCK), np.uint8)
        for place, seen in enumerate(history):
            before[place] = seen[live]
        sizes = np.minimum(np.abs(frame.levels[colour, live].astype(np.int64)), ESCAPE)
        known = np.zeros(sizes.shape, np.float32)  # at most 3
        for band, members in enumerate(BAND_MEMBERS):
            here = np.flatnonzero(ends > band)
            if not len(here):
                break
            chosen = here[:, None], members
            sums = np.minimum(known[here] @ LOWER[band], SUMS - 1)
            rows = np.empty((len(start), len(here), len(members)), np.int64)
            rows[:5] = blocks[:, here, None]
            rows[5] = sums[:, -1:]
            rows[6] = sums[:, :-1]
            rows[7] = members
            rows[8:] = before[:, *chosen]
            rows[5:] += start[[3, 2, 0, 5, 6, 7]]
            coded = self._model.code(
                "level",
                _net(frame, colour),
                rows.reshape(len(start), -1),
                sizes[chosen].reshape(-1).astype(np.int32),
            ).reshape(len(here), -1)
            sizes[chosen] = coded
            known[chosen] = np.minimum(coded, 3)
        return np.asarray(sizes)

    def _code_signs(self, live: Grid, sizes: Grid, levels: npt.NDArray[np.int16]) -> None:
        """Code what is left of the levels: what lies beyond the escape, and signs.

        Args:
            live: blocks that have levels `[n]`.
            sizes: of these `[n, 64]`.
            levels: of all blocks `[blocks, 64]`.
        """
        rows, columns = np.nonzero(sizes)
        given = levels[live[rows], columns].astype(np.int64)
        size = sizes[rows, columns]
        far = size == ESCAPE
        if far.any():
            beyond = np.maximum(np.abs(given[far]) - ESCAPE, 0)
            size[far] += self._raw(beyond, np.full(len(beyond), 2 * RAW_BITS))
        negative = self._model.raw((given < 0).astype(np.int32), 2)
        levels[live[rows], columns] = np.where(negative == 1, -size, size)

    def _raw(self, values: Grid, bits: Grid) -> Grid:
        """Code values below 2^bits, at most `RAW_BITS` bits at a time, low bits first."""
        out = np.zeros_like(values)
        for shift in range(0, int(bits.max(initial=0)), RAW_BITS):
            left = np.clip(bits - shift, 0, RAW_BITS)
            for width in np.flatnonzero(np.bincount(left)[1:]) + 1:
                mine = left == width
                part = (values[mine] >> shift) & ((1 << int(width)) - 1)
                coded = self._model.raw(part.astype(np.int32), 1 << int(width))
                out[mine] |= coded.astype(np.int64) << shift
        return out


def _classes(step: int, offsets: Grid) -> Grid:
    """Classes of the steps of cubes."""
    return step_class(np.clip(step + OFFSET_UNIT * offsets, 0, NUM_STEPS - 1))


def _net(frame: _Frame, colour: int) -> int:
    """Number of the net of ends and levels."""
    return (COLOURS if frame.number else 0) + colour
