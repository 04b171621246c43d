"""Runs the ffmpeg of the imageio-ffmpeg wheel: raw frames in, a coded file out, and back."""

import contextlib
import functools
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from relive.bench.clip import CHUNK_FRAMES, Clip
from relive.errors import MissingExtraError, ReliveError


@functools.cache
def find_ffmpeg() -> str:
    """Return the path of the ffmpeg binary that came with imageio-ffmpeg.

    Raises:
        MissingExtraError: imageio-ffmpeg is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingExtraError("imageio-ffmpeg", "bench") from error
    return str(imageio_ffmpeg.get_ffmpeg_exe())


@functools.cache
def ffmpeg_version() -> str:
    """Return the first line that ffmpeg prints about itself."""
    output = subprocess.run(
        [find_ffmpeg(), "-hide_banner", "-version"], capture_output=True, text=True, check=False
    ).stdout
    return output.splitlines()[0] if output else "unknown"


@functools.cache
def ffmpeg_encoders() -> frozenset[str]:
    """Return the names of the video encoders of this ffmpeg."""
    rows = (line.split() for line in _listed("-encoders") if line.startswith(" V"))
    return frozenset(row[1] for row in rows if len(row) > 1)


@functools.cache
def ffmpeg_filters() -> frozenset[str]:
    """Return the names of the filters of this ffmpeg."""
    rows = (line.split() for line in _listed("-filters") if "->" in line)
    return frozenset(row[1] for row in rows if len(row) > 1)


def _listed(option: str) -> list[str]:
    command = [find_ffmpeg(), "-hide_banner", option]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def encode_command(
    *, width: int, height: int, fps: float, video_filter: str, options: list[str]
) -> list[str]:
    """Return the arguments that encode raw rgb24 from standard input, without the output file."""
    return [
        *("-hide_banner", "-loglevel", "error", "-nostdin", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"),
        *("-r", f"{fps:.6g}", "-i", "pipe:0", "-vf", video_filter, *options),
    ]


def decode_command(video_filter: str) -> list[str]:
    """Return the arguments that decode to raw rgb24 on standard output, `{input}` the input."""
    return [
        *("-hide_banner", "-loglevel", "error", "-nostdin", "-i", "{input}"),
        *("-vf", video_filter, "-fps_mode", "passthrough"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"),
    ]


def run_encode(clip: Clip, arguments: list[str], out: Path) -> None:
    """Encode the frames of `clip` into `out`.

    Raises:
        ReliveError: ffmpeg failed.
    """
    command = [find_ffmpeg(), *arguments, str(out)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log
        )
        try:
            _feed(clip, _pipe(process.stdin))
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.wait() != 0:
            log.seek(0)
            raise ReliveError(f"ffmpeg could not encode {clip.name}: {_last_line(log.read())}")


def _feed(clip: Clip, stdin: IO[bytes]) -> None:
    # A broken pipe means that ffmpeg has ended early: its exit status and its log say why.
    with contextlib.suppress(BrokenPipeError):
        for chunk in clip.chunks():
            stdin.write(np.ascontiguousarray(chunk).data)
    with contextlib.suppress(BrokenPipeError):
        stdin.close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ReliveError("ffmpeg was started without a pipe")
    return stream


def iter_decoded(
    path: Path, arguments: list[str], *, width: int, height: int
) -> Iterator[NDArray[np.uint8]]:
    """Decode a coded file and yield uint8 `[n, H, W, 3]` chunks.

    Raises:
        ReliveError: ffmpeg failed or stopped inside a frame.
    """
    command = [find_ffmpeg(), *(a.replace("{input}", str(path)) for a in arguments)]
    size = width * height * 3
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        stdout = _pipe(process.stdout)
        try:
            while data := stdout.read(size * CHUNK_FRAMES):
                if len(data) % size:
                    raise ReliveError(f"ffmpeg stopped inside a frame of {path.name}")
                yield np.frombuffer(data, dtype=np.uint8).reshape(-1, height, width, 3)
            if process.wait() != 0:
                log.seek(0)
                raise ReliveError(f"ffmpeg could not decode {path.name}: {_last_line(log.read())}")
        finally:
            process.kill()
            process.wait()
            stdout.close()


def _last_line(log: bytes) -> str:
    lines = log.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"
