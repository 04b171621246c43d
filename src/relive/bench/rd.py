"""Rate-distortion against the classical codecs: same frames, same keyframe interval, whole bytes.

    for every session:   Clip ─► peers at every crf ─┐
                         session ─► ours at every q ─┴─► BD-rate ─► JSON, plots

Peer results are cached by content and command, ours by session, weights and source code, so a run
that was stopped goes on where it was, and a run after a change of the codec measures only ours.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from relive.bench.cache import ResultCache, default_cache_folder
from relive.bench.clip import Clip, cut_session, spool_session
from relive.bench.compare import Progress
from relive.bench.curves import RatePoint, bd_rate, bits_per_pixel_at, pareto, psnr_at
from relive.bench.peers import DEFAULT_PEERS, Peer, find_peers
from relive.bench.perceptual import VMAF_MODEL, has_vmaf, read_reference
from relive.bench.plots import draw_rate_distortion, new_figure, save_png
from relive.bench.points import (
    OursPoint,
    PeerCurve,
    measure_ours,
    measure_peer_curve,
)
from relive.bench.provenance import provenance, result_path, write_json
from relive.bench.rd_metrics import mean_metric_rows, mean_of, metric_rows
from relive.errors import InputError

DEFAULT_QUALITIES = tuple(range(1, 11))
MIN_POINTS = 6
REPORTED_RATES = (0.03, 0.06, 0.1)  # bits per pixel
TARGET_DB = 26.0


@dataclass(frozen=True)
class RdSettings:
    """What to measure, and how."""

    qualities: tuple[int, ...]
    peers: tuple[Peer, ...]
    model: Path | None
    frames: int | None
    keyframe_interval: int
    metrics: bool

    @property
    def runs_per_session(self) -> int:
        """Encodings for one session."""
        peers = sum(len(peer.candidates) * len(peer.crfs) for peer in self.peers)
        return len(self.qualities) + peers


@dataclass(frozen=True)
class SessionCurves:
    """Everything measured on one session."""

    name: str
    split: str
    clip: dict[str, Any]  # facts about the frames; the frames themselves are gone by then
    ours: tuple[OursPoint, ...]
    peers: tuple[PeerCurve, ...]

    def ours_rate_points(self) -> list[RatePoint]:
        """Return our (bits per pixel, dB), best points only, by rising rate."""
        return pareto([(point.bits_per_pixel, point.psnr_db) for point in self.ours])


class RunCounter:
    """Counts finished encodings for the progress bar."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def tick(self) -> None:
        """Count one more."""
        self._done += 1
        if self._progress:
            self._progress(self._done, self._total)


