"""What the walk over an enhancement layer looks up: places of a grid, ends, sums of sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relive.bitstream.detail import BAND_MEMBERS, BAND_OF, BLOCK
from relive.bitstream.grid import Group, cube_groups
from relive.bitstream.layout import PLACES

Grid = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """A grid in the order of its groups.

    Attributes:
        groups: A, B, C.
        order: raster positions, group after group `[n]`.
        place: of these, sixteenth of the rows, of the columns, and number of the group `[3, n]`.
    """

    groups: tuple[Group, ...]
    order: Grid
    place: Grid

    @classmethod
    def of(cls, h: int, w: int) -> Places:
        """Return the places of a grid of `h` x `w`."""
        groups = cube_groups(h, w)
        order = np.concatenate([group.cubes for group in groups])
        y, x = np.divmod(order, w)
        number = np.repeat(np.arange(len(groups)), [len(group.cubes) for group in groups])
        return cls(groups, order, np.stack([y * PLACES // h, x * PLACES // w, number]))


def ends_of(levels: npt.NDArray[np.int16]) -> Grid:
    """Bands up to the last one with a level, `[blocks, 64]` to `[blocks]`."""
    ends = np.zeros(len(levels), np.int64)
    live = np.flatnonzero(levels.any(axis=1))
    ends[live] = ((levels[live] != 0) * (BAND_OF + 1)).max(axis=1)
    return ends


def _lower() -> Iterator[npt.NDArray[np.float32]]:
    """For each band a matrix `[64, members + 1]` that adds up sizes `[n, 64]`.

    Those towards lower frequencies of every member, and of the whole block.
    """
    row, column = np.divmod(np.arange(BLOCK * BLOCK), BLOCK)
    down, right = (place[None, :] - place[:, None] for place in (row, column))
    near = (down >= 0) & (right >= 0) & (down + right >= 1) & (down + right <= 2)
    whole = np.ones((BLOCK * BLOCK, 1), np.float32)
    for members in BAND_MEMBERS:
        yield np.concatenate([near[:, members].astype(np.float32), whole], axis=1)


LOWER = tuple(_lower())
"""See `_lower`."""
