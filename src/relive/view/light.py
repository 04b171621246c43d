"""The light of a view: all looks as if they were taken at the moment that is looked at.

```
 looks ─► which are to be believed? ─► tint of the moment ─► brightness of the first one
```

Shapes: K surfaces, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from relive.restore.sources import Frame, Mask
from relive.restore.tint import Tint, tint_between
from relive.view.render import Looks
from relive.view.surface import TINT_LEVELS, Surface

LEAST_TRUST = 0.3  # in the depth of what a source shows of the view; with less it is left out
ENOUGH = 500  # pixels that two looks share, to compare their colours
FADE_S = 0.5  # a frame so far away in time tells half of the tint


@dataclass(frozen=True)
class Moment:
    """The tint of the moment that is looked at.

    Attributes:
        before: the last frame that is not later.
        tint: from that frame to the moment; None where nothing tells.
        fixed: pixels beside the scene, bool `[H, W]`.
    """

    before: Frame
    tint: Tint | None
    fixed: Mask

    @classmethod
    def between(
        cls,
        before: Frame,
        after: Frame,
        share: float,
        late_s: float,
        sources: Sequence[Frame],
        fixed: Mask,
    ) -> Moment:
        """Tell it from the frames around; the further they are, the more as it usually is.

        Args:
            before: the last frame that is not later.
            after: the first one that is not earlier.
            share: how far the moment is on the way from one to the other, 0 to 1.
            late_s: seconds to the nearer one.
            sources: frames that the view is made of; their median is usual.
            fixed: pixels beside the scene, bool `[H, W]`.
        """
        on = tint_between(before, after, fixed)
        if on is None or late_s == 0:
            return cls(before, on if on is None else on.part(share), fixed)
        found = [tint_between(before, source, fixed) for source in sources]
        usual = median_tint([tint for tint in found if tint is not None])
        kept = 1 / (1 + (late_s / FADE_S) ** 2)
        return cls(before, usual.towards(on.part(share), kept), fixed)

    def tint_of(self, pixels: Frame) -> Tint:
        """What gives a frame the tint of the moment; none where nothing tells."""
        there = tint_between(pixels, self.before, self.fixed)
        return Tint() if there is None or self.tint is None else there.then(self.tint)


def median_tint(tints: Sequence[Tint]) -> Tint:
    """The median of tints, number by number; none of none."""
    if not tints:
        return Tint()
    gain, red, green, blue = np.median([[tint.gain, *tint.offset] for tint in tints], axis=0)
    return Tint(float(gain), (float(red), float(green), float(blue)))


def sure_looks(looks: Looks) -> NDArray[np.intp]:
    """Choose the looks to be believed: their neighbours bear out the depth of what they show.

    Where something stands in front for a moment, as an explosion, no neighbour shows it likewise.
    All of them where none is to be believed.
    """
    seen = looks.near >= 0
    trust = (looks.trust * seen).sum((1, 2)) / seen.sum((1, 2)).clip(1)
    sure = np.flatnonzero(trust >= LEAST_TRUST)
    return sure if len(sure) else np.arange(len(trust))


def pick(looks: Looks, chosen: NDArray[np.intp]) -> Looks:
    """Some of the looks."""
    near, trust = looks.near[chosen], looks.trust[chosen]
    return Looks(looks.colours[chosen], near, trust, looks.zoom[chosen], looks.rays[chosen])


def light_alike(looks: Looks, surfaces: Sequence[Surface], moment: Moment) -> Looks:
    """Give all looks the tint of the moment, and the brightness of the first one."""
    colours = looks.colours.copy()
    for k, surface in enumerate(surfaces):
        tint = moment.tint_of(surface.shot.pixels)
        if not tint.is_none:
            colours[k] = tint.apply(colours[k])
    return _as_bright(replace(looks, colours=colours))


def _as_bright(looks: Looks) -> Looks:
    """Give all looks the brightness of the first one, by what both of them show for sure."""
    sure = (looks.near >= 0) & (looks.trust > LEAST_TRUST)
    for k in range(1, len(looks.colours)):
        both = sure[0] & sure[k]
        if both.sum() < ENOUGH:
            continue
        own, other = looks.colours[0][both], looks.colours[k][both]
        means = own.mean(0), other.mean(0)
        if np.abs(means[0] - means[1]).max() >= TINT_LEVELS:
            gain = (own.std(0) + 1) / (other.std(0) + 1)
            looks.colours[k] = (looks.colours[k] - means[1]) * gain + means[0]
    return looks
