"""What a recorded frame shows, as a surface: the depth of its pixels, told by its neighbours.

```
 frame, neighbours ─► misfit at every depth ─► smooth (four paths) ─► depth, trust
```

No labels and no training: at the right depth a frame and its neighbours show the same.

Shapes: H W pixels, L depths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from relive.model.warp import Pinhole
from relive.restore import kernels as matching
from relive.restore.sources import Frame, Mask, eye_between
from relive.restore.tint import beside, tint_between
from relive.view import kernels
from relive.view.memory import NUM_NEIGHBOURS

Floats = NDArray[np.float32]
MAX_DEPTHS = 64
PARALLAX_PX, GROWTH = 0.5, 0.06  # between neighbouring depths
NEAREST_PACES = 1.2
TINT_LEVELS = 12.0  # between the means of a channel, from which on one of both has a tint
MAX_WIDTH_PX = 480  # of pictures whose depth is told; larger ones are shrunk for that
SMALL_STEP, ANY_STEP = np.float32(16), np.float32(80)  # levels that a change of depth costs
WINDOW = 1  # pixels around one that are compared with it
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
    if not others:
        unknown = np.zeros(shot.known.shape, np.float32)
        return Surface(shot, unknown, np.float32(0.5) * shot.known)
    fixed = beside(camera, shot.known.shape)
    others = [alike(other, shot, fixed) for other in others]
    scale = -(-shot.known.shape[1] // MAX_WIDTH_PX)
    small = shot if scale == 1 else shrink(shot, scale)
    views = others if scale == 1 else [shrink(other, scale) for other in others]
    near, trust = _match(small, views, smaller(camera, scale), pace)
    return Surface(shot, *(enlarge(part, scale, shot.known) for part in (near, trust)))


def _match(
    shot: Shot, others: Sequence[Shot], camera: Pinhole, pace: float
) -> tuple[Floats, Floats]:
    """Inverse depth and trust of every pixel, from a sweep over all depths."""
    known = shot.known
    views = [others[i % len(others)] for i in range(NUM_NEIGHBOURS)]
    baseline = max(float(np.linalg.norm(view.pose[:3] - shot.pose[:3])) for view in views)
    nears = inverse_depths(camera.focal_x_px, baseline, NEAREST_PACES * pace)
    height, width = known.shape
    cost = np.empty((min(height, camera.bottom_px), width, len(nears)), np.float32)
    pictures = np.stack([view.pixels.astype(np.float32) for view in views])
    whole = np.stack([readable(view.known) for view in views])
    eyes = tuple(eye_between(camera, view.pose, shot.pose) for view in views)
    kernels.match(shot.pixels, known, (pictures, whole), eyes, nears, cost)
    matching.settle(cost, SURCHARGE)
    mean, total = np.empty_like(cost), np.zeros_like(cost)
    matching.box(cost, WINDOW, mean)
    matching.smooth(mean, SMALL_STEP, ANY_STEP, total)
    near = np.zeros(known.shape, np.float32)
    matching.choose(total, nears, near[: len(cost)])
    return near, _trust(mean, near, nears, known)


def alike(view: Shot, shot: Shot, fixed: Mask) -> Shot:
    """Free a neighbour of a tint that one of both pictures has, and of another brightness.

    A flash of pain or of an item covers all of a picture. What lies beside the scene tells it. What
    is left, or all where nothing tells, shows in the mean and the spread of each channel, which two
    neighbours otherwise share; so does light that fades with the distance from the camera.

    Args:
        view: the neighbour.
        shot: the frame whose light it takes.
        fixed: pixels beside the scene, bool `[H, W]`.
    """
    tint = tint_between(view.pixels, shot.pixels, fixed)
    pixels = view.pixels if tint is None else tint.apply_to_frame(view.pixels)
    view = replace(view, pixels=pixels)
    own, other = shot.pixels[shot.known], pixels[view.known]
    if not len(own) or not len(other):
        return view
    means = own.mean(0), other.mean(0)
    if np.abs(means[0] - means[1]).max() < TINT_LEVELS:
        return view
    gain = (own.std(0) + 1) / (other.std(0) + 1)
    colours = (pixels - means[1]) * gain + means[0]
    return replace(view, pixels=colours.round().clip(0, 255).astype(np.uint8))


def shrink(shot: Shot, scale: int) -> Shot:
    """A smaller picture: means of squares; one is known where all of its pixels are."""
    height, width = (-(-side // scale) * scale for side in shot.known.shape)
    below, aside = height - shot.known.shape[0], width - shot.known.shape[1]
    pixels = np.pad(shot.pixels, ((0, below), (0, aside), (0, 0)), "edge")
    known = np.pad(shot.known, ((0, below), (0, aside)))
    parts = height // scale, scale, width // scale, scale
    mean = pixels.reshape(*parts, 3).mean((1, 3)).round().astype(np.uint8)
    return Shot(mean, np.asarray(known.reshape(parts).all((1, 3))), shot.pose)


def smaller(camera: Pinhole, scale: int) -> Pinhole:
    """The camera of smaller pictures."""
    lengths = (camera.focal_x_px, camera.focal_y_px, camera.centre_x_px, camera.centre_y_px)
    left, top = -(-camera.left_px // scale), -(-camera.top_px // scale)
    right, bottom = camera.right_px // scale, camera.bottom_px // scale
    focal_x, focal_y, centre_x, centre_y = (length / scale for length in lengths)
    return Pinhole(focal_x, focal_y, centre_x, centre_y, left, top, right, bottom)


def enlarge(part: Floats, scale: int, known: Mask) -> Floats:
    """Repeat the pixels of a smaller map; 0 where the frame shows no scene."""
    if scale == 1:
        return part
    height, width = known.shape
    return np.ascontiguousarray(part.repeat(scale, 0).repeat(scale, 1)[:height, :width] * known)


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
