"""Walking the MCAP records of a file that may be damaged (docs/format.md, 1.3)."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from relive.container.messages import RECORD_HEAD_BYTES, is_whole

MAGIC = b"\x89MCAP0\r\n"
PROFILE = "relive"
CODES, TRACK, EVENTS, DETAIL = 1, 2, 3, 4
"""Channel ids, fixed in version 1."""

MAX_RECORD_BYTES = 64 << 20
HEADER, FOOTER, MESSAGE, METADATA, DATA_END = 0x01, 0x02, 0x05, 0x0C, 0x0F
_LAST_KNOWN = 0x0F
_HEAD_BYTES = 9
_MAX_PROBLEMS = 100
_WINDOW_BYTES = 1 << 20
_LANDMARK = re.compile(rb"\x05.{4}\x00{4}[\x01-\x04]\x00|\x0f\x04\x00{7}", re.DOTALL)
_LANDMARK_BYTES = 11


@dataclass(frozen=True)
class Record:
    """One record: its place, its kind and, where it is looked at, its content."""

    opcode: int
    offset: int
    content: bytes

    @property
    def end(self) -> int:
        """Offset of the first byte after the record."""
        return self.offset + _HEAD_BYTES + len(self.content)


class RecordWalk:
    """Every whole record of a file, in order, past whatever is damaged.

    Attributes:
        problems: one line for each place that could not be read.
        closed: the file ends as a finished file does.
        broken: how many places could not be read up to now.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._budget = 4 * size
        self.problems: list[str] = []
        self.closed = False
        self.broken = 0

    def __iter__(self) -> Iterator[Record]:
        at: int | None = len(MAGIC)
        while at is not None and at < self._size and not self.closed:
            record = self._record_at(at)
            if record is None:
                at = self._search(at)
                self.broken += 1
                continue
            if record.opcode != MESSAGE or is_whole(record.content):
                yield record
                at = record.end
                self.closed = record.opcode == FOOTER and self._closes(at)
            else:
                self.broken += 1
                self.note(f"message at byte {at} is damaged: its checksum differs")
                at = record.end if self._plausible(record.end) else self._search(at)
        if not self.closed:
            self.note("the file was not closed: its end is missing")

    def note(self, problem: str) -> None:
        """Remember a problem; after the first hundred, only that there are more."""
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(problem)
        elif len(self.problems) == _MAX_PROBLEMS:
            self.problems.append("and more of the kind")

    def read_record(self, offset: int) -> Record | None:
        """Return the record at an offset, or None where no whole record lies."""
        return self._record_at(offset)

    def _read(self, at: int, count: int) -> bytes:
        self._file.seek(at)
        return self._file.read(count)

    def _head(self, at: int) -> tuple[int, int] | None:
        """Return opcode and length of a record that fits into the file."""
        head = self._read(at, _HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            return None
        opcode, length = struct.unpack("<BQ", head)
        if length > MAX_RECORD_BYTES or at + _HEAD_BYTES + length > self._size:
            return None
        return opcode, length

    def _record_at(self, at: int) -> Record | None:
        head = self._head(at)
        if head is None:
            return None
        opcode, length = head
        return Record(opcode, at, self._read(at + _HEAD_BYTES, length))

    def _plausible(self, at: int) -> bool:
        head = self._head(at)
        return head is not None and 1 <= head[0] <= _LAST_KNOWN

    def _closes(self, at: int) -> bool:
        tail = self._read(at, len(MAGIC) + 1)
        if tail == MAGIC:
            return True
        self.note(f"the file does not end after its footer at byte {at}")
        return False

    def _search(self, at: int) -> int | None:
        """Return the offset of the next whole message or end of data after `at`."""
        self.note(f"no whole record at byte {at}")
        start = at + 1
        while start < self._size and self._budget > 0:
            window = self._read(start, _WINDOW_BYTES)
            self._budget -= len(window)
            for found in _LANDMARK.finditer(window):
                if self._is_landmark(start + found.start()):
                    return start + found.start()
            start += max(1, len(window) - _LANDMARK_BYTES + 1)
        return None

    def _is_landmark(self, at: int) -> bool:
        record_head = self._head(at)
        if record_head is None or self._budget <= 0:
            return False
        opcode, length = record_head
        if opcode == DATA_END:
            return self._plausible(at + _HEAD_BYTES + length)
        self._budget -= length + RECORD_HEAD_BYTES
        return is_whole(self._read(at + _HEAD_BYTES, length))


def crc_of(file: BinaryIO, start: int, end: int) -> int:
    """Return the CRC-32 of bytes `start` to `end`, read in pieces."""
    file.seek(start)
    value, left = 0, end - start
    while left > 0 and (piece := file.read(min(left, _WINDOW_BYTES))):
        value = zlib.crc32(piece, value)
        left -= len(piece)
    return value
