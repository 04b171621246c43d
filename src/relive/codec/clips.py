"""A range of a replay as a clip to send to people: MP4 that plays everywhere, or GIF.

`decode` keeps every pixel as it is; a clip is made for a browser, a chat, a bug report.

```
 MP4   frames ──► enlarged ──► H.264 4:2:0, index in front
 GIF   frames ──► enlarged ──► spooled ──► palette of the whole clip
                                  └──────────────┴──► dithered ──► GIF, endless
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.codec.gif import Picture, write_gif
from relive.codec.output import (
    MICROSECOND,
    Progress,
    ffmpeg,
    mux,
    present_frames,
    write_beside,
)
from relive.codec.replay import Replay
from relive.errors import DamagedError, InputError

Frame = NDArray[np.uint8]
Told = Callable[[int], None]
CLIP_SUFFIXES = (".mp4", ".gif")
MAX_SCALE = 8
MAX_SIDE_PX = 8192
NS_PER_CS = 10_000_000
MIN_GIF_CS = 2  # browsers show shorter frames for a tenth of a second
MIN_GAP_NS = {".mp4": 1_000_000, ".gif": MIN_GIF_CS * NS_PER_CS}


def write_clip(
    replay: Replay,
    out: Path | str,
    start: int,
    stop: int,
    *,
    scale: int = 1,
    max_fps: float | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write frames `start` to `stop` as a clip, at the times they have in the session.

    Args:
        replay: an open replay.
        out: `.mp4` or `.gif`.
        start: first frame.
        stop: one past the last frame.
        scale: how many times to enlarge it, 1 to 8; pixels stay square and sharp.
        max_fps: leave out frames so that at most so many are shown in a second; a GIF never shows
            more than 50, because browsers slow down what is faster.
        force: overwrite `out`.
        progress: told frames done and frames in all.

    Returns:
        Number of frames in the clip.

    Raises:
        InputError: The range is empty, a number is out of range, or `out` exists or is no clip.
        DamagedError: Parts of the range were damaged; the rest was written.
    """
    out = Path(out)
    kind = out.suffix.lower()
    _check(replay, kind, out, range(start, stop), scale, max_fps)
    kept = _kept(replay, range(start, stop), kind, max_fps)
    written = 0

    def write(replay: Replay, span: range, part: Path, told: Told) -> None:
        nonlocal written
        pictures = _pictures(replay, span, kept, scale, told)
        written = write_gif(pictures, part) if kind == ".gif" else _write_mp4(pictures, part)

    def told(count: int) -> None:
        if progress:
            progress(count, stop - start)

    write_beside(write, replay, range(start, stop), out, force, told)
    if replay.damaged:
        raise DamagedError(f"{replay.path} is damaged; {written} whole frames are in {out}")
    return written


def _check(
    replay: Replay, kind: str, out: Path, span: range, scale: int, max_fps: float | None
) -> None:
    if kind not in CLIP_SUFFIXES:
        raise InputError(f"cannot write {out}: a clip is .mp4 or .gif")
    if not 0 <= span.start < span.stop <= replay.num_frames:
        raise InputError(
            f"{replay.path}: frames {span.start} to {span.stop} are no range in its "
            f"{replay.num_frames} frames"
        )
    if not 1 <= scale <= MAX_SCALE or scale * max(replay.width, replay.height) > MAX_SIDE_PX:
        raise InputError(
            f"scale {scale} is not in 1 … {MAX_SCALE}, or a side grows over {MAX_SIDE_PX} pixels"
        )
    if max_fps is not None and not max_fps > 0:
        raise InputError(f"{max_fps} frames a second is not a rate over 0")


def _kept(replay: Replay, span: range, kind: str, max_fps: float | None) -> set[int]:
    """Frames of a range that the clip shows: on a steady grid where the session is faster."""
    gap = max(MIN_GAP_NS[kind], 0 if max_fps is None else round(1e9 / max_fps))
    origin, due = int(replay.times_ns[span.start]), 0
    kept: set[int] = set()
    for index in span:
        time = int(replay.times_ns[index]) - origin
        if replay.present[index] and time >= due:
            kept.add(index)
            due += gap * max(1, -(-(time - due + 1) // gap))
    return kept


def _pictures(
    replay: Replay, span: range, kept: set[int], scale: int, told: Told
) -> Iterator[Picture]:
    """Decode a range and yield what is kept of it, enlarged, with the time until the next."""
    origin = int(replay.times_ns[span.start])
    usual = round(1e9 / replay.fps) if replay.fps else 1_000_000_000
    before: tuple[Frame, int] | None = None
    for index, frame in present_frames(replay, span, told):
        if index not in kept:
            continue
        time = int(replay.times_ns[index]) - origin
        if before is not None:
            yield Picture(*before, time - before[1])
        before = (_enlarged(frame, scale), time)
    if before is not None:
        end = int(replay.times_ns[span.stop - 1]) - origin + usual
        yield Picture(*before, max(1, end - before[1]))


def _enlarged(frame: Frame, scale: int) -> Frame:
    return np.repeat(np.repeat(frame, scale, axis=0), scale, axis=1)


def _write_mp4(pictures: Iterator[Picture], out: Path) -> int:
    """H.264 4:2:0, which every browser and telephone plays; sides made even by a repeated edge."""
    count = 0
    stream: Any = None
    with (
        ffmpeg() as av,
        av.open(str(out), "w", format="mp4", options={"movflags": "+faststart"}) as file,
    ):
        for picture in pictures:
            height, width = picture.pixels.shape[:2]
            even = np.pad(picture.pixels, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
            if stream is None:
                stream = file.add_stream("libx264", rate=Fraction(1_000_000, 1))
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt, stream.options = "yuv420p", {"crf": "17", "preset": "medium"}
                stream.codec_context.time_base = MICROSECOND
            frame = av.VideoFrame.from_ndarray(even, format="rgb24")
            frame.pts, frame.duration = picture.time_ns // 1000, picture.duration_ns // 1000
            frame.time_base = MICROSECOND
            mux(file, stream.encode(frame), frame.duration)
            count += 1
        if stream is not None:
            mux(file, stream.encode(None), frame.duration)
    return count
