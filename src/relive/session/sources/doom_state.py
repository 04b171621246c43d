"""What a Doom session stores of a tic: the state, its schema, the camera and the regions."""

from typing import Any

import numpy as np
import numpy.typing as npt

from relive.errors import InputError
from relive.session.regions import Region, RegionSchema
from relive.session.schema import Camera, StateField, StateSchema
from relive.session.sources.doom_player import BUTTONS

_POSITION_STEP = 1 / 16
_VELOCITY_STEP = 1 / 64
_ANGLE_STEP = 360 / 65536

_FIELDS: tuple[tuple[str, StateField], ...] = (
    ("CAMERA_POSITION_X", StateField("x", "mapunit", "linear", "camera.x", _POSITION_STEP)),
    ("CAMERA_POSITION_Y", StateField("y", "mapunit", "linear", "camera.y", _POSITION_STEP)),
    ("CAMERA_POSITION_Z", StateField("z", "mapunit", "linear", "camera.z", _POSITION_STEP)),
    ("CAMERA_ANGLE", StateField("yaw", "deg", "angle", "camera.yaw", _ANGLE_STEP)),
    ("CAMERA_PITCH", StateField("pitch", "deg", "angle", "camera.pitch", _ANGLE_STEP)),
    ("VELOCITY_X", StateField("velocity_x", "mapunit/tic", "linear", "velocity.x", _VELOCITY_STEP)),
    ("VELOCITY_Y", StateField("velocity_y", "mapunit/tic", "linear", "velocity.y", _VELOCITY_STEP)),
    ("VELOCITY_Z", StateField("velocity_z", "mapunit/tic", "linear", "velocity.z", _VELOCITY_STEP)),
    ("HEALTH", StateField("health", "percent", "linear", "other", 1.0)),
    ("SELECTED_WEAPON_AMMO", StateField("ammo", "", "linear", "other", 1.0)),
    ("ARMOR", StateField("armor", "percent", "linear", "other", 1.0)),
    ("SELECTED_WEAPON", StateField("weapon", "", "category", "other", 1.0)),
    ("KILLCOUNT", StateField("kills", "", "counter", "score", 1.0)),
)

ACTION_FIELDS = tuple(
    StateField(f"action.{name.lower()}", "deg", "linear")
    if name.endswith("_DELTA")
    else StateField(f"action.{name.lower()}", "", "category", "other", 1.0)
    for name in BUTTONS
)
"""What the player did to get to a tic: buttons, 0 or 1, and degrees turned."""

VARIABLES = tuple(name for name, _ in _FIELDS)
"""ViZDoom variables, in the order of the state fields."""

VIEW_HEIGHTS_PX = {
    (160, 120): 100,
    (320, 240): 208,
    (400, 300): 252,
    (640, 480): 403,
    (800, 600): 504,
    (1280, 960): 806,
}
"""Rows of the 3-D picture above the status bar, by picture size (measured). All sizes are 4:3."""

FOV_DEG = 90.0
PIXEL_ASPECT = 1.2
"""Measured by warping one tic into the next: see docs/games.md."""

WALL, FLOOR, ACTOR, THING, HUD, WEAPON = range(6)

REGIONS = RegionSchema(
    (
        Region(WALL, "wall", "simple", 2),
        Region(FLOOR, "floor", "simple", 1),
        Region(ACTOR, "actor", "complex", 4),
        Region(THING, "thing", "complex", 3),
        Region(HUD, "hud", "critical", 6),
        Region(WEAPON, "weapon", "complex", 5),
    )
)
"""Floor and ceiling are one region, walls and sky the other part of the world."""

_CATEGORIES = {"Monster": ACTOR, "Player": ACTOR, "Self": WEAPON}


def view_height(width: int, height: int) -> int:
    """Return the rows of the 3-D picture of a picture size, in pixels.

    Raises:
        InputError: Doom sessions do not have that size.
    """
    if (width, height) not in VIEW_HEIGHTS_PX:
        sizes = ", ".join(f"{w}x{h}" for w, h in VIEW_HEIGHTS_PX)
        raise InputError(f"doom: no picture size {width}x{height}; choose one of {sizes}")
    return VIEW_HEIGHTS_PX[width, height]


def state_schema(width: int = 320, height: int = 240, keep_actions: bool = False) -> StateSchema:
    """Return the schema of a Doom session's state, with the camera of its picture."""
    view = (0, 0, width, view_height(width, height))
    camera = Camera(FOV_DEG, PIXEL_ASPECT, "left", view)
    fields = tuple(field for _, field in _FIELDS)
    return StateSchema((*fields, *ACTION_FIELDS) if keep_actions else fields, camera)


def read_state(shot: Any) -> npt.NDArray[np.float32]:
    """Return the state of a tic, float32 `[S]`."""
    return np.array(shot.game_variables, dtype=np.float32)


def read_regions(shot: Any, view_height_px: int) -> npt.NDArray[np.uint8]:
    """Turn ViZDoom's label buffer into region ids, uint8 `[H, W]`."""
    ids = np.full(256, THING, np.uint8)
    ids[0], ids[1] = WALL, FLOOR
    for label in shot.labels:
        ids[label.value] = _CATEGORIES.get(label.object_category, THING)
    regions: npt.NDArray[np.uint8] = ids[shot.labels_buffer]
    regions[view_height_px:] = HUD
    return regions
