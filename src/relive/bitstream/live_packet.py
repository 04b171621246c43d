"""One step of a live stream ↔ packet (docs/format.md, "Live packets").

Each packet decodes alone: its nets start afresh, and a delta is coded as after a keyframe of zeros.
That costs some 2 % of the bytes, and a lost packet takes no other with it (docs/live.md).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import SymbolCoder, SymbolDecoder, SymbolEncoder
from relive.bitstream.codes_packet import content_crc as codes_crc
from relive.bitstream.detail import GopDetail
from relive.bitstream.detail_packet import DetailTables, pack_settings, take_settings
from relive.bitstream.detail_packet import content_crc as detail_crc
from relive.bitstream.framing import CRC_BYTES, ByteReader, crc32, pack_varint
from relive.bitstream.gop_codes import MAX_STEPS, GopCodes
from relive.bitstream.live_states import StateRows
from relive.bitstream.palettes import PaletteCoder
from relive.bitstream.shown import pack_shown, take_shown
from relive.bitstream.tables import Tables
from relive.bitstream.walk import CodesWalk
from relive.errors import FormatError

STEP_MARK = 0x53
MAX_GOPS = 1 << 32
_NAME = "live packet"
_TWO, _PRESENT, _DETAIL, _FLAT = 1, (2, 4), 8, 16
_MAX_TIME = (1 << 63) - 1


@dataclass(frozen=True)
class StepLayout:
    """What a stream header says about its packets.

    Attributes:
        stream: checksum of the header, part of every packet's checksum.
        grid: rows and columns of cubes.
        field_steps: declared steps of the state's fields.
        tables: of the base tier.
        detail: of the enhancement layer; None where the stream has none.
    """

    stream: int
    grid: tuple[int, int]
    field_steps: Sequence[float]
    tables: Tables
    detail: DetailTables | None


@dataclass(frozen=True)
class StepHead:
    """What a packet says before its codes.

    Attributes:
        gop: number of the GOP.
        step: number of the step in it; 0 is the keyframe.
        times_ns: int64 `[n]`, n = 1 or 2.
        present: bool `[n]`.
        states: float32 `[n, S]`.
        flat: whether cubes may have palettes, and it says how its frames are shown.
    """

    gop: int
    step: int
    times_ns: npt.NDArray[np.int64]
    present: npt.NDArray[np.bool_]
    states: npt.NDArray[np.float32]
    flat: bool = False


def is_keyframe(packet: bytes) -> bool:
    """Whether a packet, as a `StepWriter` wrote it, begins a GOP."""
    reader = ByteReader(packet[2:], _NAME)
    reader.varint()
    return reader.varint() == 0


def _walk(
    layout: StepLayout,
    coder: SymbolCoder,
    step: int,
    codes: GopCodes,
    detail: GopDetail | None,
    flat: bool,
) -> tuple[GopCodes, GopDetail | None]:
    """Code one step, base tier and enhancement layer, and return what was coded."""
    delta, (h, w) = step > 0, layout.grid
    tables = layout.tables
    codes = CodesWalk(tables.start(coder), tables.layout, h, w, delta=delta).step(codes)
    if detail is None or layout.detail is None:
        return codes, None
    from relive.bitstream.detail_walk import DetailWalk  # kernels, as in detail_packet

    coded = GopDetail.empty(2, h, w)
    palettes = PaletteCoder(h, w) if flat else None
    walk = DetailWalk(layout.detail.start(coder), h, w, delta=delta, palettes=palettes)
    walk.step(detail, codes, coded)
    return codes, coded


class StepWriter:
    """Writes the packets of a stream, step after step."""

    def __init__(self, layout: StepLayout) -> None:
        self._layout = layout
        self._rows = StateRows(layout.field_steps)

    def seen(self, states: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Return states `[S]` as a reader will see them.

        Raises:
            FormatError: a value cannot be stored.
        """
        return np.stack([self._rows.to_state(self._rows.to_integers(state)) for state in states])

    def write(
        self,
        gop: int,
        step: int,
        times_ns: npt.NDArray[np.int64],
        present: npt.NDArray[np.bool_],
        states: Sequence[npt.NDArray[np.float32]],
        codes: GopCodes,
        detail: GopDetail | None,
    ) -> bytes:
        """Write the next step; step 0 starts a GOP.

        Args:
            gop: its number.
            step: number of the step in it, rising by one.
            times_ns: int64 `[n]`, n = 1 or 2.
            present: bool `[n]`.
            states: of every frame, float32 `[S]`.
            codes: of this step alone.
            detail: of this step alone, where the stream has a layer.

        Raises:
            FormatError: a number is out of range.
        """
        layout = self._layout.tables.layout
        sizes = layout.num_quantizers, layout.codebook_size, layout.num_motion
        codes.check(*sizes, delta=step > 0)
        if detail is not None:
            detail.check(2 * min(step, 1))
        flags = _TWO * (len(times_ns) > 1) | _DETAIL * (detail is not None)
        flat = detail is not None and detail.has_palettes
        flags |= _FLAT * flat
        flags |= sum(bit for bit, here in zip(_PRESENT, present, strict=False) if here)
        body = bytes([STEP_MARK, flags]) + pack_varint(gop) + pack_varint(step)
        body += b"".join(pack_varint(int(t)) for t in np.diff(times_ns, prepend=0))
        rows = [self._rows.to_integers(state) for state in states]
        references = [self._rows.blank, *rows[:-1]]
        body += b"".join(map(self._rows.pack, rows, references))
        coder = SymbolEncoder()
        _walk(self._layout, coder, step, codes, detail, flat)
        if detail is not None:
            body += pack_settings(detail) + (pack_shown(detail) if flat else b"")
        body += struct.pack("<H", _content(codes, detail)) + coder.to_bytes()
        return body + struct.pack("<I", _checksum(self._layout, body))


