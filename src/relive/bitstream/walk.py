"""The order in which a GOP is coded: one function for both directions.

The encoder walks with arrays that are full, the decoder with arrays that fill up on the way.

    step ─► depths ─► motion of frame 0 ─► of frame 1 ─► codes of stage 0 ─► of stage 1 ─► …

Depths, motion of frame 0 and codes of stage 0 go in groups A ► B ► C, the others all at once.
"""

from __future__ import annotations

import numpy as np

from relive.bitstream.context_model import ContextModel
from relive.bitstream.features import Features, GopState
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.grid import Group, all_cubes, cube_groups
from relive.bitstream.layout import Layout


def walk_gop(model: ContextModel, gop: GopCodes, layout: Layout) -> GopCodes:
    """Code a whole GOP through a context model and return what was coded."""
    steps, h, w = gop.depths.shape
    state = GopState(
        gop.depths.reshape(steps, h * w).astype(np.int32),
        gop.motion.reshape(steps, 2, h * w).astype(np.int32),
        gop.codes.reshape(steps, layout.num_quantizers, h * w).astype(np.int32),
    )
    walk = _Walk(model, state, layout, h, w)
    for step in range(steps):
        walk.depths(step)
        if step and layout.num_motion > 1:
            walk.motion(step)
            walk.turn(step)
        for stage in range(layout.num_quantizers):
            walk.codes(step, stage)
    return GopCodes(
        state.depths.reshape(gop.depths.shape).astype(np.uint8),
        state.motion.reshape(gop.motion.shape).astype(np.uint8),
        state.codes.reshape(gop.codes.shape).astype(np.int16),
    )


class _Walk:
    """Fills a state, group by group."""

    def __init__(
        self, model: ContextModel, state: GopState, layout: Layout, h: int, w: int
    ) -> None:
        self._model = model
        self._state = state
        self._layout = layout
        self._features = Features(layout, h, w)
        self._groups = cube_groups(h, w)
        self._all = all_cubes(h, w)

    def depths(self, step: int) -> None:
        now = self._state.depths[step]
        alphabet = self._layout.num_quantizers + 1
        rows = self._features.of_depths(self._state, step)
        for number, group in enumerate(self._groups):
            around = self._features.neighbours("depth", now, alphabet, number, group)
            here = np.concatenate([rows[:, group.cubes], around])
            now[group.cubes] = self._model.code("depth", min(step, 1), here, now[group.cubes])

    def motion(self, step: int) -> None:
        now = self._state.motion[step, 0]
        alphabet = self._layout.motion_contexts
        rows = self._features.of_motion(self._state, step)
        for number, group in enumerate(self._groups):
            seen = np.minimum(now, alphabet - 1)
            around = self._features.neighbours("motion", seen, alphabet, number, group)
            here = np.concatenate([rows[:, group.cubes], around])
            now[group.cubes] = self._model.code("motion", 0, here, now[group.cubes])

    def turn(self, step: int) -> None:
        """Code how far the hypothesis of frame 1 lies from that of frame 0: mostly not at all."""
        first, second = self._state.motion[step]
        rows = self._features.of_turn(self._state, step)
        turn = (second - first) % self._layout.num_motion
        second[:] = (first + self._model.code("turn", 0, rows, turn)) % self._layout.num_motion

    def codes(self, step: int, stage: int) -> None:
        reached = self._state.depths[step] > stage
        if not reached.any():
            return
        now = self._state.codes[step, stage]
        none = self._layout.codebook_size
        net = min(step, 1) * self._layout.num_quantizers + stage
        rows = self._features.of_codes(self._state, step, stage)
        for number, every in enumerate(self._all if stage else self._groups):
            inside = reached[every.cubes]
            group = Group(every.cubes[inside], every.around[:, inside])
            if not len(group.cubes):
                continue
            seen = np.where(reached, now, none)
            around = self._features.neighbours("codes", seen, none + 1, number, group)
            here = np.concatenate([rows[:, group.cubes], around])
            now[group.cubes] = self._model.code("codes", net, here, now[group.cubes])
