"""Probability nets of the enhancement layer: families, and the features of their symbols."""

from __future__ import annotations

import numpy as np

from relive.bitstream.detail import (
    BLOCK,
    ESCAPE,
    MAX_OFFSET,
    NUM_BANDS,
    NUM_MODES,
    NUM_SOURCES,
)
from relive.bitstream.layout import GROUPS, PLACES, Family

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
