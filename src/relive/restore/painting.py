"""Painting from what is known around, where no other frame explains what is lost.

Past a near wall a picture moves so far from frame to frame that nothing fits. What either way is
off by is told by the frame itself: known parts are hidden for a trial, and filled in both ways.

Shapes: H W pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relive.errors import MissingExtraError
from relive.restore.looks import mean_over
from relive.restore.sources import Frame, Mask

Floats = NDArray[np.float32]
BRUSH_PX = 5  # around a pixel that it is painted from
AROUND, WIDE = 16, 28  # pixels that an error is averaged over: of other frames, of painting
TRIAL_PX = 8  # that the trial is shifted by from what is lost
DOUBT, POWER = 1.5, 1.5  # painting must be so much better; how sharply the better one is taken
EPSILON = 1e-3


def trial_of(known: Mask) -> Mask:
    """Known parts to be hidden for a trial: they lie as what is lost, a little aside.

    Below and to the right of it, or, where more is known there, above and to the left.
    """
    below, above = np.zeros_like(known), np.zeros_like(known)
    below[TRIAL_PX:, TRIAL_PX:] = ~known[:-TRIAL_PX, :-TRIAL_PX]
    above[:-TRIAL_PX, :-TRIAL_PX] = ~known[TRIAL_PX:, TRIAL_PX:]
    below, above = below & known, above & known
    return above if above.sum() > below.sum() else below


def error_around(colours: Floats, truth: Frame, told: Mask, radius: int) -> tuple[Floats, Floats]:
    """Squared error around every pixel, by what is `told` of the truth, and how much that is."""
    there = mean_over(told.astype(np.float32), radius)
    error = mean_over(np.square(colours - truth).mean(-1) * told, radius)
    return np.asarray(error / there.clip(1e-4), np.float32), there


def paint_share(own: Frame, known: Mask, tried: Floats, seen: Mask) -> tuple[Floats, Floats]:
    """Paint what is lost of a frame from what is known of it.

    Args:
        own: the frame `[H, W, 3]`.
        known: what is known of it, some of it.
        tried: what other frames say of the trial `[H, W, 3]`.
        seen: where they say something `[H, W]`.

    Returns:
        The painting `[H, W, 3]`, and how much of it to take `[H, W]`.
    """
    trial = trial_of(known)
    wrong, _ = error_around(tried, own, trial & seen, AROUND)
    off, there = error_around(_paint(own, known & ~trial), own, trial, WIDE)
    off = np.where(there > 0, DOUBT * off, np.inf)  # nothing could be tried near by
    take = wrong**POWER / (wrong**POWER + off**POWER + EPSILON)
    return _paint(own, known), np.asarray(take * ~known, np.float32)


def _paint(pixels: Frame, known: Mask) -> Floats:
    """Telea, An Image Inpainting Technique Based on the Fast Marching Method (2004)."""
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise MissingExtraError("opencv-python-headless", "restore") from error
    hole = (~known).astype(np.uint8)
    return np.asarray(cv2.inpaint(pixels, hole, BRUSH_PX, cv2.INPAINT_TELEA), np.float32)
