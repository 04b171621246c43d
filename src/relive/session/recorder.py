"""A game in, a recording out: exact, bounded in memory, readable after any kind of end."""

import atexit
import json
import operator
import queue
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relive.errors import InputError, ReliveError
from relive.session.marks import UNSTATED
from relive.session.mcap_write import Chunk, McapFile
from relive.session.messages import CHANNELS, new_message
from relive.session.regions import RegionSchema
from relive.session.schema import StateSchema
from relive.session.segments import Entry, Event, SegmentWriter

VERSION = (1, 0)
MAX_SIDE_PX = 8192
MAX_EVENT_CHARS = 1 << 20
QUEUE_ENTRIES = 16  # with a segment of half a second this stays inside the promised last second
WAKE_ENTRIES = 8
WRITER_NAP_S = 0.04


class Recorder:
    """Records a session while it happens.

    ``add`` copies what it is given and returns; a thread of its own compresses and writes. When
    the disk cannot keep up, ``add`` waits: nothing is dropped and memory stays constant::

        game ──add──► queue of 16 ──► writer thread ──► segments ──► file
                      (waits if full)                   every half second

    Killed at any moment, the file is readable up to its last second. Ctrl-C or an error in the
    ``with`` block finalises it.

    Args:
        path: The recording to write, ``*.mcap``.
        schema: The fields of the state.
        regions: The meaning of the region maps, if there are any.
        game: What is recorded, free text such as ``doom:freedoom2/map01``.
        force: Overwrite an existing file.

    Raises:
        InputError: The file exists, or cannot be created there.
        ReliveError: There is no space.
    """

    def __init__(
        self,
        path: Path | str,
        schema: StateSchema = StateSchema(),  # noqa: B008 - it is frozen
        regions: RegionSchema | None = None,
        *,
        game: str = "",
        force: bool = False,
    ) -> None:
        self.path = Path(path)
        self.schema = schema
        self.region_schema = regions
        self.num_frames = 0
        self._shape: tuple[int, ...] | None = None
        self._last_ns = -1
        self._last_state = np.zeros(schema.width, np.float32)
        self._error: BaseException | None = None
        self._stopped = False
        # SimpleQueue is one step in C: the game never waits for a lock that the writer holds.
        self._queue: queue.SimpleQueue[Entry | Event | None] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(QUEUE_ENTRIES):
            self._room.put(None)
        file = _create(self.path, force)
        try:
            file.start()
            _write_header(file, schema, regions, game)
        except OSError as error:
            file.abandon()
            if not force:
                self.path.unlink(missing_ok=True)
            raise self._write_error(error) from None
        self._file = file
        self._thread = threading.Thread(target=self._run, name="relive-recorder", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def add(
        self,
        frame: NDArray[np.uint8] | None,
        state: ArrayLike | None,
        time_ns: int,
        regions: NDArray[np.uint8] | None = None,
    ) -> None:
        """Record one frame.

        Args:
            frame: uint8 [H, W, 3] RGB, the same size always; None where the frame is missing.
            state: float32 [S], all finite; None where it is not known: the last one that was stands
                in its place, zeros before any, and an event `relive.unstated` says so.
            time_ns: Its time, from 0 up and greater than that of the frame before.
            regions: uint8 [H, W], the region of each pixel.

        Raises:
            InputError: A value is wrong; the frame is not recorded, everything else is.
            ReliveError: The file cannot be written any more, or is closed.
        """
        self._check_open()
        where = f"frame {self.num_frames}"
        time_ns = self._checked_time(time_ns, where)
        entry = Entry(
            self.num_frames,
            time_ns,
            self._last_state if state is None else self._checked_state(state, where),
            None if frame is None else self._checked_frame(frame, where),
            None if regions is None else _checked_regions(regions, frame, where),
        )
        if frame is not None:
            self._shape = frame.shape
        self._hand_over(entry)
        self._last_state = entry.values
        if state is None and self.schema.width:
            self._hand_over(Event(time_ns, UNSTATED, ""))
        self.num_frames += 1
        self._last_ns = time_ns

    def event(self, name: str, payload: str = "", time_ns: int | None = None) -> None:
        """Record that something happened.

        Args:
            name: What.
            payload: Anything more, as text of at most 1 Mi characters.
            time_ns: When; None for the time of the last frame.

        Raises:
            InputError: No name, too long, or a time below 0.
            ReliveError: The file cannot be written any more, or is closed.
        """
        self._check_open()
        if not name or len(name) + len(payload) > MAX_EVENT_CHARS:
            raise InputError(
                f"event {name[:40]!r}: a name, and at most {MAX_EVENT_CHARS} characters"
            )
        moment = max(0, self._last_ns) if time_ns is None else _whole(time_ns, f"event {name!r}")
        self._hand_over(Event(moment, name, payload))

    def close(self) -> None:
        """Write what is left, finalise the file and stop the thread. Safe to call twice.

        Raises:
            ReliveError: The file could not be written; what had been written stays readable.
        """
        if self._stopped:
            return
        self._queue.put(None)
        self._wake.put(None)
        self._thread.join()
        self._stopped = True
        atexit.unregister(self.close)
        if self._error is not None:
            raise self._write_error(self._error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except ReliveError:
            if error is None:  # otherwise the error that ended the recording says more
                raise

    def _run(self) -> None:
        """Write until told to stop; the body of the writer thread."""
        try:
            writer = SegmentWriter(self._file)
            while (item := self._next(writer)) is not None:
                if isinstance(item, Entry):
                    writer.add(item)
                else:
                    writer.add_event(item)
                self._room.put(None)
            writer.flush()
            self._file.finish()
        except Exception as error:  # raised in the thread of the game by the next call
            self._error = error
            self._file.abandon()
            while self._queue.get() is not None:
                self._room.put(None)  # let go of whoever waits

    def _hand_over(self, item: Entry | Event) -> None:
        """Give something to the writer thread; waits while it has no room."""
        self._room.get()
        self._queue.put(item)
        if self._queue.qsize() >= WAKE_ENTRIES and self._wake.empty():
            self._wake.put(None)
        self._check_open()

    def _next(self, writer: SegmentWriter) -> Entry | Event | None:
        """Wait for something to write.

        The thread looks by the clock and is woken only when much is waiting: a thread that wakes
        inside ``add`` asks for Python's global lock just there, and the game would wait for it.
        """
        while True:
            with suppress(queue.Empty):
                return self._queue.get_nowait()
            if writer.seconds_left() == 0:
                writer.flush()
            with suppress(queue.Empty):
                self._wake.get(timeout=WRITER_NAP_S)

    def _check_open(self) -> None:
        if self._error is not None:
            raise self._write_error(self._error)
        if self._stopped:
            raise ReliveError(f"{self.path} is closed; make a new Recorder")

    def _write_error(self, error: BaseException) -> ReliveError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ReliveError(
            f"cannot write {self.path}: {reason}; what was written before stays readable"
        )

    def _checked_time(self, time_ns: int, where: str) -> int:
        moment = _whole(time_ns, where)
        if moment <= self._last_ns:
            raise InputError(
                f"{where}: time_ns {moment} is not after that of the frame before, {self._last_ns}"
            )
        return moment

    def _checked_state(self, state: ArrayLike, where: str) -> NDArray[np.float32]:
        try:
            given = np.asarray(state)
        except ValueError:
            raise InputError(f"{where}: the state is not one row of numbers") from None
        if given.dtype.kind not in "biuf" or given.ndim != 1:
            raise InputError(f"{where}: the state is not one row of numbers")
        if given.shape != (self.schema.width,):
            raise InputError(
                f"{where}: the state has {given.size} values, the schema {self.schema.width} fields"
            )
        with np.errstate(over="ignore"):
            values = given.astype(np.float32)  # a copy
        wrong = np.flatnonzero(~np.isfinite(values))
        if wrong.size:
            name = self.schema.fields[wrong[0]].name
            raise InputError(f"{where}: state {name!r} is {given[wrong[0]]}, not a finite float32")
        return values

    def _checked_frame(self, frame: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
        _check_array(frame, where, "frame")
        if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise InputError(f"{where}: its shape is {list(frame.shape)}, not [height, width, 3]")
        if max(frame.shape[:2]) > MAX_SIDE_PX:
            raise InputError(f"{where}: {_size(frame.shape)} is over {MAX_SIDE_PX} pixels a side")
        if self._shape not in (None, frame.shape):
            raise InputError(
                f"{where}: its size is {_size(frame.shape)}, that of the session "
                f"{_size(self._shape or ())}"
            )
        return _copy(frame)


def _create(path: Path, force: bool) -> McapFile:
    try:
        return McapFile(path, force=force)
    except FileExistsError:
        raise InputError(f"{path} exists; use --force (force=True) to overwrite it") from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def _write_header(
    file: McapFile, schema: StateSchema, regions: RegionSchema | None, game: str
) -> None:
    header = new_message(
        "relive.SessionHeader",
        version_major=VERSION[0],
        version_minor=VERSION[1],
        game=game,
        state_schema=json.dumps(schema.to_dict()),
        region_schema="" if regions is None else json.dumps(regions.to_dict()),
    )
    chunk = Chunk()
    chunk.add(CHANNELS["/session"], 0, 0, header.SerializeToString())
    file.stage(chunk)
    file.commit()


def _checked_regions(
    regions: NDArray[np.uint8], frame: NDArray[np.uint8] | None, where: str
) -> NDArray[np.uint8]:
    if frame is None:
        raise InputError(f"{where}: regions need a frame, and it is missing")
    _check_array(regions, where, "regions")
    if regions.shape != frame.shape[:2]:
        raise InputError(
            f"{where}: the regions have the shape {list(regions.shape)}, "
            f"the frame {list(frame.shape[:2])}"
        )
    return _copy(regions)


def _copy(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Copy an array in one step, without letting go of Python's global lock as NumPy does."""
    return np.frombuffer(array.tobytes(), np.uint8).reshape(array.shape)


def _check_array(array: object, where: str, what: str) -> None:
    if not isinstance(array, np.ndarray):
        raise InputError(f"{where}: the {what} is a {type(array).__name__}, not a uint8 array")
    if array.dtype != np.uint8:
        raise InputError(f"{where}: the {what} is of type {array.dtype}, not uint8")


def _whole(time_ns: object, where: str) -> int:
    try:
        moment = operator.index(time_ns)  # type: ignore[arg-type]  # refused below
    except TypeError:
        raise InputError(f"{where}: time_ns {time_ns!r} is not a whole number") from None
    if not 0 <= moment < 1 << 63:
        raise InputError(f"{where}: time_ns {moment} is not from 0 up to 2^63 − 1")
    return moment


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}×{shape[0]}" if len(shape) > 1 else "none"
