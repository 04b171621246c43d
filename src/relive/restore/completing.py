"""Complete one frame: explain it by its neighbours, weigh, and go further away for what is left.

```
 nearest neighbours, and ──► candidates ─► weights ─► pixels ─┬─ all seen ──────────────────► done
 those behind their holes                                     └─ some unseen ─► neighbours further
                                           nobody has seen it ─► smooth filling, confidence 0 ◄┘
```
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from relive.errors import InputError
from relive.restore.blend import blend
from relive.restore.candidates import Candidates, explain
from relive.restore.filling import smooth_filling
from relive.restore.gaps import SessionGaps
from relive.restore.sources import Frame, Gap, Mask

TURNS = 4  # neighbours 1, 2, 4 and 8 frames away
ENOUGH = 0.995  # of what is missing is filled: nobody is asked for the few pixels that are left

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


@dataclass(frozen=True)
class _Canvas:
    """A frame that is being filled.

    Attributes:
        own: as it was `[H, W, 3]`.
        known: what is known of it `[H, W]`.
        pixels: so far.
        confidence: so far.
    """

    own: Frame
    known: Mask
    pixels: Frame
    confidence: Floats

    @classmethod
    def of(cls, own: Frame, known: Mask) -> _Canvas:
        """Begin with what is known of a frame."""
        return cls(own, known, own.copy(), known.astype(np.float32))

    def fill(self, gap: Gap, candidates: Candidates, filled: Mask) -> Mask:
        """Fill what the neighbours show; returns what is filled now."""
        colours, sure = blend(gap, candidates)
        new = ~filled & candidates.seen.any(0)
        self.pixels[new] = colours[new].round().clip(0, 255).astype(np.uint8)
        self.confidence[new] = sure[new]
        return filled | new

    def done(self, filled: Mask) -> Completed:
        """Fill smoothly what nobody has seen."""
        if not filled.all():
            self.pixels[~filled] = smooth_filling(self.pixels, filled)[~filled]
        return Completed(self.pixels, self.confidence, ~self.known)


def complete(gaps: SessionGaps, index: int) -> Completed:
    """Fill what a frame lacks.

    Raises:
        InputError: Nothing is known of it, and no other frame shows anything.
    """
    canvas = _Canvas.of(gaps.source(index).pixels, gaps.known(index))
    filled = canvas.known.copy()
    if filled.all():
        return canvas.done(filled)
    around = gaps.gaps_around(index)
    if not around and not filled.any():
        raise InputError(f"nothing is known of frame {index}, and no other frame shows it")
    if not around:
        return canvas.done(filled)
    few = (1 - ENOUGH) * (~filled).sum()
    filled = canvas.fill(around[0], explain(*around), filled)
    for turn in range(1, TURNS):
        gap = _further(gaps, index, turn, canvas.pixels, filled)
        if gap is None or (~filled).sum() <= few:
            break
        filled = canvas.fill(gap, explain(gap), filled)
    return canvas.done(filled)


def complete_between(gap: Gap) -> Completed:
    """Make a frame of which nothing is known, from its neighbours alone."""
    canvas = _Canvas.of(gap.target.pixels, gap.target.known)
    return canvas.done(canvas.fill(gap, explain(gap), canvas.known))


def _further(gaps: SessionGaps, index: int, turn: int, pixels: Frame, filled: Mask) -> Gap | None:
    """Surround the frame by neighbours that are further away; what is filled counts as known."""
    gap = gaps.gap_further(index, 2**turn - 1)
    if gap is None:
        return None
    return replace(gap, target=replace(gap.target, pixels=pixels.copy(), known=filled))
