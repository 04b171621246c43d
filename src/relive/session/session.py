"""A recording, opened: states and times at once, frames when they are asked for."""

import threading
from bisect import bisect_right
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, overload

import numpy as np
from numpy.typing import NDArray

from relive.errors import FormatError, InputError
from relive.session.filtering import unfilter_frame
from relive.session.index import SegmentPlace, SessionIndex, read_index
from relive.session.marks import GENERATED, UNSTATED, marked_frames
from relive.session.mcap_read import ChunkPlace, Message, messages, read_chunk
from relive.session.messages import CHANNELS, DecodeError, parse

_KEPT_CHUNKS = 3  # decompressed ones, so that memory does not grow with the session
_HEAD_BYTES = 1024  # the most that a picture message has beside its pixels


class Session:
    """A recorded session; open it with `Session.open`.

    Attributes:
        path: The file.
        num_frames: Length T, missing frames included.
        width: Pixels.
        height: Pixels.
        game: What was recorded, "" if unknown.
        schema: The fields of the state.
        region_schema: The meaning of the region maps, if it was declared.
        times_ns: int64 [T], strictly increasing.
        states: float32 [T, S].
        present: bool [T]; False where the frame is missing.
        events: In the order in which they were recorded.
        damaged: The recording was not finalised, or a part of it is lost.
    """

    def __init__(self, path: Path, file: BinaryIO, index: SessionIndex) -> None:
        self.path = path
        self._file = file
        self._lock = threading.Lock()
        self._segments = index.segments
        self._starts = [segment.start for segment in index.segments]
        self._kept: OrderedDict[int, dict[int, NDArray[np.uint8]]] = OrderedDict()
        self.width, self.height, self.game = index.width, index.height, index.game
        self.schema, self.region_schema = index.schema, index.region_schema
        self.times_ns: NDArray[np.int64] = np.array(index.times_ns, np.int64)
        self.states: NDArray[np.float32] = index.states()
        self.present: NDArray[np.bool_] = np.array(index.present, np.bool_)
        self._labelled: NDArray[np.bool_] = np.array(index.labelled, np.bool_)
        self.events = index.events
        self.damaged = index.damaged
        self.num_frames = len(self.times_ns)

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = False) -> Self:
        """Open a recording, finalised or not.

        Args:
            path: The file.
            verify: Read every frame now; those that are damaged become missing ones. Without it
                they are found when they are read.

        Raises:
            InputError: There is no such file, or it has no frames.
            FormatError: It is no recording, or breaks the rules of the format.
        """
        path = Path(path)
        try:
            file = path.open("rb")
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        try:
            session = cls(path, file, read_index(path, file))
            if verify:
                session._verify()
            if not session.present.any():
                raise InputError(f"{path}: no frames were recorded")
        except BaseException:
            file.close()
            raise
        return session

    def close(self) -> None:
        """Close the file."""
        self._kept.clear()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.num_frames

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> NDArray[np.uint8]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.uint8]:
        """Read a frame [H, W, 3], or the frames of a slice [n, H, W, 3] (see `frames`)."""
        if isinstance(index, slice):
            wanted = range(self.num_frames)[index]
            return self._gather(list(wanted))
        if not -self.num_frames <= index < self.num_frames:
            raise IndexError(f"frame {index} of {self.num_frames}")
        return self.frame(index % self.num_frames)

    @cached_property
    def stated(self) -> NDArray[np.bool_]:
        """Frames of which the state is known, bool [T]; elsewhere the last one that was stands."""
        return ~marked_frames(UNSTATED, self.times_ns, self.events)

    @cached_property
    def generated(self) -> NDArray[np.bool_]:
        """Frames that were made and not recorded, in whole or in part: bool [T]."""
        return marked_frames(GENERATED, self.times_ns, self.events)

    @property
    def frame_interval_ns(self) -> int:
        """Median time between frames, 0 for a single frame."""
        return int(np.median(np.diff(self.times_ns))) if self.num_frames > 1 else 0

    @property
    def fps(self) -> float:
        """Frames a second, from the median time between frames; 0 for a single frame."""
        return 1e9 / self.frame_interval_ns if self.frame_interval_ns else 0.0

    @property
    def duration_s(self) -> float:
        """Length in seconds, the last frame included for one median interval."""
        return (int(self.times_ns[-1] - self.times_ns[0]) + self.frame_interval_ns) / 1e9

    def index_at(self, time_ns: int) -> int:
        """Find the last frame at or before a time; the first one if all are later."""
        return max(0, int(np.searchsorted(self.times_ns, time_ns, side="right")) - 1)

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Read one frame.

        Returns:
            uint8 [H, W, 3] RGB, a copy.

        Raises:
            InputError: There is no such frame, or it is missing.
            FormatError: It is damaged.
        """
        self._check_range(index, index + 1)
        if not self.present[index]:
            raise InputError(f"{self.path}: frame {index} is missing in the session")
        return self._picture(index).copy()

    def frames(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Read frames; a missing one repeats the nearest earlier, else the nearest later one.

        Args:
            start: First frame.
            stop: One after the last frame.

        Returns:
            uint8 [stop − start, H, W, 3] RGB.

        Raises:
            InputError: The range is not inside the session.
            FormatError: One of them is damaged.
        """
        self._check_range(start, stop)
        return self._gather(list(range(start, stop)))

    def regions(self, start: int, stop: int) -> NDArray[np.uint8] | None:
        """Read region maps; a missing frame repeats the same one as in `frames`.

        Args:
            start: First frame.
            stop: One after the last frame.

        Returns:
            uint8 [stop − start, H, W], 0 where a frame has no labels; None if no frame has.
        """
        self._check_range(start, stop)
        if not self._labelled.any():
            return None
        out = np.zeros((stop - start, self.height, self.width), np.uint8)
        for row, index in enumerate(range(start, stop)):
            source = self._nearest_present(index)
            if self._labelled[source]:
                segment = self._segment_of(source)
                out[row] = self._image(segment, segment.regions, source)
        return out

    def _check_range(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.num_frames or start == self.num_frames != stop:
            raise InputError(
                f"{self.path}: frames {start} to {stop} are not inside the {self.num_frames} "
                "of the session"
            )

    def _gather(self, wanted: list[int]) -> NDArray[np.uint8]:
        out = np.empty((len(wanted), self.height, self.width, 3), np.uint8)
        for row, index in enumerate(wanted):
            out[row] = self._picture(self._nearest_present(index))
        return out

    def _nearest_present(self, index: int) -> int:
        if self.present[index]:
            return index
        earlier = np.flatnonzero(self.present[:index])
        return int(earlier[-1] if earlier.size else np.argmax(self.present))

    def _segment_of(self, index: int) -> SegmentPlace:
        return self._segments[bisect_right(self._starts, index) - 1]

    def _picture(self, index: int) -> NDArray[np.uint8]:
        segment = self._segment_of(index)
        return self._image(segment, segment.pictures, index)

    def _image(
        self, segment: SegmentPlace, place: ChunkPlace | None, index: int
    ) -> NDArray[np.uint8]:
        """Fetch one image of a chunk, as a view of the chunk that was read last."""
        number = segment.first_frame + index - segment.start
        try:
            if place is None:
                raise FormatError("it is not in the file")
            return self._images(place, segment.num_frames)[number & 0xFFFFFFFF]
        except (FormatError, DecodeError, KeyError) as error:
            reason = str(error) if isinstance(error, FormatError) else "it cannot be read"
            last = segment.start + segment.num_frames - 1
            raise FormatError(
                f"{self.path}: frames {segment.start} to {last} are damaged: {reason}"
            ) from None

    def _images(self, place: ChunkPlace, num_frames: int) -> dict[int, NDArray[np.uint8]]:
        """Read the images of a chunk, by sequence number."""
        with self._lock:
            if place.offset in self._kept:
                self._kept.move_to_end(place.offset)
                return self._kept[place.offset]
            limit = num_frames * (self.width * self.height * 3 + _HEAD_BYTES)
            records = read_chunk(self._file, place, limit)
            images = {m.sequence: self._decode_image(m) for m in messages(records)}
            self._kept[place.offset] = images
            if len(self._kept) > _KEPT_CHUNKS:
                self._kept.popitem(last=False)
            return images

    def _decode_image(self, message: Message) -> NDArray[np.uint8]:
        topic = next((t for t, c in CHANNELS.items() if c.id == message.channel), "")
        shapes = {
            "/frames": (self.height, self.width, 3),
            "/regions": (self.height, self.width),
            "/frames/filtered": (3, self.height, self.width),
        }
        if topic not in shapes:
            raise FormatError("an unknown channel in a chunk of pixels")
        image = parse(CHANNELS[topic].schema, message.payload)
        data = np.frombuffer(image.data, np.uint8)
        if (image.width, image.height) != (self.width, self.height) or data.size != np.prod(
            shapes[topic]
        ):
            raise FormatError("its size is not that of the session")
        pixels = data.reshape(shapes[topic])
        return unfilter_frame(pixels) if topic == "/frames/filtered" else pixels

    def _verify(self) -> None:
        """Read every chunk of pixels and mark the frames of damaged ones as missing."""
        for segment in self._segments:
            span = slice(segment.start, segment.start + segment.num_frames)
            for flags, place in (
                (self.present, segment.pictures),
                (self._labelled, segment.regions),
            ):
                for index in np.flatnonzero(flags[span]) + segment.start:
                    try:
                        self._image(segment, place, int(index))
                    except FormatError:
                        flags[index] = False
                        self.damaged = True
        self._labelled &= self.present
