"""The classical codecs that Relive is compared with, set up as well as we could find.

    clip ─► ffmpeg (colour conversion, encoder) ─► elementary stream ─► ffmpeg ─► rgb24 ─► quality

Choices, each measured on three ViZDoom clips of 128 frames (docs/measuring.md has the figures), and
each in the peer's favour where there was a doubt:

- `-tune psnr` (x264, x265) and `tune=1` (SVT-AV1), since PSNR is what is compared.
- 4:4:4 and 4:2:0 for x264 and x265; per operating point the better one counts (`upper_envelope`).
  SVT-AV1 codes 4:2:0 only. RGB modes (libx264rgb, x265 gbrp) need 36–116 % more bytes: left out.
- Closed GOPs with a keyframe every `keyframe_interval` frames exactly, as ours, so that any range
  decodes from its keyframe. Open GOPs would save x264 and x265 up to 1 %; SVT-AV1's forward
  keyframes would save 6–9 %, but players cannot seek to them.
- BT.709, limited range, Lanczos, accurate rounding, full chroma interpolation; at `crf 0` in 4:4:4
  this gives over 45 dB, so the conversion is not what limits a peer.
- SVT-AV1: `hierarchical-levels=3` saves 2–5 % at this interval; it detects screen content by
  itself, and switching that off costs 1–6 % here.
- The elementary stream is what is counted: no container, and no text that the encoder writes about
  itself (SEI user data).
"""

import shlex
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.bench.cache import ResultCache
from relive.bench.clip import Clip
from relive.bench.ffmpeg import (
    decode_command,
    encode_command,
    ffmpeg_version,
    iter_decoded,
    run_encode,
)
from relive.bench.metrics import QualityMeter
from relive.errors import InputError, ReliveError

_SCALE_FLAGS = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
FROM_RGB = f"scale=in_range=pc:out_range=tv:out_color_matrix=bt709:flags={_SCALE_FLAGS}"
_TO_RGB = f"scale=in_range=tv:in_color_matrix=bt709:out_range=pc:flags={_SCALE_FLAGS},format=rgb24"
_MEASUREMENT_VERSION = 1  # part of the cache key: raise it when the way of measuring changes


@dataclass(frozen=True)
class Candidate:
    """One way to run a peer: an encoder, a pixel format and its options.

    Attributes:
        name: Unique name, such as `x265-444`.
        pix_fmt: Pixel format given to the encoder.
        suffix: Suffix of the elementary stream, which chooses ffmpeg's muxer.
        options: Encoder options; `{crf}` and `{keyframe_interval}` are filled in.
    """

    name: str
    pix_fmt: str
    suffix: str
    options: str

    def encode_arguments(self, clip: Clip, crf: int, keyframe_interval: int) -> list[str]:
        """Return the arguments of ffmpeg, all but the output file."""
        options = self.options.format(crf=crf, keyframe_interval=keyframe_interval)
        return encode_command(
            width=clip.width,
            height=clip.height,
            fps=clip.fps,
            video_filter=f"{_pad(clip)}{FROM_RGB},format={self.pix_fmt}",
            options=[*shlex.split(options), "-colorspace", "bt709", "-color_range", "tv"],
        )


@dataclass(frozen=True)
class Peer:
    """A codec to compare with: the best of its candidates counts at every operating point."""

    name: str
    label: str
    candidates: tuple[Candidate, ...]
    crfs: tuple[int, ...]
    last_crf: int  # the coarsest that the tool takes

    def candidate(self, name: str) -> Candidate:
        """Return the candidate called `name`."""
        for candidate in self.candidates:
            if candidate.name == name:
                return candidate
        raise InputError(f"{self.name} has no candidate {name!r}")