class StepReader:
    """Reads the packets of a stream."""

    def __init__(self, layout: StepLayout) -> None:
        self._layout = layout
        self._rows = StateRows(layout.field_steps)

    def head(self, packet: bytes) -> tuple[StepHead, ByteReader]:
        """Read times and states; the reader returned goes on with the codes.

        Raises:
            FormatError: damage, or a packet of another stream.
        """
        body = packet[:-CRC_BYTES]
        if packet[-CRC_BYTES:] != struct.pack("<I", _checksum(self._layout, body)):
            raise FormatError(f"{_NAME} is damaged, or of another stream: its checksum differs")
        reader = ByteReader(body, _NAME)
        mark, flags = reader.byte(), reader.byte()
        if mark != STEP_MARK or flags & ~(_TWO | sum(_PRESENT) | _DETAIL | _FLAT):
            raise FormatError(f"{_NAME}: mark {mark:#04x} or flags {flags:#04x} are unknown")
        if bool(flags & _DETAIL) != (self._layout.detail is not None):
            raise FormatError(f"{_NAME}: its tiers are not those of the stream")
        count = 2 if flags & _TWO else 1
        gop, step = reader.varint(MAX_GOPS - 1), reader.varint(MAX_STEPS - 1)
        times = [reader.varint(_MAX_TIME) for _ in range(count)]
        if sum(times) > _MAX_TIME:
            raise FormatError(f"{_NAME}: a time is beyond 2^63 ns")
        present = np.array([bool(flags & bit) for bit in _PRESENT[:count]])
        rows = np.cumsum([self._rows.unpack(reader) for _ in range(count)], axis=0)
        states = np.stack([self._rows.to_state(row) for row in rows])
        seen = np.cumsum(times, dtype=np.int64)
        return StepHead(gop, step, seen, present, states, bool(flags & _FLAT)), reader

    def body(self, head: StepHead, reader: ByteReader) -> tuple[GopCodes, GopDetail | None]:
        """Decode the codes of a packet.

        Raises:
            FormatError: they are not what was encoded.
        """
        h, w = self._layout.grid
        blank = GopCodes.empty(1, self._layout.tables.layout.num_quantizers, h, w)
        layer = None
        if self._layout.detail:
            layer = GopDetail.empty(2, h, w)
            take_settings(reader, layer)
            if head.flat:
                take_shown(reader, layer)
        (content,) = struct.unpack("<H", reader.take(2))
        coder = SymbolDecoder(reader.rest())
        codes, detail = _walk(self._layout, coder, head.step, blank, layer, head.flat)
        if _content(codes, detail) != content:
            raise FormatError(f"{_NAME} does not decode to what was encoded")
        return codes, detail


def _content(codes: GopCodes, detail: GopDetail | None) -> int:
    """Return the low 16 bits of the content crc of the tiers."""
    return (codes_crc(codes) if detail is None else detail_crc(detail, codes)) & 0xFFFF


def _checksum(layout: StepLayout, body: bytes) -> int:
    """Return the CRC-32 of the stream's checksum and of the body of a packet."""
    return crc32(struct.pack("<I", layout.stream), body)
