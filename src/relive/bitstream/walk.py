"""The order in which a GOP is coded, and the contexts: one function for both directions.

The encoder walks with arrays that are full, the decoder with arrays that fill up on the way; a
context looks only at places that have been walked before.

    step ─► depths ─► motion of frame 0 ─► of frame 1 ─► codes of stage 0 ─► of stage 1 ─► …

Each of these goes in groups A ► B ► C.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relive.bitstream.code_features import CodeFeatures, code_groups
from relive.bitstream.coder import Ints
from relive.bitstream.context_model import ContextModel
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.grid import Index, cube_groups
from relive.bitstream.layout import GROUPS, Layout

Grid = npt.NDArray[np.int32]  # one value a cube, raster order [cubes]


@dataclass(frozen=True)
class _Walk:
    """A GOP on the way: what is known of it so far, and who codes it."""

    model: ContextModel
    layout: Layout
    h: int
    w: int
    depths: Grid  # [steps, cubes]
    motion: Grid  # [steps, 2, cubes]
    codes: Grid  # [steps, K, cubes]
    features: CodeFeatures


def walk_gop(model: ContextModel, gop: GopCodes, layout: Layout) -> GopCodes:
    """Code a whole GOP through a context model and return what was coded."""
    steps, h, w = gop.depths.shape
    walk = _Walk(
        model,
        layout,
        h,
        w,
        gop.depths.reshape(steps, h * w).astype(np.int32),
        gop.motion.reshape(steps, 2, h * w).astype(np.int32),
        gop.codes.reshape(steps, layout.num_quantizers, h * w).astype(np.int32),
        CodeFeatures(layout, h, w),
    )
    for step in range(steps):
        _walk_depths(walk, step)
        if step and layout.num_motion > 1:
            _walk_motion(walk, step)
        for stage in range(layout.num_quantizers):
            _walk_codes(walk, step, stage)
    return GopCodes(
        walk.depths.reshape(gop.depths.shape).astype(np.uint8),
        walk.motion.reshape(gop.motion.shape).astype(np.uint8),
        walk.codes.reshape(gop.codes.shape).astype(np.int16),
    )


def _walk_depths(walk: _Walk, step: int) -> None:
    """Context: kind of step, group, depth of the cube one step before, mean depth around it."""
    now, before = walk.depths[step], walk.depths[max(step - 1, 0)]
    ways = walk.layout.depth_ways
    for number, group in enumerate(cube_groups(walk.h, walk.w)):
        if number == 0 and step == 0:
            past = around = np.zeros(len(group.cubes), np.int64)
        else:
            known = before if number == 0 else now
            around = 1 + (known[group.around].sum(axis=0, dtype=np.int64) + 2) // 4
            past = before[group.cubes] if step else np.zeros_like(around)
        kind = min(step, 2) * GROUPS + number
        contexts = (kind * ways + past) * (ways + 1) + around
        now[group.cubes] = walk.model.code("depth", contexts, now[group.cubes])


def _walk_motion(walk: _Walk, step: int) -> None:
    """Context: frame, group, the cube's hypothesis one frame before, the vote of its neighbours."""
    top = walk.layout.motion_contexts - 1
    for frame in range(2):
        now = walk.motion[step, frame]
        before = walk.motion[step, 0] if frame else walk.motion[step - 1, 1]
        for number, group in enumerate(cube_groups(walk.h, walk.w)):
            known = before if number == 0 else now
            around = np.minimum(_vote(known, group.around), top)
            past = np.minimum(before[group.cubes], top)
            kind = frame * GROUPS + number
            contexts = ((kind * (top + 1) + past) * (top + 1) + around).astype(np.int64)
            now[group.cubes] = walk.model.code("motion", contexts, now[group.cubes])


def _vote(values: Grid, around: Index) -> Ints:
    """Return the commonest of four neighbours' values, int32 `[n]`; the first one on a tie."""
    four = values[around]  # [4, n]
    votes = (four[:, None] == four[None, :]).sum(axis=1)  # [4, n]
    best = votes.argmax(axis=0)
    return np.asarray(np.take_along_axis(four, best[None], axis=0)[0])


def _walk_codes(walk: _Walk, step: int, stage: int) -> None:
    """Code one stage of the cubes that reach it; contexts as in `code_features`."""
    reached = walk.depths[step] > stage
    if not reached.any():
        return
    features = walk.features.of_cubes(walk.depths, walk.motion, walk.codes, step, stage)
    net = min(step, 1) * walk.layout.num_quantizers + stage
    now = walk.codes[step, stage]
    for number, group in enumerate(code_groups(walk.h, walk.w, stage)):
        here = reached[group.cubes]
        cubes, around = group.cubes[here], group.around[:, here]
        if not len(cubes):
            continue
        local = walk.features.of_group(walk.depths, walk.codes, step, stage, number, around)
        rows = np.concatenate([features[:, cubes], local])
        now[cubes] = walk.model.code_codes(net, rows, now[cubes])
