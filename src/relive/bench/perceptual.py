"""What the eye would say: SSIM inside and across regions, MS-SSIM, FLIP and VMAF.

    session ─► Reference (frames, region maps) ─┐
    ours or a peer ─► decoded frames, rgb24 ────┴─► measure_perceptual ─► Perceptual

Ours and the peers are measured on the same frames: SSIM, MS-SSIM and FLIP on frames spread evenly
over those that the session has, VMAF on all of them.
"""

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relive.bench.cache import ResultCache
from relive.bench.clip import Clip
from relive.bench.compare import FLIP_FRAMES, STRUCTURAL_FRAMES
from relive.bench.ffmpeg import (
    decode_command,
    ffmpeg_filters,
    ffmpeg_version,
    find_ffmpeg,
    iter_decoded,
    run_encode,
)
from relive.bench.metrics import SSIM_MIN_PX, flip_error, ms_ssim_of, spread, ssim_map
from relive.bench.peers import FROM_RGB, Candidate, to_rgb
from relive.errors import MissingExtraError, ReliveError

PERCEPTUAL_VERSION = 1  # part of the cache keys: raise it when the way of measuring changes
VMAF_MODEL = "vmaf_v0.6.1"


@dataclass(frozen=True)
class Perceptual:
    """Perceptual quality of a decoded sequence; None where it cannot be measured.

    Attributes:
        ssim: Mean SSIM of the luma.
        ssim_inside: Mean over the pixels whose window lies in one region; None without regions.
        ssim_across: Mean over the pixels whose window touches more than one region.
        ms_ssim: Mean MS-SSIM of the luma; None when a side is under 176 pixels.
        flip: Mean FLIP error: 0 is identical, 1 is the largest difference.
        vmaf: Mean VMAF of the frames that the session has, 0 to 100; None without libvmaf.
        inside_share: Share of the pixels that `ssim_inside` is the mean of.
    """

    ssim: float | None
    ssim_inside: float | None
    ssim_across: float | None
    ms_ssim: float | None
    flip: float
    vmaf: float | None
    inside_share: float | None


@dataclass(frozen=True)
class Reference:
    """What decoded frames are held against.

    Attributes:
        clip: The frames; those that are missing in the session are filled.
        present: Numbers of the frames that the session has.
        regions: By number of a frame that SSIM is measured on, uint8 `[H, W]`; may be empty.
        content_hash: SHA-256 of all three, in hex.
    """

    clip: Clip
    present: tuple[int, ...]
    regions: dict[int, NDArray[np.uint8]]
    content_hash: str

    def sample(self, count: int) -> list[int]:
        """Return the numbers of at most `count` frames, spread evenly over those present."""
        return _sample(self.present, count)


def _sample(present: Sequence[int], count: int) -> list[int]:
    return [present[i] for i in spread(len(present), count)]


def read_reference(session_path: Path, clip: Clip) -> Reference:
    """Return the frames of `clip` with the region maps of the session it was spooled from."""
    from relive.session import Session

    with Session.open(session_path) as session:
        present = tuple(np.flatnonzero(session.present[: clip.num_frames]).tolist())
        regions: dict[int, NDArray[np.uint8]] = {}
        for number in _sample(present, STRUCTURAL_FRAMES):
            maps = session.regions(number, number + 1)
            if maps is not None:
                regions[number] = maps[0]
    digest = hashlib.sha256(f"{clip.content_hash} {present} {sorted(regions)}\n".encode())
    for number in sorted(regions):
        digest.update(regions[number].tobytes())
    return Reference(clip, present, regions, digest.hexdigest())


def measure_perceptual(reference: Reference, decoded: Path) -> Perceptual:
    """Compare decoded frames with their originals.

    Args:
        reference: The originals.
        decoded: As many frames of the same size, raw rgb24.

    Raises:
        ReliveError: The number of frames differs, or ffmpeg failed.
    """
    clip = reference.clip
    if decoded.stat().st_size != clip.frames.size:
        raise ReliveError(f"{decoded.name}: {decoded.stat().st_size} bytes, not {clip.frames.size}")
    frames = np.memmap(decoded, dtype=np.uint8, mode="r", shape=clip.frames.shape)
    sample = reference.sample(STRUCTURAL_FRAMES)
    maps = {n: ssim_map(clip.frames[n], frames[n]) for n in sample}
    known = {n: found for n, found in maps.items() if found is not None}
    inside, across = _split_by_regions(known, reference.regions)
    num_split = len(inside) + len(across)
    multi_scale = [ms_ssim_of(clip.frames[n], frames[n]) for n in sample]
    flips = [flip_error(clip.frames[n], frames[n]) for n in reference.sample(FLIP_FRAMES)]
    return Perceptual(
        ssim=_mean([float(found.mean()) for found in known.values()]),
        ssim_inside=_mean(inside),
        ssim_across=_mean(across),
        ms_ssim=_mean([value for value in multi_scale if value is not None]),
        flip=float(np.mean(flips)),
        vmaf=_vmaf(reference, decoded),
        inside_share=len(inside) / num_split if num_split else None,
    )


