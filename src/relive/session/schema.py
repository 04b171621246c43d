"""What the numbers of a frame mean: the schema of the state (design, section 3).

Axes, units and turn directions are declared by the schema, never a convention. A schema travels
as a dict of plain values (in files, as JSON) and is written by people as TOML.
"""

import math
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from relive.errors import InputError

Kind = Literal["linear", "angle", "category", "counter"]
Turn = Literal["left", "right"]

KINDS: tuple[str, ...] = get_args(Kind)
ANGLE_UNITS = ("deg", "rad", "turn")
ROLES = frozenset(
    {f"camera.{axis}" for axis in ("x", "y", "z", "yaw", "pitch", "roll", "fov")}
    | {"score", "level", "mode", "other"}
)
OPEN_ROLES = ("actor.", "velocity.")  # followed by an axis or any other word


@dataclass(frozen=True)
class StateField:
    """One number of the state.

    Attributes:
        name: Its name, unique in the schema, without surrounding spaces.
        unit: Its unit, free text; an angle needs one of ``deg``, ``rad``, ``turn``.
        kind: How it behaves between two frames.
        role: What it is to the codec; ``other`` if it is nothing special.
        step: Declared precision in its unit; 0 keeps the exact float32 bits.
    """

    name: str
    unit: str = ""
    kind: Kind = "linear"
    role: str = "other"
    step: float = 0.0

    def __post_init__(self) -> None:
        what = f"state field {self.name!r}"
        if not isinstance(self.name, str) or not self.name or self.name != self.name.strip():
            raise InputError(f"{what}: a name is a non-empty text without spaces around it")
        if self.kind not in KINDS:
            raise InputError(f"{what}: kind {self.kind!r} is not one of {', '.join(KINDS)}")
        if not _is_role(self.role):
            raise InputError(
                f"{what}: unknown role {self.role!r}; write {', '.join(sorted(ROLES))}, "
                "actor.… or velocity.…"
            )
        if self.kind == "angle" and self.unit not in ANGLE_UNITS:
            raise InputError(
                f"{what}: an angle needs a unit out of {', '.join(ANGLE_UNITS)}, not {self.unit!r}"
            )
        if not (math.isfinite(self.step) and self.step >= 0):
            raise InputError(f"{what}: step {self.step} is not a number from 0 up")


@dataclass(frozen=True)
class Camera:
    """How the picture is taken, where the state holds the pose of a camera.

    Attributes:
        fov_deg: Horizontal field of view, over 0 and under 180.
        pixel_aspect: Width of a pixel divided by its height.
        yaw_positive: Where the view turns when yaw grows.
        view: x, y, w, h in pixels of the 3-D picture, where an overlay covers the rest.
    """

    fov_deg: float
    pixel_aspect: float = 1.0
    yaw_positive: Turn = "left"
    view: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fov_deg < 180:
            raise InputError(f"camera: fov_deg {self.fov_deg} is not between 0 and 180")
        if not (math.isfinite(self.pixel_aspect) and self.pixel_aspect > 0):
            raise InputError(f"camera: pixel_aspect {self.pixel_aspect} is not over 0")
        if self.yaw_positive not in get_args(Turn):
            raise InputError(f"camera: yaw_positive {self.yaw_positive!r} is not left or right")
        if self.view is not None and (
            len(self.view) != 4 or min(self.view) < 0 or 0 in self.view[2:]
        ):
            raise InputError(f"camera: view {list(self.view)} is not [x, y, w, h] in pixels")


