"""Dense optical flow between both sides, and what it shows of the target.

OpenCV's DIS flow ("Fast Optical Flow using Dense Inverse Search", arXiv:1603.03590) down to full
size. It finds how each pixel of one side got to the other, far motion too; half of the way is where
the pixel was half-way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relive.errors import MissingExtraError
from relive.restore.filling import smooth_filling
from relive.restore.landing import UNBELIEVABLE, Landed, drop
from relive.restore.looks import Look, look_along, mean_over
from relive.restore.sources import Frame, Gap, Source

SMALLEST = 16  # pixels of a side; nothing moves in less

Floats = NDArray[np.float32]


def land_by_flow(gap: Gap) -> list[tuple[list[Look], Landed]]:
    """Let the pixels of either side fall to where they were at the target's time."""
    sides = gap.before, gap.after
    pictures = [_whole(sides[own], sides[1 - own]) for own in (0, 1)]
    out = []
    for own in (0, 1):
        flow = dense_flow(pictures[own], pictures[1 - own])
        landed = _land(sides[own], sides[1 - own], flow, gap.shares[own])
        parts = -gap.shares[own], 1 - gap.shares[own]
        looks = [
            look_along(side, landed.values, part)
            for side, part in ((sides[own], parts[0]), (sides[1 - own], parts[1]))
        ]
        out.append((looks[:: -1 if own else 1], landed))
    return out


def dense_flow(one: Frame, two: Frame) -> Floats:
    """Columns and rows that every pixel of one picture moves to be in the other `[H, W, 2]`.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    if min(one.shape[:2]) < SMALLEST:
        return np.zeros((*one.shape[:2], 2), np.float32)
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise MissingExtraError("opencv-python-headless", "restore") from error
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    search.setPatchStride(2)
    greys = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (one, two)]
    flow = search.calc(greys[0], greys[1], None)  # type: ignore[call-overload]  # None: made anew
    return np.asarray(flow, np.float32)


def _land(source: Source, other: Source, flow: Floats, share: float) -> Landed:
    colours, seen = look_along(other, flow, 1)
    errors = np.abs(colours - source.pixels).mean(-1)
    errors[~(seen & source.known)] = UNBELIEVABLE
    return drop(flow * np.float32(share), mean_over(errors, 1), flow)


def _whole(source: Source, other: Source) -> Frame:
    """Fill what is hidden: as the other side has it, else smoothly."""
    if source.known.all():
        return source.pixels
    lent = ~source.known & other.known
    pixels = np.where(lent[..., None], other.pixels, source.pixels)
    return smooth_filling(pixels, source.known | lent)
