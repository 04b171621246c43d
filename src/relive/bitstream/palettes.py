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

import numpy as np
import numpy.typing as npt

from relive.bitstream.detail import MAX_COLOURS
from relive.bitstream.learning import AdaptiveCounts, CountModel, code_raw
from relive.config import CUBE_PX
from relive.errors import FormatError

Grid = npt.NDArray[np.int64]
RECALLED = 1024
"""Colours of the GOP that are remembered, the latest; and cubes, the first."""
CONTEXTS = 32
_FLOAT = np.float32
_PARTS, _PART_BITS = 3, 8  # of a new colour


class _Tile:
    """A cube that was coded: colours, and indices once they are known."""

    def __init__(self, colours: tuple[int, ...]) -> None:
        self.colours = colours
        self.indices = np.zeros((CUBE_PX, CUBE_PX), np.uint8)


class PaletteCoder:
    """Codes the palettes of the frames of one GOP in order.

    Args:
        h: rows of cubes.
        w: columns.
        compact: as in packets of profile 5: whether a frame has palettes is learned, and cubes may
            follow each other as they did before.
    """

    def __init__(self, h: int, w: int, *, compact: bool = False) -> None:
        self._compact = compact
        self._some = AdaptiveCounts([1, 1], 2)
        self._flags = AdaptiveCounts([4, 1], 4)
        self._sizes = AdaptiveCounts(np.ones(MAX_COLOURS))
        self._kept, self._recalled = AdaptiveCounts([1, 1], 2), AdaptiveCounts([1, 1])
        self._ranks = np.ones((CONTEXTS, MAX_COLOURS), _FLOAT)
        self._ranks[:, :3] = 16, 4, 2
        self._known: dict[int, None] = {}
        self._before = np.zeros((h, w), np.int64)
        self._again, self._follows = AdaptiveCounts([1, 1], 3), AdaptiveCounts([1, 1], 2)
        self._uses = np.ones(RECALLED, np.float32)
        self._tiles: list[_Tile] = []
        self._numbers: dict[bytes, int] = {}
        self._lists: dict[tuple[int, int], tuple[int, ...]] = {}  # of every cube, the latest

    def begin(self, h: int, w: int) -> PaletteCoder:
        """Return a coder for a GOP that knows what this one has coded, and learns by itself."""
        other = PaletteCoder(h, w, compact=self._compact)
        other._sizes, other._kept = self._sizes.copy(), self._kept.copy()
        other._recalled, other._ranks = self._recalled.copy(), self._ranks.copy()
        other._known, other._tiles = dict(self._known), list(self._tiles)
        other._numbers = dict(self._numbers)
        return other

    def contents(self) -> frozenset[bytes]:
        """What the tiles show, see `tile_key`."""
        return frozenset(self._numbers)

    def code(
        self,
        model: CountModel,
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
        some, had = int(sizes.any()), int(self._before.any())
        some = self._some.code_one(model, some, had) if self._compact else code_raw(model, some, 2)
        flags = (sizes > 0).astype(np.int64)
        if some:
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
        model: CountModel,
        places: list[tuple[int, int]],
        sizes: npt.NDArray[np.uint8],
        colours: npt.NDArray[np.uint8],
        indices: npt.NDArray[np.uint8],
    ) -> None:
        """Code cubes with palettes in place, of `places`: `[n]`, `[n, P, 3]`, `[n, S, S]`."""
        sources = self._code_sources(model, sizes, colours, indices)
        self._code_new(model, places, sources, sizes, colours, indices)
        for number in np.flatnonzero(sources >= 0).tolist():
            tile = self._tiles[sources[number]]
            sizes[number] = len(tile.colours)
            colours[number] = 0
            colours[number, : len(tile.colours)] = _unpacked(tile.colours)
            indices[number] = tile.indices

    def add_tiles(
        self,
        model: CountModel,
        sizes: npt.NDArray[np.uint8],
        colours: npt.NDArray[np.uint8],
        indices: npt.NDArray[np.uint8],
    ) -> None:
        """Code tiles for GOPs to come in place, `[n]`, `[n, P, 3]`, `[n, S, S]`, all different.

        Raises:
            FormatError: what is decoded are no tiles, or there are more than are remembered.
        """
        places = [(number, 0) for number in range(len(sizes))]
        self._code_new(model, places, np.full(len(sizes), -1), sizes, colours, indices)
        if not len(self._tiles) == len(self._numbers) == len(sizes):
            raise FormatError("session memory: tiles are alike, or too many")

    def _code_new(
        self,
        model: CountModel,
        places: list[tuple[int, int]],
        sources: Grid,
        sizes: npt.NDArray[np.uint8],
        colours: npt.NDArray[np.uint8],
        indices: npt.NDArray[np.uint8],
    ) -> None:
        """Code in place the cubes that are like none before: whose source is -1."""
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
            self._numbers[tile_key(colours[row], indices[row])] = tiles
            tiles += 1

    def _code_sources(
        self,
        model: CountModel,
        sizes: npt.NDArray[np.uint8],
        colours: npt.NDArray[np.uint8],
        indices: npt.NDArray[np.uint8],
    ) -> Grid:
        """Code which cube of the GOP each is like: its number, or -1 where it is a new one."""
        sources = np.full(len(sizes), -1)
        known = dict(self._numbers)
        count, last, before, followed = len(self._tiles), -1, 0, 0
        for number in range(len(sizes)):
            key = tile_key(colours[number], indices[number])
            source = known.get(key, -1)
            again = int(source >= 0)
            if count:
                again = self._again.code_one(model, again, before)
            before = 1 + again if self._compact else 0
            if count and again:
                expected = last + 1
                if self._compact and expected < count:
                    followed = self._follows.code_one(model, int(source == expected), followed)
                else:
                    expected, followed = -1, 0
                source = expected if followed else self._number(model, source, count)
                sources[number] = last = source
                self._uses[source] += 1
            else:
                last += 1
                if count < RECALLED:
                    known[key] = count
                    count += 1
        return sources

    def _number(self, model: CountModel, source: int, count: int) -> int:
        """Code the number of a tile, of `count`."""
        uses = self._uses[None, : max(2, count)]
        return min(int(model.given(np.array([source], np.int32), uses)[0]), count - 1)

    def _colours(
        self, model: CountModel, place: tuple[int, int], size: int, given: tuple[int, ...]
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

    def _colour(self, model: CountModel, colour: int, known: list[int]) -> int:
        """Code one colour: its place among those of the GOP, or what it is."""
        if known:
            place = known.index(colour) if colour in self._known else -1
            if self._recalled.code_one(model, int(place >= 0)):
                place = code_raw(model, place, max(2, len(known)))
                return known[min(place, len(known) - 1)]
        parts = [colour >> _PART_BITS * k & 255 for k in range(_PARTS)]
        coded = model.raw(np.array(parts, np.int32), 1 << _PART_BITS)
        return sum(int(part) << _PART_BITS * k for k, part in enumerate(coded))

    def _indices(
        self, model: CountModel, indices: npt.NDArray[np.uint8], sizes: npt.NDArray[np.uint8]
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


def tile_key(colours: npt.NDArray[np.uint8], indices: npt.NDArray[np.uint8]) -> bytes:
    """What a cube shows: colours `[P, 3]` and indices `[S, S]`."""
    return colours.tobytes() + indices.tobytes()


def _packed(colours: npt.NDArray[np.uint8]) -> tuple[int, ...]:
    red, green, blue = colours.astype(np.int64).T
    return tuple((red << 16 | green << 8 | blue).tolist())


def _unpacked(colours: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    packed = np.array(colours, np.int64)
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], -1).astype(np.uint8)
