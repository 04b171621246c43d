"""The order in which the enhancement layer of a GOP is coded: one class for both directions.

    frame ─► weights ─► modes, sources, splits ─► vectors ─► ends of blocks, by colour
          ─► offsets ─► by colour: levels, by band        (of frame 0: copies ─► vectors …)

Modes, vectors, ends and offsets go in groups A ► B ► C (`grid.py`), levels of a band all at once.
The codes of the base tier are known before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relive.bitstream.detail import (
    BAND_MEMBERS,
    BASE,
    BLOCK,
    COLOURS,
    ESCAPE,
    MAX_OFFSET,
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
    STARTS,
    SUMS,
    around,
    step_class,
)
from relive.bitstream.detail_places import LOWER, Places, ends_of
from relive.bitstream.detail_vectors import RAW_BITS, DetailModel, code_near, code_raw, code_weights
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.grid import direct_neighbours
from relive.bitstream.layout import GROUPS
from relive.bitstream.palettes import PaletteCoder

SETTINGS = ("steps", "strengths", "unfiltered", "pulls", "tints")
"""What a packet says of frames before its symbols."""
Rows = npt.NDArray[np.int64]
Grid = npt.NDArray[np.int64]


def walk_detail(model: DetailModel, detail: GopDetail, codes: GopCodes) -> GopDetail:
    """Code the layer of a GOP through a model and return what was coded.

    Args:
        model: encodes, decodes or collects.
        detail: what is to be coded; for a decoder its `SETTINGS` and shapes alone.
        codes: of the base tier.
    """
    frames, h, w = detail.modes.shape
    walk = DetailWalk(model, h, w, palettes=detail.has_palettes)
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
    weights: Grid  # [colours, 2]
    modes: Grid  # [cubes]
    sources: Grid  # [cubes]
    split: Grid  # [cubes]
    vectors: Grid  # [blocks, 2]
    levels: npt.NDArray[np.int16]  # [colours, blocks, 64]
    plain: npt.NDArray[np.bool_]  # cubes without a palette [cubes]

    def only(self, chosen: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.bool_] | None:
        """Of the cubes chosen those without a palette; None for all."""
        if self.plain.all():
            return chosen
        return self.plain if chosen is None else self.plain & chosen


class DetailWalk:
    """Codes the layer of one GOP, a step at a time, and remembers the frame before.

    With `delta` it begins as after a keyframe of zeros; with `palettes` cubes may have some.
    """

    def __init__(
        self, model: DetailModel, h: int, w: int, *, delta: bool = False, palettes: bool = False
    ) -> None:
        self._model = model
        self._palettes = PaletteCoder(h, w) if palettes else None
        self._cubes, self._blocks = Places.of(h, w), Places.of(2 * h, 2 * w)
        self._direct = direct_neighbours(2 * h, 2 * w)
        y, x = np.divmod(np.arange(4 * h * w), 2 * w)
        self._cube_of = (y // 2) * w + x // 2
        self._number = 2 if delta else 0
        self._parts = np.argsort(self._cube_of, kind="stable").reshape(-1, 4).T  # [4, cubes]
        # of the frame before
        self._offsets = np.zeros(h * w, np.int64)
        self._modes = np.zeros(h * w, np.int64)
        self._sources = np.zeros(h * w, np.int64)
        self._vectors = np.zeros((h * w, 2), np.int64)
        self._ends = np.zeros((COLOURS, 4 * h * w), np.int64)
        self._around = np.zeros_like(self._ends)  # sums of the ends of the direct neighbours
        self._seen = np.zeros((COLOURS, 4 * h * w, BLOCK * BLOCK), np.uint8)  # 1 + size; 0: none

    def step(self, detail: GopDetail, codes: GopCodes, coded: GopDetail) -> None:
        """Code the two frames of the next step.

        Args:
            detail: of this step alone; for a decoder its `SETTINGS` and shapes alone.
            codes: of this step alone.
            coded: takes what was coded.
        """
        for name in SETTINGS:
            getattr(coded, name)[:] = getattr(detail, name)
        coded.levels[:] = detail.levels
        for row in range(len(detail.steps)):
            flat = [getattr(coded, name)[row] for name in ("palettes", "colours", "indices")]
            if self._palettes is not None:
                for name, part in zip(("palettes", "colours", "indices"), flat, strict=True):
                    part[:] = getattr(detail, name)[row]
                self._palettes.code(self._model, *flat)
            frame = _Frame(
                self._number,
                int(detail.steps[row]),
                detail.offsets[row].reshape(-1).astype(np.int64),
                _wide(codes.depths[0], DEPTHS - 1),
                _wide(codes.motion[0, 0], MOTIONS - 1),
                detail.weights[row].astype(np.int64),
                detail.modes[row].reshape(-1).astype(np.int64),
                detail.sources[row].reshape(-1).astype(np.int64),
                detail.split[row].reshape(-1).astype(np.int64),
                detail.vectors[row].reshape(-1, 2).astype(np.int64),
                coded.levels[row].reshape(COLOURS, -1, BLOCK * BLOCK),
                flat[0].reshape(-1) == 0,
            )
            self._frame(frame)
            coded.weights[row] = frame.weights
            for name in ("offsets", "modes", "sources", "split", "vectors"):
                whole = getattr(coded, name)[row]
                whole[:] = getattr(frame, name).reshape(whole.shape)
            self._number += 1

    def _frame(self, frame: _Frame) -> None:
        """Code all of a frame."""
        if frame.number:
            code_weights(self._model, frame.weights)
            self._code_modes(frame)
            if frame.number > 1:
                self._code_sources(frame)
            self._code_splits(frame)
            self._code_vectors(frame)
        else:
            self._code_copies(frame)
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
        self._modes, self._sources, self._offsets = frame.modes, frame.sources, frame.offsets
        self._vectors = frame.vectors[self._parts[0]] * min(frame.number, 1)
        self._ends, self._around, self._seen = ends, around, seen

    def _code_grid(
        self,
        name: tuple[str, int],
        places: Places,
        values: Grid,
        features: list[Grid],
        chosen: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Code a value of every place, group after group.

        Args:
            name: family and number of the net.
            places: the grid.
            values: `[n]`.
            features: `[n]` each, those of the family before its neighbours.
            chosen: places that have a value; without it all.
        """
        (family, net), count = name, len(features)
        starts = STARTS[family][:, None]
        rows = np.empty((count + 7, len(places.order)), np.int64)
        rows[:count] = np.stack(features)[:, places.order] + starts[:count]
        rows[count : count + 3] = places.place + starts[count + 1 : count + 4]
        begin = 0
        for index, every in enumerate(places.groups):
            here = rows[:, begin : begin + len(every.cubes)]
            begin += len(every.cubes)
            group = every
            if chosen is not None:
                here, group = here[:, chosen[every.cubes]], every.of(chosen)
                if not len(group.cubes):
                    continue
            here[-4:] = around(values, FAMILIES[family].size, index, group) + starts[count]
            given = values[group.cubes].astype(np.int32)
            values[group.cubes] = self._model.code(family, net, here, given)

    def _code_modes(self, frame: _Frame) -> None:
        net = 2 if frame.number == 1 else frame.number % 2
        before = self._modes + 1 if frame.number > 1 else np.zeros_like(self._modes)
        step = np.full_like(before, step_class(frame.step))
        features = [before, frame.depths, frame.motion, step]
        self._code_grid(("mode", net), self._cubes, frame.modes, features, frame.only())

    def _code_sources(self, frame: _Frame) -> None:
        features = [frame.modes, self._sources, np.full_like(frame.modes, step_class(frame.step))]
        chosen = frame.modes != BASE
        self._code_grid(("source", 0), self._cubes, frame.sources, features, chosen)

    def _code_copies(self, frame: _Frame) -> None:
        """Code which cubes of frame 0 are copies, as splits of a mode that is never split."""
        copied = (frame.modes == MOVED).astype(np.int64)
        features = [np.full_like(copied, BASE), np.full_like(copied, step_class(frame.step))]
        self._code_grid(("split", 0), self._cubes, copied, features, frame.only())
        frame.modes[:] = MOVED * copied

    def _code_splits(self, frame: _Frame) -> None:
        features = [frame.modes, np.full_like(frame.modes, step_class(frame.step))]
        self._code_grid(("split", 0), self._cubes, frame.split, features, frame.modes >= MOVED)

    def _code_vectors(self, frame: _Frame) -> None:
        """Code a vector for every moved cube, then those of the other blocks of split ones."""
        vectors = frame.vectors[self._parts[0]]
        moved = frame.modes >= MOVED
        modes = frame.modes if frame.number else np.full_like(frame.modes, BASE)
        for index, every in enumerate(self._cubes.groups):
            group = every.of(moved)
            here = group.cubes
            if not len(here):
                continue
            near = vectors[group.around] if index else self._vectors[here][None]
            about = modes[here], step_class(frame.step), index
            vectors[here] = code_near(self._model, near, vectors[here], about)
        split = np.flatnonzero(frame.split)
        parts = frame.vectors[self._parts[:, split]]
        frame.vectors[self._parts] = vectors
        for blocks, wanted in zip(self._parts[1:, split], parts[1:], strict=True):
            if len(blocks):
                near = frame.vectors[self._direct[:, blocks]]
                about = frame.modes[split], step_class(frame.step), GROUPS - 1
                frame.vectors[blocks] = code_near(self._model, near, wanted, about)

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
        only = frame.only()
        chosen = None if only is None else only[self._cube_of]
        self._code_grid(("end", _net(frame, colour)), self._blocks, now, features, chosen)

    def _code_offsets(self, frame: _Frame, ends: Grid) -> None:
        """Code the offsets of cubes that have levels; the others keep that of the frame before."""
        has = np.zeros(len(frame.offsets), np.bool_)
        has[self._cube_of[ends.any(axis=0)]] = True
        before = self._offsets + MAX_OFFSET
        now = np.where(has, frame.offsets + MAX_OFFSET, before)
        step = np.full_like(now, step_class(frame.step))
        features = [before, frame.depths, frame.modes, step]
        self._code_grid(("offset", min(frame.number, 1)), self._cubes, now, features, has)
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
            size[far] += code_raw(self._model, beyond, np.full(len(beyond), 2 * RAW_BITS))
        negative = self._model.raw((given < 0).astype(np.int32), 2)
        levels[live[rows], columns] = np.where(negative == 1, -size, size)


def _classes(step: int, offsets: Grid) -> Grid:
    """Classes of the steps of cubes."""
    return step_class(np.clip(step + OFFSET_UNIT * offsets, 0, NUM_STEPS - 1))


def _net(frame: _Frame, colour: int) -> int:
    """Number of the net of ends and levels."""
    return (COLOURS if frame.number else 0) + colour
