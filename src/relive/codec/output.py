"""Write a decoded range: video, session, pictures or raw frames."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from relive.codec.bundle import Bundle
from relive.codec.rate import tiers_at
from relive.codec.replay import Replay
from relive.container import ReplayEvent
from relive.errors import DamagedError, InputError, ReliveError
from relive.session import Recorder, RegionSchema

Progress = Callable[[int, int], None]
Writer = Callable[[Replay, range, Path, Callable[[int], None]], None]


class Film(Protocol):
    """Frames with their times: a replay, or what was made of one."""

    path: Path
    width: int
    height: int
    times_ns: NDArray[np.int64]
    present: NDArray[np.bool_]
    damaged: bool

    @property
    def fps(self) -> float:
        """Frames a second."""

    def iter_frames(self, start: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        """Yield frame after frame, one for a missing one as well."""


AnyFilm = TypeVar("AnyFilm", bound=Film)
VIDEO_SUFFIXES = (".mp4", ".mkv")
MICROSECOND = Fraction(1, 1_000_000)


@contextmanager
def ffmpeg() -> Iterator[ModuleType]:
    """PyAV, imported only when it is needed; its errors become ours."""
    import av

    try:
        yield av
    except av.FFmpegError as error:
        raise ReliveError(f"ffmpeg cannot write it: {error}") from error


def present_frames(
    replay: Film, span: range, done: Callable[[int], None]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode a range; frames that the session did not have are left out."""
    for index, frame in zip(span, replay.iter_frames(span.start, span.stop), strict=True):
        if replay.present[index]:
            yield index, frame
        done(index - span.start + 1)


def write_video(replay: Film, span: range, out: Path, done: Callable[[int], None]) -> None:
    """High-quality H.264 (4:4:4, crf 12) with the true times of the frames."""
    kind = "mp4" if out.name.endswith(".mp4") else "matroska"
    with ffmpeg() as av, av.open(str(out), "w", format=kind) as file:
        stream = file.add_stream("libx264", rate=Fraction(max(1, round(replay.fps * 1000)), 1000))
        stream.width, stream.height = replay.width, replay.height
        stream.pix_fmt, stream.options = "yuv444p", {"crf": "12", "preset": "fast"}
        stream.codec_context.time_base = MICROSECOND
        origin = int(replay.times_ns[span.start])
        usual_us = round(1e6 / replay.fps) if replay.fps else 1_000_000
        for index, frame in present_frames(replay, span, done):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = (int(replay.times_ns[index]) - origin) // 1000
            picture.time_base = MICROSECOND
            mux(file, stream.encode(picture), usual_us)
        mux(file, stream.encode(None), usual_us)


def mux(file: Any, packets: Sequence[Any], duration_us: int) -> None:
    """Write packets that last so long each, as long as another time does not follow.

    x264 leaves durations out; without one an MP4 ends with its last frame in coding order, and
    players leave out a later one.
    """
    for packet in packets:
        packet.duration = duration_us
        file.mux(packet)


def _write_session(replay: Replay, span: range, out: Path, done: Callable[[int], None]) -> None:
    regions = replay.header.region_schema
    schema = RegionSchema.from_dict(regions) if regions else None
    with Recorder(out, replay.schema, schema, game=replay.header.game, force=True) as recorder:
        frames = replay.iter_frames(span.start, span.stop)
        for index, frame in zip(span, frames, strict=True):
            there = frame if replay.present[index] else None
            recorder.add(there, replay.states[index], int(replay.times_ns[index]))
            done(index - span.start + 1)
        for event in events_of(replay, span):
            recorder.event(event.name, event.payload, event.time_ns)


def events_of(replay: Replay, span: range) -> list[ReplayEvent]:
    """Events from some frames on to the next frame; so each event is of one frame.

    What happened before the first frame of the replay is of that one.
    """
    low = replay.times_ns[span.start] if span.start else -np.inf
    high = replay.times_ns[span.stop] if span.stop < replay.num_frames else np.inf
    return [event for event in replay.events if low <= event.time_ns < high]


def write_pictures(replay: Film, span: range, out: Path, done: Callable[[int], None]) -> None:
    """One PNG a frame, into a new folder."""
    out.mkdir()
    for index, frame in present_frames(replay, span, done):
        with ffmpeg() as av, av.open(str(out / f"{index:06d}.png"), "w", format="image2") as file:
            stream = file.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = replay.width, replay.height, "rgb24"
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            file.mux(stream.encode(None))


def _write_raw(replay: Replay, span: range, done: Callable[[int], None]) -> None:
    for _, frame in present_frames(replay, span, done):
        sys.stdout.buffer.write(frame.tobytes())
    sys.stdout.buffer.flush()


def _writer_for(out: Path) -> Writer:
    if out.suffix.lower() in VIDEO_SUFFIXES:
        return write_video
    if out.suffix.lower() == ".mcap":
        return _write_session
    if not out.suffix:
        return write_pictures
    raise InputError(
        f"cannot write {out}: name a .mp4, .mkv or .mcap file, a folder for pictures, or - for raw"
    )