@dataclass(frozen=True)
class PeerPoint:
    """What one run of a peer cost and gave.

    Attributes:
        candidate: Name of the candidate.
        crf: The tool's own rate setting.
        bytes: Size of the elementary stream.
        bytes_with_state: The same plus the states as a zlib-compressed CSV file.
        bits_per_pixel: From `bytes`.
        psnr_db: RGB PSNR over the clip.
        psnr_y_db: Luma PSNR over the clip.
        encode_fps: Frames a second, process start included.
        decode_fps: Frames a second, process start and conversion to RGB included.
        frame_psnr_db: RGB PSNR of every frame.
        encode_command: The exact command that made the stream.
        decode_command: The exact command that decoded it.
    """

    candidate: str
    crf: int
    bytes: int
    bytes_with_state: int
    bits_per_pixel: float
    psnr_db: float
    psnr_y_db: float
    encode_fps: float
    decode_fps: float
    frame_psnr_db: tuple[float, ...]
    encode_command: str
    decode_command: str


def _x264(name: str, pix_fmt: str) -> Candidate:
    return Candidate(
        name,
        pix_fmt,
        "h264",
        "-c:v libx264 -preset medium -tune psnr -crf {crf} -g {keyframe_interval} "
        "-keyint_min {keyframe_interval} -sc_threshold 0 "
        "-bsf:v filter_units=remove_types=6",
    )


def _x265(name: str, pix_fmt: str) -> Candidate:
    return Candidate(
        name,
        pix_fmt,
        "hevc",
        "-c:v libx265 -preset medium -tune psnr -crf {crf} -x265-params "
        "keyint={keyframe_interval}:min-keyint={keyframe_interval}:scenecut=0:open-gop=0:"
        "info=0:log-level=error",
    )


def _svt_av1(name: str, preset: int) -> Candidate:
    return Candidate(
        name,
        "yuv420p",
        "obu",
        f"-c:v libsvtav1 -preset {preset} -crf {{crf}} -g {{keyframe_interval}} "
        "-svtav1-params tune=1:irefresh-type=2:hierarchical-levels=3:lp=2",
    )


def _vvc(name: str) -> Candidate:
    return Candidate(
        name,
        "yuv420p10le",
        "vvc",
        "-c:v libvvenc -preset fast -qp {crf} -g {keyframe_interval} "
        "-vvenc-params intraperiod={keyframe_interval}:verbosity=1",
    )


_X26X_CRFS = (24, 28, 32, 36, 40, 44, 48)
_AV1_CRFS = (32, 40, 46, 52, 57, 61, 63)
PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            "x264",
            "x264 medium",
            (_x264("x264-444", "yuv444p"), _x264("x264-420", "yuv420p")),
            _X26X_CRFS,
            51,
        ),
        Peer(
            "x265",
            "x265 medium",
            (_x265("x265-444", "yuv444p"), _x265("x265-420", "yuv420p")),
            _X26X_CRFS,
            51,
        ),
        Peer("av1", "SVT-AV1 preset 6", (_svt_av1("av1-p6", 6),), _AV1_CRFS, 63),
        # Not part of the default comparison: slower, and better.
        Peer("av1-slow", "SVT-AV1 preset 4", (_svt_av1("av1-p4", 4),), _AV1_CRFS, 63),
        Peer("vvc", "VVenC fast", (_vvc("vvc-fast"),), (24, 28, 32, 36, 40, 44, 48), 63),
    )
}
DEFAULT_PEERS = ("x264", "x265", "av1")


def _is_odd(clip: Clip) -> bool:
    return bool(clip.width % 2 or clip.height % 2)


def _pad(clip: Clip) -> str:
    """Return the filter that makes both sides even, as 4:2:0 needs; nothing where they are."""
    width, height = clip.width + clip.width % 2, clip.height + clip.height % 2
    return f"pad={width}:{height}," if _is_odd(clip) else ""


def to_rgb(clip: Clip) -> str:
    """Return the filter that brings a decoded peer back to the rgb24 of the clip."""
    return f"{_TO_RGB},crop={clip.width}:{clip.height}:0:0" if _is_odd(clip) else _TO_RGB


def find_peers(names: tuple[str, ...]) -> list[Peer]:
    """Return the peers called `names`.

    Raises:
        InputError: A name is unknown.
    """
    for name in names:
        if name not in PEERS:
            raise InputError(f"unknown peer {name!r}; choose from {', '.join(PEERS)}")
    return [PEERS[name] for name in names]


