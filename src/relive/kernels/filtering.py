"""What surrounds the convolutions of the post-filter, pixel by pixel.

Shapes: H W picture, both even. Pictures are 0..255.
"""

from __future__ import annotations

import numpy as np

from relive.compiled import compiled
from relive.kernels.pictures import Floats

MIDDLE, BLACK, WHITE = np.float32(128), np.float32(0), np.float32(255)


@compiled
def lay_out(shown: Floats, prediction: Floats, guide: Floats, size: Floats, out: Floats) -> None:
    """Lay three pictures around 0 `[3, H, W]` and the step `[H/2, W/2]` side by side.

    Args:
        shown: prediction and levels.
        prediction: of the frame.
        guide: as the filter takes it.
        size: as the filter takes it.
        out: takes the result, channels last `[H, W, 10]`.
    """
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for plane in range(3):
                out[i, j, plane] = shown[plane, i, j] - MIDDLE
                out[i, j, 3 + plane] = prediction[plane, i, j] - MIDDLE
                out[i, j, 6 + plane] = guide[plane, i, j] - MIDDLE
            out[i, j, 9] = size[i // 2, j // 2]


@compiled
def add(shown: Floats, change: Floats, scale: np.float32, out: Floats) -> None:
    """Add the change of 2x2 pixels at a time, and round to whole numbers in 0..255, halves to even.

    Args:
        shown: `[3, H, W]`.
        change: channels last `[H/2, W/2, 12]`, of a colour after the other, row by row.
        scale: of the change.
        out: takes the result `[3, H, W]`.
    """
    for plane in range(3):
        for i in range(shown.shape[1]):
            for j in range(shown.shape[2]):
                part = change[i // 2, j // 2, 4 * plane + i % 2 * 2 + j % 2]
                value = np.rint(shown[plane, i, j] + scale * part)
                out[plane, i, j] = min(max(value, BLACK), WHITE)
