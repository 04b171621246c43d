"""What the labels of the pixels mean: the schema of the regions (design, section 3)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from relive.errors import InputError

Complexity = Literal["simple", "complex", "critical"]


@dataclass(frozen=True)
class Region:
    """One kind of region.

    Attributes:
        id: Its value in the region maps, 0 to 255; 0 is "not labelled" unless declared.
        name: Its name, unique in the schema.
        complexity: How much of it training hides: 95, 85 or 75 %.
        importance: Order of decoding: the greatest first.
    """

    id: int
    name: str
    complexity: Complexity
    importance: int

    def __post_init__(self) -> None:
        what = f"region {self.name!r}"
        if not isinstance(self.name, str) or not self.name:
            raise InputError(f"{what}: a name is a non-empty text")
        if type(self.id) is not int or not 0 <= self.id <= 255:
            raise InputError(f"{what}: id {self.id!r} is not a whole number from 0 to 255")
        if self.complexity not in get_args(Complexity):
            raise InputError(
                f"{what}: complexity {self.complexity!r} is not one of "
                f"{', '.join(get_args(Complexity))}"
            )
        if type(self.importance) is not int:
            raise InputError(f"{what}: importance {self.importance!r} is not a whole number")


@dataclass(frozen=True)
class RegionSchema:
    """The regions of a game; ids and names are unique."""

    regions: tuple[Region, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", tuple(self.regions))
        for word in ("id", "name"):
            values = [getattr(region, word) for region in self.regions]
            twice = [value for value, count in Counter(values).items() if count > 1]
            if twice:
                raise InputError(f"region schema: the {word} {twice[0]!r} is there twice")

    def to_dict(self) -> dict[str, Any]:
        """Write the schema as plain values, fit for JSON."""
        return {"regions": [asdict(region) for region in self.regions]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RegionSchema":
        """Read what `to_dict` wrote; keys from a later version are skipped.

        Raises:
            InputError: A value is missing or not allowed.
        """
        rows = values.get("regions", [])
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise InputError("region schema: 'regions' is not a list of tables")
        return cls(tuple(_region(row) for row in rows))


def _region(row: Mapping[str, Any]) -> Region:
    keys = ("id", "name", "complexity", "importance")
    missing = [key for key in keys if key not in row]
    if missing:
        raise InputError(f"region schema: a region has no {missing[0]!r}")
    return Region(*(row[key] for key in keys))
