"""The rows of a LeRobot dataset ──► the fields of a session."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.datasets import lerobot_layout as layout
from relive.datasets.episodes import ENDED, EPISODE, REWARD
from relive.datasets.lerobot_index import Info, Place
from relive.datasets.rows import Part
from relive.errors import InputError
from relive.session import StateField, StateSchema

_AFTER = (layout.ACTION, "next.")  # what a row says of the time after its picture
_MARKS = (layout.NEXT_REWARD, layout.NEXT_DONE, layout.NEXT_TRUNCATED)
_NUMBERS = ("bool", "int", "uint", "float")
_MOST_FIELDS = 1024


@dataclass(frozen=True)
class Features:
    """The numbers of a dataset, and what they become.

    Attributes:
        widths: numbers of each feature, by key, in the order of the fields.
        others: further columns to be read.
        schema: fields of the widths, then `episode` and `ended`.
    """

    widths: dict[str, int]
    others: tuple[str, ...]
    schema: StateSchema

    @classmethod
    def of(cls, folder: Path, info: Info, key: str) -> Features:
        """Sort the features of a dataset whose pictures are those of a key.

        Raises:
            InputError: Their shapes are not said, or they are too many for a state.
        """
        widths: dict[str, int] = {}
        for name, feature in info.features.items():
            dtype = str(feature.get("dtype"))
            if name not in (*layout.BOOKS, *_MARKS) and dtype.startswith(_NUMBERS):
                widths[name] = _width(folder, name, feature)
        reward = {layout.NEXT_REWARD: 1} if layout.NEXT_REWARD in info.features else {}
        total = sum(widths.values())
        if total > _MOST_FIELDS:
            raise InputError(f"{folder}: {total} numbers a row are over {_MOST_FIELDS}")
        names = _names({name: (info.features[name], width) for name, width in widths.items()})
        names += [REWARD] if reward else []
        marks = [m for m in (layout.NEXT_DONE, layout.NEXT_TRUNCATED) if m in info.features]
        pictures = [key] if info.features[key]["dtype"] == "image" else []
        others = ("episode_index", "frame_index", *marks, *pictures)
        schema = _schema(folder, names, info.features[key].get("info") or {})
        return cls(widths | reward, others, schema)

    def read(self, path: Path) -> Any:
        """Read the columns of a file of rows.

        Raises:
            InputError: It is no such file, or has not all of them.
        """
        pa = layout.load_pyarrow()
        columns = [*self.widths, *self.others]
        try:
            table = pa.parquet.read_table(path, columns=columns)
        except (OSError, pa.ArrowException) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise InputError(f"{path}: {reason}") from None
        gone = [name for name in columns if name not in table.column_names]
        if gone:
            raise InputError(f"{path}: it has no column {gone[0]!r}")
        return table

    def take(self, table: Any, place: Place) -> Any:
        """Take the rows of an episode.

        Raises:
            InputError: They are not as many as they should be, or not in their order.
        """
        episode = table["episode_index"].to_numpy()
        taken = table.filter(layout.load_pyarrow().array(episode == place.index))
        number = taken["frame_index"].to_numpy()
        whole = len(number) == place.length > 0
        if not whole or not np.array_equal(number, np.arange(len(number))):
            raise InputError(
                f"{place.data}: episode {place.index} has {len(number)} rows, not "
                f"{place.length} in the order of their frame_index"
            )
        return taken

    def parts(self, taken: Any, place: Place) -> list[Part]:
        """The numbers of an episode.

        Raises:
            InputError: A column holds something else than the features say.
        """
        parts = [Part(np.zeros((place.length, 0)))]
        for key, width in self.widths.items():
            values = _numbers(taken[key].combine_chunks())
            if values is None or values.size != place.length * width:
                raise InputError(
                    f"{place.data}: {key!r} of episode {place.index} does not hold {width} "
                    "numbers in every row"
                )
            parts.append(Part(values.reshape(place.length, width), key.startswith(_AFTER)))
        return parts

    def terminated(self, taken: Any) -> bool:
        """Whether the game ended an episode: it was done, and not cut."""
        names = taken.column_names
        done, cut = (
            name in names and bool(taken[name][-1].as_py())
            for name in (layout.NEXT_DONE, layout.NEXT_TRUNCATED)
        )
        return done and not cut


def _width(folder: Path, key: str, feature: Mapping[str, Any]) -> int:
    shape = feature.get("shape")
    if not isinstance(shape, list | tuple) or not all(type(n) is int and n > 0 for n in shape):
        raise InputError(f"{folder / layout.INFO}: the shape of {key!r} is {shape}")
    return int(np.prod(shape, dtype=np.int64))


def _names(features: Mapping[str, tuple[Mapping[str, Any], int]]) -> list[str]:
    """Names of fields, unique: their own, with that of the feature where two would be alike."""
    own = {key: _own_names(feature, width) for key, (feature, width) in features.items()}
    count = Counter(name for names in own.values() for name in names or ())
    count.update(dict.fromkeys((REWARD, EPISODE, ENDED), 2))
    found: list[str] = []
    for key, (_, width) in features.items():
        numbered = [key] if width == 1 else [f"{key}[{n}]" for n in range(width)]
        names = own[key] or numbered
        if len(set(names)) < width:
            names = numbered
        found += [name if count[name] < 2 else f"{key}.{name}" for name in names]
    return found


def _own_names(feature: Mapping[str, Any], width: int) -> list[str] | None:
    """The names that a feature gives its numbers: a list, or a list under one more word."""
    names = feature.get("names")
    if isinstance(names, dict) and len(names) == 1:
        names = next(iter(names.values()))
    if not isinstance(names, list) or len(names) != width:
        return None
    stripped = [str(name).strip() for name in names]
    return stripped if all(stripped) else None


def _schema(folder: Path, names: Sequence[str], info: Mapping[str, Any]) -> StateSchema:
    """Fields of these names; what they are where the dataset was made by `to_lerobot`."""
    known = StateSchema()
    if layout.SCHEMA_KEY in info:
        try:
            known = StateSchema.from_dict(info[layout.SCHEMA_KEY])
        except (InputError, AttributeError) as error:
            raise InputError(f"{folder / layout.INFO}: {error}") from None
    of = {field.name: field for field in known.fields}
    marks = [StateField(EPISODE, kind="counter"), StateField(ENDED, kind="category")]
    fields = [of.get(name, StateField(name)) for name in names]
    return StateSchema((*fields, *marks), known.camera)


def _numbers(column: Any) -> NDArray[Any] | None:
    """The numbers of a column, however deep its lists are; None if it holds others."""
    pa = layout.load_pyarrow()
    while isinstance(column, pa.ExtensionArray):
        column = column.storage
    while (
        pa.types.is_list(column.type)
        or pa.types.is_large_list(column.type)
        or (pa.types.is_fixed_size_list(column.type))
    ):
        column = column.flatten()
    if column.null_count:
        return None
    values = np.asarray(column.to_numpy(zero_copy_only=False))
    return values if values.dtype.kind in "biuf" else None
