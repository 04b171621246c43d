"""The small part of a recording that is read when it is opened: everything but the pixels."""

import json
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from relive.errors import FormatError, InputError
from relive.session.mcap_read import (
    MAX_STATES_BYTES,
    ChunkPlace,
    ChunkWalk,
    Message,
    messages,
    read_chunk,
)
from relive.session.mcap_write import PROFILE
from relive.session.messages import CHANNELS, DecodeError, parse
from relive.session.recorder import MAX_SIDE_PX, VERSION
from relive.session.regions import RegionSchema
from relive.session.schema import StateSchema
from relive.session.segments import Event

_TOPICS = {channel.id: topic for topic, channel in CHANNELS.items()}


@dataclass(frozen=True)
class SegmentPlace:
    """One segment of the session.

    Attributes:
        start: Index in the session of its first frame.
        num_frames: Its frames, missing ones included.
        first_frame: Frame number in the file of its first frame.
        pictures: Its pictures chunk, if it has one.
        regions: Its regions chunk, if it has one.
    """

    start: int
    num_frames: int
    first_frame: int
    pictures: ChunkPlace | None
    regions: ChunkPlace | None


@dataclass
class SessionIndex:
    """What `read_index` finds; lists grow by a few bytes a frame."""

    game: str = ""
    schema: StateSchema = field(default_factory=StateSchema)
    region_schema: RegionSchema | None = None
    width: int = 0
    height: int = 0
    times_ns: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("f"))
    present: bytearray = field(default_factory=bytearray)
    labelled: bytearray = field(default_factory=bytearray)
    segments: list[SegmentPlace] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    damaged: bool = False

    def states(self) -> NDArray[np.float32]:
        """The states as float32 [T, S]."""
        return np.array(self.values, np.float32).reshape(len(self.times_ns), self.schema.width)


def read_index(path: Path, file: BinaryIO) -> SessionIndex:
    """Read a recording up to its end or to where it was cut.

    Raises:
        FormatError: It is no recording, of another major version, or breaks the rules of the
            format although its checksums are right.
    """
    walk = ChunkWalk(file)
    try:
        profile = walk.profile()
        if profile != PROFILE:
            if profile == "relive":
                raise FormatError("it is a replay, not a session; make one of it: relive decode")
            raise FormatError(f"it is MCAP of the profile {profile!r}, not a recorded session")
        return _Builder(file, walk).build()
    except DecodeError:
        raise FormatError(f"{path}: a message cannot be read; the file is damaged") from None
    except InputError as error:
        raise FormatError(f"{path}: {error}") from None


class _Builder:
    def __init__(self, file: BinaryIO, walk: ChunkWalk) -> None:
        self._file = file
        self._walk = walk
        self._index = SessionIndex()
        self._next_frame = 0
        self._places: dict[int, ChunkPlace] = {}  # pixel chunks that no segment has named yet

    def build(self) -> SessionIndex:
        chunks = iter(self._walk)
        first = next(chunks, None)
        if first is None:
            raise FormatError("it ends before the session header; nothing was recorded")
        self._read_header(first)
        for place in chunks:
            if place.compression:
                self._places[place.offset] = place
            else:
                self._read_segment(place)
        self._index.damaged |= not self._walk.whole or bool(self._places)
        return self._index

    def _read_header(self, place: ChunkPlace) -> None:
        for message in messages(read_chunk(self._file, place, MAX_STATES_BYTES)):
            if message.channel != CHANNELS["/session"].id:
                continue
            header = parse("relive.SessionHeader", message.payload)
            if header.version_major != VERSION[0]:
                raise FormatError(
                    f"version {header.version_major}.{header.version_minor} of the recording "
                    f"format; this program reads {VERSION[0]}.x"
                )
            self._index.game = header.game
            self._index.schema = StateSchema.from_dict(_json(header.state_schema))
            if header.region_schema:
                self._index.region_schema = RegionSchema.from_dict(_json(header.region_schema))
            return
        raise FormatError("the session header is missing")

    def _read_segment(self, place: ChunkPlace) -> None:
        places, self._places = self._places, {}
        try:
            records = read_chunk(self._file, place, MAX_STATES_BYTES)
        except FormatError:
            self._index.damaged = True
            return
        head: Any = None
        count = 0
        for message in messages(records):
            topic = _TOPICS.get(message.channel)
            if topic == "/segment" and head is None:
                head = parse("relive.Segment", message.payload)
                self._open_segment(head, places)
            elif topic == "/states" and head is not None:
                self._add_state(message, head.first_frame + count)
                count += 1
            elif topic == "/events":
                event = parse("relive.Event", message.payload)
                self._index.events.append(Event(event.time_ns, event.name, event.payload))
        if head is None or count != head.num_frames:
            raise FormatError(f"a segment at byte {place.offset} does not have its frames")
        self._next_frame = head.first_frame + count

    def _open_segment(self, head: Any, places: dict[int, ChunkPlace]) -> None:
        index = self._index
        if head.first_frame < self._next_frame:
            raise FormatError(f"frame {head.first_frame} is there twice")
        if max(head.width, head.height) > MAX_SIDE_PX:
            raise FormatError(f"frames of {head.width}×{head.height} pixels are not allowed")
        if index.width and (head.width, head.height) != (index.width, index.height):
            raise FormatError(f"the size of the frames changes at frame {head.first_frame}")
        for offset in (head.pictures_offset, head.regions_offset):
            if offset and offset not in places:
                raise FormatError(f"there is no chunk at byte {offset}")
        named = {head.pictures_offset, head.regions_offset} - {0}
        index.damaged |= head.first_frame > self._next_frame or named != set(places)
        index.width, index.height = head.width, head.height
        index.segments.append(
            SegmentPlace(
                start=len(index.times_ns),
                num_frames=head.num_frames,
                first_frame=head.first_frame,
                pictures=places.get(head.pictures_offset),
                regions=places.get(head.regions_offset),
            )
        )

    def _add_state(self, message: Message, frame: int) -> None:
        index = self._index
        state = parse("relive.State", message.payload)
        values = np.array(state.values, np.float32)
        if state.frame != frame:
            raise FormatError(f"frame {frame} is missing in its segment")
        if len(values) != index.schema.width or not np.isfinite(values).all():
            raise FormatError(f"frame {frame}: its state does not fit the schema")
        last_ns = index.times_ns[-1] if index.times_ns else -1
        if not last_ns < message.time_ns < 1 << 63:
            raise FormatError(f"frame {frame}: its time is not after that of the frame before")
        segment = index.segments[-1]
        if (state.present and (segment.pictures is None or not index.width)) or (
            state.labelled and (segment.regions is None or not state.present)
        ):
            raise FormatError(f"frame {frame}: its pixels are not there")
        index.times_ns.append(message.time_ns)
        index.values.frombytes(values.tobytes())
        index.present.append(state.present)
        index.labelled.append(state.labelled)


def _json(text: str) -> Any:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise FormatError("a schema in the file is not JSON") from None
    if not isinstance(values, dict):
        raise FormatError("a schema in the file is not a table")
    return values