def bench_rd(
    sessions: Sequence[Path],
    out: Path,
    *,
    qualities: Sequence[int] = DEFAULT_QUALITIES,
    peers: Sequence[str] = DEFAULT_PEERS,
    model: Path | str | None = None,
    frames: int | None = None,
    keyframe_interval: int = 32,
    metrics: bool = False,
    cache_folder: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure rate-distortion curves of ours and of the peers, write JSON and plots.

    Args:
        sessions: Recordings; the folder of each names its split.
        out: A folder (gets `rd.json` and `rd-*.png`), or a `.json` file (plots go beside it).
        qualities: At least 6 of our quality settings.
        peers: Names from `relive.bench.peers.PEERS`; may be empty.
        model: Weights; the bundled model when None.
        frames: Frames of each session, from the start; all when None.
        keyframe_interval: Frames from keyframe to keyframe, for everybody.
        metrics: Measure the perceptual metrics at every point too, which takes some seconds each.
        cache_folder: Where results are kept; `default_cache_folder()` when None.
        progress: Called with (encodings done, encodings in all).

    Returns:
        What was written.

    Raises:
        InputError: No sessions, too few qualities, or an unknown peer.
    """
    if not sessions:
        raise InputError("no sessions to measure; name at least one .mcap file")
    if len(set(qualities)) < MIN_POINTS:
        raise InputError(f"a curve needs at least {MIN_POINTS} qualities, got {len(qualities)}")
    settings = RdSettings(
        qualities=tuple(sorted(set(qualities))),
        peers=tuple(find_peers(tuple(peers))),
        model=None if model is None else Path(model),
        frames=frames,
        keyframe_interval=keyframe_interval,
        metrics=metrics,
    )
    cache = ResultCache(cache_folder or default_cache_folder())
    counter = RunCounter(len(sessions) * settings.runs_per_session, progress)
    json_path = result_path(out, "rd.json")
    measured: list[SessionCurves] = []
    result: dict[str, Any] = {}
    for path in sessions:
        measured.append(_measure_session(path, settings, cache, counter))
        result = _result(measured, settings)
        write_json(json_path, result)  # after every session, so that a stopped run leaves its part
    _write_plots(measured, json_path)
    return result


def _measure_session(
    path: Path, settings: RdSettings, cache: ResultCache, counter: RunCounter
) -> SessionCurves:
    with tempfile.TemporaryDirectory(prefix="relive-rd-") as name:
        folder = Path(name)
        cut = cut_session(path, folder, frames=settings.frames)
        clip = spool_session(cut, folder)
        reference = read_reference(cut, clip) if settings.metrics else None
        curves = tuple(
            measure_peer_curve(
                clip,
                peer,
                keyframe_interval=settings.keyframe_interval,
                cache=cache,
                reference=reference,
                on_point=counter.tick,
            )
            for peer in settings.peers
        )
        ours = []
        for quality in settings.qualities:
            point = measure_ours(
                cut,
                quality,
                folder,
                model=settings.model,
                keyframe_interval=settings.keyframe_interval,
                cache=cache,
                reference=reference,
            )
            ours.append(point)
            counter.tick()
    facts = {"game": game_of(path), **clip_facts(clip)}
    return SessionCurves(path.stem, path.parent.name, facts, tuple(ours), curves)


def game_of(path: Path) -> str:
    """Name the game of a session: what its recording names before the first colon."""
    from relive.session import Session

    with Session.open(path) as session:
        return session.game.partition(":")[0]


def clip_facts(clip: Clip) -> dict[str, Any]:
    """Return what a result says about the frames it was measured on."""
    return {
        "content_hash": clip.content_hash,
        "frames": clip.num_frames,
        "width": clip.width,
        "height": clip.height,
        "fps": clip.fps,
        "state_csv_bytes": clip.state_csv_bytes,
    }


def _result(measured: Sequence[SessionCurves], settings: RdSettings) -> dict[str, Any]:
    rows = [_session_row(session, settings) for session in measured]
    splits = sorted({session.split for session in measured})
    return {
        "kind": "bench_rd",
        **provenance(settings.model),
        "settings": {
            "qualities": settings.qualities,
            "peers": [peer.name for peer in settings.peers],
            "frames": settings.frames,
            "keyframe_interval": settings.keyframe_interval,
            "counted_ours": "the whole file: codes, states, events, index, header",
            "counted_peers": "the elementary stream; bytes_with_state adds the states as "
            "zlib-compressed CSV; BD-rate uses the stream alone",
            "bd_rate": "Akima, per cent more bytes of ours at equal PSNR; negative: fewer",
            "metrics": _metrics_note() if settings.metrics else None,
        },
        "sessions": rows,
        "splits": {
            split: _split_row([row for row in rows if row["split"] == split]) for split in splits
        },
        "games": {
            f"{split}/{game}": _split_row(
                [r for r in rows if (r["split"], r["game"]) == (split, game)]
            )
            for split, game in sorted({(row["split"], row["game"]) for row in rows})
        },
    }


def _metrics_note() -> dict[str, Any]:
    return {
        "ssim_inside": "pixels whose 11×11 window lies in one region; ssim_across: all others",
        "bd_rate": "on -10 log10 of 1 - SSIM, 1 - MS-SSIM and FLIP, and on VMAF itself",
        "vmaf": f"{VMAF_MODEL}, ffmpeg's libvmaf" if has_vmaf() else "this ffmpeg has no libvmaf",
    }


def _session_row(session: SessionCurves, settings: RdSettings) -> dict[str, Any]:
    ours = session.ours_rate_points()
    return {
        "session": session.name,
        "split": session.split,
        **session.clip,
        "ours": {**_curve_figures(ours), "points": [asdict(point) for point in session.ours]},
        "peers": {
            curve.peer.name: {
                **_curve_figures(curve.rate_points()),
                "bd_rate": asdict(bd_rate(curve.rate_points(), ours)),
                "at_our_points": _against(curve.rate_points(), ours),
                **curve.to_dict(),
            }
            for curve in session.peers
        },
        "metrics": metric_rows(session.ours, session.peers, REPORTED_RATES)
        if settings.metrics
        else None,
    }


def _curve_figures(curve: Sequence[RatePoint]) -> dict[str, Any]:
    """Return the values of a curve at the rates and the quality that we report."""
    return {
        "psnr_db_at": {f"{rate:g}": psnr_at(curve, rate) for rate in REPORTED_RATES},
        f"bits_per_pixel_at_{TARGET_DB:g}_db": bits_per_pixel_at(curve, TARGET_DB),
    }


def _against(peer: Sequence[RatePoint], ours: Sequence[RatePoint]) -> list[dict[str, Any]]:
    """Compare at each of our points: dB at equal bytes, bytes at equal dB."""
    rows = []
    for rate, quality in ours:
        peer_db, peer_rate = psnr_at(peer, rate), bits_per_pixel_at(peer, quality)
        rows.append(
            {
                "bits_per_pixel": rate,
                "psnr_db": quality,
                "psnr_difference_db": None if peer_db is None else quality - peer_db,
                "bytes_ratio": None if peer_rate is None else rate / peer_rate,
            }
        )
    return rows


def _split_row(group: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Average over sessions; every mean says over how many it goes."""
    names = list(group[0]["peers"])
    return {
        "sessions": len(group),
        "ours": _mean_figures([row["ours"] for row in group]),
        "ours_points": _mean_points(group),
        "peers": {
            name: {
                **_mean_figures([row["peers"][name] for row in group]),
                "bd_rate_percent": mean_of([r["peers"][name]["bd_rate"]["percent"] for r in group]),
                "bd_psnr_db": mean_of([r["peers"][name]["bd_rate"]["psnr_db"] for r in group]),
            }
            for name in names
        },
        "metrics": mean_metric_rows([row["metrics"] for row in group])
        if group[0]["metrics"]
        else None,
    }


def _mean_figures(values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    target = f"bits_per_pixel_at_{TARGET_DB:g}_db"
    return {
        "psnr_db_at": {
            f"{rate:g}": mean_of([value["psnr_db_at"][f"{rate:g}"] for value in values])
            for rate in REPORTED_RATES
        },
        target: mean_of([value[target] for value in values]),
    }


def _mean_points(group: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Average our points by quality setting."""
    points = []
    for at_quality in zip(*(row["ours"]["points"] for row in group), strict=True):
        rate = float(np.mean([point["bits_per_pixel"] for point in at_quality]))
        quality = float(np.mean([point["psnr_db"] for point in at_quality]))
        points.append(
            {
                "quality": at_quality[0]["quality"],
                "bits_per_pixel": rate,
                "psnr_db": quality,
                "encode_fps": float(np.mean([point["encode_fps"] for point in at_quality])),
                "decode_fps": float(np.mean([point["decode_fps"] for point in at_quality])),
            }
        )
    return points


def _write_plots(measured: Sequence[SessionCurves], json_path: Path) -> None:
    stem = json_path.stem
    for session in measured:
        curves = {"ours": ("Relive", session.ours_rate_points())} | {
            curve.peer.name: (curve.peer.label, curve.rate_points()) for curve in session.peers
        }
        figure, axes = new_figure(7.2, 4.8)
        draw_rate_distortion(axes[0], curves, f"{session.name} ({session.split})")
        save_png(figure, json_path.with_name(f"{stem}-{session.split}-{session.name}.png"))
    for split, game in sorted({(session.split, session.clip["game"]) for session in measured}):
        group = [s for s in measured if (s.split, s.clip["game"]) == (split, game)]
        figure, axes = new_figure(7.2, 4.8)
        title = f"{split}, {game or 'any game'}: mean of {len(group)} sessions"
        draw_rate_distortion(axes[0], _mean_curves(group), title)
        name = f"{stem}-{split}-{game}-mean.png" if game else f"{stem}-{split}-mean.png"
        save_png(figure, json_path.with_name(name))


def _mean_curves(group: Sequence[SessionCurves]) -> dict[str, tuple[str, list[RatePoint]]]:
    """Average each codec's dB over the sessions at rates that it reaches in all of them."""
    curves = {"ours": ("Relive", _mean_curve([s.ours_rate_points() for s in group]))}
    for i, curve in enumerate(group[0].peers):
        points = _mean_curve([session.peers[i].rate_points() for session in group])
        curves[curve.peer.name] = (curve.peer.label, points)
    return curves


def _mean_curve(curves: Sequence[Sequence[RatePoint]]) -> list[RatePoint]:
    if not all(curves):
        return []
    low = max(curve[0][0] for curve in curves)
    high = min(curve[-1][0] for curve in curves)
    if low >= high:
        return []
    points = []
    # geomspace may step over its own ends by a rounding error, where a curve has no value
    for rate in np.clip(np.geomspace(low, high, 9), low, high):
        values = [psnr_at(curve, float(rate)) for curve in curves]
        points.append((float(rate), float(np.mean([v for v in values if v is not None]))))
    return points
