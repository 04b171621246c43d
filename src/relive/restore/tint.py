"""Tints: a colour that a game mixes into its whole picture, as red for pain.

What lies outside of the camera's picture (a status bar, a cockpit) has the same colours in all
frames but for the tint, and so tells it to the level. No labels, and no colours of the game.

Shapes: H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from relive.model.warp import Pinhole
from relive.restore.sources import Frame, Gap, Mask, Source

Floats = NDArray[np.floating]
ENOUGH = 500  # pixels beside the scene that two frames share
SPREAD = 8.0  # levels that they must vary by, to tell a gain
ROUNDS, KEPT = 4, 0.6  # of fitting; what fits worst (numbers that changed) is left out
WRONG = 3.0  # levels by which what is kept may be off
LEAST_GAIN, LEAST_OFFSET = 0.02, 2.0  # less is no tint
STRONGEST = 8.0  # a gain, or one over it


@dataclass(frozen=True)
class Tint:
    """What turns the colours of one frame into those of another: gain · colour + offset.

    Attributes:
        gain: of all channels.
        offset: red, green and blue, levels.
    """

    gain: float = 1.0
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def is_none(self) -> bool:
        """Whether it changes nothing worth telling."""
        return abs(self.gain - 1) < LEAST_GAIN and max(map(abs, self.offset)) < LEAST_OFFSET

    @property
    def inverse(self) -> Tint:
        """The way back."""
        red, green, blue = (-part / self.gain for part in self.offset)
        return Tint(1 / self.gain, (red, green, blue))

    def part(self, share: float) -> Tint:
        """So much of it: 0 nothing, 1 all of it."""
        return Tint().towards(self, share)

    def towards(self, other: Tint, share: float) -> Tint:
        """So far on the way to another one: 0 this one, 1 that one."""
        pairs = zip(self.offset, other.offset, strict=True)
        red, green, blue = (own + share * (more - own) for own, more in pairs)
        return Tint(self.gain + share * (other.gain - self.gain), (red, green, blue))

    def then(self, other: Tint) -> Tint:
        """This one, and another one after it."""
        pairs = zip(self.offset, other.offset, strict=True)
        red, green, blue = (other.gain * own + more for own, more in pairs)
        return Tint(self.gain * other.gain, (red, green, blue))

    def apply(self, colours: NDArray[np.float32]) -> NDArray[np.float32]:
        """Colours `[…, 3]` with the tint, not rounded."""
        return np.asarray(colours * self.gain + np.array(self.offset), np.float32)

    def apply_to_frame(self, pixels: Frame) -> Frame:
        """A frame with the tint."""
        if self.is_none:
            return pixels
        return np.asarray(self.apply(pixels.astype(np.float32)).round().clip(0, 255), np.uint8)


def beside(camera: Pinhole | None, shape: tuple[int, ...]) -> Mask:
    """Where a frame shows something else than the camera's picture, bool `[H, W]`."""
    out = np.zeros(shape, np.bool_)
    if camera is not None:
        out[:] = True
        out[camera.top_px : camera.bottom_px, camera.left_px : camera.right_px] = False
    return out


def tint_between(one: Frame, other: Frame, fixed: Mask) -> Tint | None:
    """Find what turns the colours of one frame into those of another.

    Args:
        one: uint8 `[H, W, 3]`.
        other: likewise.
        fixed: pixels that show the same in both but for the tint, bool `[H, W]`; a part of them
            may have changed.

    Returns:
        The tint, or None where they do not tell.
    """
    if fixed.sum() < ENOUGH:
        return None
    given, wanted = (picture[fixed].astype(np.float32) for picture in (one, other))
    kept = np.ones(len(given), np.bool_)
    for _ in range(ROUNDS):
        means = given[kept].mean(0), wanted[kept].mean(0)
        spread = given[kept] - means[0]
        total = float(np.square(spread).sum())
        if total < SPREAD**2 * spread.size:
            return None
        gain = float((spread * (wanted[kept] - means[1])).sum()) / total
        offset = means[1] - gain * means[0]
        wrong = np.abs(gain * given + offset - wanted).mean(-1)
        kept = wrong <= max(1.0, float(np.quantile(wrong, KEPT)))
    if not 1 / STRONGEST < gain < STRONGEST or wrong[kept].mean() > WRONG:
        return None
    red, green, blue = (float(part) for part in offset)
    return Tint(gain, (red, green, blue))


def tint_alike(gap: Gap) -> Gap:
    """Give both neighbours of a gap the tint of what is looked for.

    Where the target shows its own, that one; of a neighbour that it does not tell about, by way of
    the other one. Else what lies between those of the neighbours.
    """
    target, before, after = gap.target, gap.before, gap.after
    fixed = beside(gap.camera, target.known.shape)
    own = [_way(side, target, fixed) for side in (before, after)]
    ways = _both(own[0], own[1], _way(before, after, fixed), gap.shares)
    sides = [_tinted(*pair) for pair in zip((before, after), ways, strict=True)]
    return replace(gap, before=sides[0], after=sides[1])


def _both(
    first: Tint | None, last: Tint | None, between: Tint | None, shares: tuple[float, float]
) -> tuple[Tint | None, Tint | None]:
    """What gives both neighbours the tint of the target, as far as anything tells.

    Args:
        first: from the one before to the target, if these tell.
        last: from the one after to the target, likewise.
        between: from the one before to the one after, likewise.
        shares: how far the target is from either.
    """
    if between is None:
        return first, last
    if first is None and last is None:
        return between.part(shares[0]), between.inverse.part(shares[1])
    if last is None and first is not None:
        return first, between.inverse.then(first)
    if first is None and last is not None:
        return between.then(last), last
    return first, last


def _way(one: Source, other: Source, fixed: Mask) -> Tint | None:
    return tint_between(one.pixels, other.pixels, fixed & one.known & other.known)


def _tinted(source: Source, tint: Tint | None) -> Source:
    if tint is None or tint.is_none:
        return source
    return replace(source, pixels=tint.apply_to_frame(source.pixels))
