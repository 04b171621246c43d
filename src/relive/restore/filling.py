"""What nobody has seen is filled smoothly from what is around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from relive.restore.sources import Frame, Mask

Floats = NDArray[np.float32]


def smooth_filling(pixels: Frame, known: Mask) -> Frame:
    """Fill from what is around, smoothly: means of ever larger squares (pull and push)."""
    filled = fill_in(pixels.astype(np.float32), known)
    return np.asarray(filled.round().clip(0, 255), np.uint8)


def fill_in(values: NDArray[Any], known: Mask) -> Floats:
    """Fill numbers `[H, W, C]` in the same way."""
    weight = torch.from_numpy(known.astype(np.float32))[None, None]
    given = torch.from_numpy(np.ascontiguousarray(values, np.float32)).permute(2, 0, 1)[None]
    filled = _pull_push(given * weight, weight)[0].permute(1, 2, 0)
    return np.ascontiguousarray(filled.numpy())


def _pull_push(weighted: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Means `[1, C, H, W]` where there is weight, and smooth values elsewhere."""
    own = weighted / weight.clamp_min(1e-6)
    height, width = weight.shape[-2:]
    if min(height, width) == 1 or bool((weight > 0).all()):
        return own
    coarse = _pull_push(
        *(
            F.avg_pool2d(part, 2, ceil_mode=True, count_include_pad=False)
            for part in (weighted, weight)
        )
    )
    around = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    return torch.where(weight > 0, own, around)