def measure_peer(
    clip: Clip,
    candidate: Candidate,
    crf: int,
    *,
    keyframe_interval: int = 32,
    cache: ResultCache | None = None,
) -> PeerPoint:
    """Encode and decode `clip` once with a peer, or take the result from the cache.

    Raises:
        ReliveError: ffmpeg failed.
    """
    arguments = candidate.encode_arguments(clip, crf, keyframe_interval)
    decode = decode_command(to_rgb(clip))
    key = [_MEASUREMENT_VERSION, clip.content_hash, arguments, decode, ffmpeg_version()]
    found = cache.get(key) if cache else None
    if found is None:
        found = _run(clip, candidate, arguments, decode)
        if cache:
            cache.put(key, found)
    return PeerPoint(
        candidate=candidate.name,
        crf=crf,
        bytes_with_state=found["bytes"] + clip.state_csv_bytes,
        bits_per_pixel=clip.bits_per_pixel(found["bytes"]),
        encode_command=shlex.join(["ffmpeg", *arguments, f"out.{candidate.suffix}"]),
        decode_command=shlex.join(["ffmpeg", *decode]).replace(
            "'{input}'", f"out.{candidate.suffix}"
        ),
        **{**found, "frame_psnr_db": tuple(found["frame_psnr_db"])},
    )


def _run(clip: Clip, candidate: Candidate, arguments: list[str], decode: list[str]) -> Any:
    with tempfile.TemporaryDirectory(prefix="relive-peer-") as folder:
        stream = Path(folder) / f"out.{candidate.suffix}"
        started = time.perf_counter()
        run_encode(clip, arguments, stream)
        encode_s = time.perf_counter() - started
        meter = QualityMeter()
        decode_s = _measure_decoding(clip, stream, decode, meter)
        quality = meter.result()
        return {
            "bytes": stream.stat().st_size,
            "psnr_db": quality.psnr_db,
            "psnr_y_db": quality.psnr_y_db,
            "encode_fps": clip.num_frames / encode_s,
            "decode_fps": clip.num_frames / decode_s,
            "frame_psnr_db": [round(value, 3) for value in quality.frame_psnr_db],
        }


def _measure_decoding(clip: Clip, stream: Path, decode: list[str], meter: QualityMeter) -> float:
    """Feed the decoded frames to `meter` and return the seconds that decoding alone took."""
    position = 0
    seconds = 0.0
    decoded = iter_decoded(stream, decode, width=clip.width, height=clip.height)
    while True:
        started = time.perf_counter()
        chunk = next(decoded, None)
        seconds += time.perf_counter() - started
        if chunk is None:
            break
        meter.update(clip.frames[position : position + len(chunk)], chunk)
        position += len(chunk)
    if position != clip.num_frames:
        raise ReliveError(
            f"{stream.name}: {position} frames came back, {clip.num_frames} went in; "
            "this ffmpeg cannot serve as a peer"
        )
    return max(seconds, 1e-9)


def decode_peer_frames(
    clip: Clip,
    candidate: Candidate,
    crf: int,
    wanted: list[int],
    *,
    keyframe_interval: int = 32,
) -> dict[int, NDArray[np.uint8]]:
    """Encode and decode `clip` once more and return the `wanted` frames, uint8 `[H, W, 3]` each."""
    arguments = candidate.encode_arguments(clip, crf, keyframe_interval)
    with tempfile.TemporaryDirectory(prefix="relive-peer-") as folder:
        stream = Path(folder) / f"out.{candidate.suffix}"
        run_encode(clip, arguments, stream)
        return dict(_pick(clip, stream, frozenset(wanted)))


def _pick(
    clip: Clip, stream: Path, wanted: frozenset[int]
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    position = 0
    for chunk in iter_decoded(
        stream, decode_command(to_rgb(clip)), width=clip.width, height=clip.height
    ):
        for frame in chunk:
            if position in wanted:
                yield position, frame.copy()
            position += 1


def point_to_dict(point: PeerPoint, *, with_frames: bool = False) -> dict[str, Any]:
    """Return a point as plain values for JSON, without the PSNR of every frame unless asked for."""
    values = asdict(point)
    if not with_frames:
        del values["frame_psnr_db"]
    return values
