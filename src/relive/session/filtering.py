"""Frames as planes of neighbour differences, and back (docs/format-session.md).

Smooth pictures shrink more this way, textured ones as they are; the writer tries both.
"""

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]


def filter_frame(frame: Frame) -> Frame:
    """Subtract green from red and blue, then the left, then the upper neighbour.

    Args:
        frame: uint8 [H, W, 3] RGB.

    Returns:
        uint8 [3, H, W], modulo 256.
    """
    red, green, blue = (frame[..., channel] for channel in range(3))
    planes = np.stack((green, red - green, blue - green))  # [3, H, W]
    planes[:, :, 1:] = np.diff(planes, axis=2)
    planes[:, 1:, :] = np.diff(planes, axis=1)
    return planes


def unfilter_frame(planes: Frame) -> Frame:
    """Undo `filter_frame`: uint8 [3, H, W] to uint8 [H, W, 3] RGB."""
    planes = np.add.accumulate(planes, axis=1, dtype=np.uint8)
    planes = np.add.accumulate(planes, axis=2, dtype=np.uint8)
    green = planes[0]
    return np.stack((planes[1] + green, green, planes[2] + green), axis=-1)  # [H, W, 3]
