"""GIF with one palette for the whole clip, by ffmpeg's filters `palettegen` and `paletteuse`.

The palette is known only when every frame has been seen; until then frames wait in a file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from relive.codec.output import ffmpeg

NS_PER_CS = 10_000_000
CENTISECOND = Fraction(1, 100)
DITHER = "dither=bayer:bayer_scale=5:diff_mode=rectangle"  # smaller than sierra2_4a, and nearer


@dataclass(frozen=True)
class Picture:
    """A frame of a clip: its pixels, when it appears after the start, and for how long."""

    pixels: NDArray[np.uint8]
    time_ns: int
    duration_ns: int


def write_gif(pictures: Iterator[Picture], out: Path) -> int:
    """Write pictures as an endless GIF.

    Times are rounded to hundredths of a second one by one, so that they never drift.

    Args:
        pictures: of one size, at least two hundredths apart.
        out: the file.

    Returns:
        Number of frames written.
    """
    with tempfile.TemporaryFile() as spool, ffmpeg() as av:
        times: list[tuple[int, int]] = []
        maker: _Filter | None = None
        for picture in pictures:
            height, width = picture.pixels.shape[:2]
            maker = maker or _Filter(av, "palettegen", "", [(width, height)])
            maker.push(_frame(av, picture.pixels, 0))
            spool.write(picture.pixels.tobytes())
            times.append((picture.time_ns, picture.duration_ns))
        if maker is None:
            return 0
        maker.push(None)
        (palette,) = maker.ready()
        spool.seek(0)
        frames = _spooled(av, spool, (height, width, 3), times)
        final_cs = max(2, round(times[-1][1] / NS_PER_CS))
        _paint(av, out, frames, palette, final_cs)
        return len(times)


def _paint(av: ModuleType, out: Path, frames: Iterator[Any], palette: Any, final_cs: int) -> None:
    """Give frames their colours out of a palette, and write them."""
    options = {"loop": "0", "final_delay": str(final_cs)}
    painter: _Filter | None = None
    with av.open(str(out), "w", format="gif", options=options) as file:
        stream = file.add_stream("gif", rate=100)
        stream.pix_fmt, stream.codec_context.time_base = "pal8", CENTISECOND
        for frame in frames:
            if painter is None:
                stream.width, stream.height = frame.width, frame.height
                sizes = [(frame.width, frame.height), (palette.width, palette.height)]
                painter = _Filter(av, "paletteuse", DITHER, sizes)
                painter.push(palette, 1)
                painter.push(None, 1)
            painter.push(frame)
            _mux(file, stream, painter)
        if painter is not None:
            painter.push(None)
            _mux(file, stream, painter)
        file.mux(stream.encode(None))


def _mux(file: Any, stream: Any, painter: _Filter) -> None:
    for painted in painter.ready():
        file.mux(stream.encode(painted))


def _spooled(
    av: ModuleType, spool: BinaryIO, shape: tuple[int, int, int], times: list[tuple[int, int]]
) -> Iterator[Any]:
    size = shape[0] * shape[1] * shape[2]
    for time_ns, _ in times:
        pixels = np.frombuffer(spool.read(size), np.uint8).reshape(shape)
        yield _frame(av, pixels, round(time_ns / NS_PER_CS))


def _frame(av: ModuleType, pixels: NDArray[np.uint8], time_cs: int) -> Any:
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="rgb32")
    frame.pts, frame.time_base = time_cs, CENTISECOND
    return frame


class _Filter:
    """One filter of ffmpeg with its inputs, sizes given as (width, height), and its output."""

    def __init__(
        self, av: ModuleType, name: str, arguments: str, sizes: list[tuple[int, int]]
    ) -> None:
        self._av = av
        self._graph = graph = av.filter.Graph()  # the contexts hold it weakly
        kind = av.VideoFormat("rgb32")
        self._inputs = [
            graph.add_buffer(width=width, height=height, format=kind, time_base=CENTISECOND)
            for width, height in sizes
        ]
        node, self._sink = graph.add(name, arguments or None), graph.add("buffersink")
        for place, source in enumerate(self._inputs):
            source.link_to(node, 0, place)
        node.link_to(self._sink)
        graph.configure()

    def push(self, frame: Any, place: int = 0) -> None:
        """Hand a frame to an input, or None to end it."""
        self._inputs[place].push(frame)

    def ready(self) -> Iterator[Any]:
        """Yield what has come out since the last time."""
        while True:
            try:
                yield self._sink.pull()
            except (self._av.error.BlockingIOError, self._av.error.EOFError):
                return