@dataclass(frozen=True)
class StateSchema:
    """The fields of a state in their order, and the camera if there is one.

    No fields at all is legal.
    """

    fields: tuple[StateField, ...] = ()
    camera: Camera | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", tuple(self.fields))
        names = [field.name for field in self.fields]
        roles = [field.role for field in self.fields if field.role.startswith("camera.")]
        for word, values in (("name", names), ("role", roles)):
            twice = sorted(value for value, count in Counter(values).items() if count > 1)
            if twice:
                raise InputError(f"state schema: the {word} {twice[0]!r} is there twice")

    @property
    def width(self) -> int:
        """Number of fields: the width S of a state."""
        return len(self.fields)

    def index(self, role: str) -> int | None:
        """Find the first field with a role.

        Returns:
            Its column in the states, or None if no field has that role.
        """
        roles = [field.role for field in self.fields]
        return roles.index(role) if role in roles else None

    def to_dict(self) -> dict[str, Any]:
        """Write the schema as plain values, fit for JSON."""
        camera = None if self.camera is None else asdict(self.camera)
        if camera is not None and camera["view"] is not None:
            camera["view"] = list(camera["view"])
        return {"fields": [asdict(field) for field in self.fields], "camera": camera}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "StateSchema":
        """Read what `to_dict` wrote; keys from a later version are skipped.

        Raises:
            InputError: A value is missing, of the wrong type or not allowed.
        """
        fields = tuple(
            _build(StateField, _FIELD_KEYS, _table(row, f"field {number}"), f"field {number}")
            for number, row in enumerate(_rows(values, "fields"), 1)
        )
        return cls(fields, _camera(values.get("camera")))

    @classmethod
    def from_toml(cls, path: Path | str) -> "StateSchema":
        """Read a schema that a person wrote: ``[[field]]`` tables and a ``[camera]`` table.

        Raises:
            InputError: Not TOML, an unknown key, or a value that is not allowed; the line names
                the file and the key.
        """
        path = Path(path)
        tables = _load_toml(path)
        try:
            _refuse_unknown(tables, {"field", "camera"}, "at the top")
            for number, row in enumerate(_rows(tables, "field"), 1):
                _refuse_unknown(_table(row, f"field {number}"), _FIELD_KEYS, f"field {number}")
            _refuse_unknown(_table(tables.get("camera", {}), "camera"), _CAMERA_KEYS, "camera")
            return cls.from_dict(
                {"fields": tables.get("field", []), "camera": tables.get("camera")}
            )
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def _is_role(role: object) -> bool:
    if not isinstance(role, str):
        return False
    return role in ROLES or any(role.startswith(o) and len(role) > len(o) for o in OPEN_ROLES)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a text")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a number")
    try:
        return float(value)
    except OverflowError:
        raise TypeError("a number that a float holds") from None


def _view(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    if (
        not isinstance(value, list | tuple)
        or len(value) != 4
        or not all(type(number) is int for number in value)
    ):
        raise TypeError("four whole numbers [x, y, w, h]")
    return tuple(value)


_FIELD_KEYS: dict[str, Callable[[object], Any]] = {
    "name": _text,
    "unit": _text,
    "kind": _text,
    "role": _text,
    "step": _number,
}
_CAMERA_KEYS: dict[str, Callable[[object], Any]] = {
    "fov_deg": _number,
    "pixel_aspect": _number,
    "yaw_positive": _text,
    "view": _view,
}


def _build(
    cls: Any, keys: Mapping[str, Callable[[object], Any]], row: Mapping[str, Any], where: str
) -> Any:
    """Make a frozen dataclass of the keys of a table that it knows."""
    values = {}
    for key, convert in keys.items():
        if key in row:
            try:
                values[key] = convert(row[key])
            except TypeError as error:
                raise InputError(f"{where}: {key} must be {error}, not {row[key]!r}") from None
    first = next(iter(keys))
    if first not in values:
        raise InputError(f"{where}: the key {first!r} is missing")
    return cls(**values)


def _camera(values: object) -> Camera | None:
    if values is None:
        return None
    camera: Camera = _build(Camera, _CAMERA_KEYS, _table(values, "camera"), "camera")
    return camera


def _table(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where} is not a table")
    return value


def _rows(values: Mapping[str, Any], key: str) -> list[Any]:
    rows = values.get(key, [])
    if not isinstance(rows, list | tuple):
        raise InputError(f"{key!r} is not an array of tables; write [[{key}]]")
    return list(rows)


def _refuse_unknown(row: Mapping[str, Any], known: Any, where: str) -> None:
    unknown = sorted(set(row) - set(known))
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}")


def _load_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from None
