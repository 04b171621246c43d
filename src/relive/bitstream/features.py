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
class GopState:
    """A GOP on the way: what has been walked is known, the rest is not looked at.

    Attributes:
        depths: int32 `[steps, cubes]`.
        motion: int32 `[steps, 2, cubes]`.
        codes: int32 `[steps, K, cubes]`.
    """

    depths: Grid
    motion: Grid
    codes: Grid


class Features:
    """Features of the symbols of one GOP.

    The methods `of_…` return those of all cubes that do not depend on the group; `neighbours` adds
    those that do.
    """

    def __init__(self, layout: Layout, h: int, w: int) -> None:
        self._layout = layout
        self._starts = {name: np.array(family.starts) for name, family in layout.families().items()}
        self._direct = direct_neighbours(h, w)
        y, x = np.divmod(np.arange(h * w), w)
        self._place = np.stack([y * PLACES // h, x * PLACES // w])

    def of_depths(self, state: GopState, step: int) -> Rows:
        """Depth one step before, the sum of those around it, whether that was the keyframe."""
        rows = self._blank(5)
        if step:
            before = state.depths[step - 1]
            rows[0] = before + 1
            rows[1] = before[self._direct].sum(axis=0)
            rows[2] = step == 1
        return self._finish("depth", rows, (0, 1, 2))

    def of_motion(self, state: GopState, step: int) -> Rows:
        """Hypothesis one frame before, of the cube and around it; depth now and before."""
        rows = self._blank(10)
        before = np.minimum(state.motion[step - 1, 1], self._layout.motion_contexts - 1)
        rows[0] = before
        rows[1] = state.depths[step]
        rows[2] = state.depths[step - 1] + 1
        rows[3] = step == 1
        rows[4:8] = before[self._direct]
        return self._finish("motion", rows, (0, 1, 2, 3, 4, 4, 4, 4))

    def of_turn(self, state: GopState, step: int) -> Rows:
        """Hypothesis of frame 0, and depth."""
        rows = self._blank(4)
        rows[0] = np.minimum(state.motion[step, 0], self._layout.motion_contexts - 1)
        rows[1] = state.depths[step]
        group = np.full((1, rows.shape[1]), self._starts["turn"][-2])
        return np.concatenate([self._finish("turn", rows, (0, 1)), group])

    def of_codes(self, state: GopState, step: int, stage: int) -> Rows:
        """Depths, motion, the code one step before, the codes of the two stages before."""
        none = self._layout.codebook_size
        now = state.depths[step]
        rows = self._blank(9)
        rows[0] = now
        rows[1] = (now[self._direct].sum(axis=0) + 2) // 4
        rows[2] = state.depths[step - 1] + 1 if step else 0
        rows[3] = np.minimum(state.motion[step, 0], self._layout.motion_contexts - 1)
        rows[4:7] = none
        if step > 1:
            kept = state.depths[step - 1] > stage
            rows[4] = np.where(kept, state.codes[step - 1, stage], none)
        for back in range(1, min(stage, 2) + 1):
            rows[4 + back] = state.codes[step, stage - back]
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
