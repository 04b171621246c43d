"""Operating points: ours at every quality setting, and each peer at every crf.

session ─┬─► encode ─► replay ─► compare ─► OursPoint ─┐
         └─► Clip ─► measure_peer ─► PeerPoint ────────┴─► curves (bits per pixel, dB)
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from relive.bench.cache import ResultCache
from relive.bench.clip import Clip
from relive.bench.compare import compare
from relive.bench.curves import RatePoint, upper_envelope
from relive.bench.ffmpeg import ffmpeg_version
from relive.bench.peers import Peer, PeerPoint, measure_peer, point_to_dict
from relive.bench.perceptual import (
    PERCEPTUAL_VERSION,
    Perceptual,
    Reference,
    measure_peer_perceptual,
    measure_perceptual,
)
from relive.bench.provenance import source_hash

_OURS_VERSION = 1  # part of the cache key: raise it when the way of measuring changes


@dataclass(frozen=True)
class OursPoint:
    """What our codec cost and gave at one quality setting, or for one target.

    Attributes:
        quality: The setting, 1 to 10; 0 where a target was given instead.
        bytes: Size of the file, states and index included.
        bits_per_pixel: From `bytes`.
        psnr_db: RGB PSNR of the decoded file.
        psnr_y_db: Luma PSNR of the decoded file.
        encode_fps: Frames a second.
        decode_fps: Frames a second.
        parts: Bytes by part of the file.
        encode_command: The command line that does the same.
        decode_command: The command line that does the same.
        reached: The target was met; true where there was none.
        perceptual: What the eye would say, when asked for.
    """

    quality: int
    bytes: int
    bits_per_pixel: float
    psnr_db: float
    psnr_y_db: float
    encode_fps: float
    decode_fps: float
    parts: dict[str, int]
    encode_command: str
    decode_command: str
    reached: bool = True
    perceptual: Perceptual | None = None


@dataclass(frozen=True)
class PeerCurve:
    """All points of a peer, and those at which it is best.

    Attributes:
        peer: The codec.
        points: Every run.
        envelope: The runs that no other candidate of the peer beats, by rising rate.
        perceptual: What the eye would say of every run; empty when not asked for.
    """

    peer: Peer
    points: tuple[PeerPoint, ...]
    envelope: tuple[PeerPoint, ...]
    perceptual: tuple[Perceptual, ...] = ()

    def rate_points(self) -> list[RatePoint]:
        """Return (bits per pixel, dB) of the envelope."""
        return [(point.bits_per_pixel, point.psnr_db) for point in self.envelope]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        points = [point_to_dict(point) for point in self.points]
        for values, perceptual in zip(points, self.perceptual, strict=False):
            values["perceptual"] = asdict(perceptual)
        return {
            "label": self.peer.label,
            "points": points,
            "envelope": [[point.candidate, point.crf] for point in self.envelope],
        }


def measure_peer_curve(
    clip: Clip,
    peer: Peer,
    *,
    crfs: Sequence[int] | None = None,
    keyframe_interval: int = 32,
    cache: ResultCache | None = None,
    reference: Reference | None = None,
    on_point: Callable[[], None] | None = None,
) -> PeerCurve:
    """Run every candidate of a peer at every crf and keep the upper envelope.

    Args:
        clip: What to code.
        peer: The codec.
        crfs: Rate settings; those of the peer when None.
        keyframe_interval: Frames from keyframe to keyframe.
        cache: Where results are kept.
        reference: Measure the perceptual metrics too, against this.
        on_point: Called after every run.
    """
    runs: list[list[PeerPoint]] = []
    perceptual: list[Perceptual] = []
    for candidate in peer.candidates:
        runs.append([])
        for crf in crfs or peer.crfs:
            point = measure_peer(
                clip, candidate, crf, keyframe_interval=keyframe_interval, cache=cache
            )
            runs[-1].append(point)
            if reference:
                perceptual.append(
                    measure_peer_perceptual(
                        reference, candidate, crf, keyframe_interval=keyframe_interval, cache=cache
                    )
                )
            if on_point:
                on_point()
    rates = [[(point.bits_per_pixel, point.psnr_db) for point in run] for run in runs]
    envelope = tuple(runs[c][p] for c, p in upper_envelope(rates))
    points = tuple(point for run in runs for point in run)
    return PeerCurve(peer, points, envelope, tuple(perceptual))


@dataclass(frozen=True)
class Aim:
    """What our encoder is asked for: one of the three, as `relive.encode` takes them."""

    quality: int | None = None
    bitrate: float | None = None
    psnr: float | None = None

    def option(self) -> str:
        """Return the same as an option of `relive encode`."""
        ((name, value),) = ((k, v) for k, v in asdict(self).items() if v is not None)
        return f"--{name} {value:.10g}"


def measure_ours(
    session: Path,
    aim: Aim | int,
    folder: Path,
    *,
    model: Path | None = None,
    keyframe_interval: int = 32,
    cache: ResultCache | None = None,
    reference: Reference | None = None,
) -> OursPoint:
    """Encode a session, decode the file and compare; or take the result from the cache.

    The cache knows the session, the settings, the weights and our own source code, so a change of
    the codec measures again.

    Args:
        session: The recording.
        aim: A quality, 1 to 10, or a target.
        folder: Where the replay may be written.
        model: Weights; the bundled model when None.
        keyframe_interval: Frames from keyframe to keyframe.
        cache: Where results are kept.
        reference: Measure the perceptual metrics too, against this.
    """
    aim = Aim(quality=aim) if isinstance(aim, int) else aim
    key = [
        _OURS_VERSION,
        _hash_file(session),
        aim.option() if aim.quality is None else aim.quality,
        keyframe_interval,
        _hash_model(model),
        source_hash(),
        *([PERCEPTUAL_VERSION, ffmpeg_version()] if reference else []),
    ]
    found = cache.get(key) if cache else None
    if found is not None:
        perceptual = found.pop("perceptual", None)
        return OursPoint(**found, perceptual=Perceptual(**perceptual) if perceptual else None)
    point = _encode_and_compare(session, aim, folder, model, keyframe_interval, reference)
    if cache:
        cache.put(key, asdict(point))
    return point


def _encode_and_compare(
    session: Path,
    aim: Aim,
    folder: Path,
    model: Path | None,
    keyframe_interval: int,
    reference: Reference | None,
) -> OursPoint:
    from relive.codec import encode

    replay, raw = folder / f"{session.stem}.relive", folder / f"{session.stem}-decoded.rgb"
    report = encode(
        session,
        replay,
        model=model,
        **asdict(aim),
        keyframe_interval=keyframe_interval,
        force=True,
    )
    comparison = compare(session, replay, model=model, detail=False, raw=raw if reference else None)
    with_model = f" --model {model.name}" if model else ""
    return OursPoint(
        quality=aim.quality or 0,
        bytes=comparison.bytes,
        bits_per_pixel=comparison.bits_per_pixel,
        psnr_db=comparison.psnr_db,
        psnr_y_db=comparison.psnr_y_db,
        encode_fps=report.encode_fps,
        decode_fps=comparison.decode_fps,
        parts=dict(report.parts),
        encode_command=f"relive encode {session.name} -o out.relive {aim.option()} "
        f"--keyframe-interval {keyframe_interval}{with_model}",
        decode_command="relive decode out.relive -o -",
        reached=report.reached,
        perceptual=measure_perceptual(reference, raw) if reference else None,
    )


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_model(model: Path | None) -> str:
    if model is None:
        return "bundled"  # the weights of the package are part of the hash of the source
    files = sorted(p for p in model.rglob("*") if p.is_file()) if model.is_dir() else [model]
    return " ".join(_hash_file(path) for path in files)
