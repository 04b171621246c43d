"""Session memory: which recorded frames know most of what a camera would see.

Every frame of a recording counts, not only those around a moment: what was seen a minute ago from
the other side is remembered by its pose.

Shapes: T frames, n candidates, P places.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from relive.model.warp import Pinhole, rotation

Floats = NDArray[np.float64]
NUM_SOURCES = 6
NUM_NEIGHBOURS = 4
GRID = (11, 7)  # directions that are looked into, across and down
DEPTHS = (6.0, 20.0, 80.0)  # of places that may be there, in paces
MAX_CANDIDATES = 256
CELL_PACES, CELL_RAD = 0.5, 0.07  # poses that count as one
RAY_RAD, ZOOM = 0.35, 0.7  # a source worsens by e with this angle between rays, and log of zoom
PATIENCE_S = 30.0  # things change: a frame so far away in time counts half
WORTH = (1.0, 0.5, 0.25)  # of the best source of a place, the second, the third
BASELINE = 1.5  # paces between a frame and the best neighbour to tell depth from
BASELINES = (0.3, 8.0)  # the least and the most
NEIGHBOUR_RAD = 0.6
AHEAD_SHARE = 0.5  # a pace ahead shows so much of the parallax of a pace aside


class SessionMemory:
    """Poses of a recording, and which of its frames may be used.

    Attributes:
        pace: what the camera moves from frame to frame when it is fast, world units.
        known: pixels of every frame that show the scene, bool `[H, W]`.

    Args:
        poses: x, y, z, yaw, pitch, roll `[T, 6]`, radians, yaw to the left.
        times_ns: `[T]`.
        usable: frames that were recorded, with their states, bool `[T]`.
        camera: of the recording.
        known: pixels of every frame that show the scene, bool `[H, W]`.
    """

    def __init__(
        self,
        poses: Floats,
        times_ns: NDArray[np.int64],
        usable: NDArray[np.bool_],
        camera: Pinhole,
        known: NDArray[np.bool_],
    ) -> None:
        self.poses, self.times_ns, self.camera = poses, times_ns, camera
        self.known = known
        self.usable = usable & np.isfinite(poses).all(1)
        self.axes = axes_of(poses)
        self.pace = pace_of(poses, self.usable)

    def nearest(self, pose: Floats) -> int:
        """The frame whose pose is nearest: paces apart, and radians of turning count alike."""
        there = np.flatnonzero(self.usable)
        return int(there[self._apart(pose, there).argmin()])

    def around(self, time_ns: int) -> tuple[int, int]:
        """The frames before and after a moment, nearest in time; the same twice at an end."""
        there = np.flatnonzero(self.usable)
        at = int(np.searchsorted(self.times_ns[there], time_ns))
        after = int(there[min(at, len(there) - 1)])
        exact = int(self.times_ns[after]) <= time_ns or at == 0
        return (after, after) if exact else (int(there[at - 1]), after)

    def _apart(self, pose: Floats, frames: NDArray[np.intp]) -> Floats:
        """How far poses are apart: what moves the picture as much as a radian counts one."""
        shift = np.linalg.norm(self.poses[frames, :3] - pose[:3], axis=1) / (12 * self.pace)
        return np.asarray(shift + angle_between(self.axes[frames, 2], axes_of(pose[None])[0, 2]))

    def sources(
        self, pose: Floats, time_ns: int | None = None, count: int = NUM_SOURCES
    ) -> list[int]:
        """Choose the frames that together know most of what a camera sees, the best one first.

        Args:
            pose: of the camera `[6]`.
            time_ns: the moment that is looked at; frames near to it count more.
            count: of frames, at most.
        """
        time = int(self.times_ns[self.nearest(pose)]) if time_ns is None else time_ns
        found = self._candidates(pose, time)
        worth = self._worth(found, pose, time)  # [n, P]
        best = np.zeros((len(WORTH), worth.shape[1]))
        chosen: list[int] = []
        value = 0.0
        for _ in range(min(count, len(found))):
            gains = np.array([_value(best, row) for row in worth])
            pick = int(gains.argmax())
            if gains[pick] <= value + 1e-6:
                break
            value = float(gains[pick])
            best = _ranked(best, worth[pick])
            chosen.append(int(found[pick]))
            worth[pick] = 0
        return chosen

    def _candidates(self, pose: Floats, time_ns: int) -> NDArray[np.intp]:
        """Frames near enough, one of each pose: that nearest in time."""
        there = np.flatnonzero(self.usable)
        later = np.abs(self.times_ns[there] - time_ns)
        there = there[later.argsort(kind="stable")]
        steps = np.array([self.pace * CELL_PACES] * 3 + [CELL_RAD] * 3)
        cells = np.floor(self.poses[there] / steps)
        _, first = np.unique(cells, axis=0, return_index=True)
        alone = there[np.sort(first)]
        order = self._apart(pose, alone).argsort(kind="stable")
        return np.asarray(alone[order[:MAX_CANDIDATES]])

    def _worth(self, frames: NDArray[np.intp], pose: Floats, time_ns: int) -> Floats:
        """What each frame is worth for places that the camera sees, 0 to 1 `[n, P]`."""
        places = self._places(pose)
        rays = places[None] - self.poses[frames, None, :3]  # [n, P, 3]
        seen = np.einsum("npd,nda->npa", rays, self.axes[frames].transpose(0, 2, 1))
        inside = self._inside(seen)
        own = places - pose[:3]
        far, far_own = (np.linalg.norm(r, axis=-1).clip(1e-6) for r in (rays, own))
        cosine = (rays * own).sum(-1) / (far * far_own)
        apart = np.arccos(cosine.clip(-1, 1)) / RAY_RAD + np.abs(np.log(far / far_own)) / ZOOM
        late_s = np.abs(self.times_ns[frames] - time_ns) / 1e9
        return np.asarray(inside * np.exp(-apart) / (1 + late_s / PATIENCE_S)[:, None])

    def _places(self, pose: Floats) -> Floats:
        """Places that the camera may see, in the world `[P, 3]`."""
        camera = self.camera
        xs = np.linspace(camera.left_px, camera.right_px, 2 * GRID[0] + 1)[1::2]
        ys = np.linspace(camera.top_px, camera.bottom_px, 2 * GRID[1] + 1)[1::2]
        right, up = np.meshgrid(
            (xs - camera.centre_x_px) / camera.focal_x_px,
            -(ys - camera.centre_y_px) / camera.focal_y_px,
        )
        rays = np.stack([right, up, np.ones_like(right)], -1).reshape(-1, 3)
        world = rays @ axes_of(pose[None])[0]
        return np.concatenate([pose[:3] + depth * self.pace * world for depth in DEPTHS])

    def _inside(self, seen: Floats) -> NDArray[np.bool_]:
        """Whether places, as right, up and ahead of a camera `[..., 3]`, are in its view."""
        camera, ahead = self.camera, seen[..., 2].clip(1e-6)
        x = camera.centre_x_px + camera.focal_x_px * seen[..., 0] / ahead
        y = camera.centre_y_px - camera.focal_y_px * seen[..., 1] / ahead
        across = (x >= camera.left_px) & (x < camera.right_px)
        down = (y >= camera.top_px) & (y < camera.bottom_px)
        inside = (seen[..., 2] > 1e-6) & across & down
        at = np.where(inside, y, 0).astype(np.int64), np.where(inside, x, 0).astype(np.int64)
        return np.asarray(inside & self.known[at])

    def neighbours(self, index: int) -> list[int]:
        """Choose frames that tell the depth of a frame: near by, on different sides, at most four.

        Empty where the camera never stood anywhere else while it looked there.
        """
        there = np.flatnonzero(self.usable)
        there = there[there != index]
        pose = self.poses[index]
        local = (self.poses[there, :3] - pose[:3]) @ self.axes[index].T / self.pace
        base = np.hypot(np.hypot(local[:, 0], local[:, 1]), AHEAD_SHARE * local[:, 2])
        turn = angle_between(self.axes[there, 2], self.axes[index, 2])
        late_s = np.abs(self.times_ns[there] - self.times_ns[index]) / 1e9
        fits = (base > BASELINES[0]) & (base < BASELINES[1]) & (turn < NEIGHBOUR_RAD)
        there, local, base = there[fits], local[fits], base[fits]
        price = np.abs(np.log(base / BASELINE)) + turn[fits] / 0.5 + late_s[fits] / 10
        chosen: list[int] = []
        for _ in range(min(NUM_NEIGHBOURS, len(there))):
            best = int(price.argmin())
            chosen.append(int(there[best]))
            near = np.linalg.norm(local - local[best], axis=1)
            price = price + np.exp(-near / 0.7)  # the next one is better somewhere else
            price[best] = np.inf
        return chosen


def _ranked(best: Floats, row: Floats) -> Floats:
    """The best values of every place with one more source, `[ranks, P]`."""
    return np.asarray(np.sort(np.concatenate([best, row[None]]), 0)[::-1][: len(best)])


def _value(best: Floats, row: Floats) -> float:
    return float((_ranked(best, row) * np.array(WORTH)[:, None]).sum())


def axes_of(poses: Floats) -> Floats:
    """Right, up and forward axes of cameras in the world `[n, 3, 3]`, one a row."""
    turned = rotation(torch.from_numpy(np.ascontiguousarray(poses[:, 3:])))
    return np.asarray(turned.transpose(-1, -2).numpy())


def angle_between(axes: Floats, axis: Floats) -> Floats:
    """Angles between directions `[n, 3]` and one `[3]`."""
    return np.asarray(np.arccos((axes @ axis).clip(-1, 1)))


def pace_of(poses: Floats, usable: NDArray[np.bool_]) -> float:
    """World units from frame to frame, when the camera is fast; 1 where it never moves."""
    there = np.flatnonzero(usable)
    steps = np.linalg.norm(np.diff(poses[there, :3], axis=0), axis=1) / np.diff(there)
    steps = steps[steps > 0]
    return float(np.percentile(steps, 90)) if len(steps) else 1.0
