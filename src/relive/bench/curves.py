"""Rate-distortion curves: envelopes, values between points, Bjøntegaard deltas.

A curve is a list of (bits per pixel, dB). Between measured points a curve is a monotone cubic
(PCHIP) of dB over the logarithm of the rate; nothing is ever extrapolated: outside the measured
range the answer is None.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from relive.errors import MissingExtraError

RatePoint = tuple[float, float]  # (bits per pixel, dB)
MIN_OVERLAP_DB = 0.5
_MIN_POINTS = 4


@dataclass(frozen=True)
class BdRate:
    """Bjøntegaard delta of a test curve against an anchor.

    Attributes:
        percent: Mean difference of rate at equal quality; positive: the test curve needs more
            bytes. None when the curves do not overlap enough.
        reason: Why `percent` is None, else None.
        psnr_db: Mean difference of quality at equal rate (BD-PSNR); negative: the test curve is
            worse. None when the rates do not overlap.
        overlap_db: (lowest, highest) quality that both curves reach, or None.
        overlap_share: Length of that range over the length of the whole range of both curves.
    """

    percent: float | None
    reason: str | None
    psnr_db: float | None
    overlap_db: tuple[float, float] | None
    overlap_share: float


SAME_RATE = 1e-9
"""Rates closer than this, relatively, are one: a byte of a file is a thousand times more."""


def pareto_indices(points: Sequence[RatePoint]) -> list[int]:
    """Return the positions of the points that no other beats in rate and quality, by rate.

    Of points at the same rate, but for rounding, only the best is kept.
    """
    kept: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not kept or points[i][1] > points[kept[-1]][1]:
            if kept and points[i][0] <= points[kept[-1]][0] * (1 + SAME_RATE):
                kept.pop()
            kept.append(i)
    return kept


def pareto(points: Sequence[RatePoint]) -> list[RatePoint]:
    """Return the points that no other beats in rate and quality, by rising rate."""
    return [points[i] for i in pareto_indices(points)]


def upper_envelope(curves: Sequence[Sequence[RatePoint]]) -> list[tuple[int, int]]:
    """Choose the measured points at which no other curve is better: best of all at each rate.

    Args:
        curves: One curve for each way to run a codec.

    Returns:
        (curve, point) positions by rising rate.
    """
    kept = []
    for c, curve in enumerate(curves):
        for p, (rate, quality) in enumerate(curve):
            others = (psnr_at(other, rate) for o, other in enumerate(curves) if o != c)
            if all(value is None or value <= quality for value in others):
                kept.append((c, p))
    chosen = pareto_indices([curves[c][p] for c, p in kept])
    return [kept[i] for i in chosen]


def psnr_at(points: Sequence[RatePoint], bits_per_pixel: float) -> float | None:
    """Return the dB of a curve at a rate, or None outside its measured range."""
    curve = pareto(points)
    if not curve or not curve[0][0] <= bits_per_pixel <= curve[-1][0]:
        return None
    if len(curve) == 1:
        return curve[0][1]
    rates = [math.log(rate) for rate, _ in curve]
    return _pchip(rates, [quality for _, quality in curve], math.log(bits_per_pixel))


def bits_per_pixel_at(points: Sequence[RatePoint], psnr_db: float) -> float | None:
    """Return the rate that a curve needs for a quality, or None outside its measured range."""
    curve = pareto(points)
    if not curve or not curve[0][1] <= psnr_db <= curve[-1][1]:
        return None
    if len(curve) == 1:
        return curve[0][0]
    rates = [math.log(rate) for rate, _ in curve]
    return math.exp(_pchip([quality for _, quality in curve], rates, psnr_db))


def bd_rate(
    anchor: Sequence[RatePoint],
    test: Sequence[RatePoint],
    *,
    min_overlap: float = MIN_OVERLAP_DB,
    unit: str = "dB",
) -> BdRate:
    """Return the Bjøntegaard deltas of `test` against `anchor` (Akima interpolation).

    Points that another point of the same curve beats are left out of both curves first, since the
    interpolation needs rising curves.

    Args:
        anchor: Curve of the codec that is compared with.
        test: Curve of the codec that is judged.
        min_overlap: Length of the range of quality that both curves must reach.
        unit: Of the quality, for the reason why there is no value.

    Raises:
        MissingExtraError: The package bjontegaard is not installed.
    """
    a, b = pareto(anchor), pareto(test)
    overlap = _overlap([q for _, q in a], [q for _, q in b])
    span = max([q for _, q in [*a, *b]], default=0.0) - min([q for _, q in [*a, *b]], default=0.0)
    share = (overlap[1] - overlap[0]) / span if overlap and span > 0 else 0.0
    reason = _why_not(a, b, overlap, min_overlap, unit)
    return BdRate(
        percent=_bjontegaard(a, b, "bd_rate") if reason is None else None,
        reason=reason,
        psnr_db=_bd_psnr(a, b),
        overlap_db=overlap,
        overlap_share=share,
    )


def _bd_psnr(a: list[RatePoint], b: list[RatePoint]) -> float | None:
    overlap = _overlap([math.log(r) for r, _ in a], [math.log(r) for r, _ in b])
    if min(len(a), len(b)) < _MIN_POINTS or overlap is None or overlap[1] - overlap[0] < 0.1:
        return None
    return _bjontegaard(a, b, "bd_psnr")


def _overlap(a: list[float], b: list[float]) -> tuple[float, float] | None:
    if not a or not b:
        return None
    low, high = max(min(a), min(b)), min(max(a), max(b))
    return (low, high) if low < high else None


def _why_not(
    a: list[RatePoint],
    b: list[RatePoint],
    overlap: tuple[float, float] | None,
    min_overlap: float,
    unit: str,
) -> str | None:
    if min(len(a), len(b)) < _MIN_POINTS:
        return f"fewer than {_MIN_POINTS} points on a curve ({len(a)} and {len(b)})"
    if overlap is None:
        ranges = [f"{c[0][1]:.1f} to {c[-1][1]:.1f} {unit}" for c in (a, b)]
        return f"no quality that both reach: {ranges[0]} against {ranges[1]}"
    if overlap[1] - overlap[0] < min_overlap:
        return f"the curves share only {overlap[1] - overlap[0]:.2f} {unit}"
    return None


def _bjontegaard(a: list[RatePoint], b: list[RatePoint], name: str) -> float:
    try:
        import bjontegaard
    except ImportError as error:
        raise MissingExtraError("bjontegaard", "bench") from error
    columns = [[p[i] for p in curve] for curve in (a, b) for i in (0, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overlap is judged and reported here, not there
        delta = getattr(bjontegaard, name)
        value = delta(*columns, method="akima", require_matching_points=False, min_overlap=0)
    return float(value)


def _pchip(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Evaluate the monotone cubic of Fritsch and Carlson (1980) through (xs, ys) at `x`."""
    try:
        from scipy.interpolate import PchipInterpolator
    except ImportError as error:
        raise MissingExtraError("scipy", "bench") from error
    return float(PchipInterpolator(xs, ys)(x))
