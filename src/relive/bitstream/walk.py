"""The order in which a GOP is coded: one class for both directions, a step at a time.

The encoder walks with arrays that are full, the decoder with arrays that fill up on the way.

    step ─► depths ─► motion of frame 0 ─► of frame 1 ─► codes of stage 0 ─► of stage 1 ─► …

Depths, motion of frame 0 and codes of stage 0 go in groups A ► B ► C, the others all at once.
"""

from __future__ import annotations

import numpy as np

from relive.bitstream.context_model import ContextModel
from relive.bitstream.features import Features, StepState
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.grid import Group, all_cubes, cube_groups
from relive.bitstream.layout import Layout


def walk_gop(model: ContextModel, gop: GopCodes, layout: Layout) -> GopCodes:
    """Code a whole GOP through a context model and return what was coded."""
    walk = CodesWalk(model, layout, *gop.depths.shape[1:])
    return GopCodes.join([walk.step(gop.part(step)) for step in range(len(gop.depths))])


class CodesWalk:
    """Codes the steps of one GOP in order, and remembers the step before.

    Args:
        model: encodes, decodes or collects.
        layout: of the alphabets.
        h: rows of cubes.
        w: columns of cubes.
        delta: begin with a delta, as after a keyframe of zeros.
    """

    def __init__(
        self, model: ContextModel, layout: Layout, h: int, w: int, *, delta: bool = False
    ) -> None:
        self._model = model
        self._layout = layout
        self._features = Features(layout, h, w)
        self._groups = cube_groups(h, w)
        self._all = all_cubes(h, w)
        self._number = int(delta)
        self._before = StepState.blank(layout.num_quantizers, h * w) if delta else None

    def step(self, codes: GopCodes) -> GopCodes:
        """Code the next step.

        Args:
            codes: of this step alone; for a decoder its shapes alone.

        Returns:
            What was coded.
        """
        now = StepState(
            codes.depths.reshape(-1).astype(np.int32),
            codes.motion.reshape(2, -1).astype(np.int32),
            codes.codes.reshape(self._layout.num_quantizers, -1).astype(np.int32),
        )
        self._depths(now)
        if self._before and self._layout.num_motion > 1:
            self._motion(self._before, now)
            self._turn(now)
        for stage in range(self._layout.num_quantizers):
            self._codes(now, stage)
        self._number, self._before = self._number + 1, now
        return GopCodes(
            now.depths.reshape(codes.depths.shape).astype(np.uint8),
            now.motion.reshape(codes.motion.shape).astype(np.uint8),
            now.codes.reshape(codes.codes.shape).astype(np.int16),
        )

    def _depths(self, state: StepState) -> None:
        now = state.depths
        alphabet = self._layout.num_quantizers + 1
        rows = self._features.of_depths(self._number, self._before)
        for number, group in enumerate(self._groups):
            around = self._features.neighbours("depth", now, alphabet, number, group)
            here = np.concatenate([rows[:, group.cubes], around])
            net = min(self._number, 1)
            now[group.cubes] = self._model.code("depth", net, here, now[group.cubes])

    def _motion(self, before: StepState, state: StepState) -> None:
        now = state.motion[0]
        alphabet = self._layout.motion_contexts
        rows = self._features.of_motion(self._number, before, state)
        for number, group in enumerate(self._groups):
            seen = np.minimum(now, alphabet - 1)
            around = self._features.neighbours("motion", seen, alphabet, number, group)
            here = np.concatenate([rows[:, group.cubes], around])
            now[group.cubes] = self._model.code("motion", 0, here, now[group.cubes])

    def _turn(self, state: StepState) -> None:
        """Code how far the hypothesis of frame 1 lies from that of frame 0: mostly not at all."""
        first, second = state.motion
        rows = self._features.of_turn(state)
        turn = (second - first) % self._layout.num_motion
        second[:] = (first + self._model.code("turn", 0, rows, turn)) % self._layout.num_motion

    def _codes(self, state: StepState, stage: int) -> None:
        reached = state.depths > stage
        if not reached.any():
            return
        now = state.codes[stage]
        none = self._layout.codebook_size
        net = min(self._number, 1) * self._layout.num_quantizers + stage
        rows = self._features.of_codes(self._number, self._before, state, stage)
        for number, every in enumerate(self._all if stage else self._groups):
            inside = reached[every.cubes]
            group = Group(every.cubes[inside], every.around[:, inside])
            if not len(group.cubes):
                continue
            seen = np.where(reached, now, none)
            around = self._features.neighbours("codes", seen, none + 1, number, group)
            here = np.concatenate([rows[:, group.cubes], around])
            now[group.cubes] = self._model.code("codes", net, here, now[group.cubes])
