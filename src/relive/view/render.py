"""A view from another camera: surfaces of recorded frames, drawn, voted on, blended.

```
 surfaces ─► drawn into the view ─► which depth do they agree on? ─► colours, confidence, seen
```

What no frame has seen stays unseen: nothing is painted here.

Shapes: K surfaces, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relive.model.warp import Pinhole
from relive.restore.sources import eye_between
from relive.view import kernels
from relive.view.surface import Surface

Floats = NDArray[np.float32]
STRETCH_PX = np.float32(6)


@dataclass(frozen=True)
class Looks:
    """What every surface shows of a view.

    Attributes:
        colours: float32 `[K, H, W, 3]`, levels.
        near: inverse depth from the view's camera; -1 where unseen `[K, H, W]`.
        trust: in the depth, 0 to 1 `[K, H, W]`.
        zoom: pixels of the source on a pixel of the view, roughly `[K, H, W]`.
        rays: angle between the rays of both cameras, radians `[K, H, W]`.
    """

    colours: Floats
    near: Floats
    trust: Floats
    zoom: Floats
    rays: Floats


def look(surfaces: Sequence[Surface], pose: NDArray[np.float64], camera: Pinhole) -> Looks:
    """Draw surfaces into the view of a camera."""
    parts = [_look(surface, pose, camera) for surface in surfaces]
    return Looks(*(np.stack(column) for column in zip(*parts, strict=True)))


def _look(surface: Surface, pose: NDArray[np.float64], camera: Pinhole) -> tuple[Floats, ...]:
    shot, (height, width) = surface.shot, surface.near.shape
    seen_from = np.full((3, height, width), -1, np.float32)
    eye = eye_between(camera, pose, shot.pose)
    kernels.draw(eye, surface.near, shot.known, STRETCH_PX, seen_from)
    view = np.zeros((height, width), np.bool_)
    view[camera.top_px : camera.bottom_px, camera.left_px : camera.right_px] = True
    seen_from[0][~view] = -1
    colours = np.zeros((height, width, 3), np.float32)
    bottom = np.float32(camera.bottom_px)
    kernels.pick(shot.pixels, shot.known, seen_from, bottom, colours)
    near, columns, rows = seen_from
    at = rows.astype(np.int64).clip(0, height - 1), columns.astype(np.int64).clip(0, width - 1)
    trust, own_near = surface.trust[at], surface.near[at]
    zoom = np.where((near > 0) & (own_near > 0), own_near / np.maximum(near, 1e-9), 1)
    shift = np.linalg.norm(shot.pose[:3] - pose[:3])
    rays = np.minimum(np.maximum(near, own_near) * shift, 2)
    seen = near >= 0
    return colours, near, trust * seen, zoom.astype(np.float32), rays.astype(np.float32)
