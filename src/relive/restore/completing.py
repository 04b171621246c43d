"""Complete one frame: explain it by its neighbours, weigh, and go further away for what is left.

```
 gap, nearest neighbours ─► candidates ─► weights ─► pixels ─┬─ all seen ───────┬► done
                                                             └─ some unseen ─► neighbours further
                                          nobody has seen it ─► smooth filling, confidence 0 ◄──┘
                   known parts on trial are off by far ─► painted in part, less sure ◄─┘
```
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from relive.restore.blend import blend
from relive.restore.candidates import Candidates, explain, explain_again
from relive.restore.filling import smooth_filling
from relive.restore.gaps import SessionGaps
from relive.restore.painting import paint_share, trial_of
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

    def paint(self, gap: Gap, found: Candidates) -> None:
        """Paint where what the neighbours say of a trial is far off; that is less sure."""
        hidden = self.known & ~trial_of(self.known)
        tried = replace(gap, target=replace(gap.target, known=hidden))
        candidates = explain_again(tried, found)
        said, seen = blend(tried, candidates)[0], np.asarray(candidates.seen.any(0))
        painting, take = paint_share(self.own, self.known, said, seen)
        mixed = self.pixels + take[..., None] * (painting - self.pixels)
        lost = ~self.known
        self.pixels[lost] = mixed[lost].round().clip(0, 255).astype(np.uint8)
        self.confidence[lost] *= 1 - take[lost]

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
    first = gaps.gap_further(index, 0) if filled.any() else gaps.gap(index)
    if first is None:  # nobody else shows anything
        return canvas.done(filled)
    candidates, few = explain(first), (1 - ENOUGH) * (~filled).sum()
    filled = canvas.fill(first, candidates, filled)
    for turn in range(1, TURNS):
        gap = _further(gaps, index, turn, canvas.pixels, filled)
        if gap is None or (~filled).sum() <= few:
            break
        filled = canvas.fill(gap, explain(gap), filled)
    if canvas.known.any():
        canvas.paint(first, candidates)
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
