"""What a compact enhancement packet says of its frames, before their cubes.

    number of the quantiser step ─► strength of deblocking ─► how the frame is shown

Most frames say what the one before said; how often, is learned in the packet.
"""

from __future__ import annotations

import numpy as np

from relive.bitstream.detail import MAX_PULL, NO_TINT, NUM_STEPS, NUM_STRENGTHS, GopDetail
from relive.bitstream.learning import AdaptiveCounts, CountModel, code_raw

_SELDOM = [4, 1]


def code_settings(model: CountModel, detail: GopDetail) -> None:
    """Code steps, strengths, unfiltered, pulls and tints of all frames, in place."""
    stepped, shown = AdaptiveCounts(_SELDOM), AdaptiveCounts(_SELDOM)
    strengths = AdaptiveCounts(np.ones(NUM_STRENGTHS), NUM_STRENGTHS)
    step = strength = 0
    look: tuple[int, ...] = (0, 0, *NO_TINT)
    for row in range(len(detail.steps)):
        wanted = int(detail.steps[row])
        if row == 0 or stepped.code_one(model, int(wanted != step)):
            step = code_raw(model, wanted, NUM_STEPS)
        detail.steps[row] = step
        strength = strengths.code_one(model, int(detail.strengths[row]), strength)
        detail.strengths[row] = strength
        wish = (int(detail.unfiltered[row]), int(detail.pulls[row]), *detail.tints[row].tolist())
        if shown.code_one(model, int(wish != look)):
            look = _look(model, wish, look)
        detail.unfiltered[row], detail.pulls[row], detail.tints[row] = look[0], look[1], look[2:]


def _look(model: CountModel, wish: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...]:
    """Code how a frame is shown: whether without the filter, the pull, and the tint."""
    unfiltered = code_raw(model, wish[0], 2)
    pull = code_raw(model, wish[1], MAX_PULL + 1)
    tint = before[2:]
    if code_raw(model, int(wish[2:] != tint), 2):
        tint = tuple(code_raw(model, value, 256) for value in wish[2:])
    return unfiltered, pull, *tint
