"""MCAP records, written chunk by chunk so that a killed process loses only the last ones.

The inverse is `mcap_read.py`. The `mcap` package builds the records; chunks are put together here
because they are compressed while they grow, and some of them not at all.
"""

import os
import struct
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    Schema,
    Statistics,
)
from mcap.writer import MCAP0_MAGIC

from relive.session.messages import CHANNELS, SCHEMAS, ChannelInfo, schema_bytes

PROFILE = "relive-session"
ZSTD_LEVEL = 3
MESSAGE_HEAD = struct.Struct("<BQHIQQ")  # opcode, length, channel, sequence, log and publish time
MESSAGE_HEAD_BYTES = MESSAGE_HEAD.size - 9  # without opcode and length


class Chunk:
    """One MCAP chunk that grows message by message.

    Checksum and compression happen once, when it is finished: each lets go of Python's global
    lock, and a game written in Python takes up to 5 ms to give it back.

    Args:
        compressor: None leaves the chunk uncompressed.
    """

    def __init__(self, compressor: zstandard.ZstdCompressor | None = None) -> None:
        self._compressor = compressor
        self._raw = bytearray()
        self._times = (1 << 64, 0)
        self.counts: Counter[int] = Counter()

    @property
    def raw_bytes(self) -> int:
        """Size so far, uncompressed."""
        return len(self._raw)

    def add(
        self, channel: ChannelInfo, time_ns: int, sequence: int, *payload: bytes | memoryview
    ) -> None:
        """Append a message whose payload is the concatenation of some byte strings."""
        length = MESSAGE_HEAD_BYTES + sum(len(part) for part in payload)
        self._raw += MESSAGE_HEAD.pack(
            Opcode.MESSAGE, length, channel.id, sequence & 0xFFFFFFFF, time_ns, time_ns
        )
        for part in payload:
            self._raw += part
        self._times = (min(self._times[0], time_ns), max(self._times[1], time_ns))
        self.counts[channel.id] += 1

    def finish(self, offset: int) -> tuple[bytes, ChunkIndex]:
        """Close the chunk.

        Args:
            offset: Where in the file it will start.

        Returns:
            The record and its entry for the summary.
        """
        compression = "" if self._compressor is None else "zstd"
        data = self._raw if self._compressor is None else self._compressor.compress(self._raw)
        start, end = self._times if self.counts else (0, 0)
        head = struct.pack("<QQQI", start, end, self.raw_bytes, zlib.crc32(self._raw))
        head += struct.pack("<I", len(compression)) + compression.encode()
        head += struct.pack("<Q", len(data))
        record = struct.pack("<BQ", Opcode.CHUNK, len(head) + len(data)) + head + data
        index = ChunkIndex(
            chunk_length=len(record),
            chunk_start_offset=offset,
            compression=compression,
            compressed_size=len(data),
            message_end_time=end,
            message_index_length=0,
            message_index_offsets={},
            message_start_time=start,
            uncompressed_size=self.raw_bytes,
        )
        return record, index


class McapFile:
    """A recording that grows by whole chunks.

    Args:
        path: The file.
        force: Overwrite it.

    Raises:
        FileExistsError: It is there already.
        OSError: It cannot be created.
    """

    def __init__(self, path: Path, *, force: bool) -> None:
        self._file = path.open("wb" if force else "xb", buffering=0)
        self.offset = 0
        self._indexes = bytearray()  # about 90 bytes a chunk
        self._chunks = 0
        self._staged: list[bytes] = []
        self._counts: Counter[int] = Counter()
        self._times = (1 << 64, 0)

    def start(self) -> None:
        """Write the header, the schemas and the channels."""
        self._write(MCAP0_MAGIC + _records(Header(PROFILE, "relive"), *_definitions()))

    def stage(self, chunk: Chunk) -> int:
        """Put a chunk behind the file, to be written by the next `commit`.

        Returns:
            The offset in the file at which it will start.
        """
        offset = self.offset + sum(map(len, self._staged))
        record, index = chunk.finish(offset)
        self._staged.append(record)
        self._indexes += _records(index)
        self._chunks += 1
        self._counts.update(chunk.counts)
        self._times = (
            min(self._times[0], index.message_start_time),
            max(self._times[1], index.message_end_time),
        )
        return offset

    def commit(self) -> None:
        """Write the staged chunks at once and hand them to the operating system."""
        self._write(b"".join(self._staged))
        self._staged.clear()

    def finish(self) -> None:
        """Write the summary and close the file."""
        self._write(_records(DataEnd(0)))
        start = self.offset
        summary = _records(*_definitions(), self._statistics()) + bytes(self._indexes)
        opening = struct.pack("<BQQQ", Opcode.FOOTER, 20, start, 0)
        crc = zlib.crc32(opening, zlib.crc32(summary))
        self._write(summary + _records(Footer(start, 0, crc)) + MCAP0_MAGIC)
        self._file.close()

    def abandon(self) -> None:
        """Cut off what was written in part, where that is possible, and close the file."""
        with suppress(OSError):
            self._file.truncate(self.offset)
        with suppress(OSError):
            self._file.close()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file.fileno(), view) :]
        self.offset += len(data)

    def _statistics(self) -> Statistics:
        return Statistics(
            attachment_count=0,
            channel_count=len(CHANNELS),
            channel_message_counts=dict(self._counts),
            chunk_count=self._chunks,
            message_count=self._counts.total(),
            message_end_time=self._times[1],
            message_start_time=self._times[0] if self._counts else 0,
            metadata_count=0,
            schema_count=len(SCHEMAS),
        )


def _definitions() -> list[McapRecord]:
    """The schemas and channels of every recording."""
    ids = {name: number for number, name in enumerate(SCHEMAS, 1)}
    schemas = [
        Schema(id=ids[name], data=schema_bytes(name), encoding="protobuf", name=name)
        for name in SCHEMAS
    ]
    channels = [
        Channel(
            id=channel.id,
            topic=channel.topic,
            message_encoding="protobuf",
            metadata={},
            schema_id=ids[channel.schema],
        )
        for channel in CHANNELS.values()
    ]
    return [*schemas, *channels]


def _records(*records: McapRecord) -> bytes:
    builder = RecordBuilder()
    for record in records:
        record.write(builder)
    return bytes(builder.end())  # type: ignore[no-untyped-call]  # mcap is untyped
