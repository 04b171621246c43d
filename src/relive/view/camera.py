"""Cameras as people and schemas say them, and as poses: x, y, z, yaw, pitch, roll in radians.

Numbers of a camera are in the units of the session's schema: positions as its fields are, angles
in the unit of their fields (degrees where there is no such field), yaw growing to the side that
the schema declares.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relive.cubes.states import camera_poses
from relive.errors import InputError
from relive.session import StateField, StateSchema

Pose = NDArray[np.float64]
ANGLES = ("yaw", "pitch", "roll")
ROLES = ("camera.x", "camera.y", "camera.z", "camera.yaw", "camera.pitch", "camera.roll")
STEEPEST_RAD = math.radians(89)
MAX_CAMERAS = 1 << 20
MAX_S = 2**63 / 1e9
_RADIANS = {"deg": math.pi / 180, "rad": 1.0, "turn": 2 * math.pi}


@dataclass(frozen=True)
class Offset:
    """From a recorded pose to another one.

    Attributes:
        forward: along the heading, level, in world units.
        right: to the right of it.
        up: upwards.
        turn_deg: to the right, as the picture turns.
        pitch_deg: upwards.
    """

    forward: float = 0.0
    right: float = 0.0
    up: float = 0.0
    turn_deg: float = 0.0
    pitch_deg: float = 0.0

    def of(self, pose: Pose) -> Pose:
        """Go there from a pose."""
        out, yaw = pose.copy(), pose[3]
        out[0] += self.forward * math.cos(yaw) + self.right * math.sin(yaw)
        out[1] += self.forward * math.sin(yaw) - self.right * math.cos(yaw)
        out[2] += self.up
        out[3] -= math.radians(self.turn_deg)
        out[4] = np.clip(out[4] + math.radians(self.pitch_deg), -STEEPEST_RAD, STEEPEST_RAD)
        return out


def parse_numbers(option: str, text: str, least: int, most: int, wanted: str) -> list[float]:
    """Read numbers between commas.

    Raises:
        InputError: They are too few, too many, or no numbers.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not least <= len(numbers) <= most or not all(map(math.isfinite, numbers)):
        raise InputError(f"{option} {text}: write {wanted}")
    return numbers


def parse_camera(text: str, schema: StateSchema) -> Pose:
    """Read `X,Y,Z,YAW[,PITCH[,ROLL]]` in the units of a schema.

    Raises:
        InputError: These are not four to six numbers.
    """
    numbers = parse_numbers("--camera", text, 4, 6, "X,Y,Z,YAW[,PITCH[,ROLL]]")
    return pose_of(numbers, schema)


def unit_of(schema: StateSchema, role: str) -> str:
    """Unit of an angle of the camera; degrees where the schema has no field for it."""
    index = schema.index(role)
    unit = "deg" if index is None else schema.fields[index].unit
    return unit if unit in _RADIANS else "deg"


def pose_of(numbers: Sequence[float], schema: StateSchema) -> Pose:
    """Make a pose of x, y, z, yaw and, where given, pitch and roll, in the units of a schema."""
    pose = np.zeros(6)
    pose[: len(numbers)] = numbers
    for column, role in enumerate(ROLES[3:], 3):
        pose[column] *= _RADIANS[unit_of(schema, role)]
    if schema.camera is not None and schema.camera.yaw_positive == "right":
        pose[3] *= -1
    return pose


def numbers_of(pose: Pose, schema: StateSchema) -> list[float]:
    """The six numbers of a pose in the units of a schema: the inverse of `pose_of`."""
    numbers = pose.copy()
    if schema.camera is not None and schema.camera.yaw_positive == "right":
        numbers[3] *= -1
    for column, role in enumerate(ROLES[3:], 3):
        numbers[column] /= _RADIANS[unit_of(schema, role)]
    return [float(number) for number in numbers]


def pose_schema(schema: StateSchema) -> StateSchema:
    """The fields of a camera alone, with the names of a session where it has them."""
    fields = []
    for role in ROLES:
        index = schema.index(role)
        name = role.removeprefix("camera.")
        if index is not None:
            fields.append(schema.fields[index])
        elif name in ANGLES:
            fields.append(StateField(f"camera {name}", "deg", "angle", role))
        else:
            fields.append(StateField(f"camera {name}", "", "linear", role))
    return StateSchema(tuple(fields), schema.camera)


def read_path(path: Path, schema: StateSchema) -> tuple[list[int], list[Pose]]:
    """Read cameras and their times: CSV of `time_s,x,y,z,yaw` and, if wanted, `pitch`, `roll`.

    Returns:
        Times in nanoseconds, strictly increasing, and poses.

    Raises:
        InputError: It cannot be read, has other columns, or a row is not of numbers.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no CSV"
        raise InputError(f"cannot read {path}: {reason}") from None
    header = [word.strip() for word in rows[0]] if rows else []
    if header[:5] != ["time_s", "x", "y", "z", "yaw"] or header[5:] not in (
        [],
        ["pitch"],
        ["pitch", "roll"],
    ):
        raise InputError(f"{path}: the first line is time_s,x,y,z,yaw[,pitch[,roll]]")
    if not 1 < len(rows) <= MAX_CAMERAS:
        raise InputError(f"{path}: {len(rows) - 1} cameras; 1 to {MAX_CAMERAS - 1} are drawn")
    table = [_row(path, line, row, len(header)) for line, row in enumerate(rows[1:], 2)]
    times = [round(1e9 * row[0]) for row in table]
    for line, (before, after) in enumerate(pairwise(times), 3):
        if after <= before:
            raise InputError(f"{path}, line {line}: the time does not grow")
    return times, [pose_of(row[1:], schema) for row in table]


def _row(path: Path, line: int, row: list[str], width: int) -> list[float]:
    try:
        numbers = [float(cell) for cell in row]
    except ValueError:
        numbers = []
    if len(numbers) != width or not all(map(math.isfinite, numbers)):
        raise InputError(f"{path}, line {line}: {width} numbers are wanted, not {','.join(row)}")
    if not 0 <= numbers[0] < MAX_S:
        raise InputError(f"{path}, line {line}: the time {row[0]} is not from 0 to {MAX_S:g} s")
    return numbers


def recorded_pose(schema: StateSchema, state: NDArray[np.float32]) -> Pose:
    """The pose that a state tells."""
    pose: Pose = camera_poses(schema, state[None])[0]
    return pose
