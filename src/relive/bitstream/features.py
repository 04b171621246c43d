"""What is known about a symbol before it is coded: one row number per feature.

The features of a family lie in one long table, block after block; `docs/format.md` lists them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relive.bitstream.grid import Group, direct_neighbours
from relive.bitstream.layout import PLACES, Layout

Grid = npt.NDArray[np.int32]  # one value a cube, raster order [cubes]
Rows = npt.NDArray[np.int64]  # [features, cubes or symbols]


@dataclass(frozen=True)
class StepState:
    """A step on the way: what has been walked is known, the rest is not looked at.

    Attributes:
        depths: int32 `[cubes]`.
        motion: int32 `[2, cubes]`.
        codes: int32 `[K, cubes]`.
    """

    depths: Grid
    motion: Grid
    codes: Grid

    @classmethod
    def blank(cls, num_quantizers: int, cubes: int) -> StepState:
        """Return a step of zeros."""
        shapes = ((cubes,), (2, cubes), (num_quantizers, cubes))
        return cls(*(np.zeros(shape, np.int32) for shape in shapes))


class Features:
    """Features of the symbols of one step.

    The methods `of_…` return those of all cubes that do not depend on the group; `neighbours` adds
    those that do. `number` is that of the step in its GOP, `before` the step before; None at 0.
    """

    def __init__(self, layout: Layout, h: int, w: int) -> None:
        self._layout = layout
        self._starts = {name: np.array(family.starts) for name, family in layout.families().items()}
        self._direct = direct_neighbours(h, w)
        y, x = np.divmod(np.arange(h * w), w)
        self._place = np.stack([y * PLACES // h, x * PLACES // w])

    def of_depths(self, number: int, before: StepState | None) -> Rows:
        """Depth one step before, the sum of those around it, whether that was the keyframe."""
        rows = self._blank(5)
        if before:
            rows[0] = before.depths + 1
            rows[1] = before.depths[self._direct].sum(axis=0)
            rows[2] = number == 1
        return self._finish("depth", rows, (0, 1, 2))

    def of_motion(self, number: int, before: StepState, now: StepState) -> Rows:
        """Hypothesis one frame before, of the cube and around it; depth now and before."""
        rows = self._blank(10)
        last = np.minimum(before.motion[1], self._layout.motion_contexts - 1)
        rows[0] = last
        rows[1] = now.depths
        rows[2] = before.depths + 1
        rows[3] = number == 1
        rows[4:8] = last[self._direct]
        return self._finish("motion", rows, (0, 1, 2, 3, 4, 4, 4, 4))

    def of_turn(self, now: StepState) -> Rows:
        """Hypothesis of frame 0, and depth."""
        rows = self._blank(4)
        rows[0] = np.minimum(now.motion[0], self._layout.motion_contexts - 1)
        rows[1] = now.depths
        group = np.full((1, rows.shape[1]), self._starts["turn"][-2])
        return np.concatenate([self._finish("turn", rows, (0, 1)), group])

    def of_codes(self, number: int, before: StepState | None, now: StepState, stage: int) -> Rows:
        """Depths, motion, the code one step before, the codes of the two stages before."""
        none = self._layout.codebook_size
        rows = self._blank(9)
        rows[0] = now.depths
        rows[1] = (now.depths[self._direct].sum(axis=0) + 2) // 4
        rows[2] = before.depths + 1 if before else 0
        rows[3] = np.minimum(now.motion[0], self._layout.motion_contexts - 1)
        rows[4:7] = none
        if before and number > 1:
            rows[4] = np.where(before.depths > stage, before.codes[stage], none)
        for back in range(1, min(stage, 2) + 1):
            rows[4 + back] = now.codes[stage - back]
        return self._finish("codes", rows, tuple(range(7)))

    def neighbours(
        self, family: str, values: Grid, alphabet: int, number: int, group: Group
    ) -> Rows:
        """Return the rows of the four neighbours known in a group, and of the group: `[5, n]`.

        Args:
            family: what is coded.
            values: what neighbours are known by, `[cubes]`, below `alphabet`.
            alphabet: size of it.
            number: 0, 1, 2 for group A, B, C.
            group: its cubes and their neighbours.
        """
        rows = np.empty((5, len(group.cubes)), np.int64)
        rows[:4] = 2 * alphabet if number == 0 else values[group.around] + alphabet * (number == 1)
        rows[4] = number
        starts = self._starts[family]
        rows[:4] += starts[-5]
        rows[4] += starts[-2]
        return rows

    def _blank(self, features: int) -> Rows:
        return np.zeros((features, self._place.shape[1]), np.int64)

    def _finish(self, family: str, rows: Rows, blocks: tuple[int, ...]) -> Rows:
        """Fill in the place in the last two rows, and move each row into its block."""
        rows[-2:] = self._place
        starts = self._starts[family]
        rows += starts[[*blocks, -4, -3]][:, None]
        return rows
