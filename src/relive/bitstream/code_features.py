"""What is known about a code before it is coded: one row number per feature.

| feature | rows | at a code of stage `k` |
|---|---|---|
| depth | K + 1 | depth of the cube |
| depth around | K + 1 | rounded mean depth of its four direct neighbours |
| depth before | K + 2 | 1 + its depth one step before; 0 at the keyframe |
| motion | M | its motion hypothesis for frame 0 |
| code before | V + 1 | its code of stage `k` one step before, where that step is a delta |
| code of stage k - 1, code of stage k - 2 | V + 1 each | of the same cube |
| neighbours | 2 V + 3 | four times: codes of stage `k` of the four neighbours known in this group |
| row, column | 16 each | sixteenth of the picture |
| group | 3 | which of the groups A, B, C it is coded in |

V stands for `no such code`. Neighbours of group C count from 0, those of group B from V + 1, and
group A, which knows none, has row 2 V + 2.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from relive.bitstream.grid import Group, Index, cube_groups
from relive.bitstream.layout import Layout

Grid = npt.NDArray[np.int32]  # one value a cube, raster order [cubes]

PLACES = 16
GROUPED_STAGES = 1
"""Stages below this are coded in three groups, the others in one, which counts as group A."""


def feature_sizes(layout: Layout) -> tuple[int, ...]:
    """Return the number of rows of each feature."""
    depths, codes = layout.num_quantizers + 1, layout.codebook_size + 1
    return (
        depths, depths, depths + 1, layout.motion_contexts, codes, codes, codes, 2 * codes + 1,
        PLACES, PLACES, 3,
    )  # fmt: skip


def feature_starts(layout: Layout) -> tuple[int, ...]:
    """Return the first row of each feature in a table that holds all, and its length last."""
    return (0, *np.cumsum(feature_sizes(layout)).tolist())


@lru_cache(maxsize=16)
def code_groups(h: int, w: int, stage: int) -> tuple[Group, ...]:
    """Return the groups in which the codes of a stage are coded."""
    if stage < GROUPED_STAGES:
        return cube_groups(h, w)
    everything = np.arange(h * w)
    return (Group(everything, np.zeros((4, h * w), np.int64)),)


class CodeFeatures:
    """Features of the codes of one GOP, as row numbers of one long table.

    Args:
        layout: sizes of the alphabets.
        h: cubes down.
        w: cubes across.
    """

    def __init__(self, layout: Layout, h: int, w: int) -> None:
        self._layout = layout
        self._starts = feature_starts(layout)
        self._direct = _direct_neighbours(h, w)
        y, x = np.divmod(np.arange(h * w), w)
        self._row = self._starts[8] + y * PLACES // h
        self._column = self._starts[9] + x * PLACES // w

    def of_cubes(
        self, depths: Grid, motion: Grid, codes: Grid, step: int, stage: int
    ) -> npt.NDArray[np.int64]:
        """Return the features that do not depend on the group, int64 `[9, cubes]`.

        Args:
            depths: `[steps, cubes]`, known up to this step.
            motion: `[steps, 2, cubes]`, known up to this step.
            codes: `[steps, K, cubes]`, known up to this step and below this stage.
            step: this step.
            stage: this stage.
        """
        none = self._layout.codebook_size
        now = depths[step]
        around = (now[self._direct].sum(axis=0) + 2) // 4
        before = depths[step - 1] + 1 if step else np.zeros_like(now)
        code_before = np.full_like(now, none)
        if step > 1:
            code_before = np.where(depths[step - 1] > stage, codes[step - 1, stage], none)
        same = [codes[step, stage - d] if stage >= d else np.full_like(now, none) for d in (1, 2)]
        moved = np.minimum(motion[step, 0], self._layout.motion_contexts - 1)
        features = np.stack([now, around, before, moved, code_before, *same]).astype(np.int64)
        features += np.array(self._starts[:7])[:, None]
        return np.concatenate([features, self._row[None], self._column[None]])

    def of_group(
        self, depths: Grid, codes: Grid, step: int, stage: int, number: int, around: Index
    ) -> npt.NDArray[np.int64]:
        """Return the features of the cubes of a group, int64 `[5, n]`, given their neighbours."""
        none = self._layout.codebook_size
        if number == 0:
            neighbours = np.full(around.shape, 2 * none + 2, np.int64)
        else:
            known = depths[step][around] > stage
            neighbours = np.where(known, codes[step, stage][around], none).astype(np.int64)
            neighbours += (none + 1) * (number == 1)
        group = np.full((1, around.shape[1]), self._starts[10] + number)
        return np.concatenate([neighbours + self._starts[7], group])


@lru_cache(maxsize=16)
def _direct_neighbours(h: int, w: int) -> Index:
    """Return the four direct neighbours of every cube, `[4, cubes]`."""
    out = np.zeros((4, h * w), np.int64)
    first, second, rest = cube_groups(h, w)
    for group in (first, rest):
        out[:, group.cubes] = group.around
    y, x = np.divmod(second.cubes, w)
    for place, (dy, dx) in enumerate(((-1, 0), (0, -1), (0, 1), (1, 0))):
        rows = np.where((y + dy >= 0) & (y + dy < h), y + dy, y - dy)
        columns = np.where((x + dx >= 0) & (x + dx < w), x + dx, x - dx)
        out[place, second.cubes] = rows * w + columns
    return out
