"""Session memory: cubes that a session shows again and again, coded once ↔ packet.

Tiles of a map, letters and digits of a HUD: what has few colours is kept exactly, and every GOP
may name it by number (docs/format.md, "Session memory"). The packet lies in the header of a
replay, so that any GOP still decodes alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import Counts, Ints, SymbolCoder, SymbolDecoder, SymbolEncoder
from relive.bitstream.detail import COLOURS, MAX_COLOURS
from relive.bitstream.framing import ByteReader, pack_varint, seal, unseal
from relive.bitstream.palettes import PaletteCoder
from relive.config import CUBE_PX
from relive.errors import FormatError

PROFILE = 0
MAX_TILES = 512
MAX_BYTES = 1 << 17
_NAME = "session memory"

Tile = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
"""Colours `[n, 3]`, rising as numbers 0xRRGGBB, and an index of them for every pixel `[S, S]`."""


class _Model:
    """Codes counts and nothing else."""

    def __init__(self, coder: SymbolCoder) -> None:
        self._coder = coder

    def given(self, symbols: Ints, counts: Counts) -> Ints:
        """Code int32 symbols `[n]` under counts `[n, ways]`."""
        return self._coder.code(symbols, counts)

    def raw(self, symbols: Ints, ways: int) -> Ints:
        """Code int32 symbols `[n]` below `ways`, all equally likely."""
        return self._coder.code(symbols, np.ones((len(symbols), ways), np.float32))


def encode_memory(tiles: Sequence[Tile]) -> bytes:
    """Encode tiles, all different, as a packet; nothing where there are none.

    Raises:
        FormatError: there are more than are kept, two are alike, or one is no palette.
    """
    if not tiles:
        return b""
    if len(tiles) > MAX_TILES:
        raise FormatError(f"{_NAME}: {len(tiles)} tiles; at most {MAX_TILES} are kept")
    sizes, colours, indices = _blank(len(tiles))
    for number, (palette, pixels) in enumerate(tiles):
        sizes[number] = len(palette)
        colours[number, : len(palette)] = palette
        indices[number] = pixels
    encoder = SymbolEncoder()
    PaletteCoder(1, 1, compact=True).add_tiles(_Model(encoder), sizes, colours, indices)
    packet = bytes([PROFILE]) + pack_varint(len(tiles)) + encoder.to_short_bytes()
    if len(packet) >= MAX_BYTES:
        raise FormatError(f"{_NAME} of {len(packet)} bytes; at most {MAX_BYTES} are read")
    return seal(packet)


def decode_memory(packet: bytes) -> PaletteCoder:
    """Decode a packet: a coder that GOPs begin with.

    Raises:
        FormatError: damage, another profile, or no tiles.
    """
    if len(packet) > MAX_BYTES:
        raise FormatError(f"{_NAME} of {len(packet)} bytes; at most {MAX_BYTES} are read")
    reader = ByteReader(unseal(packet, _NAME), _NAME)
    if (profile := reader.byte()) != PROFILE:
        raise FormatError(f"{_NAME} has profile {profile}; this version reads {PROFILE}")
    count = reader.varint(MAX_TILES)
    if not count:
        raise FormatError(f"{_NAME} has no tiles")
    coder, decoder = PaletteCoder(1, 1, compact=True), SymbolDecoder.of_short(reader.rest())
    coder.add_tiles(_Model(decoder), *_blank(count))
    decoder.check_end()
    return coder


def _blank(count: int) -> tuple[npt.NDArray[np.uint8], ...]:
    """Sizes, colours and indices of no palettes."""
    return (
        np.zeros(count, np.uint8),
        np.zeros((count, MAX_COLOURS, COLOURS), np.uint8),
        np.zeros((count, CUBE_PX, CUBE_PX), np.uint8),
    )