def _mean(values: Sequence[float] | NDArray[np.float32]) -> float | None:
    return float(np.mean(values, dtype=np.float64)) if len(values) else None


def _split_by_regions(
    maps: dict[int, NDArray[np.float32]], regions: dict[int, NDArray[np.uint8]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the SSIM of all pixels whose window lies in one region, and of all others."""
    inside: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
    across: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
    for number, values in maps.items():
        if number in regions:
            alone = window_in_one_region(regions[number])
            inside.append(values[alone])
            across.append(values[~alone])
    return np.concatenate(inside), np.concatenate(across)


def window_in_one_region(regions: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return, for uint8 `[H, W]`, where SSIM's window of 11×11 pixels sees one region alone."""
    try:
        from scipy.ndimage import (
            maximum_filter,
            minimum_filter,
        )
    except ImportError as error:
        raise MissingExtraError("scipy", "bench") from error
    low, high = (f(regions, SSIM_MIN_PX, mode="mirror") for f in (minimum_filter, maximum_filter))
    found: NDArray[np.bool_] = low == high
    return found


def has_vmaf() -> bool:
    """Say whether this ffmpeg can measure VMAF."""
    return "libvmaf" in ffmpeg_filters()


def _vmaf(reference: Reference, decoded: Path) -> float | None:
    """Return the mean VMAF of the frames that the session has, both sides converted alike."""
    if not has_vmaf():
        return None
    clip = reference.clip
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{clip.width}x{clip.height}")
    rate = ("-r", f"{clip.fps:.6g}")
    to_yuv = f"{FROM_RGB},format=yuv444p"
    graph = (
        f"[0:v]{to_yuv}[decoded];[1:v]{to_yuv}[original];[decoded][original]"
        f"libvmaf=model=version={VMAF_MODEL}:log_fmt=json:log_path=vmaf.json"
    )
    with tempfile.TemporaryDirectory(prefix="relive-vmaf-") as folder:
        done = subprocess.run(
            [
                *(find_ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin"),
                *(*raw, *rate, "-i", str(decoded.resolve())),
                *(*raw, *rate, "-i", str(clip.path.resolve())),
                *("-lavfi", graph, "-f", "null", "-"),
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise ReliveError(f"ffmpeg could not measure VMAF of {clip.name}: {last[0]}")
        log = json.loads((Path(folder) / "vmaf.json").read_text(encoding="utf-8"))
    scores = {row["frameNum"]: row["metrics"]["vmaf"] for row in log["frames"]}
    return float(np.mean([scores[n] for n in reference.present]))


def measure_peer_perceptual(
    reference: Reference,
    candidate: Candidate,
    crf: int,
    *,
    keyframe_interval: int = 32,
    cache: ResultCache | None = None,
) -> Perceptual:
    """Encode and decode once with a peer and measure, or take the result from the cache."""
    clip = reference.clip
    arguments = candidate.encode_arguments(clip, crf, keyframe_interval)
    decode = decode_command(to_rgb(clip))
    key = [PERCEPTUAL_VERSION, reference.content_hash, arguments, decode, ffmpeg_version()]
    found = cache.get(key) if cache else None
    if found is not None:
        return Perceptual(**found)
    with tempfile.TemporaryDirectory(prefix="relive-peer-") as folder:
        stream, raw = Path(folder) / f"out.{candidate.suffix}", Path(folder) / "out.rgb"
        run_encode(clip, arguments, stream)
        with raw.open("wb") as file:
            for chunk in iter_decoded(stream, decode, width=clip.width, height=clip.height):
                file.write(chunk.tobytes())
        values = measure_perceptual(reference, raw)
    if cache:
        cache.put(key, asdict(values))
    return values
