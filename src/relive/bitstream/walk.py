"""The order in which a GOP is coded, and the contexts: one function for both directions.

The encoder walks with arrays that are full, the decoder with arrays that fill up on the way; a
context looks only at places that have been walked before.

    step ─► depths A ► B ► C ─► motion of frames 0, 1 (even ► odd) ─► stage 0: high ► low ─► …
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import Ints
from relive.bitstream.context_model import ContextModel
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.grid import Group, Index, depth_groups, motion_groups
from relive.bitstream.layout import CLASSES, DEPTH_GROUPS, MOTION_GROUPS, Layout

Grid = npt.NDArray[np.int32]  # one value a cube, raster order [h * w]


def walk_gop(model: ContextModel, gop: GopCodes, layout: Layout) -> GopCodes:
    """Code a whole GOP through a context model and return what was coded."""
    steps, h, w = gop.depths.shape
    cubes = h * w
    depths = gop.depths.reshape(steps, cubes).astype(np.int32)
    motion = gop.motion.reshape(steps, 2, cubes).astype(np.int32)
    codes = gop.codes.reshape(steps, layout.num_quantizers, cubes).astype(np.int32)
    for step in range(steps):
        _walk_depths(model, depths, step, layout, depth_groups(h, w))
        if step and layout.num_motion > 1:
            _walk_motion(model, motion, step, layout, motion_groups(h, w))
        for stage in range(layout.num_quantizers):
            _walk_codes(model, codes, depths, step, stage, layout)
    return GopCodes(
        depths.reshape(steps, h, w).astype(np.uint8),
        motion.reshape(steps, 2, h, w).astype(np.uint8),
        codes.reshape(steps, layout.num_quantizers, h, w).astype(np.int16),
    )


def _walk_depths(
    model: ContextModel,
    depths: Grid,
    step: int,
    layout: Layout,
    groups: tuple[Group, ...],
) -> None:
    """Context: kind of step, group, depth of the cube one step before, mean depth around it."""
    now, before = depths[step], depths[max(step - 1, 0)]
    ways = layout.depth_ways
    for number, group in enumerate(groups):
        if number == 0 and step == 0:
            past = around = np.zeros(len(group.cubes), np.int64)
        else:
            known = before if number == 0 else now
            around = 1 + (known[group.around].sum(axis=0, dtype=np.int64) + 2) // 4
            past = before[group.cubes] if step else np.zeros_like(around)
        kind = min(step, 2) * DEPTH_GROUPS + number
        contexts = (kind * ways + past) * (ways + 1) + around
        now[group.cubes] = model.code("depth", contexts, now[group.cubes])


def _walk_motion(
    model: ContextModel,
    motion: Grid,
    step: int,
    layout: Layout,
    groups: tuple[Group, ...],
) -> None:
    """Context: frame, group, the cube's hypothesis one frame before, the vote of its neighbours."""
    top = layout.motion_contexts - 1
    for frame in range(2):
        now = motion[step, frame]
        before = motion[step, 0] if frame else motion[step - 1, 1]
        for number, group in enumerate(groups):
            known = before if number == 0 else now
            around = np.minimum(_vote(known, group.around), top)
            past = np.minimum(before[group.cubes], top)
            kind = frame * MOTION_GROUPS + number
            contexts = (kind * (top + 1) + past) * (top + 1) + around
            now[group.cubes] = model.code("motion", contexts.astype(np.int64), now[group.cubes])


def _vote(values: Grid, around: Index) -> Ints:
    """Return the commonest of four neighbours' values, int32 `[n]`; the first one on a tie."""
    four = values[around]  # [4, n]
    votes = (four[:, None] == four[None, :]).sum(axis=1)  # [4, n]
    best = votes.argmax(axis=0)
    return np.asarray(np.take_along_axis(four, best[None], axis=0)[0])


def _walk_codes(
    model: ContextModel, codes: Grid, depths: Grid, step: int, stage: int, layout: Layout
) -> None:
    """Context of the high part: stage, code one step before; of the low part: the high part."""
    cubes = np.nonzero(depths[step] > stage)[0]
    if not len(cubes):
        return
    low_ways, high_ways = layout.low_ways, layout.high_ways
    now = codes[step, stage]
    values = now[cubes]
    kind = min(step, 1) * layout.num_quantizers + stage
    classes = _classes(codes, depths, step, stage, cubes, high_ways)
    high = model.code("high", kind * CLASSES + classes, values // low_ways)
    low = model.code("low", kind * high_ways + high.astype(np.int64), values % low_ways)
    now[cubes] = high * low_ways + low


def _classes(
    codes: Grid, depths: Grid, step: int, stage: int, cubes: Index, high_ways: int
) -> npt.NDArray[np.int64]:
    """Return the class 0 … 15 of the same code one delta step before, or 16 where there is none."""
    none = CLASSES - 1
    if step < 2:
        return np.full(len(cubes), none, np.int64)
    before = codes[step - 1, stage, cubes].astype(np.int64) * none // 512
    return np.where(depths[step - 1, cubes] > stage, np.minimum(before, none - 1), none)
