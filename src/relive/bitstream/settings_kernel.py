"""The loop of `settings.py`: frame after frame, under counts that learn.

Shapes: F frames.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relive.bitstream.detail import MAX_PULL, NUM_STEPS, NUM_STRENGTHS
from relive.bitstream.learning import STEP
from relive.bitstream.range_kernel import State, Words, code_even, code_one
from relive.compiled import compiled, inlined, inner

Bytes = npt.NDArray[np.uint8]
NEAR = 3
"""Numbers of steps that a step is mostly off the one before; one more symbol says if it is not."""
TINTS, VALUES = 4, np.int64(256)
STEPS, ROW = np.int64(NUM_STEPS), np.int64(0)  # plain numbers would be compiled apart


@inlined
def wide(value: np.uint8) -> int:
    """A number that may be subtracted from."""
    return int(np.int64(value))


@inner
def learn_one(
    state: State,
    words: Words,
    decodes: bool,
    symbol: int | np.int64,
    row: int | np.int64,
    counts: npt.NDArray[np.float32],
) -> int:
    """Code a symbol under a row of counts `[rows, ways]`, and learn it; -1 if there is none."""
    line = counts[row]
    symbol = code_one(state, words, decodes, int(symbol), line, line.sum())
    if symbol >= 0:
        line[symbol] += np.float32(STEP)
    return symbol


@inner
def _even(state: State, words: Words, decodes: bool, symbol: int, ways: np.int64) -> int:
    """`code_even`, once for all calls: there are few of them, and compiling takes seconds."""
    return code_even(state, words, decodes, symbol, int(ways))


@compiled
def code_all(
    state: State,
    words: Words,
    decodes: bool,
    steps: Bytes,
    strengths: Bytes,
    unfiltered: Bytes,
    pulls: Bytes,
    tints: Bytes,
) -> bool:
    """Code all frames in place, `[F]` and tints `[F, 4]`; False where no encoder wrote this."""
    step_counts = np.ones((1, 2 * NEAR + 2), np.float32)
    step_counts[0, NEAR] = 8
    strength_counts = np.ones((NUM_STRENGTHS, NUM_STRENGTHS), np.float32)
    plain_counts, tint_counts = np.ones((2, 2), np.float32), np.ones((1, 2), np.float32)
    tint_counts[0, 0] = 8
    pull_counts = np.ones((1, 2 * MAX_PULL + 1), np.float32)
    pull_counts[0, MAX_PULL] = 8
    for near in (MAX_PULL - 1, MAX_PULL + 1):
        pull_counts[0, near] = 3
    step = strength = plain = pull = 0
    tint = np.zeros(TINTS, np.uint8)
    for row in range(len(steps)):
        off = wide(steps[row]) - step
        far = row == 0
        if row:
            symbol = off + NEAR if -NEAR <= off <= NEAR else 2 * NEAR + 1
            symbol = learn_one(state, words, decodes, symbol, ROW, step_counts)
            if symbol < 0:
                return False
            far = symbol == 2 * NEAR + 1
            off = symbol - NEAR
        step = _even(state, words, decodes, wide(steps[row]), STEPS) if far else step + off
        if not 0 <= step < NUM_STEPS:
            return False
        strength = learn_one(state, words, decodes, wide(strengths[row]), strength, strength_counts)
        if strength < 0:
            return False
        plain = learn_one(state, words, decodes, wide(unfiltered[row]), plain, plain_counts)
        if plain < 0:
            return False
        off = learn_one(state, words, decodes, wide(pulls[row]) - pull + MAX_PULL, ROW, pull_counts)
        pull += off - MAX_PULL
        if off < 0 or not 0 <= pull <= MAX_PULL:
            return False
        other = 0
        for k in range(TINTS):
            if tints[row, k] != tint[k]:
                other = 1
        other = learn_one(state, words, decodes, np.int64(other), ROW, tint_counts)
        if other < 0:
            return False
        if other:
            for k in range(TINTS):
                value = _even(state, words, decodes, wide(tints[row, k]), VALUES)
                if value < 0:
                    return False
                tint[k] = value
        steps[row], strengths[row], unfiltered[row], pulls[row] = step, strength, plain, pull
        tints[row] = tint
    return True
