"""File → packets: an index of every whole GOP, and any of them on demand."""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Self

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.records import Metadata

from relive.container import records
from relive.container.gop import MAX_TIME_NS, GopEntry, GopRecord, GopSpan, ReplayEvent
from relive.container.header import METADATA_NAME, ReplayHeader
from relive.container.messages import EVENT, PART, is_whole, read_message, record_head, with_seal
from relive.container.records import Record, RecordWalk
from relive.errors import DamagedError, FormatError, InputError


class ReplayReader:
    """A replay opened for reading; a context manager.

    Opening reads the file once from end to end, one record at a time, and checks every checksum.

    Attributes:
        path: the file.
        size: bytes of the file.
        modified_ns: when the file that is open was changed last, of its clock.
        header: what the replay says about itself.
        gops: the whole GOPs, by rising number; a damaged one is not among them.
        events: what happened, in the order of the file.
        problems: one line for everything that is damaged or missing.
    """

    path: Path
    size: int
    modified_ns: int
    header: ReplayHeader
    gops: list[GopEntry]
    events: list[ReplayEvent]
    problems: list[str]

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a replay and index it.

        Raises:
            InputError: there is no such file.
            FormatError: not a replay, or its header is damaged, or of another major version.
        """
        path = Path(path)
        try:
            file = path.open("rb")
        except OSError as error:
            raise InputError(f"{path}: cannot be opened: {error.strerror}") from error
        try:
            return cls(path, file)
        except BaseException:
            file.close()
            raise

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self.size = file.seek(0, 2)
        self.modified_ns = os.fstat(file.fileno()).st_mtime_ns
        self._walk = RecordWalk(file, self.size)
        self._header_bytes = 0
        self._event_bytes = 0
        self._check_magic()
        index = _Index()
        header: ReplayHeader | None = None
        checked: set[int] = set()
        for record in self._walk:
            if record.opcode == records.METADATA and header is None:
                header = self._read_header(record)
            elif record.opcode == records.MESSAGE:
                index.add(record, self._walk.broken)
            elif record.opcode == records.HEADER:
                self._check_profile(record)
            elif record.opcode in (records.DATA_END, records.FOOTER):
                checked.add(record.opcode)
                self._check_end(record)
        if self._walk.closed and records.DATA_END not in checked:
            self._walk.note("the record that ends the data is missing")
        if header is None:
            raise FormatError(f"{path}: the header of the replay is missing or damaged")
        self.header = header
        self.gops, lost = index.gops()
        self.events = index.events
        self._event_bytes = index.event_bytes
        self.problems = self._walk.problems + index.problems + lost

    @property
    def damaged(self) -> bool:
        """Something in the file is damaged or missing; `problems` says what."""
        return bool(self.problems)

    @property
    def num_frames(self) -> int:
        """Frames of the replay, those of lost GOPs between included."""
        return self.gops[-1].first_frame + self.gops[-1].num_frames if self.gops else 0

    @property
    def holes(self) -> list[tuple[int, int, bool]]:
        """Frames that no whole GOP covers: first, one past the last, and whether they are broken.

        Those that are not have nothing in the file, as after a repair.
        """
        ends = [0, *(gop.first_frame + gop.num_frames for gop in self.gops)]
        return [
            (end, gop.first_frame, gop.broken_before)
            for end, gop in zip(ends, self.gops, strict=False)
            if gop.first_frame > end
        ]

    @property
    def parts(self) -> dict[str, int]:
        """Bytes of the file by part; they add up to its size."""
        adapter = len(base64.b85encode(self.header.adapter))
        memory = len(base64.b85encode(self.header.memory))
        parts = {
            "codes": sum(gop.codes_bytes for gop in self.gops),
            "enhancement": sum(gop.detail_bytes for gop in self.gops),
            "states": sum(gop.track_bytes for gop in self.gops),
            "events": self._event_bytes,
            "header": self._header_bytes - adapter - memory,
            "adapter": adapter,
            "memory": memory,
        }
        return parts | {"container": self.size - sum(parts.values())}

    def read_gop(self, i: int) -> GopRecord:
        """Read entry `i` of `gops` with its packets, checking them again.

        Raises:
            InputError: there is no such entry.
            DamagedError: the file changed or cannot be read any more.
        """
        if not 0 <= i < len(self.gops):
            raise InputError(f"{self.path}: no GOP {i}; there are {len(self.gops)}")
        entry = self.gops[i]
        part = self._read_part(entry.codes_at, entry.index)
        codes, track, detail = self._packet(part.data), self._packet(part.track), None
        if entry.track_at != entry.codes_at:
            track = self._packet(self._read_part(entry.track_at, entry.index).data)
        if entry.detail_at is not None:
            detail = self._packet(self._read_part(entry.detail_at, entry.index).data)
        return GopRecord(
            entry.index,
            entry.first_frame,
            entry.num_frames,
            entry.start_ns,
            entry.end_ns,
            entry.psnr_db,
            codes,
            track,
            detail,
        )

    def iter_gops(self) -> Iterator[GopRecord]:
        """Read all whole GOPs in order, one at a time."""
        return (self.read_gop(i) for i in range(len(self.gops)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_part(self, offset: int, index: int) -> Any:
        """Read the `Part` message of a GOP."""
        record = self._walk.read_record(offset)
        if record is None or not is_whole(record.content):
            raise DamagedError(f"{self.path}: GOP {index} at byte {offset} cannot be read any more")
        return read_message(PART, record.content)

    def _packet(self, data: bytes) -> bytes:
        return with_seal(bytes(data)) if self.header.compact else bytes(data)

    def _check_magic(self) -> None:
        self._file.seek(0)
        magic = self._file.read(len(records.MAGIC))
        if not magic:
            raise FormatError(f"{self.path}: not a replay: the file is empty")
        if magic != records.MAGIC:
            raise FormatError(f"{self.path}: not a replay: no MCAP file")

    def _check_profile(self, record: Record) -> None:
        length = struct.unpack_from("<I", record.content)[0] if len(record.content) >= 4 else 0
        profile = record.content[4 : 4 + length]
        if profile == b"relive-session":
            raise FormatError(f"{self.path}: a recording, not a replay; make one: relive encode")
        if profile != records.PROFILE.encode():
            self._walk.note(f"the MCAP header names the profile {profile[:32]!r}")

    def _read_header(self, record: Record) -> ReplayHeader | None:
        try:
            metadata = Metadata.read(ReadDataStream(BytesIO(record.content)))
        except (McapError, struct.error, UnicodeDecodeError, MemoryError, OverflowError):
            return None
        if metadata.name != METADATA_NAME:
            return None
        try:
            header = ReplayHeader.from_metadata(metadata.metadata)
        except FormatError as error:
            raise FormatError(f"{self.path}: {error}") from error
        self._header_bytes = record.end - record.offset
        return header

    def _check_end(self, record: Record) -> None:
        """Check the CRC that closes the data, or the one that closes the footer."""
        start, end = 0, record.offset
        if record.opcode == records.FOOTER:
            start, end = record.offset, record.end - 4
        if struct.pack("<I", records.crc_of(self._file, start, end)) != record.content[-4:]:
            name = "footer" if start else "data"
            self._walk.note(f"the checksum over the {name} of the file differs")


class _Index:
    """Collects messages into GOPs and events."""

    def __init__(self) -> None:
        self.events: list[ReplayEvent] = []
        self.event_bytes = 0
        self.problems: list[str] = []
        self._codes: dict[int, tuple[GopSpan, int, int]] = {}
        self._tracks: dict[int, tuple[int, int]] = {}
        self._details: dict[int, tuple[int, int]] = {}
        self._broken, self._latest = 0, -1
        self._broken_after: set[int] = set()

    def add(self, record: Record, broken: int) -> None:
        """Take a whole message; one of an unknown channel is skipped.

        Args:
            record: the message.
            broken: places of the file before it that could not be read.
        """
        channel, sequence, time_ns = record_head(record.content)
        if broken > self._broken:
            self._broken_after.add(self._latest)
            self._broken = broken
        if channel in (records.CODES, records.TRACK, records.DETAIL):
            self._latest = sequence
        try:
            if channel == records.CODES:
                self._add_codes(record, sequence, time_ns)
            elif channel == records.TRACK:
                data = read_message(PART, record.content).data
                self._tracks.setdefault(sequence, (record.offset, len(data)))
            elif channel == records.DETAIL:
                data = read_message(PART, record.content).data
                self._details.setdefault(sequence, (record.offset, len(data)))
            elif channel == records.EVENTS:
                event = read_message(EVENT, record.content)
                if time_ns > MAX_TIME_NS:
                    raise FormatError(f"event {event.name[:40]!r}: time {time_ns} is out of range")
                self.events.append(ReplayEvent(time_ns, event.name, event.payload))
                self.event_bytes += len(record.content)
        except FormatError as error:
            self.problems.append(f"at byte {record.offset}: {error}")

    def _add_codes(self, record: Record, sequence: int, time_ns: int) -> None:
        part = read_message(PART, record.content)
        end_ns = time_ns + part.duration_ns
        span = GopSpan(
            sequence, part.first_frame, part.num_frames, time_ns, end_ns, float(part.psnr_db)
        )
        span.check()
        self._codes.setdefault(sequence, (span, record.offset, len(part.data)))
        if part.track:
            self._tracks.setdefault(sequence, (record.offset, len(part.track)))

    def gops(self) -> tuple[list[GopEntry], list[str]]:
        """Return the GOPs that are whole and follow each other, and a line for each that is not.

        A GOP that has lost its enhancement alone counts, and whatever hit it has its own line.
        """
        entries: list[GopEntry] = []
        lost: list[str] = []
        frame, broken = 0, -1 in self._broken_after
        last = max([*self._codes, *self._tracks], default=-1)
        missing = last + 1 - len(self._codes.keys() | self._tracks.keys())
        if missing:
            lost.append(f"{missing} of {last + 1} GOPs are missing")
        for sequence in sorted(self._codes.keys() | self._tracks.keys()):
            if sequence not in self._codes or sequence not in self._tracks:
                lost.append(f"GOP {sequence} is not whole")
                broken = True
                continue
            span, codes_at, codes_bytes = self._codes[sequence]
            if span.first_frame < frame:
                lost.append(f"GOP {sequence} does not follow the one before")
                continue
            track, detail = self._tracks[sequence], self._details.get(sequence, (None, 0))
            entries.append(
                GopEntry(**vars(span), codes_at=codes_at, codes_bytes=codes_bytes,
                         track_at=track[0], track_bytes=track[1],
                         detail_at=detail[0], detail_bytes=detail[1],
                         broken_before=broken and span.first_frame > frame)
            )  # fmt: skip
            frame = span.first_frame + span.num_frames
            broken = sequence in self._broken_after
        return entries, lost
