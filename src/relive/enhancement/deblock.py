"""Deblocking inside the loop: what blocks of 8x8 pixels leave at their edges.

```
  p2  p1  p0 | q0  q1  q2      p0 + d, q0 - d, and p1 and q1 half way after them
```

Only where something may have left an edge: a block has levels, or the prediction changes. After
HEVC's normal filter (Norkin et al., HEVC Deblocking Filter, IEEE TCSVT 2012), with one limit by
quantiser step and strength. Every number is a multiple of 1/1024 below 256, so float32 is exact and
every device filters alike.

Shapes: H W padded pixels, h w cube grid, blocks 2h 2w. Pictures are 0..255.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from relive.bitstream.detail import NUM_STRENGTHS
from relive.enhancement.frame import to_array
from relive.kernels import frames as kernels

LIMIT = 0.48  # sixteenths of a level for each strength and unit of the quantiser step
BEND = 0.3  # of the quantiser step: bent more, summed over colours, it is the picture's own edge
WORTH = 0.995  # of the squared error must be left at most: what is blurred now, later frames lack


def block_edges(levels: Tensor, *sources: Tensor) -> tuple[Tensor, Tensor]:
    """Find the edges to filter, bool: between columns `[2h, 2w - 1]` and rows `[2h - 1, 2w]`.

    Args:
        levels: `[3, 2h, 2w, 8, 8]`.
        sources: what the prediction of a square comes from, int64 `[n, n']` or `[n, n', k]` each,
            of a grid of squares that covers the picture.
    """
    high, wide = levels.shape[1:3]
    across = torch.empty(high, wide - 1, dtype=torch.bool)
    down = torch.empty(high - 1, wide, dtype=torch.bool)
    marks = across.numpy(), down.numpy()
    kernels.coded_edges(to_array(levels.flatten(-2)), *marks)
    for source in sources:
        kernels.changed_edges(to_array(source.reshape(*source.shape[:2], -1)), *marks)
    return across, down


def deblock(frame: Tensor, edges: tuple[Tensor, Tensor], step: Tensor, strength: int) -> Tensor:
    """Filter a frame to whole numbers in 0..255, `[3, H, W]`.

    Args:
        frame: prediction and levels `[3, H, W]`, whole numbers.
        edges: from `block_edges`.
        step: of the quantiser, `[h, w]`.
        strength: 0 leaves the frame as it is.
    """
    if not strength:
        return frame
    frame = frame.contiguous().clone()
    across, down = (to_array(edge) for edge in edges)
    limit, bend = np.float32(LIMIT * strength), np.float32(BEND)
    kernels.deblock(frame.numpy(), across, down, to_array(step), limit, bend)
    return frame


def choose_strength(
    target: Tensor, frame: Tensor, edges: tuple[Tensor, Tensor], step: Tensor
) -> tuple[int, Tensor]:
    """Raise the strength as long as the frame comes closer to the target by enough.

    Args:
        target: the true frame `[3, H, W]`.
        frame: as `deblock` takes it.
        edges: as there.
        step: as there.

    Returns:
        The strength, and the frame filtered with it.
    """
    true = to_array(target).ravel()
    chosen, best = 0, frame
    least = WORTH * kernels.squared_error(to_array(frame).ravel(), true)
    for strength in range(1, NUM_STRENGTHS):
        tried = deblock(frame, edges, step, strength)
        error = kernels.squared_error(tried.numpy().ravel(), true)
        if error >= least:
            break
        chosen, least, best = strength, error, tried
    return chosen, best
