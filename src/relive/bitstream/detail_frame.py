"""What the kernels of an enhancement layer walk over: grids, nets, a frame on the way."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from relive.bitstream.array_kernel import FamilyNets

Grid = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


class Places(NamedTuple):
    """A grid in the order of its groups.

    Attributes:
        order: raster positions, group after group `[n]`.
        bounds: where each group begins, and the end `[GROUPS + 1]`.
        around: raster positions of the neighbours of these `[4, n]`.
        place: sixteenth of the rows, of the columns, and number of the group `[3, n]`.
    """

    order: Grid
    bounds: Grid
    around: Grid
    place: Grid


class Grids(NamedTuple):
    """Cubes and their blocks.

    Attributes:
        cubes: of the grid of cubes.
        blocks: of the grid of blocks.
        direct: the four direct neighbours of every block `[4, blocks]`.
        cube_of: of every block `[blocks]`.
        parts: the four blocks of every cube `[4, cubes]`.
    """

    cubes: Places
    blocks: Places
    direct: Grid
    cube_of: Grid
    parts: Grid


class Nets(NamedTuple):
    """Of all families, in order."""

    mode: FamilyNets
    source: FamilyNets
    split: FamilyNets
    vector: FamilyNets
    offset: FamilyNets
    end: FamilyNets
    level: FamilyNets


class Frame(NamedTuple):
    """One frame on the way: its arrays are full, or fill up; all int64 but for levels and seen.

    Attributes:
        number: of the frame.
        step: number of the quantiser step.
        depths: of the base tier `[cubes]`.
        motion: `[cubes]`.
        plain: cubes without a palette, bool `[cubes]`.
        weights: `[colours, 2]`.
        modes: `[cubes]`.
        sources: `[cubes]`.
        split: `[cubes]`.
        vectors: `[blocks, 2]`.
        offsets: of cubes `[cubes]`.
        levels: int16 `[colours, blocks, 64]`.
        ends: bands up to the last one with a level `[colours, blocks]`.
        around: sums of the ends of the direct neighbours `[colours, blocks]`.
        seen: 1 + size of levels up to 3, uint8 `[colours, blocks, 64]`; 0: none.
    """

    number: int
    step: int
    depths: Grid
    motion: Grid
    plain: npt.NDArray[np.bool_]
    weights: Grid
    modes: Grid
    sources: Grid
    split: Grid
    vectors: Grid
    offsets: Grid
    levels: npt.NDArray[np.int16]
    ends: Grid
    around: Grid
    seen: Bytes
