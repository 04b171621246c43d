"""States of frames as the model reads them: camera poses, and fields matched by name.

Shapes: n frames, S fields of the session, M fields that the model knows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from relive.session import StateSchema

_POSE_ROLES = ("camera.x", "camera.y", "camera.z", "camera.yaw", "camera.pitch", "camera.roll")
_REQUIRED = _POSE_ROLES[:4]
# Motion of the camera since the frame before, in its own axes: the same on every map.
DERIVED = ("@forward", "@left", "@up", "@turn")


def has_camera(schema: StateSchema) -> bool:
    """Whether the schema places a camera well enough to warp by."""
    return schema.camera is not None and all(schema.index(r) is not None for r in _REQUIRED)


def to_radians(schema: StateSchema, index: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles of one field in radians; the field says whether it is in `deg`, `rad` or `turn`."""
    return values * {"rad": 1.0, "turn": 2 * math.pi}.get(schema.fields[index].unit, math.pi / 180)


def camera_poses(schema: StateSchema, states: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return x, y, z, yaw, pitch, roll (radians, yaw to the left) `[n, 6]`; else zero."""
    poses = np.zeros((len(states), 6))
    if not has_camera(schema) or schema.camera is None:
        return poses
    for column, role in enumerate(_POSE_ROLES):
        index = schema.index(role)
        if index is not None:
            values = states[:, index].astype(np.float64)
            poses[:, column] = to_radians(schema, index, values) if column >= 3 else values
    if schema.camera.yaw_positive == "right":
        poses[:, 3] *= -1
    return poses


_TURNS = {"deg": 360.0, "rad": 2 * math.pi, "turn": 1.0}


def between(
    schema: StateSchema,
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    shares: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Guess states between two frames: straight on, angles the short way, what counts stays.

    Args:
        schema: of the states.
        before: `[S]`.
        after: `[S]`.
        shares: of the way, 0..1 `[n]`.

    Returns:
        float32 `[n, S]`.
    """
    change = after.astype(np.float64) - before
    for i, field in enumerate(schema.fields):
        if field.kind == "angle":
            turn = _TURNS[field.unit]
            change[i] = np.remainder(change[i] + turn / 2, turn) - turn / 2
        elif field.kind != "linear":
            change[i] = 0.0
    return np.asarray((before + shares[:, None] * change).astype(np.float32))


def _camera_motion(poses: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    with np.errstate(invalid="ignore", over="ignore"):  # of a forged track
        shift = poses[:, :3] - poses[0, :3]
        cos, sin = np.cos(poses[0, 3]), np.sin(poses[0, 3])
        turn = np.remainder(poses[:, 3] - poses[0, 3] + math.pi, 2 * math.pi) - math.pi
        return {
            "@forward": shift[:, 0] * cos + shift[:, 1] * sin,
            "@left": -shift[:, 0] * sin + shift[:, 1] * cos,
            "@up": shift[:, 2],
            "@turn": turn,
        }


def model_states(
    schema: StateSchema, states: NDArray[np.float32], names: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Select what the model reads.

    Args:
        schema: of the session.
        states: of consecutive frames `[n, S]`; motion is counted from the first.
        names: the model's fields: names of the schema, or one of `DERIVED`.

    Returns:
        Values `[n, M]` (angles in radians) and known `[M]`, 1 where the session has the field.
    """
    values = np.zeros((len(states), len(names)), np.float32)
    known = np.zeros(len(names), np.float32)
    columns = {field.name: i for i, field in enumerate(schema.fields)}
    motion = _camera_motion(camera_poses(schema, states)) if has_camera(schema) else {}
    for target, name in enumerate(names):
        if name in motion:
            values[:, target], known[target] = motion[name], 1
        elif name in columns:
            index = columns[name]
            column = states[:, index].astype(np.float64)
            if schema.fields[index].kind == "angle":
                column = to_radians(schema, index, column)
            values[:, target], known[target] = column, 1
    return values, known
