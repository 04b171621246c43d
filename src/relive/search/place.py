"""Search by place: frames whose camera stood near a pose, by the roles of each schema."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relive.catalog import Catalog
from relive.catalog.tables import StateTable, quoted
from relive.cubes.states import to_radians
from relive.errors import InputError
from relive.search.hits import Hits
from relive.session import StateSchema

if TYPE_CHECKING:
    from relive.codec import Replay

AXES = ("camera.x", "camera.y", "camera.z")
WITHIN = 64.0
"""Two metres in Doom, where a person is 56 units tall."""
ANGLE_DEG = 20.0


@dataclass(frozen=True)
class Place:
    """Where a camera stood.

    Attributes:
        position: x, y and, where it is known, z, in the units of the game.
        yaw_deg: where it looked, in the sense of the game; None for anywhere.
        game: only replays of this game; None for all.
    """

    position: tuple[float, ...]
    yaw_deg: float | None = None
    game: str | None = None

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read `x,y,z` or `x,y,z,yaw`, yaw in degrees.

        Raises:
            InputError: These are not three or four numbers.
        """
        try:
            numbers = [float(number) for number in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (3, 4) or not all(map(math.isfinite, numbers)):
            raise InputError(f"--near {text}: write x,y,z or x,y,z,yaw")
        return cls(tuple(numbers[:3]), numbers[3] if len(numbers) == 4 else None)

    @classmethod
    def of(cls, replay: Replay, frame: int) -> Place:
        """Where the camera stood in a frame of a replay.

        Raises:
            InputError: Its schema has no camera, or the state of the frame is not known.
        """
        if not (replay.stated & replay.has_states)[frame]:
            raise InputError(f"{replay.path}: the state of frame {frame} is not known")
        columns = [replay.schema.index(role) for role in AXES]
        if columns[0] is None or columns[1] is None:
            raise InputError(f"{replay.path}: its states have no camera.x and camera.y")
        state = replay.states[frame]
        position = tuple(float(state[column]) for column in columns if column is not None)
        yaw = replay.schema.index("camera.yaw")
        degrees = None
        if yaw is not None:
            radians = to_radians(replay.schema, yaw, state[yaw : yaw + 1].astype(np.float64))
            degrees = float(np.degrees(radians[0]))
        return cls(position, degrees, replay.header.game)


def near(
    catalog: Catalog, place: Place, within: float = WITHIN, angle_deg: float = ANGLE_DEG
) -> Hits:
    """Find the frames whose camera was near a place; the distance is their cost.

    Args:
        catalog: to search.
        place: a pose.
        within: largest distance, in the units of the game.
        angle_deg: largest difference of the yaw, where the place has one.

    Raises:
        InputError: No replay has a camera.
    """
    rows = catalog.rows(
        "SELECT schema, states, list(file) FROM files WHERE states IS NOT NULL AND NOT missing "
        "AND (? IS NULL OR game = ?) GROUP BY ALL",
        [place.game, place.game],
    )
    parts = []
    for text, table, files in rows:
        schema = _schema(text)
        if _axes(schema):
            parts.append(_near(catalog, table, files, schema, place, (within, angle_deg)))
    if rows and not parts:
        raise InputError("no replay that is searched has a camera (camera.x, camera.y)")
    return Hits.join(parts)


def _axes(schema: StateSchema) -> list[str]:
    """Columns of x, y and, where there is one, z of the camera; none without x and y."""
    columns = StateTable.of(schema).columns
    found = [schema.index(role) for role in AXES]
    return [] if None in found[:2] else [columns[n] for n in found if n is not None]


def _near(
    catalog: Catalog,
    table: str,
    files: list[int],
    schema: StateSchema,
    place: Place,
    limits: tuple[float, float],
) -> Hits:
    """Search the replays of one schema."""
    columns, axes = StateTable.of(schema).columns, _axes(schema)
    yaw = schema.index("camera.yaw")
    turning = yaw is not None and place.yaw_deg is not None
    wanted = ["file", "frame", "time_s", *map(quoted, axes)]
    wanted += [quoted(columns[yaw])] if turning and yaw is not None else []
    sql = f"SELECT {', '.join(wanted)} FROM {table} WHERE list_contains(?, file) AND present"  # noqa: S608  names of ours
    nearby = zip(axes, place.position, strict=False)
    box = [f"abs({quoted(axis)} - {value!r}) <= {limits[0]!r}" for axis, value in nearby]
    columns_found = catalog.run(" AND ".join([sql, *box]), [files]).fetchnumpy()
    found = list(columns_found.values())
    offsets = [a - p for a, p in zip(found[3:], place.position, strict=False)][: len(axes)]
    distance = np.sqrt(sum((np.square(o, dtype=np.float64) for o in offsets), start=np.zeros(1)))
    keep: NDArray[np.bool_] = distance <= limits[0]
    if turning and yaw is not None and place.yaw_deg is not None:
        degrees = np.degrees(to_radians(schema, yaw, found[-1].astype(np.float64)))
        keep &= np.abs((degrees - place.yaw_deg + 180) % 360 - 180) <= limits[1]
    distance = np.broadcast_to(distance, len(found[0]))
    return Hits.of_frames(columns_found, distance).at(keep)


def _schema(text: str) -> StateSchema:
    import json

    return StateSchema.from_dict(json.loads(text))
