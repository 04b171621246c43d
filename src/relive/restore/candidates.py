"""What the pixels of a gap may look like: each candidate comes from one side, by one explanation.

```
 before ─┬─ depth: the scene stood still, the camera moved ──┐
         ├─ shift: things moved over the screen ─────────────┼─► candidates, how well sides agree
 after ──┼─ scroll: the picture moved as the state says ─────┤
         └─ still: nothing moved ────────────────────────────┘
```

Shapes: K candidates (the two sides of an explanation follow one another), H W pixels, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from relive.model.warp import Pinhole
from relive.restore import kernels
from relive.restore.sources import Gap, Source, eye

DEPTH, SHIFT, SCROLL, STILL = range(4)
NEAREST_DEPTH = 12.0  # world units
MAX_DEPTHS = 64
PARALLAX_PX, GROWTH, FINEST = 0.6, 0.07, 1 / 4000  # between neighbouring depths
SMALL_STEP, ANY_STEP = np.float32(6), np.float32(24)  # levels that a change of depth costs
SURCHARGE = np.float32(1.1)
REACH = 7  # displacements, in steps of two pixels for either half of the way
TOLL = np.float32(0.15)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """Explanations of a gap.

    Attributes:
        colours: float32 `[K, H, W, 3]`, levels.
        seen: bool `[K, H, W]`; False where the source does not show the place.
        kinds: explanation of each, `[K]`.
        near: inverse depth `[H, W]` where there is a camera.
    """

    colours: Floats
    seen: NDArray[np.bool_]
    kinds: tuple[int, ...]
    near: Floats | None = None


def explain(gap: Gap) -> Candidates:
    """Find every explanation that this session allows."""
    pairs, kinds, near = [], [], None
    if gap.camera is not None:
        near = find_depth(gap, gap.camera)
        pairs.append(_by_depth(gap, gap.camera, near))
        kinds.append(DEPTH)
    pairs.append(_by_shift(gap))
    kinds.append(SHIFT)
    if gap.scrolls is not None:
        pairs.append(_by_scroll(gap, gap.scrolls))
        kinds.append(SCROLL)
    pairs.append([(s.pixels.astype(np.float32), s.known) for s in (gap.before, gap.after)])
    kinds.append(STILL)
    looks = [look for pair in pairs for look in pair]
    return Candidates(
        np.stack([colours for colours, _ in looks]),
        np.stack([seen for _, seen in looks]),
        tuple(kind for kind in kinds for _ in range(2)),
        near,
    )


Look = tuple[Floats, NDArray[np.bool_]]


def depth_labels(focal_px: float, baseline: float) -> Floats:
    """Inverse depths to try: the parallax of neighbours differs by half a pixel, or 7 percent."""
    nears, finest = [0.0], max(PARALLAX_PX / (focal_px * max(baseline, 1e-3)), FINEST)
    while nears[-1] < 1 / NEAREST_DEPTH and len(nears) < MAX_DEPTHS:
        nears.append(nears[-1] + max(finest, GROWTH * nears[-1]))
    return np.array(nears, np.float32)


def find_depth(gap: Gap, camera: Pinhole) -> Floats:
    """Plane sweep between both sides: where do they show the same? `[H, W]`."""
    height, width = gap.target.known.shape
    before, after, target = gap.before, gap.after, gap.target
    baseline = float(np.linalg.norm(after.pose[:3] - before.pose[:3]))
    nears = depth_labels(camera.focal_x_px, baseline)
    cost = np.empty((min(height, camera.bottom_px), width, len(nears)), np.float32)
    eyes = eye(camera, before, target), eye(camera, after, target)
    sources = before.pixels, before.known, after.pixels, after.known
    kernels.sweep(sources, eyes, (target.pixels, target.known), nears, cost)
    kernels.settle(cost, SURCHARGE)
    mean, total = np.empty_like(cost), np.zeros_like(cost)
    kernels.box(cost, 1, mean)
    kernels.smooth(mean, SMALL_STEP, ANY_STEP, total)
    near = np.zeros((height, width), np.float32)
    kernels.choose(total, nears, near[: len(cost)])
    return near


def _by_depth(gap: Gap, camera: Pinhole, near: Floats) -> list[Look]:
    return [look_at(source, gap.target, camera, near) for source in (gap.before, gap.after)]


def look_at(source: Source, target: Source, camera: Pinhole, near: Floats) -> Look:
    """Read a source from the target's camera; nothing is seen outside the camera's view."""
    seen = np.empty(near.shape, np.bool_)
    colours = np.empty((*near.shape, 3), np.float32)
    kernels.look((source.pixels, source.known), eye(camera, source, target), near, seen, colours)
    view = np.zeros_like(seen)
    view[camera.top_px : camera.bottom_px, camera.left_px : camera.right_px] = True
    return colours, seen & view


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
            _shifted(source, moved, part)
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


def _shifted(source: Source, shifts: Floats, part: np.float32 | float) -> Look:
    seen = np.empty(source.known.shape, np.bool_)
    colours = np.empty((*seen.shape, 3), np.float32)
    place = source.pixels, source.known
    kernels.look_shifted(place, shifts, np.float32(part), seen, colours)
    return colours, seen


def _by_scroll(gap: Gap, scrolls: NDArray[np.float64]) -> list[Look]:
    """The whole picture moved by what the states say."""
    looks = []
    for source, move, sign in ((gap.before, scrolls[0], -1.0), (gap.after, scrolls[1], 1.0)):
        shifts = np.broadcast_to(move.astype(np.float32), (*source.known.shape, 2))
        looks.append(_shifted(source, np.ascontiguousarray(shifts), sign))
    return looks


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
    side = 2 * radius + 1
    picture = torch.from_numpy(np.ascontiguousarray(values, np.float32))[None, None]
    mean = F.avg_pool2d(picture, side, 1, radius, count_include_pad=False)[0, 0]
    return np.asarray(mean.numpy(), np.float32)
