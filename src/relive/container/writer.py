"""Packets → file, one GOP at a time."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from mcap.writer import IndexType, Writer

from relive.container.gop import MAX_TIME_NS, GopRecord
from relive.container.header import METADATA_NAME, ReplayHeader
from relive.container.messages import EVENT, PART, schema_bytes, without_seal, write_message
from relive.container.records import (
    CODES,
    DETAIL,
    EVENTS,
    MAX_RECORD_BYTES,
    PROFILE,
    TRACK,
)
from relive.errors import FormatError, InputError, ReliveError

_BUFFER_BYTES = 1 << 20


class ReplayWriter:
    """Write a replay so that what was handed over is readable however the program ends.

    As a context manager it closes the file at the end and on Ctrl-C; other exceptions remove it.

    Args:
        path: the file, written in place.
        header: what the replay says about itself; written at once.
        force: overwrite an existing file.

    Raises:
        InputError: the file exists, or its folder does not.
        ReliveError: it cannot be written.
    """

    def __init__(self, path: Path | str, header: ReplayHeader, force: bool = False) -> None:
        self.path = Path(path)
        self._gops = 0
        self._events = 0
        self._next_frame = 0
        self._closed = False
        self._tiers, self._compact = header.tiers, header.compact
        self._file = _open(self.path, force)
        self._mcap: Any = Writer(
            self._file,
            index_types=IndexType.NONE,
            repeat_channels=False,
            repeat_schemas=False,
            use_chunking=False,
            use_statistics=False,
            use_summary_offsets=False,
            enable_data_crcs=True,
        )
        try:
            self._start(header)
        except BaseException:
            self.abort()
            raise

    def _start(self, header: ReplayHeader) -> None:
        pairs = header.to_metadata()
        try:
            self._mcap.start(profile=PROFILE, library="relive")
            self._mcap.add_metadata(METADATA_NAME, pairs)
            part = self._mcap.register_schema(PART, "protobuf", schema_bytes(PART))
            event = self._mcap.register_schema(EVENT, "protobuf", schema_bytes(EVENT))
            topics = [("/codes", part), ("/track", part), ("/events", event)]
            if header.tiers > 1:
                topics.append(("/detail", part))
            for topic, schema in topics:
                self._mcap.register_channel(topic, "protobuf", schema)
            self._mcap.flush()
        except OSError as error:
            raise self._failed(error) from error

    def add_gop(self, gop: GopRecord) -> None:
        """Append a GOP and hand it to the operating system.

        Raises:
            FormatError: it does not follow the GOP before, or a number is out of range.
            ReliveError: it cannot be written.
        """
        gop.check()
        if gop.index != self._gops or gop.first_frame < self._next_frame:
            raise FormatError(
                f"GOP {gop.index} at frame {gop.first_frame} does not follow: "
                f"GOP {self._gops} from frame {self._next_frame} on was expected"
            )
        codes = write_message(
            PART,
            CODES,
            gop.index,
            gop.start_ns,
            first_frame=gop.first_frame,
            num_frames=gop.num_frames,
            duration_ns=gop.end_ns - gop.start_ns,
            psnr_db=gop.psnr_db,
            data=self._data(gop.codes),
            track=self._data(gop.track) if self._compact else b"",
        )
        messages = [(CODES, codes)]
        if not self._compact:
            track = write_message(PART, TRACK, gop.index, gop.start_ns, data=gop.track)
            messages.append((TRACK, track))
        if gop.detail is not None:
            if self._tiers == 1:
                raise FormatError(f"GOP {gop.index} has a tier that the header does not name")
            data = self._data(gop.detail)
            detail = write_message(PART, DETAIL, gop.index, gop.start_ns, data=data)
            messages.append((DETAIL, detail))
        self._add(*messages, sequence=gop.index, time_ns=gop.start_ns)
        self._gops += 1
        self._next_frame = gop.first_frame + gop.num_frames

    def _data(self, packet: bytes) -> bytes:
        return without_seal(packet) if self._compact else packet

    def add_event(self, time_ns: int, name: str, payload: str = "") -> None:
        """Append an event; it reaches the operating system with the next GOP, or at the end."""
        if not 0 <= time_ns <= MAX_TIME_NS:
            raise FormatError(f"event {name!r}: time {time_ns} ns is out of range")
        message = write_message(EVENT, EVENTS, self._events, time_ns, name=name, payload=payload)
        self._add((EVENTS, message), sequence=self._events, time_ns=time_ns, flush=False)
        self._events += 1

    def _add(
        self, *messages: tuple[int, bytes], sequence: int, time_ns: int, flush: bool = True
    ) -> None:
        if self._closed:
            raise InputError(f"{self.path}: the replay is closed; nothing can be added")
        if any(len(message) > MAX_RECORD_BYTES - 64 for _, message in messages):
            raise FormatError(f"{self.path}: a message is larger than {MAX_RECORD_BYTES} bytes")
        try:
            for channel, message in messages:
                self._mcap.add_message(channel, time_ns, message, time_ns, sequence)
            if flush:
                self._mcap.flush()
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Write the end of the file and close it; closing twice does no harm."""
        if self._closed:
            return
        self._closed = True
        try:
            self._mcap.finish()
            self._file.close()
        except OSError as error:
            raise self._failed(error) from error

    def abort(self) -> None:
        """Close the file and remove it."""
        self._closed = True
        with suppress(OSError):  # the disk is full: what is buffered has nowhere to go
            self._file.close()
        self.path.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> ReliveError:
        return ReliveError(f"{self.path}: cannot be written: {error.strerror or error}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt):
            self.close()
        else:
            self.abort()


def _open(path: Path, force: bool) -> BinaryIO:
    try:
        return path.open("wb" if force else "xb", buffering=_BUFFER_BYTES)
    except FileExistsError as error:
        raise InputError(f"{path}: exists already; --force overwrites it") from error
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"{path}: cannot be created: {error.strerror}") from error
    except OSError as error:
        raise ReliveError(f"{path}: cannot be created: {error.strerror}") from error
