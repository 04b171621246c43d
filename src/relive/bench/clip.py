"""The frames that a measurement runs on, as one raw file on disk.

Peers are run many times over the same frames. Reading them from a raw, memory-mapped file costs no
decoding and keeps memory constant; the hash of the content names the cached results.
"""

import csv
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relive.errors import InputError

if TYPE_CHECKING:
    from relive.session import Session, StateSchema

CHUNK_FRAMES = 16


@dataclass(frozen=True)
class Clip:
    """Frames and states to be measured.

    Attributes:
        name: What to call it in tables.
        path: Raw rgb24 frames, one after the other, or a `.npy` file of uint8 `[T, H, W, 3]`.
        frames: uint8 `[T, H, W, 3]`, memory-mapped from `path`.
        fps: Frames a second.
        state_csv_bytes: Size of the states as a zlib-compressed CSV file.
        content_hash: SHA-256 of the size, the rate and the frames, in hex.
    """

    name: str
    path: Path
    frames: NDArray[np.uint8]
    fps: float
    state_csv_bytes: int
    content_hash: str

    @property
    def num_frames(self) -> int:
        """Number of frames T."""
        return int(self.frames.shape[0])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.frames.shape[1])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.frames.shape[2])

    def chunks(self, size: int = CHUNK_FRAMES) -> Iterator[NDArray[np.uint8]]:
        """Yield uint8 `[n, H, W, 3]` with n at most `size`, from the first frame to the last."""
        for start in range(0, self.num_frames, size):
            yield self.frames[start : start + size]

    def bits_per_pixel(self, num_bytes: int) -> float:
        """Return the bits per pixel of `num_bytes` for the whole clip."""
        return num_bytes * 8 / (self.num_frames * self.width * self.height)


def hash_frames(frames: NDArray[np.uint8], fps: float) -> str:
    """Return the SHA-256 over shape, rate and pixels of uint8 `[T, H, W, 3]`, in hex."""
    digest = hashlib.sha256(f"{frames.shape} {fps:.6f}\n".encode())
    for start in range(0, len(frames), CHUNK_FRAMES):
        digest.update(np.ascontiguousarray(frames[start : start + CHUNK_FRAMES]).tobytes())
    return digest.hexdigest()


def state_csv_size(
    states: NDArray[np.float32],
    times_ns: NDArray[np.int64],
    names: list[str],
    steps: list[float],
) -> int:
    """Return the bytes that the states take as a zlib-compressed CSV file.

    This is what somebody pays who stores a video and keeps the states beside it. Values are written
    to their declared step, as Relive stores them, with as few digits as that needs.

    Args:
        states: float32 `[T, S]`.
        times_ns: int64 `[T]`.
        names: S field names.
        steps: S declared steps; 0 means the exact float32.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time_ns", *names])
    for time_ns, row in zip(times_ns, states, strict=True):
        writer.writerow([int(time_ns), *map(_format_value, row, steps)])
    return len(zlib.compress(text.getvalue().encode(), level=9))


def _format_value(value: np.float32, step: float) -> str:
    if step <= 0.0:
        return str(value)
    return np.format_float_positional(round(float(value) / step) * step, precision=6, trim="-")


def cut_session(session_path: Path, folder: Path, *, frames: int | None) -> Path:
    """Write the first frames of a recording as a recording of its own.

    Args:
        session_path: A recording (`.mcap`).
        folder: Where the copy goes.
        frames: How many; None for all.

    Returns:
        The copy, or `session_path` itself when the recording is not longer than that.
    """
    from relive.session import Session

    with Session.open(session_path) as session:
        if frames is None or session.num_frames <= frames:
            return session_path
        out = folder / session_path.name
        copy_session(session, out, session.schema, session.states, frames)
        return out


def copy_session(
    session: "Session",
    out: Path,
    schema: "StateSchema",
    states: NDArray[np.float32],
    frames: int,
) -> None:
    """Write the first frames of an open session again, with the states that are given.

    Args:
        session: Where frames, times, regions and events come from.
        out: The recording to write; an existing one is replaced.
        schema: Meaning of `states`.
        states: float32 `[at least frames, S]`.
        frames: How many frames.
    """
    from relive.session import Recorder

    with Recorder(out, schema, session.region_schema, game=session.game, force=True) as recorder:
        for i in range(frames):
            frame = session.frame(i) if session.present[i] else None
            regions = session.regions(i, i + 1)
            recorder.add(
                frame,
                states[i],
                int(session.times_ns[i]),
                regions[0] if regions is not None and frame is not None else None,
            )
        for event in session.events:
            if event.time_ns <= session.times_ns[frames - 1]:
                recorder.event(event.name, event.payload, event.time_ns)


def spool_session(session_path: Path, folder: Path, *, frames: int | None = None) -> Clip:
    """Write the frames of a recording as one raw file and describe them.

    A missing frame is filled with its neighbour, as `Session.frames` does, since a video file
    cannot say that a frame is missing.

    Args:
        session_path: A recording (`.mcap`).
        folder: Where the raw file goes; width * height * 3 bytes a frame.
        frames: At most this many, from the start; all when None.

    Raises:
        InputError: The session holds no frames.
    """
    from relive.session import Session

    with Session.open(session_path) as session:
        count = session.num_frames if frames is None else min(frames, session.num_frames)
        if count < 1:
            raise InputError(f"{session_path}: no frames to measure; record a longer session")
        path = folder / f"{session_path.stem}.rgb"
        with path.open("wb") as raw:
            for start in range(0, count, CHUNK_FRAMES):
                chunk = session.frames(start, min(start + CHUNK_FRAMES, count))
                raw.write(np.ascontiguousarray(chunk).tobytes())
        fields = session.schema.fields
        state_bytes = state_csv_size(
            session.states[:count],
            session.times_ns[:count],
            [field.name for field in fields],
            [field.step for field in fields],
        )
        shape = (count, session.height, session.width, 3)
        fps = session.fps or 1.0  # a single frame has no rate
    mapped = np.memmap(path, dtype=np.uint8, mode="r", shape=shape)
    return Clip(session_path.stem, path, mapped, fps, state_bytes, hash_frames(mapped, fps))


def open_array(path: Path, name: str, *, fps: float, frames: int | None = None) -> Clip:
    """Describe a `.npy` file of frames, uint8 `[T, H, W, 3]`, that has no states.

    Raises:
        InputError: The file holds something else.
    """
    mapped = np.load(path, mmap_mode="r")
    if mapped.dtype != np.uint8 or mapped.ndim != 4 or mapped.shape[-1] != 3 or len(mapped) < 1:
        raise InputError(f"{path}: expected uint8 [T, H, W, 3], got {mapped.dtype} {mapped.shape}")
    view = mapped[:frames]
    return Clip(name, path, view, fps, 0, hash_frames(view, fps))
