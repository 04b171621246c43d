"""What a recorded frame shows, as a surface: the depth of its pixels, told by its neighbours.

```
 frame, neighbours ─► misfit at every depth ─► smooth (four paths) ─► depth, trust
```

No labels and no training: at the right depth a frame and its neighbours show the same.

Shapes: H W pixels, L depths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relive.model.warp import Pinhole
from relive.restore import kernels as matching
from relive.restore.sources import Frame, Mask, eye_between
from relive.view import kernels
from relive.view.memory import NUM_NEIGHBOURS

Floats = NDArray[np.float32]
MAX_DEPTHS = 64
PARALLAX_PX, GROWTH = 0.5, 0.06  # between neighbouring depths
NEAREST_PACES = 1.2
SMALL_STEP, ANY_STEP = np.float32(4), np.float32(20)  # levels that a change of depth costs
SURCHARGE = np.float32(1.1)
TRUST_LEVELS = 10.0  # a misfit of so many levels lowers the trust by e


@dataclass(frozen=True)
class Shot:
    """A recorded frame.

    Attributes:
        pixels: uint8 `[H, W, 3]`.
        known: what of it belongs to the scene, bool `[H, W]`.
        pose: x, y, z, yaw, pitch, roll `[6]`.
    """

    pixels: Frame
    known: Mask
    pose: NDArray[np.float64]


@dataclass(frozen=True)
class Surface:
    """A recorded frame with its depth.

    Attributes:
        shot: the frame.
        near: inverse depth of every pixel `[H, W]`.
        trust: how well the neighbours bear it out, 0 to 1 `[H, W]`.
    """

    shot: Shot
    near: Floats
    trust: Floats


def inverse_depths(focal_px: float, baseline: float, nearest: float) -> Floats:
    """Inverse depths to try: the parallax of neighbours differs by half a pixel, or 6 percent."""
    nears, finest = [0.0], PARALLAX_PX / (focal_px * max(baseline, 1e-6))
    while nears[-1] < 1 / nearest and len(nears) < MAX_DEPTHS:
        nears.append(nears[-1] + max(finest, GROWTH * nears[-1]))
    return np.array(nears, np.float32)


def find_surface(shot: Shot, others: Sequence[Shot], camera: Pinhole, pace: float) -> Surface:
    """Tell the depth of a frame from its neighbours; without any, everything is far away.

    Args:
        shot: the frame.
        others: its neighbours, at most `NUM_NEIGHBOURS`.
        camera: of all of them.
        pace: world units of a step of the camera.
    """
    known = shot.known
    if not others:
        unknown = np.zeros(known.shape, np.float32)
        return Surface(shot, unknown, np.float32(0.5) * known)
    views = [others[i % len(others)] for i in range(NUM_NEIGHBOURS)]
    baseline = max(float(np.linalg.norm(view.pose[:3] - shot.pose[:3])) for view in views)
    nears = inverse_depths(camera.focal_x_px, baseline, NEAREST_PACES * pace)
    height, width = known.shape
    cost = np.empty((min(height, camera.bottom_px), width, len(nears)), np.float32)
    pictures = np.stack([view.pixels for view in views]).astype(np.float32)
    whole = np.stack([readable(view.known) for view in views])
    eyes = tuple(eye_between(camera, view.pose, shot.pose) for view in views)
    kernels.match(shot.pixels, known, (pictures, whole), eyes, nears, cost)
    matching.settle(cost, SURCHARGE)
    mean, total = np.empty_like(cost), np.zeros_like(cost)
    matching.box(cost, 1, mean)
    matching.smooth(mean, SMALL_STEP, ANY_STEP, total)
    near = np.zeros(known.shape, np.float32)
    matching.choose(total, nears, near[: len(cost)])
    return Surface(shot, near, _trust(mean, near, nears, known))


def readable(known: Mask) -> Mask:
    """Where a pixel and the next ones across and down are all known."""
    out = np.zeros_like(known)
    out[:-1, :-1] = known[:-1, :-1] & known[1:, :-1] & known[:-1, 1:] & known[1:, 1:]
    return out


def _trust(mean: Floats, near: Floats, nears: Floats, known: Mask) -> Floats:
    """How little the misfit is at the depth that was chosen."""
    label = np.abs(near[: len(mean), :, None] - nears).argmin(-1)
    misfit = np.take_along_axis(mean, label[..., None], -1)[..., 0]
    trust = np.zeros(known.shape, np.float32)
    trust[: len(mean)] = np.exp(-misfit / TRUST_LEVELS)
    return trust * known