def span_of(replay: Replay, start_s: float | None, end_s: float | None) -> range:
    """Frames whose time lies in [start, end) seconds from the first frame."""
    if not replay.num_frames:
        raise InputError(f"{replay.path} has no frames")
    since = (replay.times_ns - replay.times_ns[0]) / 1e9
    start = 0 if start_s is None else int(np.searchsorted(since, start_s))
    stop = replay.num_frames if end_s is None else int(np.searchsorted(since, end_s))
    if start >= stop:
        raise InputError(
            f"{replay.path}: no frame lies between {start_s or 0:g} s and "
            f"{'the end' if end_s is None else f'{end_s:g} s'}; the last is at {since[-1]:.3f} s"
        )
    return range(start, stop)


def decode(
    replay: Replay | Path | str,
    out: Path | str,
    *,
    model: Bundle | Path | str | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    quality: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Decode a range of a replay.

    Args:
        replay: an open replay or its path.
        out: `.mp4` or `.mkv` video, `.mcap` session, a folder of PNG, or `-` for rgb24 on stdout.
        model: weights; None for the bundled ones.
        start_s: seconds from the first frame; None for the beginning.
        end_s: seconds from the first frame, not included; None for the end.
        quality: 1 to 10: leave out the tiers that a replay of this quality would not have; None
            for all that the file has. An open replay has its own `tiers`.
        force: overwrite `out`.
        progress: told frames done and frames in all.

    Returns:
        Number of frames written.

    Raises:
        InputError: The range is empty, or `out` exists or is of no known kind.
        DamagedError: Parts of the replay were damaged; the rest was written.
    """
    if not isinstance(replay, Replay):
        tiers = None if quality is None else tiers_at(quality)
        with Replay.open(replay, model, tiers) as opened:
            return decode(opened, out, start_s=start_s, end_s=end_s, force=force, progress=progress)
    span = span_of(replay, start_s, end_s)

    def done(count: int) -> None:
        if progress:
            progress(count, len(span))

    if str(out) == "-":
        _write_raw(replay, span, done)
    else:
        write_beside(_writer_for(Path(out)), replay, span, Path(out), force, done)
    written = int(replay.present[span.start : span.stop].sum())
    if replay.damaged:
        raise DamagedError(
            f"{replay.path} is damaged; {written} of {len(span)} frames were written to {out}"
        )
    return written


def _check_written(replay: Film, span: range) -> None:
    """Refuse an output without a single frame; damage shows only when the range was decoded."""
    if not replay.present[span.start : span.stop].any():
        what = f"{replay.path}: frames {span.start} to {span.stop - 1}"
        if replay.damaged:
            raise DamagedError(f"{what} are damaged; nothing was written")
        raise InputError(f"{what} are missing in the session; nothing was written")


_OURS = ((".png",), (".safetensors", ".json"))  # pictures; shards of training data


def _remove_earlier(folder: Path) -> None:
    """Remove the folder of an earlier run; one that holds anything else is refused."""
    files = sorted(folder.iterdir())
    kinds = _OURS[any(file.suffix in _OURS[1] for file in files)]
    foreign = next((file for file in files if file.suffix not in kinds), None)
    if foreign is not None:
        raise InputError(f"{folder} holds {foreign.name}, which is no picture; name another folder")
    shutil.rmtree(folder)


def write_beside(
    write: Callable[[AnyFilm, range, Path, Callable[[int], None]], None],
    replay: AnyFilm,
    span: range,
    out: Path,
    force: bool,
    done: Callable[[int], None],
) -> None:
    """Write a range under another name and rename when whole.

    Raises:
        InputError: `out` exists and `force` is not set, is the replay itself, or no frame is there.
        DamagedError: All frames of the range are damaged.
        ReliveError: It cannot be written.
    """
    with beside(out, [replay.path], force) as part:
        write(replay, span, part, done)
        _check_written(replay, span)


@contextmanager
def beside(
    out: Path,
    inputs: Sequence[Path],
    force: bool,
    remove: Callable[[Path], None] = _remove_earlier,
) -> Iterator[Path]:
    """Give a name beside `out` to write a file or a folder to; it is renamed when whole.

    Args:
        out: what shall be there in the end.
        inputs: what is read meanwhile, and must not be overwritten.
        force: overwrite `out`.
        remove: removes the folder of an earlier run, or refuses to.

    Raises:
        InputError: `out` exists and `force` is not set, or is one of the inputs.
        ReliveError: It cannot be written.
    """
    if not out.parent.is_dir():
        raise InputError(f"cannot write {out}: there is no folder {out.parent}")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"cannot write {out}: no permission in {out.parent}")
    if out.exists() and not (out.is_file() or out.is_dir()):
        raise InputError(f"{out} is not a regular file; give another output")
    if out.exists() and any(path.exists() and out.samefile(path) for path in inputs):
        raise InputError(f"{out} is the input itself; choose another name")
    if out.exists() and not force:
        raise InputError(f"{out} exists; add --force to overwrite it")
    part = out.with_name(f"{out.stem}.{os.getpid()}.part{out.suffix}")
    try:
        yield part
        if out.is_dir():
            remove(out)
        part.replace(out)
    except OSError as error:
        raise ReliveError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink(missing_ok=True)
