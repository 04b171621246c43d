"""Returns to a place: where the camera comes back after an absence (reading.md, row 16).

A place is the pose of a frame; a pose is near it within 64 map units and 20 degrees. A return is
a frame that is near a place seen before, while for at least a second just before it none was.

    near ────────► away, ≥ 1 s ────────► near again: the first steps count
    └──────────── one GOP, so that the memory can hold the place ─────────┘
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relive.config import CUBE_FRAMES
from relive.cubes.states import camera_poses, has_camera
from relive.cubes.store import SessionStore

NEAR_UNITS = 64.0
NEAR_RAD = math.radians(20)
ABSENCE_NS = 1_000_000_000
APART_FRAMES = 8  # returns closer than this are one


@dataclass(frozen=True)
class Return:
    """The camera at frame `back` is near the pose of frame `seen` again, after an absence."""

    seen: int
    back: int


@dataclass(frozen=True)
class Window:
    """A GOP of a session that holds returns.

    Attributes:
        store: the session.
        start: first frame.
        steps: length of the GOP.
        returns: steps at which the camera is back.
    """

    store: SessionStore
    start: int
    steps: int
    returns: tuple[int, ...]


def near_poses(poses: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which frames see a place from almost the same pose: poses `[n, 6]` to bool `[n, n]`."""
    apart = np.linalg.norm(poses[:, None, :3] - poses[None, :, :3], axis=-1)
    turned = np.remainder(poses[:, None, 3] - poses[None, :, 3] + math.pi, 2 * math.pi) - math.pi
    return np.asarray((apart < NEAR_UNITS) & (np.abs(turned) < NEAR_RAD))


def find_returns(store: SessionStore, longest: int) -> list[Return]:
    """Find the returns of a session to places seen at most `longest` frames before."""
    if not has_camera(store.schema):
        return []
    near, found = near_poses(camera_poses(store.schema, store.states)), list[Return]()
    for back in range(1, len(near)):
        if found and back - found[-1].back < APART_FRAMES:
            continue
        places = np.flatnonzero(near[back, :back] & ~near[back - 1, :back])
        for place in places[places >= back - longest][::-1]:
            left = np.flatnonzero(near[:back, place])[-1]  # the last frame near it before
            if store.times_ns[back] - store.times_ns[left] > ABSENCE_NS:
                found.append(Return(int(place), back))
                break
    return found


def find_windows(
    stores: Sequence[SessionStore], steps: int, after: int, limit: int
) -> list[Window]:
    """Choose GOPs that hold the most returns, without overlap.

    Args:
        stores: held-out sessions.
        steps: the longest GOP.
        after: steps after a return that belong to it.
        limit: how many windows at most.
    """
    found = [window for store in stores for window in _windows(store, steps, after)]
    ranked = sorted(found, key=lambda window: -len(window.returns))
    chosen: list[Window] = []
    for window in ranked:
        if len(chosen) < limit and not any(_overlap(window, other) for other in chosen):
            chosen.append(window)
    return chosen


def _overlap(a: Window, b: Window) -> bool:
    ends = (w.start + CUBE_FRAMES * w.steps for w in (a, b))
    return a.store is b.store and max(a.start, b.start) < min(ends)


def _windows(store: SessionStore, steps: int, after: int) -> list[Window]:
    """One window from every place that is returned to, ending with its last return."""
    longest = CUBE_FRAMES * (steps - after)
    returns, windows = find_returns(store, longest), []
    for start in sorted({max(0, r.seen // 2 * 2 - 2) for r in returns}):
        inside = [r for r in returns if r.seen >= start and r.back + 2 * after < len(store.frames)]
        rows = sorted({-(-(r.back - start) // CUBE_FRAMES) for r in inside})
        rows = [row for row in rows if row + after <= steps]
        if rows:
            windows.append(Window(store, start, rows[-1] + after, tuple(rows)))
    return windows
