"""How frames are shown ↔ bits: the post-filter, and the pull to the colours of the game.

Most frames are shown like the one before, which costs one bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from relive.bitstream.detail import NO_TINT, GopDetail
from relive.bitstream.framing import ByteReader
from relive.errors import FormatError

PULL_BITS, TINT_BITS = 3, 8


def pack_shown(detail: GopDetail) -> bytes:
    """`unfiltered`, `pulls` and `tints` of all frames, the last byte filled with zeros."""
    bits: list[int] = []
    before = (0, 0, NO_TINT)
    for row in range(len(detail.steps)):
        tint = tuple(detail.tints[row].tolist())
        now = (int(detail.unfiltered[row]), int(detail.pulls[row]), tint)
        bits.append(now != before)
        if now != before:
            bits.append(now[0])
            bits += _bits(now[1], PULL_BITS)
            bits.append(tint != before[2])
            if tint != before[2]:
                bits += [bit for value in tint for bit in _bits(value, TINT_BITS)]
        before = now
    return np.packbits(np.array(bits, np.uint8)).tobytes()


def take_shown(reader: ByteReader, detail: GopDetail) -> None:
    """Read what `pack_shown` wrote into a layer.

    Raises:
        FormatError: damage, or it says the same in another way.
    """
    bits = _Bits(reader)
    unfiltered, pull, tint = 0, 0, list(NO_TINT)
    for row in range(len(detail.steps)):
        if bits.number(1):
            was = (unfiltered, pull)
            unfiltered, pull = bits.number(1), bits.number(PULL_BITS)
            before = tint
            tinted = bits.number(1)
            if tinted:
                tint = [bits.number(TINT_BITS) for _ in NO_TINT]
            if tint == before and (tinted or was == (unfiltered, pull)):
                raise FormatError("a frame is said to be shown otherwise than it was, and is not")
        detail.unfiltered[row], detail.pulls[row], detail.tints[row] = unfiltered, pull, tint
    if any(bits.rest()):
        raise FormatError("bits behind the last frame must be 0")


def _bits(value: int, count: int) -> list[int]:
    return [value >> place & 1 for place in reversed(range(count))]


class _Bits:
    """Bits of bytes that are read as they are needed, the highest first."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        self._left: Iterator[int] = iter(())

    def number(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = 2 * value + self._next()
        return value

    def rest(self) -> list[int]:
        """Bits of the last byte that are left."""
        return list(self._left)

    def _next(self) -> int:
        for bit in self._left:
            return bit
        self._left = iter(_bits(self._reader.byte(), 8))
        return next(self._left)
