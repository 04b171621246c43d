"""A room with a pillar, painted all over, seen from any camera exactly: rays meet its boxes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relive.model.warp import rotation
from relive.session import Camera, Recorder, StateField, StateSchema

WIDTH, HEIGHT, STATUS_PX, FPS = 128, 96, 12, 20
VIEW = (0, 0, WIDTH, HEIGHT - STATUS_PX)
SCHEMA = StateSchema(
    (
        StateField("x", "m", "linear", "camera.x"),
        StateField("y", "m", "linear", "camera.y"),
        StateField("z", "m", "linear", "camera.z"),
        StateField("yaw", "deg", "angle", "camera.yaw"),
        StateField("health", "", "linear", "other", 1.0),
    ),
    Camera(90.0, 1.0, "left", VIEW),
)
ROOM = np.array([[-300.0, -200, 0], [300, 200, 150]])
PILLAR = np.array([[60.0, -30, 0], [110, 30, 150]])
STATUS, GUN = np.array([200, 40, 40], np.uint8), np.array([90, 90, 100], np.uint8)
GUN_BOX = (slice(62, HEIGHT - STATUS_PX), slice(56, 76))


def paint(places: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colours of places: smooth waves, so that a picture can be read between its pixels."""
    x, y, z = np.moveaxis(places, -1, 0)
    waves = [
        np.sin(0.11 * x + 0.07 * y) + np.sin(0.13 * z - 0.05 * y),
        np.sin(0.09 * y + 0.12 * z) + np.sin(0.17 * x),
        np.sin(0.08 * (x + y + z)) + np.sin(0.15 * y - 0.06 * x),
    ]
    return (127 + 60 * np.stack(waves, -1)).clip(0, 255).astype(np.uint8)


def see(pose: NDArray[np.float64], *, gun: bool = True) -> NDArray[np.uint8]:
    """The picture of a camera at x, y, z, yaw, pitch, roll (radians)."""
    import torch

    focal, (left, top, wide, high) = WIDTH / 2, VIEW
    rows, columns = np.indices((HEIGHT, WIDTH)) + 0.5
    right, up = (columns - left - wide / 2) / focal, -(rows - top - high / 2) / focal
    axes = rotation(torch.from_numpy(pose[3:])[None])[0].numpy().T
    rays = np.stack([right, up, np.ones_like(right)], -1) @ axes
    far = np.minimum(hit(pose[:3], rays, ROOM, inside=True), hit(pose[:3], rays, PILLAR))
    picture = paint(pose[:3] + far[..., None] * rays)
    picture[HEIGHT - STATUS_PX :] = STATUS
    if gun:
        picture[GUN_BOX] = GUN
    return picture


def hit(
    start: NDArray[np.float64],
    rays: NDArray[np.float64],
    box: NDArray[np.float64],
    inside: bool = False,
) -> NDArray[np.float64]:
    """How far along each ray a box is met; infinity where it is missed."""
    with np.errstate(divide="ignore"):
        both = (box[:, None, None] - start) / rays
    enter, leave = both.min(0).max(-1), both.max(0).min(-1)
    if inside:
        return leave
    return np.where((enter > 0) & (enter < leave), enter, np.inf)


def poses(count: int) -> NDArray[np.float64]:
    """A walk along the room that looks left and right."""
    step = np.arange(count)
    out = np.zeros((count, 6))
    out[:, 0], out[:, 1] = -200 + 4.0 * step, 60 * np.sin(step / 9)
    out[:, 2], out[:, 3] = 60 + 2 * np.sin(step / 2), 0.5 * np.sin(step / 7)
    return out


def write_room(path: Path, count: int = 60, damaged: int | None = None) -> NDArray[np.float64]:
    """Record the walk; returns its poses."""
    walk = poses(count)
    with Recorder(path, SCHEMA, game="test:room") as recorder:
        for index, pose in enumerate(walk):
            state = [*pose[:3], np.degrees(pose[3]), 100 - index]
            picture = None if index == damaged else see(pose)
            recorder.add(picture, state, index * 1_000_000_000 // FPS)
    return walk
