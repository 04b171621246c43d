"""The order in which the enhancement layer of a GOP is coded: one function for both directions.

    frame ─► weights ─► modes, sources, splits, vectors ─► of every colour: ends, levels by bands

Modes, vectors and ends go in groups A ► B ► C (`grid.py`), levels of a band all at once. The codes
of the base tier are known before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import Ints
from relive.bitstream.detail import (
    BAND_MEMBERS,
    BAND_OF,
    BASE,
    BLOCK,
    COLOURS,
    ESCAPE,
    MAX_VECTOR,
    MOVED,
    NUM_BANDS,
    GopDetail,
)
from relive.bitstream.detail_layout import (
    DEPTHS,
    FAMILIES,
    MOTIONS,
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
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.grid import Group, cube_groups, direct_neighbours
from relive.bitstream.layout import GROUPS, PLACES
from relive.errors import FormatError

Rows = npt.NDArray[np.int64]
Grid = npt.NDArray[np.int64]
RAW_BITS = 6
WEIGHT_BITS = (8, 9)  # gain, offset


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
        detail: what is to be coded; for a decoder its `steps` and shapes alone.
        codes: of the base tier.
    """
    frames, h, w = detail.modes.shape
    walk = _Walk(model, h, w)
    coded = GopDetail.empty(frames, h, w)
    coded.steps[:] = detail.steps
    for number in range(frames):
        frame = _Frame(
            number,
            step_class(int(detail.steps[number])),
            _wide(codes.depths[number // 2], DEPTHS - 1),
            _wide(codes.motion[number // 2, 0], MOTIONS - 1),
            detail.weights[number].astype(np.int64),
            detail.modes[number].reshape(-1).astype(np.int64),
            detail.sources[number].reshape(-1).astype(np.int64),
            detail.split[number].reshape(-1).astype(np.int64),
            detail.vectors[number].reshape(-1, 2).astype(np.int64),
            detail.levels[number].reshape(COLOURS, -1, BLOCK * BLOCK).astype(np.int64),
        )
        walk.frame(frame)
        coded.weights[number] = frame.weights
        coded.modes[number] = frame.modes.reshape(h, w)
        coded.sources[number] = frame.sources.reshape(h, w)
        coded.split[number] = frame.split.reshape(h, w)
        coded.vectors[number] = frame.vectors.reshape(2 * h, 2 * w, 2)
        coded.levels[number] = frame.levels.reshape(coded.levels.shape[1:])
    return coded


def _wide(values: npt.NDArray[np.uint8], highest: int) -> Grid:
    return np.minimum(values.reshape(-1).astype(np.int64), highest)


@dataclass(frozen=True)
class _Frame:
    """One frame on the way: its arrays are full, or fill up. int64."""

    number: int
    step: int  # class of the quantiser step
    depths: Grid  # of the base tier [cubes]
    motion: Grid  # [cubes]
    weights: Grid  # [colours, 2]
    modes: Grid  # [cubes]
    sources: Grid  # [cubes]
    split: Grid  # [cubes]
    vectors: Grid  # [blocks, 2]
    levels: Grid  # [colours, blocks, 64]


@dataclass(frozen=True)
class _Places:
    """A grid in the order of its groups.

    Attributes:
        groups: A, B, C.
        place: sixteenth of the rows and of the columns `[2, n]`.
    """

    groups: tuple[Group, ...]
    place: Grid

    @classmethod
    def of(cls, h: int, w: int) -> _Places:
        y, x = np.divmod(np.arange(h * w), w)
        return cls(cube_groups(h, w), np.stack([y * PLACES // h, x * PLACES // w]))


class _Walk:
    """Fills the arrays of one frame after the other, and remembers the frame before."""

    def __init__(self, model: DetailModel, h: int, w: int) -> None:
        self._model = model
        self._cubes, self._blocks = _Places.of(h, w), _Places.of(2 * h, 2 * w)
        self._direct = direct_neighbours(2 * h, 2 * w)
        y, x = np.divmod(np.arange(4 * h * w), 2 * w)
        self._cube_of = (y // 2) * w + x // 2
        self._parts = np.argsort(self._cube_of, kind="stable").reshape(-1, 4).T  # [4, cubes]
        # of the frame before
        self._modes = np.zeros(h * w, np.int64)
        self._sources = np.zeros(h * w, np.int64)
        self._vectors = np.zeros((h * w, 2), np.int64)
        self._ends = np.zeros((COLOURS, 4 * h * w), np.int64)
        self._sizes = np.zeros((COLOURS, 4 * h * w, BLOCK * BLOCK), np.int64)

    def frame(self, frame: _Frame) -> None:
        """Code all of a frame."""
        if frame.number:
            self._code_weights(frame)
            self._code_modes(frame)
            if frame.number > 1:
                self._code_sources(frame)
            self._code_splits(frame)
            self._code_vectors(frame)
        ends, sizes = np.zeros_like(self._ends), np.zeros_like(self._sizes)
        for colour in range(COLOURS):
            ends[colour] = _ends_of(frame.levels[colour])
            self._code_ends(frame, colour, ends)
            self._code_levels(frame, colour, ends[colour], sizes)
            self._code_signs(sizes[colour], frame.levels[colour])
        self._modes, self._sources, self._vectors, self._ends, self._sizes = (
            *(frame.modes, frame.sources, frame.vectors[self._parts[0]]),
            *(ends, sizes),
        )

    def _code_grid(
        self,
        name: tuple[str, int],
        places: _Places,
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
        family, net = name
        for index, every in enumerate(places.groups):
            group = every if chosen is None else every.of(chosen)
            here = group.cubes
            if not len(here):
                continue
            rows = place_rows(
                family,
                [
                    *(feature[here] for feature in features),
                    around(values, FAMILIES[family].size, index, group),
                    *places.place[:, here],
                    np.full(len(here), index),
                ],
            )
            values[here] = self._model.code(family, net, rows, values[here].astype(np.int32))

    def _code_weights(self, frame: _Frame) -> None:
        """Code whether there are weights, and which."""
        some = self._model.raw(np.array([frame.weights.any()], np.int32), 2)
        if some[0]:
            for part, bits in enumerate(WEIGHT_BITS):
                middle = 1 << (bits - 1)
                values = frame.weights[:, part] + middle
                frame.weights[:, part] = self._raw(values, np.full(COLOURS, bits)) - middle

    def _code_modes(self, frame: _Frame) -> None:
        net = 2 if frame.number == 1 else frame.number % 2
        before = self._modes + 1 if frame.number > 1 else np.zeros_like(self._modes)
        step = np.full_like(before, frame.step)
        features = [before, frame.depths, frame.motion, step]
        self._code_grid(("mode", net), self._cubes, frame.modes, features)

    def _code_sources(self, frame: _Frame) -> None:
        features = [frame.modes, self._sources, np.full_like(frame.modes, frame.step)]
        chosen = frame.modes != BASE
        self._code_grid(("source", 0), self._cubes, frame.sources, features, chosen)

    def _code_splits(self, frame: _Frame) -> None:
        features = [frame.modes, np.full_like(frame.modes, frame.step)]
        self._code_grid(("split", 0), self._cubes, frame.split, features, frame.modes >= MOVED)

    def _code_vectors(self, frame: _Frame) -> None:
        """Code a vector for every moved cube, then those of the other blocks of split ones."""
        vectors = frame.vectors[self._parts[0]]
        moved = frame.modes >= MOVED
        for index, every in enumerate(self._cubes.groups):
            group = every.of(moved)
            here = group.cubes
            if not len(here):
                continue
            near = vectors[group.around] if index else self._vectors[here][None]
            vectors[here] = self._code_near(frame, here, near, vectors[here], index)
        split = np.flatnonzero(frame.split)
        parts = frame.vectors[self._parts[:, split]]
        frame.vectors[self._parts] = vectors
        for blocks, wanted in zip(self._parts[1:, split], parts[1:], strict=True):
            if len(blocks):
                near = frame.vectors[self._direct[:, blocks]]
                frame.vectors[blocks] = self._code_near(frame, split, near, wanted, GROUPS - 1)
        if int(np.abs(frame.vectors).max()) > MAX_VECTOR:
            raise FormatError(f"enhancement packet: a vector exceeds {MAX_VECTOR}")

    def _code_near(self, frame: _Frame, cubes: Grid, near: Grid, vectors: Grid, index: int) -> Grid:
        """Code vectors `[n, 2]` as differences from the middle of those near `[4, n, 2]`."""
        near = np.broadcast_to(near, (4, len(cubes), 2))
        middle = np.sort(near, axis=0)[1:3].sum(axis=0) >> 1
        first = np.full(len(cubes), VECTOR_CLASSES)
        coded = np.empty_like(vectors)
        for axis in range(2):
            rows = place_rows(
                "vector",
                [
                    spread_class(near[:, :, axis]),
                    first,
                    frame.modes[cubes],
                    np.full(len(cubes), frame.step),
                    np.full(len(cubes), index),
                ],
            )
            symbols, raw = split_vector(vectors[:, axis] - middle[:, axis])
            first = self._model.code("vector", axis, rows, symbols.astype(np.int32))
            first = first.astype(np.int64)
            raw = self._raw(raw, vector_bits(first))
            coded[:, axis] = join_vector(first, raw) + middle[:, axis]
        return coded

    def _code_ends(self, frame: _Frame, colour: int, ends: Grid) -> None:
        now, old = ends[colour], self._ends[colour]
        none = np.zeros_like(now)
        features = [
            old + 1 if frame.number else none,
            old[self._direct].sum(axis=0),
            ends[0] + 1 if colour else none,
            ends[1] + 1 if colour == 2 else none,
            frame.modes[self._cube_of],
            frame.depths[self._cube_of],
            np.full_like(now, frame.step),
        ]
        self._code_grid(("end", _net(frame, colour)), self._blocks, now, features)

    def _code_levels(self, frame: _Frame, colour: int, ends: Grid, sizes: Grid) -> None:
        """Code the sizes of a colour, up to the escape, band by band."""
        beside = np.minimum(ends[self._direct].sum(axis=0) // 2, 2 * NUM_BANDS)
        known = np.zeros((len(ends), BLOCK, BLOCK), np.int64)  # at most 3
        flat = known.reshape(len(ends), -1)
        for band, members in enumerate(BAND_MEMBERS):
            here = np.flatnonzero(ends > band)
            if not len(here):
                break
            chosen = np.ix_(here, members)
            shape = (len(here), len(members))
            none = np.zeros(shape, np.int64)
            blocks = {
                "end": ends[here],
                "total": np.minimum(flat[here].sum(axis=1), SUMS - 1),
                "beside": beside[here],
                "mode": frame.modes[self._cube_of[here]],
                "depth": frame.depths[self._cube_of[here]],
            }
            of = {name: np.broadcast_to(v[:, None], shape) for name, v in blocks.items()}
            features = [
                np.broadcast_to(members, shape),
                of["end"],
                _inside(known[here])[:, members],
                of["total"],
                of["beside"],
                _seen(self._sizes[colour][chosen]) if frame.number else none,
                _seen(sizes[0][chosen]) if colour else none,
                _seen(sizes[1][chosen]) if colour == 2 else none,
                of["mode"],
                of["depth"],
                np.full(shape, frame.step),
            ]
            rows = place_rows("level", [feature.reshape(-1) for feature in features])
            symbols = np.minimum(np.abs(frame.levels[colour][chosen]), ESCAPE).reshape(-1)
            coded = self._model.code("level", _net(frame, colour), rows, symbols.astype(np.int32))
            sizes[colour][chosen] = coded.reshape(shape)
            flat[chosen] = np.minimum(coded, 3).reshape(shape)

    def _code_signs(self, sizes: Grid, levels: Grid) -> None:
        """Code what is left of the levels: what lies beyond the escape, and signs."""
        rows, columns = np.nonzero(sizes)
        size = sizes[rows, columns]
        far = size == ESCAPE
        if far.any():
            beyond = np.abs(levels[rows[far], columns[far]]) - ESCAPE
            beyond = np.maximum(beyond, 0)
            size[far] += self._raw(beyond, np.full(len(beyond), 2 * RAW_BITS))
        negative = self._model.raw((levels[rows, columns] < 0).astype(np.int32), 2)
        levels[:] = 0
        levels[rows, columns] = np.where(negative == 1, -size, size)

    def _raw(self, values: Grid, bits: Grid) -> Grid:
        """Code values below 2^bits, at most `RAW_BITS` bits at a time, low bits first."""
        out = np.zeros_like(values)
        for shift in range(0, 2 * RAW_BITS, RAW_BITS):
            left = np.clip(bits - shift, 0, RAW_BITS)
            for width in np.unique(left[left > 0]):
                mine = left == width
                part = (values[mine] >> shift) & ((1 << int(width)) - 1)
                coded = self._model.raw(part.astype(np.int32), 1 << int(width))
                out[mine] |= coded.astype(np.int64) << shift
        return out


def _net(frame: _Frame, colour: int) -> int:
    """Number of the net of ends and levels."""
    return (COLOURS if frame.number else 0) + colour


def _seen(sizes: Grid) -> Grid:
    """Sizes as features."""
    return np.asarray(np.minimum(sizes, 3) + 1)


def _ends_of(levels: Grid) -> Grid:
    """Bands up to the last one with a level, `[blocks, 64]` to `[blocks]`."""
    return np.asarray(((levels != 0) * (BAND_OF + 1)).max(axis=1))


def _inside(known: Grid) -> Grid:
    """Sum of the sizes towards lower frequencies `[n, 8, 8]` to `[n, 64]`, below `SUMS`."""
    padded = np.pad(known, ((0, 0), (2, 0), (2, 0)))
    total = padded[:, 1:-1, 2:] + padded[:, 2:, 1:-1] + padded[:, 1:-1, 1:-1]
    total = total + padded[:, :-2, 2:] + padded[:, 2:, :-2]
    return np.asarray(np.minimum(total, SUMS - 1).reshape(len(known), -1))
