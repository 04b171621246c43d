"""Any video file, with its state where there is one, as a session."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from relive.errors import InputError
from relive.session.recorder import Recorder
from relive.session.schema import StateSchema
from relive.session.sources.region_maps import RegionMaps
from relive.session.sources.state_csv import StateCsv

Progress = Callable[[int, int], None]
Picture = NDArray[np.uint8]
Item = TypeVar("Item")
_NO_STATE = np.zeros(0, np.float32)


def import_video(
    video: Path | str,
    out: Path | str,
    *,
    state: Path | str | None = None,
    schema: Path | str | None = None,
    regions: Path | str | None = None,
    game: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Make a recording of a video file.

    The recording is written beside its name and renamed when it is whole. Frames are what the
    decoder gives, as RGB. Times come from the CSV where there is one, else from the video,
    whose first frame is then at 0.

    Args:
        video: Any file that FFmpeg can decode.
        out: The recording to write.
        state: CSV with the columns ``time_s`` and the names of the fields; one row a frame.
        schema: TOML that declares the fields; None makes a linear field of every column.
        regions: NPZ with ``regions`` uint8 [T, H, W], one map a frame.
        game: What is played; None for ``video:`` and the name of the file.
        force: Overwrite an existing file.
        progress: Called with the frames done and their total (0 if the video does not say).

    Returns:
        Number of frames.

    Raises:
        InputError: Something cannot be read or does not fit; nothing is left behind.
    """
    video, out = Path(video), Path(out)
    if out.exists() and not force:
        raise InputError(f"{out} exists; use --force (force=True) to overwrite it")
    if schema is not None and state is None:
        raise InputError("a schema needs the states that it declares; give --state too")
    inputs = [Path(path) for path in (video, state, schema, regions) if path is not None]
    if out.exists() and any(path.exists() and path.samefile(out) for path in inputs):
        raise InputError(f"{out} is one of the inputs; choose another name")
    declared = None if schema is None else StateSchema.from_toml(schema)
    part = out.with_name(f"{out.name}.part")
    with ExitStack() as stack:
        rows = None if state is None else stack.enter_context(StateCsv(Path(state), declared))
        maps = None if regions is None else stack.enter_context(RegionMaps(Path(regions)))
        try:
            count = _write(video, part, rows, maps, game or f"video:{video.name}", progress)
            part.replace(out)
        finally:
            part.unlink(missing_ok=True)
    return count


def _write(
    video: Path,
    part: Path,
    rows: StateCsv | None,
    maps: RegionMaps | None,
    game: str,
    progress: Progress | None,
) -> int:
    """Record the frames with their rows and maps."""
    pictures = _pictures(video, progress)
    first = next(pictures, None)
    if first is None:
        raise InputError(f"{video}: it has no frames")
    states = None if rows is None else iter(rows)
    labels = None if maps is None else iter(maps)
    schema = StateSchema() if rows is None else rows.schema
    region_schema = None if maps is None else maps.schema
    with Recorder(part, schema, region_schema, game=game, force=True) as recorder:
        for picture, video_ns in chain([first], pictures):
            row = _take(states, rows, video, recorder.num_frames)
            label = _take(labels, maps, video, recorder.num_frames)
            time_ns, values = (video_ns, _NO_STATE) if row is None else row
            if time_ns is None:
                raise InputError(
                    f"{video}, frame {recorder.num_frames}: it has no time after that of the "
                    "frame before; give the times in a CSV with --state"
                )
            try:
                recorder.add(picture, values, time_ns, label)
            except InputError as error:
                raise InputError(f"{video}: {error}") from None
    _refuse_leftovers(video, recorder.num_frames, states, rows, maps)
    return recorder.num_frames


def _take(
    source: Iterator[Item] | None, file: StateCsv | RegionMaps | None, video: Path, number: int
) -> Item | None:
    """Take the item of a frame; None if there is no such file at all."""
    if source is None or file is None:
        return None
    item = next(source, None)
    if item is None:
        raise InputError(
            f"{file.path}: it ends after {number} frames, but {video} has more; one a frame"
        )
    return item


def _refuse_leftovers(
    video: Path,
    num_frames: int,
    states: Iterator[object] | None,
    rows: StateCsv | None,
    maps: RegionMaps | None,
) -> None:
    """Refuse what has more rows or maps than the video has frames: one row a frame."""
    if rows is not None and states is not None:
        num_rows = num_frames + sum(1 for _ in states)
        if num_rows != num_frames:
            raise InputError(f"{rows.path}: {num_rows} rows, but {video} has {num_frames} frames")
    if maps is not None and maps.shape[0] != num_frames:
        raise InputError(f"{maps.path}: {maps.shape[0]} maps, but {video} has {num_frames} frames")


def _pictures(video: Path, progress: Progress | None) -> Iterator[tuple[Picture, int | None]]:
    """Decode a video: uint8 [H, W, 3] and the time in ns since the first frame.

    The time is None where the video gives none that is after the one before.
    """
    if not video.is_file():
        raise InputError(f"cannot read {video}: no such file")
    number = 0
    try:
        with av.open(str(video)) as container:
            if not container.streams.video:
                raise InputError(f"{video}: it has no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            total = _num_frames(stream)
            first_s: Fraction | None = None
            last_ns = -1
            for frame in container.decode(stream):
                time_ns = None
                if frame.pts is not None and frame.time_base is not None:
                    moment_s = frame.pts * frame.time_base
                    first_s = moment_s if first_s is None else first_s
                    time_ns = round((moment_s - first_s) * 1_000_000_000)
                yield (
                    np.asarray(frame.to_ndarray(format="rgb24"), np.uint8),
                    time_ns if time_ns is not None and time_ns > last_ns else None,
                )
                last_ns = last_ns if time_ns is None else time_ns
                number += 1
                if progress is not None:
                    progress(number, max(number, total) if total else 0)
    except av.error.FFmpegError as error:
        what = f"frame {number} cannot be decoded" if number else "not a video that can be decoded"
        raise InputError(f"{video}: {what} ({error.strerror})") from None


def _num_frames(stream: VideoStream) -> int:
    """Number of frames that the container declares or suggests, 0 if it does neither."""
    if stream.frames:
        return int(stream.frames)
    if stream.duration and stream.time_base and stream.average_rate:
        return round(stream.duration * stream.time_base * stream.average_rate)
    return 0
