"""Small pictures of frames, by area."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

Array = np.ndarray[Any, Any]


def resized(frames: Array, size: tuple[int, int]) -> Array:
    """Average frames down to a size; each pixel is the mean of all that it touches.

    Args:
        frames: uint8 `[n, H, W, 3]`.
        size: height and width; where it is that of the frames they stay as they are.

    Returns:
        uint8 `[n, h, w, 3]`; the same for a frame alone as among others.
    """
    if frames.shape[1:3] == size:
        return frames
    planes = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous().float()
    means = F.interpolate(planes, size, mode="area").round_().to(torch.uint8)
    small: Array = means.permute(0, 2, 3, 1).contiguous().numpy()
    return small
