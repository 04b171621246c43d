"""Cost over pixels: its exponent, and where two costs cross. Straight lines in log-log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def exponent(pixels: Sequence[float], cost: Sequence[float]) -> float:
    """Slope of log cost over log pixels, by least squares: 1 is linear cost.

    Raises:
        ValueError: Fewer than two sizes.
    """
    if len(set(pixels)) < 2:
        raise ValueError("an exponent needs two sizes")
    slope, _ = np.polyfit(np.log(pixels), np.log(cost), 1)
    return float(slope)


def crossing(
    pixels: Sequence[float], ours: Sequence[float], other: Sequence[float]
) -> float | None:
    """Pixels from which on ours costs less, between the two sizes where the sign changes.

    Args:
        pixels: Rising.
        ours: Cost of ours.
        other: Cost of the other.

    Returns:
        Interpolated in log-log, or None where the costs do not cross within the sizes.
    """
    gaps = [math.log(a / b) for a, b in zip(ours, other, strict=True)]
    for i in range(len(gaps) - 1):
        if gaps[i] > 0 >= gaps[i + 1]:
            share = gaps[i] / (gaps[i] - gaps[i + 1])
            low, high = math.log(pixels[i]), math.log(pixels[i + 1])
            return math.exp(low + share * (high - low))
    return None


def describe_crossing(
    pixels: Sequence[float], ours: Sequence[float], other: Sequence[float]
) -> dict[str, Any]:
    """Say in plain values where ours becomes the cheaper one."""
    point = crossing(pixels, ours, other)
    if point is not None:
        return {"pixels": point, "square_side_px": math.sqrt(point), "note": "within the sizes"}
    cheaper = ours[0] <= other[0]
    note = "ours costs less at every size" if cheaper else "ours costs more at every size"
    return {"pixels": None, "square_side_px": None, "note": note}
