"""Complete one frame: explain it by its neighbours, weigh, and go further away for what is left.

```
 gap, nearest neighbours ─► candidates ─► weights ─► pixels ─┬─ all seen ────────► done
                                                             └─ some unseen ─► neighbours further
                                          nobody has seen it ─► smooth filling, confidence 0 ◄──┘
```
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from relive.restore.blend import blend
from relive.restore.candidates import explain
from relive.restore.filling import smooth_filling
from relive.restore.gaps import SessionGaps
from relive.restore.sources import Frame, Gap, Mask

TURNS = 4  # neighbours 1, 2, 4 and 8 frames away

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Completed:
    """A frame without gaps.

    Attributes:
        pixels: uint8 `[H, W, 3]`; what was recorded is as it was.
        confidence: float32 `[H, W]`, 1 where it was recorded, 0 where nobody has seen the place.
        made: bool `[H, W]`; True where it was generated.
    """

    pixels: Frame
    confidence: Floats
    made: Mask

    @property
    def share(self) -> float:
        """Of the pixels that were generated."""
        return float(self.made.mean())

    @property
    def mean_confidence(self) -> float:
        """Mean over the pixels that were generated."""
        return float(self.confidence[self.made].mean()) if self.made.any() else 1.0


def complete(gaps: SessionGaps, index: int) -> Completed:
    """Fill what a frame lacks.

    Raises:
        InputError: Nothing is known of it, and no other frame shows anything.
    """
    gap: Gap | None = gaps.gap(index)
    known = gaps.known(index)
    pixels, confidence = gaps.source(index).pixels.copy(), known.astype(np.float32)
    filled = known.copy()
    for turn in range(TURNS):
        if gap is None or filled.all():
            break
        filled = _fill(gap, filled, pixels, confidence)
        gap = None if filled.all() else _further(gaps, index, turn + 1, pixels, filled)
    if not filled.all():
        pixels[~filled] = smooth_filling(pixels, filled)[~filled]
    return Completed(pixels, confidence, ~known)


def complete_between(gap: Gap) -> Completed:
    """Make a frame of which nothing is known, from its neighbours alone."""
    none = gap.target.known
    pixels, confidence = gap.target.pixels.copy(), none.astype(np.float32)
    filled = _fill(gap, none, pixels, confidence)
    if not filled.all():
        pixels[~filled] = smooth_filling(pixels, filled)[~filled]
    return Completed(pixels, confidence, ~none)


def _fill(gap: Gap, filled: Mask, pixels: Frame, confidence: Floats) -> Mask:
    """Fill what the neighbours show; returns what is filled now."""
    candidates = explain(gap)
    colours, sure = blend(gap, candidates)
    new = ~filled & candidates.seen.any(0)
    pixels[new] = colours[new].round().clip(0, 255).astype(np.uint8)
    confidence[new] = sure[new]
    return filled | new


def _further(gaps: SessionGaps, index: int, turn: int, pixels: Frame, filled: Mask) -> Gap | None:
    """Surround the frame by neighbours that are further away; what is filled counts as known."""
    gap = gaps.gap_further(index, 2**turn - 1)
    if gap is None:
        return None
    return replace(gap, target=replace(gap.target, pixels=pixels.copy(), known=filled))
