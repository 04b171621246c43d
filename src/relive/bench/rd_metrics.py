"""Curves of other metrics than PSNR: values at the reported rates, and BD-rate by each of them.

The PSNR of the luma tells how much of a difference lies in the colours, on which peers save.
SSIM, MS-SSIM and FLIP are put on a scale in dB, −10·log10 of the error (1 − SSIM, or FLIP itself),
as PSNR is one of the squared error; BD-rate then asks for half a decibel that both curves reach, as
it does for PSNR. VMAF stays as it is.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from relive.bench.curves import MIN_OVERLAP_DB, RatePoint, bd_rate, pareto, psnr_at, upper_envelope
from relive.bench.metrics import PSNR_CAP_DB
from relive.bench.perceptual import Perceptual
from relive.bench.points import OursPoint, PeerCurve

_MIN_OVERLAP_VMAF = 3.0


@dataclass(frozen=True)
class Scale:
    """Where a metric becomes a quality: more is better, and equal steps weigh alike."""

    of: Callable[[float], float]
    back: Callable[[float], float]
    unit: str
    min_overlap: float


def _error_db(error: float) -> float:
    return min(PSNR_CAP_DB, -10 * math.log10(error)) if error > 0 else PSNR_CAP_DB


_LIKENESS = Scale(
    lambda value: _error_db(1 - value), lambda db: 1 - 10 ** (-db / 10), "dB", MIN_OVERLAP_DB
)
_DIFFERENCE = Scale(_error_db, lambda db: 10.0 ** (-db / 10), "dB", MIN_OVERLAP_DB)
_POINTS = Scale(float, float, "points", _MIN_OVERLAP_VMAF)
LUMA = "psnr_y"
SCALES = {
    "ssim": _LIKENESS,
    "ssim_inside": _LIKENESS,
    "ssim_across": _LIKENESS,
    "ms_ssim": _LIKENESS,
    "flip": _DIFFERENCE,
    "vmaf": _POINTS,
    LUMA: Scale(float, float, "dB", MIN_OVERLAP_DB),
}


def metric_rows(
    ours: Sequence[OursPoint], peers: Sequence[PeerCurve], rates: Sequence[float]
) -> dict[str, Any]:
    """Return, for every metric, values at `rates` (bits per pixel) and BD-rate against each peer.

    A metric that could not be measured has no values: null, with the reason that there are no
    points. The best of a peer's candidates counts, chosen by that metric.
    """
    return {name: _metric_row(name, scale, ours, peers, rates) for name, scale in SCALES.items()}


def _metric_row(
    name: str,
    scale: Scale,
    ours: Sequence[OursPoint],
    peers: Sequence[PeerCurve],
    rates: Sequence[float],
) -> dict[str, Any]:
    our_curve = pareto(_ours_curve(name, scale, ours))
    row: dict[str, Any] = {"ours": {"at": _at(our_curve, scale, rates)}, "peers": {}}
    for peer in peers:
        curve = _peer_curve(name, scale, peer)
        delta = bd_rate(curve, our_curve, min_overlap=scale.min_overlap, unit=scale.unit)
        row["peers"][peer.peer.name] = {
            "at": _at(curve, scale, rates),
            "bd_rate": {
                "percent": delta.percent,
                "reason": delta.reason,
                "overlap_share": delta.overlap_share,
            },
        }
    return row


def _ours_curve(name: str, scale: Scale, points: Sequence[OursPoint]) -> list[RatePoint]:
    found = [(p.bits_per_pixel, _value(name, p.psnr_y_db, p.perceptual)) for p in points]
    return [(rate, scale.of(value)) for rate, value in found if value is not None]


def _value(name: str, luma_db: float, perceptual: Perceptual | None) -> float | None:
    """Value of a metric at a point, None where it was not measured."""
    value: float | None = luma_db if name == LUMA else getattr(perceptual, name, None)
    return value


def _peer_curve(name: str, scale: Scale, peer: PeerCurve) -> list[RatePoint]:
    """Return the upper envelope of a peer's candidates by this metric."""
    curves: dict[str, list[RatePoint]] = {c.name: [] for c in peer.peer.candidates}
    for point, perceptual in zip(peer.points, peer.perceptual, strict=True):
        value = _value(name, point.psnr_y_db, perceptual)
        if value is not None:
            curves[point.candidate].append((point.bits_per_pixel, scale.of(value)))
    listed = list(curves.values())
    return [listed[c][p] for c, p in upper_envelope(listed)]


def _at(curve: Sequence[RatePoint], scale: Scale, rates: Sequence[float]) -> dict[str, Any]:
    found = {f"{rate:g}": psnr_at(curve, rate) for rate in rates}
    return {rate: None if value is None else scale.back(value) for rate, value in found.items()}


def mean_metric_rows(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Average what `metric_rows` gave for the sessions of a split."""
    return {
        name: {
            "ours": {"at": _mean_at([row[name]["ours"]["at"] for row in rows])},
            "peers": {
                peer: {
                    "at": _mean_at([row[name]["peers"][peer]["at"] for row in rows]),
                    "bd_rate_percent": mean_of(
                        [row[name]["peers"][peer]["bd_rate"]["percent"] for row in rows]
                    ),
                }
                for peer in rows[0][name]["peers"]
            },
        }
        for name in SCALES
    }


def _mean_at(values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {rate: mean_of([value[rate] for value in values]) for rate in values[0]}


def mean_of(values: Sequence[float | None]) -> dict[str, Any]:
    """Average the values that are known, and say how many those are."""
    known = [value for value in values if value is not None]
    mean = float(np.mean(known)) if known else None
    return {"mean": mean, "sessions": len(known), "of": len(values)}
