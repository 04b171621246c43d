"""Painting from what is known around, where no other frame explains what is lost.

Past a near wall a picture moves so far from frame to frame that nothing fits. What a painting is
off by is told by the frame itself: known parts are hidden for a trial, and painted, too.

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
WIDE = 28  # pixels around a pixel that the trial is averaged over
TRIAL_PX = 8  # that the trial is shifted by from what is lost
UNTRIED = 60.0  # levels: nothing could be tried near by


def paint(pixels: Frame, known: Mask) -> tuple[list[Floats], Floats]:
    """Paint what is lost of a frame from what is known of it.

    Args:
        pixels: the frame `[H, W, 3]`; what is lost of it is filled with anything smooth.
        known: some of it `[H, W]`.

    Returns:
        Two paintings `[H, W, 3]`, by Telea, An Image Inpainting Technique Based on the Fast
        Marching Method (2004), and by Bertalmio et al., Navier-Stokes, Fluid Dynamics, and Image
        and Video Inpainting (2001); and what each was off by around a pixel, levels `[2, H, W]`.
    """
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise MissingExtraError("opencv-python-headless", "restore") from error
    methods = cv2.INPAINT_TELEA, cv2.INPAINT_NS

    def by(method: int, given: Mask) -> Floats:
        hole = (~given).astype(np.uint8)
        return np.asarray(cv2.inpaint(pixels, hole, BRUSH_PX, method), np.float32)

    trial = trial_of(known)
    tried = [by(method, known & ~trial) for method in methods]
    off = np.stack([error_around(one, pixels, trial) for one in tried])
    return [by(method, known) for method in methods], off


def trial_of(known: Mask) -> Mask:
    """Known parts to be hidden for a trial: they lie as what is lost, a little aside.

    Below and to the right of it, or, where more is known there, above and to the left; nowhere, if
    nothing were left to paint from.
    """
    below, above = np.zeros_like(known), np.zeros_like(known)
    below[TRIAL_PX:, TRIAL_PX:] = ~known[:-TRIAL_PX, :-TRIAL_PX]
    above[:-TRIAL_PX, :-TRIAL_PX] = ~known[TRIAL_PX:, TRIAL_PX:]
    below, above = below & known, above & known
    trial = above if above.sum() > below.sum() else below
    return trial if (known & ~trial).any() else np.zeros_like(known)


def error_around(colours: Floats, truth: Frame, told: Mask) -> Floats:
    """Absolute error around every pixel, levels `[H, W]`, by what is `told` of the truth."""
    there = mean_over(told.astype(np.float32), WIDE)
    error = mean_over(np.abs(colours - truth).mean(-1) * told, WIDE) / there.clip(1e-4)
    return np.where(there > 0, error, np.float32(UNTRIED))
