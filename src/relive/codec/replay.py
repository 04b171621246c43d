"""Read a replay: any frame, any range; a GOP is decoded from its keyframe."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from relive.bitstream import GopCodes, GopDetail, decode_codes, decode_keyframe
from relive.codec.adapting import of_session
from relive.codec.bundle import Bundle
from relive.codec.decoding import Decoding, Track, track_of
from relive.codec.earlier import load_for
from relive.codec.pieces import Piece, end_of, with_holes
from relive.codec.refusals import MAX_GOP_BYTES
from relive.codec.step import Geometry, StepCoder
from relive.codec.stored import StoredCodes
from relive.codec.workers import NUM_WORKERS, workers
from relive.container import GopEntry, ReplayEvent, ReplayHeader, ReplayReader
from relive.errors import DamagedError, FormatError, InputError, ModelMismatchError
from relive.session import StateSchema
from relive.session.marks import GENERATED, UNSTATED, marked_frames

NS = 1_000_000_000
GREY = 128
MAX_FRAMES_PER_BYTE = 32  # a GOP has at most 2048 frames and never under 64 bytes
Condition = Literal["whole", "degraded", "damaged", "lost"]


class Replay:
    """A replay file, its states and its frames.

    Attributes:
        num_frames: frames that the index lists.
        times_ns: int64 `[T]`.
        states: float32 `[T, S]`.
        has_states: bool `[T]`; False where they are lost or damaged, and read as 0.
        present: bool `[T]`; False where the session has no frame or the GOP is damaged.
        degraded: bool `[T]`; True where the enhancement layer is damaged and the codes alone show.
        tiers: how many tiers are decoded: 1 for the codes alone, 2 with the enhancement layer.
        damaged: whether anything is missing or fails its checksum.
        problems: one line for everything that the container found damaged or missing.
        stamp: bytes of the file that is open, and when it was changed last (ns).
    """

    def __init__(
        self,
        reader: ReplayReader,
        model: Bundle | Path | str | None = None,
        tiers: int | None = None,
    ) -> None:
        self._reader, self._model = reader, model
        self._coder: StepCoder | None = None
        self.header: ReplayHeader = reader.header
        self.gops: list[GopEntry] = reader.gops
        self.events: list[ReplayEvent] = reader.events
        self.width, self.height = self.header.width, self.header.height
        self.schema = StateSchema.from_dict(self.header.state_schema)
        self.path, self.stamp = reader.path, (reader.size, reader.modified_ns)
        count = end_of(self.gops)
        if count > MAX_FRAMES_PER_BYTE * reader.size:
            raise FormatError(f"{self.path}: {reader.size} bytes cannot hold {count} frames")
        longest = max((g.num_frames for g in self.gops), default=0)
        if longest * self.width * self.height * 3 > MAX_GOP_BYTES:
            raise FormatError(f"{self.path}: a GOP of {longest} frames of this size is too large")
        self._pieces_of_file = with_holes(self.gops)
        self._firsts = np.array([p.first_frame for p in self._pieces_of_file] + [count])
        self.num_frames = int(self._firsts[-1])
        self.tiers = min(tiers or self.header.tiers, self.header.tiers)
        self._bad: set[int] = set()
        self._load_track()
        self.degraded = np.zeros(self.num_frames, np.bool_)
        for index, piece in enumerate(self._pieces_of_file):
            if piece.entry is not None and self.gops[piece.entry].detail_at is None:
                self._degrade(index)
        self.problems: list[str] = reader.problems
        self.damaged = reader.damaged or bool(self._bad)
        self._running: Decoding | None = None
        self._lock = Lock()

    @classmethod
    def open(
        cls,
        path: Path | str,
        model: Bundle | Path | str | None = None,
        tiers: int | None = None,
    ) -> Self:
        """Open a replay; the model is loaded when the first frame is asked for.

        Args:
            path: of the file.
            model: weights; None for the bundled ones.
            tiers: 1 decodes the codes alone, faster and coarser; None all that the file has.

        Raises:
            InputError: The file is missing or is not a replay.
        """
        reader = ReplayReader.open(path)
        try:
            return cls(reader, model, tiers)
        except BaseException:
            reader.close()
            raise

    @property
    def fps(self) -> float:
        """Frames a second, from the median interval; 0 for a single frame."""
        if self.num_frames < 2:
            return 0.0
        return float(NS / max(1.0, float(np.median(np.diff(self.times_ns)))))

    @cached_property
    def stated(self) -> NDArray[np.bool_]:
        """Frames of which the session knew the state, bool `[T]`; else the last one stands."""
        return ~marked_frames(UNSTATED, self.times_ns, self.events)

    @cached_property
    def generated(self) -> NDArray[np.bool_]:
        """Frames that were made and not recorded, in whole or in part: bool `[T]`."""
        return marked_frames(GENERATED, self.times_ns, self.events)

    def index_at(self, time_ns: int) -> int:
        """Last frame at or before a time; the first frame before it begins."""
        return max(0, int(np.searchsorted(self.times_ns, time_ns, side="right")) - 1)

    def frame(self, index: int) -> NDArray[np.uint8]:
        """One frame uint8 `[H, W, 3]`."""
        frame: NDArray[np.uint8] = self.frames(index, index + 1)[0]
        return frame

    def frames(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Frames uint8 `[n, H, W, 3]`; a missing frame is filled with the reconstruction."""
        self._check_range(start, stop)
        if start == stop:
            return np.zeros((0, self.height, self.width, 3), np.uint8)
        return np.stack(list(self.iter_frames(start, stop)))

    @property
    def spans(self) -> list[range]:
        """Frames of every GOP in order; one that is lost from the file has its place, too."""
        bounds = self._firsts.tolist()
        return [range(*pair) for pair in pairwise(bounds)]

    def condition(self, span: int) -> Condition:
        """Say how a GOP of `spans` fares, as far as is known before it is decoded.

        Returns:
            `damaged` where its bytes are in the file, but broken; `lost` where the file has nothing
            in its place, as after a repair.
        """
        piece = self._pieces_of_file[span]
        if piece.entry is None:
            return "damaged" if piece.broken else "lost"
        if span in self._bad:
            return "damaged"
        return "degraded" if self.degraded[self._firsts[span]] else "whole"

    def iter_span(self, span: int) -> Iterator[NDArray[np.uint8]]:
        """Decode a GOP of `spans` frame by frame in the calling thread, one of `workers()`."""
        running = self._start(span)
        for local in range(len(self.spans[span])):
            if running is None:
                yield np.full((self.height, self.width, 3), GREY, np.uint8)
                continue
            try:
                yield self._shown(running, local).copy()
            except FormatError:
                running = self._without_detail(span)
                yield self._shown(running, local).copy()

    def integers(self, span: int) -> tuple[GopCodes, GopDetail | None] | None:
        """Read what the packets of a GOP say, without pixels; None where it is damaged."""
        running = self._start(span)
        return None if running is None else (running.codes, running.detail())

    def codes(
        self, start: int = 0, stop: int | None = None, *, keyframes: bool = False
    ) -> StoredCodes:
        """Codes of the steps that show frames [start, stop), without decoding a picture.

        Args:
            start: first frame; a step that begins the frame before is included.
            stop: one past the last; None for all.
            keyframes: read only the first step of every GOP, which is faster.

        Returns:
            Arrays over steps of two frames; steps without codes and damaged ones are marked.
        """
        end = self.num_frames if stop is None else stop
        self._check_range(start, end)
        h, w = self.coder.geometry.grid
        blank = StoredCodes.unreadable(range(0), self.header.num_quantizers, h, w)
        wanted = [s for s, f in enumerate(self.spans) if f.start < end and f.stop > start]
        steps = StoredCodes.join([blank, *(self._stored(s, keyframes) for s in wanted)])
        after = steps.first_frame + steps.num_frames
        return steps[(after > start) & (steps.first_frame < end)]

    def _stored(self, span: int, keyframe: bool) -> StoredCodes:
        """Codes of a GOP of `spans`, or of its keyframe alone."""
        frames, (h, w) = self.spans[span], self.coder.geometry.grid
        steps = -(-len(frames) // 2)
        decode = decode_keyframe if keyframe else decode_codes
        try:
            with self._lock:
                packet = self._reader.read_gop(self._entry(span)).codes
            gop = decode(packet, self.coder.bundle.tables, steps, h, w)
            return StoredCodes.of_gop(frames, gop)
        except (FormatError, DamagedError):
            self.damaged = True
            frames = frames[:2] if keyframe else frames
            return StoredCodes.unreadable(frames, self.header.num_quantizers, h, w)

    @property
    def codebooks(self) -> NDArray[np.float32]:
        """Codewords of keyframes and of other steps, float32 `[2, K, V, D]`."""
        books: NDArray[np.float32] = self.coder.bundle.quantizer.codebooks.numpy()
        return books

    @property
    def coder(self) -> StepCoder:
        """The model, loaded on first use.

        Raises:
            ModelMismatchError: It is missing or another one.
        """
        if self._coder is None:
            wanted = self.header.model_id
            if isinstance(self._model, Bundle):
                bundle = self._model
                if bundle.model_id != wanted:
                    raise ModelMismatchError(
                        f"the replay needs model {wanted}, not {bundle.model_id}"
                    )
            else:
                bundle = self._load(wanted)
            quantizer = bundle.config.quantizer
            sizes = (quantizer.num_quantizers, quantizer.codebook_size)
            if sizes != (self.header.num_quantizers, self.header.codebook_size):
                raise FormatError(f"{self.path}: codebooks do not fit model {wanted}")
            geometry = Geometry(self.width, self.height)
            bundle = of_session(bundle, self.header.adapter, self.header.memory)
            self._coder = StepCoder(bundle, self.schema, geometry, self.header.light)
        return self._coder

    def _load(self, wanted: str) -> Bundle:
        """Load the model; an error names the replay that wants it."""
        path = self._model if not isinstance(self._model, Bundle) else None
        try:
            return load_for(wanted, path)
        except ModelMismatchError as error:
            raise ModelMismatchError(f"{self.path}: {error}") from error

    def iter_frames(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """Decode frame after frame, a GOP in memory at a time; damaged GOPs are grey.

        Args:
            start: first frame.
            stop: one past the last; None for all.
        """
        end = self.num_frames if stop is None else stop
        self._check_range(start, end)
        waiting: deque[Future[NDArray[np.uint8]]] = deque()
        try:
            for piece in self._pieces(start, end):
                waiting.append(workers().submit(self._decode_piece, *piece))
                if len(waiting) > NUM_WORKERS:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[Decoding | None, int, int, int]]:
        """Cut a range at the GOPs: decoder to go on with, GOP, first and last frame in it."""
        if start < stop:
            _ = self.coder  # a wrong model is refused before any work
        position = start
        while position < stop:
            gop = int(np.searchsorted(self._firsts, position, side="right")) - 1
            first = int(self._firsts[gop])
            last = min(stop, int(self._firsts[gop + 1]))
            with self._lock:
                running, self._running = self._running, None
            if running is None or running.gop != gop or not running.reaches(position - first):
                running = None
            yield running, gop, position - first, last - first
            position = last

    def _decode_piece(
        self, running: Decoding | None, gop: int, first: int, last: int
    ) -> NDArray[np.uint8]:
        """Decode frames [first, last) of a GOP; grey where it is damaged."""
        running = running or self._start(gop)
        if running is None:
            grey = np.full((1, self.height, self.width, 3), GREY, np.uint8)
            return np.broadcast_to(grey, (last - first, *grey.shape[1:]))
        frames = np.empty((last - first, self.height, self.width, 3), np.uint8)
        place = 0
        while place < len(frames):
            try:
                frames[place] = self._shown(running, first + place)
                place += 1
            except FormatError:
                running, place = self._without_detail(gop), 0
        with self._lock:
            self._running = running
        return frames

    def _shown(self, running: Decoding, local: int) -> NDArray[np.uint8]:
        """Frame `local` of a GOP."""
        return running.frame(local)[: self.height, : self.width]

    def _without_detail(self, gop: int) -> Decoding:
        """Begin a GOP anew with its codes alone: its enhancement turned out not to decode."""
        self.damaged = True
        self._degrade(gop)
        with self._lock:
            record = self._reader.read_gop(self._entry(gop))
        return Decoding(self.coder, gop, record)

    def _entry(self, gop: int) -> int:
        """Place of a GOP in the reader's list."""
        entry = self._pieces_of_file[gop].entry
        if entry is None:
            raise DamagedError(f"{self.path}: GOP {gop} is lost")
        return entry

    def _start(self, gop: int) -> Decoding | None:
        """Read a GOP; None, and its frames marked missing, where it is damaged."""
        span = self._pieces_of_file[gop]
        if gop in self._bad or span.entry is None:
            return None
        try:
            with self._lock:
                record = self._reader.read_gop(span.entry)
            decoding = Decoding(self.coder, gop, record)
            if self.tiers > 1 and not decoding.take_detail(record):
                self.damaged = True
                self._degrade(gop)
            return decoding
        except (FormatError, DamagedError):
            self._bad.add(gop)
            self.damaged = True
            self.present[self._firsts[gop] : self._firsts[gop + 1]] = False
            return None

    def _degrade(self, gop: int) -> None:
        """Mark the frames of a GOP that has lost a tier which is wanted."""
        if self.tiers > 1:
            self.degraded[self._firsts[gop] : self._firsts[gop + 1]] = True

    def _load_track(self) -> None:
        """Read times and states of every GOP; of a damaged one, what the index says."""
        tracks = [self._track(i, piece) for i, piece in enumerate(self._pieces_of_file)]
        self.times_ns = np.concatenate([t for t, _, _ in tracks] or [np.zeros(0, np.int64)])
        self.present = np.concatenate([p for _, p, _ in tracks] or [np.zeros(0, np.bool_)])
        empty = np.zeros((0, self.schema.width), np.float32)
        self.states = np.concatenate([s for _, _, s in tracks] or [empty])
        self.has_states = np.ones(len(self.times_ns), np.bool_)
        for gop in self._bad:
            self.has_states[self._firsts[gop] : self._firsts[gop + 1]] = False

    def _track(self, index: int, piece: Piece) -> Track:
        count = piece.num_frames
        if piece.entry is not None:
            try:
                track = track_of(self.schema, self._reader.read_gop(piece.entry))
                if len(track[0]) == count:
                    return track
            except (FormatError, DamagedError):
                pass
        self._bad.add(index)
        length = piece.end_ns - piece.start_ns
        times = piece.start_ns + np.arange(count, dtype=np.int64) * length // max(1, count - 1)
        return times, np.zeros(count, np.bool_), np.zeros((count, self.schema.width), np.float32)

    def _check_range(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.num_frames:
            raise InputError(
                f"{self.path}: frames {start} to {stop} are not in 0 to {self.num_frames}"
            )

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
