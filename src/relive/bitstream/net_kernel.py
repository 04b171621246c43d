"""The nets in one loop, compiled: the same integers as `net.py` and `powers.py`, faster."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from relive.bitstream.net import HIDDEN, MAX_HIDDEN, SHIFT
from relive.bitstream.powers import FLOOR, LOGS, UNIT, WEIGHTS
from relive.compiled import compiled


@compiled
def _log(value: float) -> int:
    """`powers.logarithm` of one number."""
    mantissa, exponent = math.frexp(value)
    lead: int = LOGS[int(mantissa * (2 * len(LOGS))) - len(LOGS)]
    return lead + (exponent - 1) * UNIT


@compiled
def count(
    embed: npt.NDArray[np.int16],
    low: npt.NDArray[np.int32],
    bias: npt.NDArray[np.int16],
    sums: npt.NDArray[np.float64],
    rows: npt.NDArray[np.int64],
    counts: npt.NDArray[np.float32],
    due: npt.NDArray[np.float64],
    one: float,
) -> None:
    """Counts of symbols without high parts, and how often each part is to be expected.

    Args:
        embed: of the net `[feature rows, HIDDEN]`.
        low: of the net `[HIDDEN, L]`.
        bias: of the net `[L]`.
        sums: how often each part came, and was expected, before `[2, L]`.
        rows: feature rows `[features, n]`.
        counts: takes the weights of all parts `[n, L]`.
        due: takes the shares of all parts, in units of `one` `[L]`.
        one: what one symbol counts.
    """
    ways = len(bias)
    hidden, logits = np.empty(HIDDEN, np.int32), np.empty(ways, np.int32)
    corrected = np.empty(ways, np.int32)
    for way in range(ways):
        corrected[way] = bias[way] + _log(sums[0, way]) - _log(sums[1, way])
    due[:] = 0
    for n in range(rows.shape[1]):
        hidden[:] = 0
        for feature in range(rows.shape[0]):
            line = embed[rows[feature, n]]
            for k in range(HIDDEN):
                hidden[k] += line[k]
        logits[:] = 0
        for k in range(HIDDEN):
            value = min(max(hidden[k], 0), MAX_HIDDEN)
            for way in range(ways):
                logits[way] += value * low[k, way]
        top = np.int32(-(1 << 30))
        for way in range(ways):
            logits[way] = (logits[way] >> SHIFT) + corrected[way]
            top = max(top, logits[way])
        total = 0.0
        for way in range(ways):
            weight = WEIGHTS[min(top - logits[way], FLOOR)]
            counts[n, way] = weight
            total += weight
        for way in range(ways):
            due[way] += np.floor(counts[n, way] * one / total)


@compiled
def learn(
    sums: npt.NDArray[np.float64],
    ranks: npt.NDArray[np.int32],
    due: npt.NDArray[np.float64],
    one: float,
) -> None:
    """Add what came, `[n]`, and what was expected, `[L]`, to the sums of `count`."""
    for n in range(len(ranks)):
        sums[0, ranks[n]] += one
    for way in range(len(due)):
        sums[1, way] += due[way]
