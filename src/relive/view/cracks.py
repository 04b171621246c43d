"""Cracks: single pixels that fall between the meshes of surfaces on all sides of them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from relive.restore.sources import Mask

Floats = NDArray[np.float32]
AROUND = 5  # of eight pixels that must be seen
TURNS = 2


def close_cracks(
    colours: Floats, confidence: Floats, seen: Mask, scene: Mask
) -> tuple[Floats, Floats, Mask]:
    """Give pixels the mean of what is around them, where most of it is seen; half as sure.

    Args:
        colours: `[H, W, 3]`.
        confidence: `[H, W]`.
        seen: bool `[H, W]`.
        scene: where the camera's picture is, bool `[H, W]`.

    Returns:
        The three, with cracks closed.
    """
    layers = np.concatenate([colours, confidence[..., None]], -1).transpose(2, 0, 1)
    values, there = torch.from_numpy(layers)[None], torch.from_numpy(seen)[None, None]
    inside = torch.from_numpy(scene)[None, None]
    for _ in range(TURNS):
        weight = there.float()
        count = 9 * F.avg_pool2d(weight, 3, 1, 1)
        mean = 9 * F.avg_pool2d(values * weight, 3, 1, 1) / count.clamp_min(1)
        mean[:, 3] /= 2
        new = ~there & (count >= AROUND) & inside
        values, there = torch.where(new, mean, values), there | new
    out = values[0].numpy().transpose(1, 2, 0)
    return out[..., :3].copy(), out[..., 3] * there[0, 0].numpy(), there[0, 0].numpy()
