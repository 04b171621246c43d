"""Palettes: cubes of few colours are a list of these and an index for every pixel, exactly.

```
 which cubes ─► which are as one before in the GOP ─► of the others how many colours
   ─► colours: those of the cubes beside, known in the GOP, new
   ─► indices, diagonal after diagonal of all cubes at once, by the pixels left and above
```

Screens, tiles and text are such. AV1 ranks colours alike (palette mode; Han et al., A Technical
Overview of AV1, Proc. IEEE 2021). All counts are whole numbers that grow within the GOP.

Shapes: h w cube grid, n cubes with a palette, S pixels of a side, P most colours.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import Counts, Ints
from relive.bitstream.detail import MAX_COLOURS
from relive.config import CUBE_PX
from relive.errors import FormatError

Grid = npt.NDArray[np.int64]
RECALLED = 1024
"""Colours of the GOP that are remembered, the latest; and cubes, the first."""
CONTEXTS = 32
_FLOAT = np.float32
FULL = 1 << 15  # a row of counts is halved from here on
STEP = 8  # what one symbol counts
_PARTS, _PART_BITS = 3, 8  # of a new colour


class PaletteModel(Protocol):
    """What codes the symbols."""

    def given(self, symbols: Ints, counts: Counts) -> Ints:
        """Code int32 symbols `[n]` under counts `[n, ways]`."""
        ...

    def raw(self, symbols: Ints, ways: int) -> Ints:
        """Code int32 symbols `[n]` below `ways`, all equally likely."""
        ...


class _Counts:
    """Adaptive counts of an alphabet in several contexts."""

    def __init__(self, first: npt.ArrayLike, contexts: int = 1) -> None:
        self.table = np.tile(np.asarray(first, np.float32), (contexts, 1))

    def code(self, model: PaletteModel, symbols: Grid, contexts: Grid) -> Grid:
        """Code symbols `[n]` in contexts `[n]`, then learn them."""
        coded = model.given(symbols.astype(np.int32), self.table[contexts]).astype(np.int64)
        np.add.at(self.table, (contexts, coded), STEP)
        while (high := self.table.sum(1) > FULL).any():
            self.table[high] = np.ceil(self.table[high] / 2)
        return coded


class _Tile:
    """A cube that was coded: colours, and indices once they are known."""

    def __init__(self, colours: tuple[int, ...]) -> None:
        self.colours = colours
        self.indices = np.zeros((CUBE_PX, CUBE_PX), np.uint8)


class PaletteCoder:
    """Codes the palettes of the frames of one GOP in order."""

    def __init__(self, h: int, w: int) -> None:
        self._flags = _Counts([4, 1], 4)
        self._sizes = _Counts(np.ones(MAX_COLOURS))
        self._kept, self._recalled = _Counts([1, 1], 2), _Counts([1, 1])
        self._ranks = np.ones((CONTEXTS, MAX_COLOURS), _FLOAT)
        self._ranks[:, :3] = 16, 4, 2
        self._known: dict[int, None] = {}
        self._before = np.zeros((h, w), np.int64)
        self._again = _Counts([1, 1])
        self._uses = np.ones(RECALLED, np.float32)
        self._tiles: list[_Tile] = []
        self._numbers: dict[bytes, int] = {}
        self._lists: dict[tuple[int, int], tuple[int, ...]] = {}  # of every cube, the latest

    def code(
        self,
        model: PaletteModel,
        sizes: npt.NDArray[np.uint8],
        colours: npt.NDArray[np.uint8],
        indices: npt.NDArray[np.uint8],
    ) -> None:
        """Code the palettes of the next frame in place.

        Args:
            model: encodes, decodes or collects.
            sizes: colours of a cube, 0 where it has no palette, `[h, w]`.
            colours: `[h, w, P, 3]`.
            indices: `[h, w, S, S]`.

        Raises:
            FormatError: what is decoded is no palette.
        """
        some = model.raw(np.array([sizes.any()], np.int32), 2)
        flags = (sizes > 0).astype(np.int64)
        if some[0]:
            above = np.zeros(flags.shape[1], np.int64)
            for row, before in zip(flags, self._before, strict=True):
                row[:] = self._flags.code(model, row, 2 * above + before)
                above = row
        self._before = flags
        rows, columns = np.nonzero(flags)
        if len(rows):
            here = rows, columns
            part = sizes[here], colours[here], indices[here]
            self._code_cubes(model, list(zip(rows.tolist(), columns.tolist(), strict=True)), *part)
            sizes[here], colours[here], indices[here] = part

    def _code_cubes(
        self,
        model: PaletteModel,
        places: list[tuple[int, int]],
        sizes: npt.NDArray[np.uint8],
        colours: npt.NDArray[np.uint8],
        indices: npt.NDArray[np.uint8],
    ) -> None:
        """Code cubes with palettes in place, of `places`: `[n]`, `[n, P, 3]`, `[n, S, S]`."""
        sources = self._code_sources(model, sizes, colours, indices)
        new = np.flatnonzero(sources < 0)
        none = np.zeros(len(new), np.int64)
        sizes[new] = 1 + self._sizes.code(model, sizes[new].astype(np.int64) - 1, none)
        tiles = len(self._tiles)
        for number, place in enumerate(places):
            source = int(sources[number])
            if source < 0:
                size = int(sizes[number])
                found = self._colours(model, place, size, _packed(colours[number, :size]))
                colours[number, :size] = _unpacked(found)
                if len(self._tiles) < RECALLED:
                    self._tiles.append(_Tile(found))
            self._lists[place] = self._tiles[source].colours if source >= 0 else found
        many = new[sizes[new] > 1]
        if len(many):
            indices[many] = self._indices(model, indices[many], sizes[many])
        for tile, row in zip(self._tiles[tiles:], new.tolist(), strict=False):
            tile.indices = indices[row]
            self._numbers[_key(colours[row], indices[row])] = tiles
            tiles += 1
        for number in np.flatnonzero(sources >= 0).tolist():
            tile = self._tiles[sources[number]]
            sizes[number] = len(tile.colours)
            colours[number] = 0
            colours[number, : len(tile.colours)] = _unpacked(tile.colours)
            indices[number] = tile.indices

    def _code_sources(
        self,
        model: PaletteModel,
        sizes: npt.NDArray[np.uint8],
        colours: npt.NDArray[np.uint8],
        indices: npt.NDArray[np.uint8],
    ) -> Grid:
        """Code which cube of the GOP each is like: its number, or -1 where it is a new one."""
        sources = np.full(len(sizes), -1)
        known, none = dict(self._numbers), np.zeros(1, np.int64)
        count = len(self._tiles)
        for number in range(len(sizes)):
            key = _key(colours[number], indices[number])
            source = known.get(key, -1)
            again = np.array([source >= 0], np.int64)
            if count:
                again = self._again.code(model, again, none)
            if count and again[0]:
                uses = self._uses[None, : max(2, count)]
                source = int(model.given(np.array([source], np.int32), uses)[0])
                sources[number] = source = min(source, count - 1)
                self._uses[source] += 1
            elif count < RECALLED:
                known[key] = count
                count += 1
        return sources

    def _colours(
        self, model: PaletteModel, place: tuple[int, int], size: int, given: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Code the colours of a cube; returns them in order."""
        y, x = place
        beside = [self._lists.get(p, ()) for p in ((y, x - 1), (y - 1, x), (y, x))]
        offered = sorted({colour for colours in beside for colour in colours})
        found: list[int] = []
        wanted = set(given)
        if offered:
            contexts = np.full(len(offered), int(beside[0] == beside[1] != ()))
            kept = np.array([colour in wanted for colour in offered], np.int64)
            kept = self._kept.code(model, kept, contexts)
            found = [colour for colour, keep in zip(offered, kept, strict=True) if keep]
        if len(found) > size:
            raise FormatError("enhancement packet: a palette has too many colours")
        rest = [colour for colour in given if colour not in set(found)]
        known = list(self._known)
        for number in range(size - len(found)):
            colour = rest[number] if rest else 0
            found.append(self._colour(model, colour, known))
        for colour in found:
            self._known.pop(colour, None)
            self._known[colour] = None
        while len(self._known) > RECALLED:
            del self._known[next(iter(self._known))]
        if len(set(found)) != size:
            raise FormatError("enhancement packet: a palette has a colour twice")
        return tuple(sorted(found))

    def _colour(self, model: PaletteModel, colour: int, known: list[int]) -> int:
        """Code one colour: its place among those of the GOP, or what it is."""
        if known:
            place = known.index(colour) if colour in self._known else -1
            none = np.zeros(1, np.int64)
            if self._recalled.code(model, np.array([place >= 0], np.int64), none)[0]:
                place = int(model.raw(np.array([place], np.int32), max(2, len(known)))[0])
                return known[min(place, len(known) - 1)]
        parts = [colour >> _PART_BITS * k & 255 for k in range(_PARTS)]
        coded = model.raw(np.array(parts, np.int32), 1 << _PART_BITS)
        return sum(int(part) << _PART_BITS * k for k, part in enumerate(coded))

    def _indices(
        self, model: PaletteModel, indices: npt.NDArray[np.uint8], sizes: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.uint8]:
        """Code the indices of cubes `[n, S, S]`, given how many colours each has `[n]`."""
        from relive.bitstream import palette_kernel as kernel  # as array_kernel in context_model

        coded = np.zeros_like(indices)
        for diagonal in range(2 * CUBE_PX - 1):
            m = len(indices) * min(diagonal + 1, 2 * CUBE_PX - 1 - diagonal)
            order, counts = np.empty((m, MAX_COLOURS), np.uint8), np.empty((m, MAX_COLOURS), _FLOAT)
            contexts, ranks = np.empty(m, np.int32), np.zeros(m, np.int32)
            kernel.lay_out(
                coded, indices, sizes, diagonal, self._ranks, order, contexts, counts, ranks
            )
            ranks = model.given(ranks, counts)
            if not kernel.take(ranks, sizes, diagonal, order, contexts, coded, self._ranks):
                raise FormatError("enhancement packet: a palette does not have this colour")
        return coded


def _key(colours: npt.NDArray[np.uint8], indices: npt.NDArray[np.uint8]) -> bytes:
    return colours.tobytes() + indices.tobytes()


def _packed(colours: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    red, green, blue = colours.astype(np.int64).T
    return tuple((red << 16 | green << 8 | blue).tolist())


def _unpacked(colours: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    packed = np.array(colours, np.int64)
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], -1).astype(np.uint8)
