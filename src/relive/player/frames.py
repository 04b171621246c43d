"""Decoded GOPs: wanted ones first, then what comes next; never more bytes than allowed.

```
 request ──want──► Gop ◄──one frame a turn── workers()
    ▲               │
    └───futures─────┘      unwanted GOPs leave, the longest unused first
```

A turn decodes one frame, so a seek never waits for the whole GOP that somebody else is watching.
Where all workers are in the middle of a turn, a thread of its own takes the seek.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from statistics import median_low

import numpy as np
from numpy.typing import NDArray

from relive.codec.workers import NUM_WORKERS, prepare, workers

Frame = NDArray[np.uint8]
MAX_VIEWERS = 8
_LAYER_BYTES = 2
"""Bytes that a GOP on its way holds beside its frames, for every byte of them: its levels."""
_MEASURED = 5


class Priority(IntEnum):
    """Whose turn is first."""

    SEEK = 0
    PLAY = 1
    THUMBNAIL = 2


@dataclass(frozen=True)
class GopSource:
    """Where the frames of a GOP come from.

    Attributes:
        key: file, tiers, number of the GOP.
        num_frames: in it.
        frame_bytes: of one frame.
        decode: starts decoding; called in a thread of the pool, as is what it returns.
    """

    key: tuple[str, int, int]
    num_frames: int
    frame_bytes: int
    decode: Callable[[], Iterator[Frame]]


@dataclass
class _Want:
    until: int
    priority: Priority
    order: int


@dataclass
class _Gop:
    """A GOP with the frames that are decoded."""

    source: GopSource
    frames: list[Frame] = field(default_factory=list)
    running: Iterator[Frame] | None = None
    busy: bool = False
    error: Exception | None = None
    spent_s: float = 0.0
    wants: list[_Want] = field(default_factory=list)
    waiting: dict[int, list[Future[Frame]]] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return self.error is not None or len(self.frames) == self.source.num_frames

    @property
    def bytes(self) -> int:
        own = len(self.frames) * self.source.frame_bytes
        if self.running is None:
            return own
        return own + _LAYER_BYTES * self.source.num_frames * self.source.frame_bytes

    @property
    def is_sought(self) -> bool:
        """Whether somebody waits for one frame of it."""
        have = len(self.frames)
        return any(w.priority == Priority.SEEK and w.until > have for w in self.wants)

    def turn(self) -> tuple[int, int] | None:
        """Rank among those that are wanted; None where nothing is to be done."""
        open_wants = [w for w in self.wants if w.until > len(self.frames)]
        if self.busy or self.done or not open_wants:
            return None
        return min((int(w.priority), w.order) for w in open_wants)


class FrameService:
    """Decodes GOPs on the pool of the codec and keeps them.

    Attributes:
        cache_bytes: the most that decoded GOPs may take while nobody waits for them.
    """

    def __init__(self, cache_bytes: int, num_workers: int = NUM_WORKERS) -> None:
        self.cache_bytes = cache_bytes
        self._num_workers = num_workers
        self._gops: OrderedDict[tuple[str, int, int], _Gop] = OrderedDict()
        self._ahead: OrderedDict[str, list[GopSource]] = OrderedDict()
        self._costs: dict[tuple[str, int], deque[float]] = {}
        self._lock = threading.RLock()
        self._express = ThreadPoolExecutor(1, "relive-seek", initializer=prepare)
        self._is_express_busy = False
        self._at_work, self._order = 0, 0
        self._closed = False

    @property
    def bytes(self) -> int:
        """Bytes of all that is kept."""
        with self._lock:
            return sum(gop.bytes for gop in self._gops.values())

    def seconds_a_frame(self, file: str, tiers: int) -> float | None:
        """What a frame costs one worker, by the last GOPs; None before the first."""
        costs = self._costs.get((file, tiers))
        return median_low(costs) if costs else None

    def decoded(self, key: tuple[str, int, int]) -> int:
        """How many frames of a GOP are there."""
        with self._lock:
            return len(self._gops[key].frames) if key in self._gops else 0

    @contextmanager
    def wanting(self, source: GopSource, until: int, priority: Priority) -> Iterator[None]:
        """Have a GOP decoded up to a frame while the block runs."""
        with self._lock:
            gop = self._gop(source)
            self._order += 1
            want = _Want(until, priority, self._order)
            gop.wants.append(want)
            self._pump()
        try:
            yield
        finally:
            with self._lock:
                gop.wants.remove(want)
                self._evict()
                self._pump()

    def frame(self, source: GopSource, local: int) -> Future[Frame]:
        """A frame of a GOP that is wanted; the future may be cancelled."""
        future: Future[Frame] = Future()
        with self._lock:
            gop = self._gop(source)
            if local < len(gop.frames):
                future.set_result(gop.frames[local])
            elif gop.error is not None:
                future.set_exception(gop.error)
            else:
                gop.waiting.setdefault(local, []).append(future)
        return future

    def look_ahead(self, viewer: str, sources: Sequence[GopSource]) -> None:
        """Say what a viewer will want next; it is decoded when nobody waits for anything."""
        with self._lock:
            self._ahead[viewer] = list(sources)
            self._ahead.move_to_end(viewer)
            if len(self._ahead) > MAX_VIEWERS:
                self._ahead.popitem(last=False)
            self._pump()

    def close(self) -> None:
        """Decode nothing more."""
        with self._lock:
            self._closed = True
            self._ahead.clear()
            self._gops.clear()
        self._express.shutdown(wait=False)

    def _gop(self, source: GopSource) -> _Gop:
        gop = self._gops.setdefault(source.key, _Gop(source))
        self._gops.move_to_end(source.key)
        return gop

    def _pump(self) -> None:
        while not self._closed:
            rank, gop = self._next()
            is_free = self._at_work < self._num_workers
            is_express = rank == Priority.SEEK and not self._is_express_busy
            if gop is None or not (is_free or is_express):
                return
            gop.busy = True
            if is_free:
                self._at_work += 1
                workers().submit(self._decode_one, gop, False)
            else:
                self._is_express_busy = True
                self._express.submit(self._decode_one, gop, True)

    def _next(self) -> tuple[int, _Gop | None]:
        """What is to be decoded now, and its priority."""
        turns = [(turn, gop) for gop in self._gops.values() if (turn := gop.turn()) is not None]
        (rank, _), wanted = min(turns, key=lambda pair: pair[0], default=((len(Priority), 0), None))
        if rank > Priority.PLAY and any(gop.is_sought for gop in self._gops.values()):
            return rank, None  # what can wait leaves the processor to the seek
        return rank, wanted or self._next_ahead()

    def _next_ahead(self) -> _Gop | None:
        for sources in reversed(self._ahead.values()):
            for source in sources:
                gop = self._gops.get(source.key)
                if gop is None and self._has_room(source):
                    return self._gop(source)
                if gop is not None and not gop.busy and not gop.done:
                    return gop
        return None

    def _has_room(self, source: GopSource) -> bool:
        return 12 * source.num_frames * source.frame_bytes <= self.cache_bytes

    def _decode_one(self, gop: _Gop, is_express: bool) -> None:
        began = time.perf_counter()
        frame, error = None, None
        try:
            if gop.running is None:
                gop.running = gop.source.decode()
            frame = next(gop.running)
        except Exception as caught:
            error = caught
        with self._lock:
            gop.busy = False
            gop.spent_s += time.perf_counter() - began
            self._at_work -= not is_express
            self._is_express_busy &= not is_express
            self._take(gop, frame, error)

    def _take(self, gop: _Gop, frame: Frame | None, error: Exception | None) -> None:
        """Keep a frame, wake who waits for it, and go on."""
        if frame is not None:
            gop.frames.append(frame)
            self._wake(gop.waiting.pop(len(gop.frames) - 1, ()), frame)
        else:
            gop.error = error
            for futures in gop.waiting.values():
                self._wake(futures, error or RuntimeError("a GOP ended early"))
            gop.waiting.clear()
        if gop.done:
            gop.running = None
            self._measure(gop)
        self._evict()
        self._pump()

    def _measure(self, gop: _Gop) -> None:
        """Note what a whole GOP has cost; one of the first may have waited for a compiler."""
        costs = self._costs.setdefault(gop.source.key[:2], deque(maxlen=_MEASURED))
        costs.append(gop.spent_s / gop.source.num_frames)

    @staticmethod
    def _wake(futures: Sequence[Future[Frame]], result: Frame | Exception) -> None:
        for future in futures:
            try:
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
            except InvalidStateError:  # whoever waited has gone
                pass

    def _evict(self) -> None:
        """Let the longest unused GOPs go until the rest fits."""
        total = sum(gop.bytes for gop in self._gops.values())
        for key in list(self._gops):
            if total <= self.cache_bytes:
                return
            gop = self._gops[key]
            if not gop.wants and not gop.busy:
                total -= gop.bytes
                del self._gops[key]
