"""Probability nets of the enhancement layer: families, and the features of their symbols."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relive.bitstream.detail import (
    BLOCK,
    ESCAPE,
    MAX_OFFSET,
    NUM_BANDS,
    NUM_MODES,
    NUM_SOURCES,
)
from relive.bitstream.grid import Group
from relive.bitstream.layout import GROUPS, PLACES, Family

Rows = npt.NDArray[np.int64]
Grid = npt.NDArray[np.int64]

ENDS = NUM_BANDS + 1
OFFSETS = 2 * MAX_OFFSET + 1
STEP_CLASSES = 16
DEPTHS = 8  # deeper ones count as the last
MOTIONS = 33
VECTOR_CLASSES = 21
SPREADS = 6
SUMS = 16
PLACE = (PLACES, PLACES, GROUPS)

FAMILIES: dict[str, Family] = {
    "mode": Family(
        3,
        (NUM_MODES + 1, DEPTHS, MOTIONS, STEP_CLASSES, 2 * NUM_MODES + 3, *PLACE),
        NUM_MODES,
        1,
        NUM_MODES,
    ),
    "source": Family(
        1,
        (NUM_MODES, NUM_SOURCES, STEP_CLASSES, 2 * NUM_SOURCES + 3, *PLACE),
        NUM_SOURCES,
        1,
        NUM_SOURCES,
    ),
    "split": Family(
        1, (NUM_MODES, STEP_CLASSES, 7, *PLACE), 2, 1, 2
    ),
    "vector": Family(
        2,
        (SPREADS, VECTOR_CLASSES + 1, NUM_MODES, STEP_CLASSES, GROUPS),
        VECTOR_CLASSES,
        1,
        VECTOR_CLASSES,
    ),
    "offset": Family(
        2,
        (OFFSETS, DEPTHS, NUM_MODES, STEP_CLASSES, 2 * OFFSETS + 3, *PLACE),
        OFFSETS,
        1,
        OFFSETS,
    ),
    "end": Family(
        6,
        (
            ENDS + 1, 4 * NUM_BANDS + 1, ENDS + 1, ENDS + 1, NUM_MODES, DEPTHS, STEP_CLASSES,
            2 * ENDS + 3, *PLACE,
        ),
        ENDS,
        1,
        ENDS,
    ),
    "level": Family(
        6,
        (
            BLOCK * BLOCK, ENDS, SUMS, SUMS, 2 * NUM_BANDS + 1, 5, 5, 5, NUM_MODES, DEPTHS,
            STEP_CLASSES,
        ),
        ESCAPE + 1,
        1,
        ESCAPE + 1,
    ),
}  # fmt: skip
STARTS = {name: np.array(family.starts) for name, family in FAMILIES.items()}
"""First row of each block of features, and their number last."""


def place_rows(family: str, rows: list[Grid]) -> Rows:
    """Move the values of each feature into its block: `[features, n]`.

    Args:
        family: whose blocks.
        rows: values of the features `[n]` each, in the order of the blocks. A feature given as
            `[k, n]` is k features that share a block.
    """
    starts = STARTS[family]
    placed = [np.atleast_2d(row) + start for row, start in zip(rows, starts[:-1], strict=True)]
    return np.concatenate(placed)


def around(values: Grid, alphabet: int, number: int, group: Group) -> Rows:
    """Values of the four neighbours known in a group, `[4, n]`; see `features.neighbours`."""
    if number == 0:
        return np.full((4, len(group.cubes)), 2 * alphabet)
    return np.asarray(values[group.around] + alphabet * (number == 1))


def step_class(number: Grid | int) -> Grid:
    """Class of a quantiser step, or of many."""
    return np.asarray(np.minimum(np.asarray(number) // 4, STEP_CLASSES - 1))


def spread_class(vectors: Grid) -> Grid:
    """How much neighbours differ, `[4, n]` of one component to classes `[n]`."""
    width = vectors.max(axis=0) - vectors.min(axis=0)
    return np.asarray(np.searchsorted([1, 2, 5, 13, 33], width, side="right"))


def split_vector(difference: Grid) -> tuple[Grid, Grid]:
    """Class and raw bits of differences."""
    size = np.abs(difference)
    length = np.zeros_like(size)
    for bit in range(11):
        length += size >= 1 << bit
    symbol = np.where(length == 0, 0, 2 * length - (difference > 0))
    return symbol, size - np.where(length == 0, 0, 1 << vector_bits(symbol))


def vector_bits(symbol: Grid) -> Grid:
    """Number of raw bits behind a class."""
    return np.maximum((symbol + 1) // 2 - 1, 0)


def join_vector(symbol: Grid, raw: Grid) -> Grid:
    """Undo `split_vector`."""
    size = np.where(symbol == 0, 0, (1 << vector_bits(symbol)) + raw)
    return np.where(symbol % 2 == 1, size, -size)
