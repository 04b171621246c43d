"""A look at the target: what one source shows of it, and how well two looks agree.

Shapes: H W pixels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from relive.restore import kernels
from relive.restore.sources import Gap, Source

Floats = NDArray[np.float32]
Look = tuple[Floats, NDArray[np.bool_]]
"""Colours `[H, W, 3]`, and where they are seen `[H, W]`."""


def look_along(source: Source, moves: Floats, part: np.float32 | float) -> Look:
    """Read a source at `part` of the moves `[H, W, 2]` of the target's pixels."""
    seen = np.empty(source.known.shape, np.bool_)
    colours = np.empty((*seen.shape, 3), np.float32)
    place = source.pixels, source.known
    kernels.look_shifted(place, moves, np.float32(part), seen, colours)
    return colours, seen


def misfit(gap: Gap, looks: list[Look], radius: int) -> Floats:
    """How badly two sides agree, or fit the target where it is known; mean over squares."""
    (a, seen_a), (b, seen_b) = looks
    between = np.abs(a - b).mean(-1).clip(0, kernels.MAX_MISFIT)
    between[~(seen_a & seen_b)] = kernels.MAX_MISFIT / 2
    known = gap.target.known
    if known.any():
        truth = gap.target.pixels.astype(np.float32)
        own = (np.abs(a - truth).mean(-1) + np.abs(b - truth).mean(-1)) / 2
        between[known] = own[known]
    return mean_over(between, radius)


def mean_over(values: Floats, radius: int) -> Floats:
    """Mean over squares of pixels `[H, W]`, smaller at the edges."""
    picture = torch.from_numpy(np.ascontiguousarray(values, np.float32))[None, None]
    for window in ((1, 2 * radius + 1), (2 * radius + 1, 1)):
        reach = window[0] // 2, window[1] // 2
        picture = F.avg_pool2d(picture, window, 1, reach, count_include_pad=False)
    return np.asarray(picture[0, 0].numpy(), np.float32)
