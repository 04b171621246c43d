"""Depth from two frames and the poses of their cameras, and what it shows of the target.

Shapes: H W pixels, L labels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from relive.model.warp import Pinhole
from relive.restore import kernels
from relive.restore.landing import UNBELIEVABLE, Landed, carry, drop
from relive.restore.looks import Look, mean_over
from relive.restore.sources import Gap, Source, eye

NEAREST_DEPTH = 12.0  # world units
MAX_DEPTHS = 64
PARALLAX_PX, GROWTH, FINEST = 0.6, 0.07, 1 / 4000  # between neighbouring depths
SMALL_STEP, ANY_STEP = np.float32(6), np.float32(24)  # levels that a change of depth costs
SURCHARGE = np.float32(1.1)

Floats = NDArray[np.float32]


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


def look_at(source: Source, target: Source, camera: Pinhole, near: Floats) -> Look:
    """Read a source from the target's camera; nothing is seen outside the camera's view."""
    seen = np.empty(near.shape, np.bool_)
    colours = np.empty((*near.shape, 3), np.float32)
    kernels.look((source.pixels, source.known), eye(camera, source, target), near, seen, colours)
    return colours, seen & view_of(camera, near.shape)


def look_from_both(gap: Gap, camera: Pinhole, near: Floats) -> list[Look]:
    """Read both sides from the target's camera."""
    return [look_at(source, gap.target, camera, near) for source in (gap.before, gap.after)]


def view_of(camera: Pinhole, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where the camera's picture lies in the frame, bool `[H, W]`."""
    view = np.zeros(shape, np.bool_)
    view[camera.top_px : camera.bottom_px, camera.left_px : camera.right_px] = True
    return view


def land_by_depth(gap: Gap, camera: Pinhole, own: int) -> tuple[list[Look], Landed]:
    """Give one side's pixels a depth by the other side, and let them fall into the target.

    Args:
        gap: what is looked for.
        camera: of the game.
        own: side of which the pixels fall; 0 for the one before.
    """
    source, other = (gap.before, gap.after)[:: -1 if own else 1]
    nothing = np.zeros_like(gap.target.known)
    there = replace(source, known=nothing, time_ns=gap.target.time_ns)
    near = find_depth(replace(gap, target=there), camera)
    colours, seen = look_at(other, there, camera, near)
    errors = np.abs(colours - source.pixels).mean(-1)
    errors[~(seen & source.known)] = UNBELIEVABLE
    errors = mean_over(errors, 1)
    moves, carried = np.zeros((*near.shape, 2), np.float32), np.zeros_like(near)
    carry(eye(camera, gap.target, source), near, moves, carried)
    errors[~view_of(camera, near.shape) | (carried < 0)] = -1
    landed = drop(moves, errors, carried[..., None])
    return look_from_both(gap, camera, np.ascontiguousarray(landed.values[..., 0])), landed
