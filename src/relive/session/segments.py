"""Frames, states and events to the segments of a recording (docs/format-session.md)."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from relive.session.filtering import filter_frame
from relive.session.mcap_write import ZSTD_LEVEL, Chunk, McapFile
from relive.session.messages import CHANNELS, new_message

SEGMENT_FRAMES = 16
SEGMENT_RAW_BYTES = 4 << 20
SEGMENT_SECONDS = 0.5
TRIAL_SEGMENTS = 16  # how often both ways of storing a picture are tried
_DATA_TAG = {"/frames": b"\x32", "/regions": b"\x32", "/frames/filtered": b"\x1a"}


@dataclass(frozen=True)
class Entry:
    """One frame on its way to the file.

    Attributes:
        frame: Frame number.
        time_ns: Its time.
        values: float32 [S].
        picture: uint8 [H, W, 3] or None if the frame is missing.
        regions: uint8 [H, W] or None.
    """

    frame: int
    time_ns: int
    values: NDArray[np.float32]
    picture: NDArray[np.uint8] | None
    regions: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        time_ns: When, in the clock of the frames.
        name: What.
        payload: Anything more, as text.
    """

    time_ns: int
    name: str
    payload: str = ""


class SegmentWriter:
    """Collects entries and writes them as segments; runs in one thread.

    Args:
        file: The recording, its session header written.
    """

    def __init__(self, file: McapFile) -> None:
        self._file = file
        self._size = (0, 0)  # width, height in pixels
        self._next_frame = 0
        self._compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        self._topic = ""
        self._segments = 0
        self._begin()

    def _begin(self) -> None:
        self._pictures = Chunk(self._compressor)
        self._regions = Chunk(self._compressor)
        self._states: list[tuple[int, int, bytes]] = []
        self._events: list[Event] = []
        self._other_bytes = 0  # of states and events
        self._deadline: float | None = None

    def seconds_left(self) -> float | None:
        """Time until `flush` is due, None while there is nothing to write."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def add(self, entry: Entry) -> None:
        """Take a frame; writes the segment if it is full."""
        self._start_clock()
        if entry.picture is not None:
            self._add_picture(entry, entry.picture)
        if entry.regions is not None:
            _add_image(self._regions, "/regions", entry, entry.regions, "mono8")
        state = new_message(
            "relive.State",
            frame=entry.frame,
            present=entry.picture is not None,
            labelled=entry.regions is not None,
            values=entry.values.tolist(),
        )
        self._keep_state(entry, state.SerializeToString())
        self._flush_if_due()

    def add_event(self, event: Event) -> None:
        """Take an event."""
        self._start_clock()
        self._events.append(event)
        self._other_bytes += len(event.name) + len(event.payload)
        self._flush_if_due()

    def flush(self) -> None:
        """Write what is there as one segment."""
        if self._deadline is None:
            return
        pictures, regions = (
            self._file.stage(chunk) if chunk.counts else 0
            for chunk in (self._pictures, self._regions)
        )
        self._file.stage(self._states_chunk(pictures, regions))
        self._file.commit()
        self._segments += 1
        self._begin()

    def _states_chunk(self, pictures_offset: int, regions_offset: int) -> Chunk:
        chunk = Chunk()
        segment = new_message(
            "relive.Segment",
            first_frame=self._states[0][0] if self._states else self._next_frame,
            num_frames=len(self._states),
            width=self._size[0],
            height=self._size[1],
            pictures_offset=pictures_offset,
            regions_offset=regions_offset,
        )
        first_ns = self._states[0][1] if self._states else self._events[0].time_ns
        chunk.add(CHANNELS["/segment"], first_ns, 0, segment.SerializeToString())
        for frame, time_ns, state in self._states:
            chunk.add(CHANNELS["/states"], time_ns, frame, state)
        for event in self._events:
            message = new_message(
                "relive.Event", time_ns=event.time_ns, name=event.name, payload=event.payload
            )
            chunk.add(CHANNELS["/events"], event.time_ns, 0, message.SerializeToString())
        return chunk

    def _keep_state(self, entry: Entry, state: bytes) -> None:
        self._states.append((entry.frame, entry.time_ns, state))
        self._next_frame = entry.frame + 1
        self._other_bytes += len(state)

    def _add_picture(self, entry: Entry, picture: NDArray[np.uint8]) -> None:
        self._size = (picture.shape[1], picture.shape[0])
        due = not self._topic or self._segments % TRIAL_SEGMENTS == 0
        if due and not self._pictures.counts:
            self._topic = _smaller_topic(picture)
        if self._topic == "/frames":
            _add_image(self._pictures, "/frames", entry, picture, "rgb8")
            return
        head = new_message("relive.FilteredFrame", width=self._size[0], height=self._size[1])
        _add_message(self._pictures, self._topic, entry, head, filter_frame(picture))

    def _start_clock(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + SEGMENT_SECONDS

    def _flush_if_due(self) -> None:
        raw_bytes = self._pictures.raw_bytes + self._regions.raw_bytes + self._other_bytes
        if (
            len(self._states) >= SEGMENT_FRAMES
            or raw_bytes >= SEGMENT_RAW_BYTES
            or self.seconds_left() == 0
        ):
            self.flush()


def _smaller_topic(picture: NDArray[np.uint8]) -> str:
    """Try both ways of storing a picture."""
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    plain = len(compressor.compress(picture.tobytes()))
    filtered = len(compressor.compress(filter_frame(picture).tobytes()))
    return "/frames" if plain <= filtered else "/frames/filtered"


def _add_image(
    chunk: Chunk, topic: str, entry: Entry, image: NDArray[np.uint8], encoding: str
) -> None:
    height, width = image.shape[:2]
    head = new_message(
        "foxglove.RawImage", width=width, height=height, encoding=encoding, step=image.strides[0]
    )
    head.timestamp.seconds, head.timestamp.nanos = divmod(entry.time_ns, 1_000_000_000)
    _add_message(chunk, topic, entry, head, image)


def _add_message(
    chunk: Chunk, topic: str, entry: Entry, head: Any, data: NDArray[np.uint8]
) -> None:
    """Append a message whose last field is the pixels, without copying them into it."""
    opening = _DATA_TAG[topic] + _varint(data.nbytes)
    pixels = data.data.cast("B")
    chunk.add(
        CHANNELS[topic], entry.time_ns, entry.frame, head.SerializeToString(), opening, pixels
    )


def _varint(value: int) -> bytes:
    """Write a whole number the way protobuf does: 7 bits a byte, the low ones first."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
