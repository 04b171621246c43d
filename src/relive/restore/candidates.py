"""What the pixels of a gap may look like: each candidate comes from one side, by one explanation.

```
 before ─┬─ depth: the scene stood still, the camera moved ──────┐
         ├─ landed: each side's pixels went where depth says ────┤
         ├─ flow: each side's pixels went on as the picture did ─┼─► candidates, how much to
 after ──┼─ shift: part of the target is known; what fits it? ───┤    believe them
         ├─ scroll: the picture moved as the state says ─────────┤
         └─ still: nothing moved ────────────────────────────────┤
 target ── painted: it goes on from what is known around ────────┘
```

Where the nearest frames hide a part themselves, the same is asked of those that show it.

Shapes: K candidates (the two sides of an explanation follow one another), H W pixels, L labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from relive.restore import kernels
from relive.restore.depth import find_depth, land_by_depth, look_from_both
from relive.restore.flow import land_by_flow
from relive.restore.landing import Landed
from relive.restore.looks import Floats, Look, look_along, misfit
from relive.restore.painting import paint
from relive.restore.sources import Gap, Mask, Source

DEPTH, LANDED, FLOW, SHIFT, SCROLL, STILL, PAINTED = KINDS = range(7)
Part = tuple[slice, slice]
"""Rows and columns."""
NOBODY = -1
SMALLEST = 2  # pixels of a side that can be halved
REACH = 7  # displacements, in steps of two pixels for either half of the way
TOLL = np.float32(0.15)


@dataclass(frozen=True)
class Explanation:
    """Both sides' looks at the target, by one idea of what happened.

    Attributes:
        gap: what is explained, with the neighbours that explain it.
        kind: one of `KINDS`.
        looks: of the side before and of the side after.
        own: side of which the pixels were followed, or `NOBODY`.
        landed: how those fell, where pixels were followed.
        trial: what painting of known parts was off by, levels `[2, H, W]`, where it was painted.
    """

    gap: Gap
    kind: int
    looks: list[Look]
    own: int = NOBODY
    landed: Landed | None = None
    trial: Floats | None = None

    @property
    def spans_s(self) -> tuple[float, float]:
        """Seconds from the target to either side."""
        before, after = (
            abs(self.gap.target.time_ns - source.time_ns) / 1e9
            for source in (self.gap.before, self.gap.after)
        )
        return before, after

    def cut(self, part: Part) -> Explanation:
        """Cut a part of the picture out of it."""
        landed, trial = self.landed, self.trial
        if landed is not None:
            landed = Landed(landed.values[part], landed.errors[part], landed.fell[part])
        return replace(
            self,
            gap=cut(self.gap, part),
            looks=[(colours[part], seen[part]) for colours, seen in self.looks],
            landed=landed,
            trial=None if trial is None else trial[:, *part],
        )


@dataclass(frozen=True)
class Candidates:
    """Explanations of a gap; candidate k is side k % 2 of explanation k // 2.

    Attributes:
        colours: float32 `[K, H, W, 3]`, levels.
        seen: bool `[K, H, W]`; False where the source does not show the place.
        explanations: `[K / 2]`.
    """

    colours: Floats
    seen: NDArray[np.bool_]
    explanations: list[Explanation]

    def cut(self, part: Part) -> Candidates:
        """Cut a part of the picture out of all that is known."""
        explanations = [one.cut(part) for one in self.explanations]
        return Candidates(self.colours[:, *part], self.seen[:, *part], explanations)


def cut(gap: Gap, part: Part) -> Gap:
    """Cut a part out of the picture that is looked for; what is beside it stays whole."""
    target = replace(gap.target, pixels=gap.target.pixels[part], known=gap.target.known[part])
    return replace(gap, target=target)


def explain(*gaps: Gap) -> Candidates:
    """Find every explanation that this session allows.

    Args:
        gaps: of one target, by neighbours that are near and by others.
    """
    found = [one for gap in gaps for one in (*_by_target(gap), *_by_sides(gap))]
    seen = np.stack([seen for one in found for _, seen in one.looks]).any(0)
    if gaps[0].target.known.any():
        found.append(_by_painting(gaps[0], np.asarray(seen, np.bool_)))
    looks = [look for one in found for look in one.looks]
    return Candidates(np.stack([c for c, _ in looks]), np.stack([s for _, s in looks]), found)


def _by_painting(gap: Gap, seen: Mask) -> Explanation:
    """Paint the target in two ways; that counts beside what others have `seen` alone."""
    paintings, trial = paint(gap.target.pixels, gap.target.known)
    return Explanation(gap, PAINTED, [(painting, seen) for painting in paintings], trial=trial)


def _by_target(gap: Gap) -> Iterator[Explanation]:
    """Explanations that have to fit what is known of the target."""
    if gap.camera is not None:
        yield Explanation(gap, DEPTH, look_from_both(gap, gap.camera, find_depth(gap, gap.camera)))
    if gap.target.known.any() and min(gap.target.known.shape) >= SMALLEST:
        yield Explanation(gap, SHIFT, _by_shift(gap))


def _by_sides(gap: Gap) -> Iterator[Explanation]:
    """Explanations that the sides alone give."""
    if (camera := gap.camera) is not None:
        for own in (0, 1):
            looks, landed = land_by_depth(gap, camera, own)
            yield Explanation(gap, LANDED, looks, own, landed)
    for own, (looks, landed) in enumerate(land_by_flow(gap)):
        yield Explanation(gap, FLOW, looks, own, landed)
    if gap.scrolls is not None:
        yield Explanation(gap, SCROLL, _by_scroll(gap, gap.scrolls))
    sides = gap.before, gap.after
    yield Explanation(gap, STILL, [(side.pixels.astype(np.float32), side.known) for side in sides])


def _by_shift(gap: Gap) -> list[Look]:
    """Block matching between both sides, symmetric about the target."""
    sides = gap.before, gap.after
    halves = [_half(side) for side in sides]
    target = _half(gap.target)
    line = np.arange(-REACH, REACH + 1, dtype=np.float32)
    shifts = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    first, second = (2 * share for share in gap.shares)
    cost = np.empty((*target[1].shape, len(shifts)), np.float32)
    parts = np.float32(first), np.float32(second)
    kernels.compare_shifted((*halves[0], *halves[1]), target, parts, shifts, TOLL, cost)
    wide = np.empty_like(cost)
    kernels.box(cost, 3, wide)
    coarse = 2 * shifts[wide.argmin(-1)]
    height, width = gap.target.known.shape
    best = coarse.repeat(2, 0).repeat(2, 1)[:height, :width]
    best = np.pad(best, ((0, height - len(best)), (0, width - best.shape[1]), (0, 0)), "edge")
    return _finer(gap, np.ascontiguousarray(best), parts)


def _half(source: Source) -> Look:
    """Halve a picture; what is known in part is unknown."""
    height, width = (side // 2 * 2 for side in source.known.shape)
    pixels = source.pixels[:height, :width].astype(np.float32)
    small = pixels.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
    known = source.known[:height, :width].reshape(height // 2, 2, width // 2, 2)
    return np.ascontiguousarray(small), np.asarray(known.all((1, 3)), np.bool_)


def _finer(gap: Gap, shifts: Floats, parts: tuple[np.float32, np.float32]) -> list[Look]:
    """Try a pixel more and less in both directions, at full size."""
    tries = []
    for dx, dy in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        moved = shifts + np.array([dx, dy], np.float32)
        looks = [
            look_along(source, moved, part)
            for source, part in ((gap.before, -parts[0]), (gap.after, parts[1]))
        ]
        tries.append((looks, misfit(gap, looks, 2)))
    best = np.stack([cost for _, cost in tries]).argmin(0)
    rows, columns = np.indices(best.shape)
    colours, seen = (
        np.stack([[look[part] for look in looks] for looks, _ in tries]) for part in (0, 1)
    )
    return [
        (colours[best, side, rows, columns], seen[best, side, rows, columns]) for side in range(2)
    ]


def _by_scroll(gap: Gap, scrolls: NDArray[np.float64]) -> list[Look]:
    """The picture moved by what the states say, under an overlay that stays."""
    looks = []
    for source, move, sign in ((gap.before, scrolls[0], -1.0), (gap.after, scrolls[1], 1.0)):
        shifts = np.broadcast_to(move.astype(np.float32), (*source.known.shape, 2))
        open_to_view = source if gap.overlay is None else _without(source, gap.overlay)
        colours, seen = look_along(open_to_view, np.ascontiguousarray(shifts), sign)
        if gap.overlay is not None:
            colours[gap.overlay] = source.pixels[gap.overlay]
            seen[gap.overlay] = source.known[gap.overlay]
        looks.append((colours, seen))
    return looks


def _without(source: Source, overlay: Mask) -> Source:
    return replace(source, known=source.known & ~overlay)
