"""The order in which the enhancement layer of a GOP is coded: one function for both directions.

    frame ─► modes ─► vectors ─► of grey, red-blue, green: ends of blocks, then levels band by band

Modes, vectors and ends go in groups A ► B ► C (`grid.py`), levels of a band all at once. The codes
of the base tier are known before.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import Ints
from relive.bitstream.detail import (
    BAND_MEMBERS,
    BAND_OF,
    BLOCK,
    COLOURS,
    ESCAPE,
    MAX_VECTOR,
    MOVED,
    NUM_BANDS,
    NUM_MODES,
    GopDetail,
)
from relive.bitstream.detail_layout import (
    DEPTHS,
    ENDS,
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
from relive.bitstream.layout import PLACES
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
        detail: what is to be coded; for a decoder its `steps` and shapes alone.
        codes: of the base tier.
    """
    frames, h, w = detail.modes.shape
    walk = _Walk(model, h, w)
    modes = detail.modes.reshape(frames, h * w).astype(np.int64)
    vectors = detail.vectors.reshape(frames, h * w, 2).astype(np.int64)
    levels = detail.levels.reshape(frames, COLOURS, 4 * h * w, BLOCK * BLOCK).astype(np.int64)
    for frame in range(frames):
        walk.frame(
            frame,
            step_class(int(detail.steps[frame])),
            np.minimum(codes.depths[frame // 2].reshape(-1).astype(np.int64), DEPTHS - 1),
            np.minimum(codes.motion[frame // 2, 0].reshape(-1).astype(np.int64), MOTIONS - 1),
            (modes[frame], vectors[frame], levels[frame]),
        )
    return GopDetail(
        detail.steps,
        modes.reshape(detail.modes.shape).astype(np.uint8),
        vectors.reshape(detail.vectors.shape).astype(np.int16),
        levels.reshape(detail.levels.shape).astype(np.int16),
    )


class _Walk:
    """Fills the arrays of one frame after the other, and remembers the frame before."""

    def __init__(self, model: DetailModel, h: int, w: int) -> None:
        self._model = model
        self._groups = cube_groups(h, w)
        self._block_groups = cube_groups(2 * h, 2 * w)
        self._direct = direct_neighbours(2 * h, 2 * w)
        self._cube_place = _places(h, w)
        self._block_place = _places(2 * h, 2 * w)
        y, x = np.divmod(np.arange(4 * h * w), 2 * w)
        self._cube_of = (y // 2) * w + x // 2
        self._modes = np.zeros(h * w, np.int64)
        self._vectors = np.zeros((h * w, 2), np.int64)
        self._ends = np.zeros((COLOURS, 4 * h * w), np.int64)
        self._sizes = np.zeros((COLOURS, 4 * h * w, BLOCK * BLOCK), np.int64)

    def frame(
        self,
        number: int,
        step: int,
        depths: Grid,
        motion: Grid,
        arrays: tuple[Grid, Grid, Grid],
    ) -> None:
        modes, vectors, levels = arrays
        if number:
            self._code_modes(number, step, depths, motion, modes)
            self._code_vectors(step, modes, vectors)
        blocks = (modes[self._cube_of], depths[self._cube_of])
        ends = np.zeros_like(self._ends)
        sizes = np.zeros_like(self._sizes)
        for colour in range(COLOURS):
            net = (COLOURS if number else 0) + colour
            ends[colour] = _ends_of(levels[colour])
            self._code_ends(net, colour, number, step, blocks, ends)
            self._code_levels(net, colour, number, step, blocks, ends, sizes, levels[colour])
        self._modes, self._vectors, self._ends, self._sizes = modes, vectors, ends, sizes

    def _code_modes(self, number: int, step: int, depths: Grid, motion: Grid, modes: Grid) -> None:
        net = 2 if number == 1 else number % 2
        before = self._modes + 1 if number > 1 else np.zeros_like(self._modes)
        for index, group in enumerate(self._groups):
            cubes = group.cubes
            rows = place_rows(
                "mode",
                [
                    before[cubes],
                    depths[cubes],
                    motion[cubes],
                    np.full(len(cubes), step),
                    around(modes, NUM_MODES, index, group),
                    *self._cube_place[:, cubes],
                    np.full(len(cubes), index),
                ],
            )
            modes[cubes] = self._model.code("mode", net, rows, modes[cubes].astype(np.int32))

    def _code_vectors(self, step: int, modes: Grid, vectors: Grid) -> None:
        moved = modes >= MOVED
        if not moved.any():
            return
        for index, every in enumerate(self._groups):
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
                        modes[cubes],
                        np.full(len(cubes), step),
                        np.full(len(cubes), index),
                    ],
                )
                symbols, _, raw = split_vector(vectors[cubes, axis] - middle[:, axis])
                first = self._model.code("vector", axis, rows, symbols.astype(np.int32)).astype(
                    np.int64
                )
                raw = self._raw(raw, vector_bits(first))
                vectors[cubes, axis] = join_vector(first, raw) + middle[:, axis]
        if int(np.abs(vectors).max()) > MAX_VECTOR:
            raise FormatError(f"enhancement packet: a vector exceeds {MAX_VECTOR}")

    def _code_ends(
        self,
        net: int,
        colour: int,
        number: int,
        step: int,
        blocks: tuple[Grid, Grid],
        ends: Grid,
    ) -> None:
        now, old = ends[colour], self._ends[colour]
        none = np.zeros_like(now)
        before = old + 1 if number else none
        beside = old[self._direct].sum(axis=0)
        grey = ends[0] + 1 if colour else none
        red = ends[1] + 1 if colour == 2 else none
        for index, group in enumerate(self._block_groups):
            here = group.cubes
            rows = place_rows(
                "end",
                [
                    before[here],
                    beside[here],
                    grey[here],
                    red[here],
                    blocks[0][here],
                    blocks[1][here],
                    np.full(len(here), step),
                    around(now, ENDS, index, group),
                    *self._block_place[:, here],
                    np.full(len(here), index),
                ],
            )
            now[here] = self._model.code("end", net, rows, now[here].astype(np.int32))

    def _code_levels(
        self,
        net: int,
        colour: int,
        number: int,
        step: int,
        blocks: tuple[Grid, Grid],
        ends: Grid,
        sizes: Grid,
        levels: Grid,
    ) -> None:
        now = ends[colour]
        beside = np.minimum(now[self._direct].sum(axis=0) // 2, 2 * NUM_BANDS)
        known = np.zeros((len(now), BLOCK, BLOCK), np.int64)
        flat = known.reshape(len(now), -1)
        for band, members in enumerate(BAND_MEMBERS):
            here = np.flatnonzero(now > band)
            if not len(here):
                break
            inside = _inside(known[here])[:, members]
            total = np.minimum(flat[here].sum(axis=1), SUMS - 1)
            shape = (len(here), len(members))
            grey = np.minimum(sizes[0][here][:, members], 3) + 1 if colour else np.zeros(shape)
            red = np.minimum(sizes[1][here][:, members], 3) + 1 if colour == 2 else np.zeros(shape)
            before = self._sizes[colour][here][:, members]
            before = np.minimum(before, 3) + 1 if number else np.zeros(shape)
            features = [
                np.broadcast_to(members, shape),
                np.broadcast_to(now[here, None], shape),
                inside,
                np.broadcast_to(total[:, None], shape),
                np.broadcast_to(beside[here, None], shape),
                before,
                grey,
                red,
                np.broadcast_to(blocks[0][here, None], shape),
                np.broadcast_to(blocks[1][here, None], shape),
                np.full(shape, step),
            ]
            rows = place_rows("level", [f.reshape(-1).astype(np.int64) for f in features])
            symbols = np.minimum(np.abs(levels[here][:, members]), ESCAPE).reshape(-1)
            symbols = self._model.code("level", net, rows, symbols.astype(np.int32))
            sizes[colour][np.ix_(here, members)] = symbols.reshape(shape)
            flat[np.ix_(here, members)] = np.minimum(symbols, 3).reshape(shape)
        self._code_signs(sizes[colour], levels)

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


def _places(h: int, w: int) -> Grid:
    y, x = np.divmod(np.arange(h * w), w)
    return np.stack([y * PLACES // h, x * PLACES // w])


def _ends_of(levels: Grid) -> Grid:
    """Bands up to the last one with a level, `[blocks, 64]` to `[blocks]`."""
    return np.asarray(((levels != 0) * (BAND_OF + 1)).max(axis=1))


def _inside(known: Grid) -> Grid:
    """Sum of the sizes towards lower frequencies `[n, 8, 8]` to `[n, 64]`, below `SUMS`."""
    padded = np.pad(known, ((0, 0), (2, 0), (2, 0)))
    total = padded[:, 1:-1, 2:] + padded[:, 2:, 1:-1] + padded[:, 1:-1, 1:-1]
    total = total + padded[:, :-2, 2:] + padded[:, 2:, :-2]
    return np.asarray(np.minimum(total, SUMS - 1).reshape(len(known), -1))


__all__ = ["DetailModel", "Group", "walk_detail"]
