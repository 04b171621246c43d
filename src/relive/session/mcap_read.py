"""MCAP chunks of a recording, found by walking the file; the inverse of `mcap_write.py`.

The `mcap` package stops at the first byte that is missing and trusts every length. Files that
were cut by a kill, or made by somebody else, want the opposite.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import zstandard
from mcap.opcode import Opcode
from mcap.writer import MCAP0_MAGIC

from relive.errors import FormatError
from relive.session.mcap_write import MESSAGE_HEAD, MESSAGE_HEAD_BYTES

MAX_RECORD_BYTES = 256 << 20
MAX_STATES_BYTES = 16 << 20
MAX_WINDOW_BYTES = 128 << 20
_RECORD_HEAD = struct.Struct("<BQ")
_STATISTICS_HEAD = struct.Struct("<QHIIII")  # up to the number of chunks
_CHUNK_HEAD = struct.Struct("<QQQII")  # start, end, uncompressed size, CRC, length of a name


@dataclass(frozen=True)
class ChunkPlace:
    """Where a chunk lies and what it says of itself.

    Attributes:
        offset: File offset of its record.
        compression: ``zstd`` or empty.
        raw_bytes: Size of its records, uncompressed.
        crc: CRC-32 of its records.
        data_offset: File offset of its data.
        data_bytes: Size of its data in the file.
    """

    offset: int
    compression: str
    raw_bytes: int
    crc: int
    data_offset: int
    data_bytes: int


@dataclass(frozen=True)
class Message:
    """One message of a chunk; the payload is a view."""

    channel: int
    sequence: int
    time_ns: int
    payload: memoryview


class ChunkWalk:
    """Walks the chunks of a file from the front.

    Attributes:
        whole: After the walk: the file was finalised, and has all the chunks that it should.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self.whole = False

    def profile(self) -> str:
        """Read the magic and the header.

        Raises:
            FormatError: It is no MCAP file.
        """
        self._file.seek(0)
        magic = self._file.read(len(MCAP0_MAGIC))
        if not magic:
            raise FormatError("it is empty, not an MCAP file")
        if magic != MCAP0_MAGIC:
            raise FormatError("it is not an MCAP file; of a video make a session: relive import")
        record = self._record_at(len(MCAP0_MAGIC))
        if record is None or record[0] != Opcode.HEADER or not 8 <= record[1] <= 4096:
            raise FormatError("its MCAP header is damaged")
        body = self._file.read(record[1])
        length = int.from_bytes(body[:4], "little")
        return body[4 : 4 + length].decode("utf-8", "replace")

    def __iter__(self) -> Iterator[ChunkPlace]:
        position = len(MCAP0_MAGIC)
        found = promised = 0
        while (record := self._record_at(position)) is not None:
            opcode, length = record
            end = position + 9 + length
            if opcode == Opcode.CHUNK:
                place = self._chunk_at(position, length)
                if place is not None:
                    found += 1
                    yield place
            elif opcode == Opcode.STATISTICS:
                promised = self._chunk_count(length)
            elif opcode == Opcode.FOOTER:
                self._file.seek(end)
                self.whole = self._file.read(16) == MCAP0_MAGIC and found == promised
                return
            position = end

    def _record_at(self, position: int) -> tuple[int, int] | None:
        """Read opcode and length; None if the record is not whole or not allowed."""
        self._file.seek(position)
        head = self._file.read(_RECORD_HEAD.size)
        if len(head) < _RECORD_HEAD.size:
            return None
        opcode, length = _RECORD_HEAD.unpack(head)
        if opcode == 0 or length > MAX_RECORD_BYTES or position + 9 + length > self._size:
            return None
        return opcode, length

    def _chunk_count(self, length: int) -> int:
        """Read how many chunks the file has, from its statistics."""
        if length < _STATISTICS_HEAD.size:
            return -1
        count: int = _STATISTICS_HEAD.unpack(self._file.read(_STATISTICS_HEAD.size))[-1]
        return count

    def _chunk_at(self, position: int, length: int) -> ChunkPlace | None:
        head = self._file.read(min(length, _CHUNK_HEAD.size + 16))
        if len(head) < _CHUNK_HEAD.size + 8:
            return None
        _, _, raw_bytes, crc, name_bytes = _CHUNK_HEAD.unpack_from(head)
        name_end = _CHUNK_HEAD.size + name_bytes
        if name_bytes > 8 or len(head) < name_end + 8:
            return None
        data_bytes = int.from_bytes(head[name_end : name_end + 8], "little")
        data_offset = position + 9 + name_end + 8
        if data_offset + data_bytes > position + 9 + length or raw_bytes > MAX_RECORD_BYTES:
            return None
        name = head[_CHUNK_HEAD.size : name_end].decode("ascii", "replace")
        return ChunkPlace(position, name, raw_bytes, crc, data_offset, data_bytes)


def read_chunk(file: BinaryIO, place: ChunkPlace, limit_bytes: int) -> bytes:
    """Read the records of a chunk.

    Args:
        file: The recording.
        place: The chunk.
        limit_bytes: The most that may be allocated for it.

    Raises:
        FormatError: Too large, cut, or its checksum differs.
    """
    if place.raw_bytes > limit_bytes:
        raise FormatError(f"a chunk of {place.raw_bytes} bytes where {limit_bytes} are the most")
    file.seek(place.data_offset)
    data = file.read(place.data_bytes)
    if place.compression == "zstd":
        data = _decompress(data, place.raw_bytes)
    elif place.compression:
        raise FormatError(f"unknown compression {place.compression!r}")
    if len(data) != place.raw_bytes or zlib.crc32(data) != place.crc:
        raise FormatError("its checksum differs")
    return data


def messages(records: bytes) -> Iterator[Message]:
    """List the messages of a chunk; other records are skipped.

    Raises:
        FormatError: A length leads out of the chunk.
    """
    view = memoryview(records)
    position = 0
    while position < len(view):
        if position + _RECORD_HEAD.size > len(view):
            raise FormatError("a record in a chunk is cut")
        opcode, length = _RECORD_HEAD.unpack_from(view, position)
        end = position + 9 + length
        if end > len(view) or (opcode == Opcode.MESSAGE and length < MESSAGE_HEAD_BYTES):
            raise FormatError("a record in a chunk is cut")
        if opcode == Opcode.MESSAGE:
            _, _, channel, sequence, time_ns, _ = MESSAGE_HEAD.unpack_from(view, position)
            yield Message(channel, sequence, time_ns, view[position + MESSAGE_HEAD.size : end])
        position = end


def _decompress(data: bytes, raw_bytes: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    try:
        with decompressor.stream_reader(data) as reader:
            return reader.read(raw_bytes)
    except (zstandard.ZstdError, MemoryError) as error:
        raise FormatError(f"it cannot be decompressed ({error})") from None
