"""Choice among the finalists of cubes, where naming one costs less beside others like it.

Shapes: h w cubes, n finalists.
"""

from __future__ import annotations

import math

import numpy as np

from relive.bitstream.detail import BASE, NUM_MODES, NUM_SOURCES
from relive.compiled import compiled, inner
from relive.kernels.pictures import Floats
from relive.kernels.vector_costs import Ints

KEPT, BESIDE, OVERALL = 0.35, 0.45, 0.2
"""Shares of what tells the mode of a cube: the frame before, the cubes beside, the whole frame."""
SOURCE_BESIDE = 0.6
DOUBT = 0.5  # of a cube beside, shared out as is usual
FEW = 20.0  # cubes that the usual shares count for
SWEEPS = 2


@inner
def _count(
    chosen: Ints, outcomes: Ints, i: int, j: int, add: float, modes: Floats, sources: Floats
) -> None:
    """Add what cube i, j has chosen to counts of modes and sources."""
    mode = outcomes[chosen[i, j], 0]
    modes[mode] += np.float32(add)
    if mode != BASE:
        sources[outcomes[chosen[i, j], 1]] += np.float32(add)


@compiled
def settle(
    costs: Floats,
    ranked: Ints,
    outcomes: Ints,
    price: Floats,
    before: Ints,
    usual: tuple[Floats, Floats],
    several: bool,
    chosen: Ints,
    least: Floats,
) -> None:
    """Choose again, with the bits that the choices around leave: every other cube, then the rest.

    The nets that code modes and sources see the cubes beside and the frame before; so what differs
    from them must gain as much as it costs to say so.

    Args:
        costs: of the finalists without naming mode and source, squared error `[n, h, w]`.
        ranked: their numbers `[n, h, w]`.
        outcomes: mode, source and split of every number `[k, 3]`.
        price: squared error that one bit must save `[h, w]`.
        before: modes of the frame before `[h, w]`; -1 where they are not known.
        usual: shares of modes and of sources where nothing is known.
        several: there is more than one source.
        chosen: numbers of the choice, to begin with and as it ends `[h, w]`.
        least: takes what the choice costs `[h, w]`.
    """
    h, w = price.shape
    modes, sources = np.float32(FEW) * usual[0], np.float32(FEW) * usual[1]
    beside, through = np.empty(NUM_MODES, np.float32), np.empty(NUM_SOURCES, np.float32)
    mode_bits, source_bits = np.empty(NUM_MODES), np.zeros(NUM_SOURCES)
    for i in range(h):
        for j in range(w):
            _count(chosen, outcomes, i, j, 1.0, modes, sources)
    for turn in range(2 * SWEEPS):
        for i in range(h):
            for j in range((i + turn) % 2, w, 2):
                beside[:], through[:] = 0, 0
                for y, x in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                    if 0 <= y < h and 0 <= x < w:
                        _count(chosen, outcomes, y, x, 1.0, beside, through)
                known, all_modes = beside.sum() + DOUBT, modes.sum()
                for mode in range(NUM_MODES):
                    share = modes[mode] / all_modes
                    kept = share
                    if before[i, j] >= 0:
                        kept = 1.0 if before[i, j] == mode else 0.0
                    near = (beside[mode] + DOUBT * usual[0][mode]) / known
                    mode_bits[mode] = -math.log2(KEPT * kept + BESIDE * near + OVERALL * share)
                if several:
                    known, all_sources = through.sum() + DOUBT, sources.sum()
                    for source in range(NUM_SOURCES):
                        share = sources[source] / all_sources
                        near = (through[source] + DOUBT * share) / known
                        seen = SOURCE_BESIDE * near + (1 - SOURCE_BESIDE) * share
                        source_bits[source] = -math.log2(seen)
                best, lowest = chosen[i, j], np.inf
                for n in range(len(ranked)):
                    number = ranked[n, i, j]
                    bits = mode_bits[outcomes[number, 0]]
                    if outcomes[number, 0] != BASE:
                        bits += source_bits[outcomes[number, 1]]
                    cost = costs[n, i, j] + price[i, j] * bits
                    if cost < lowest:
                        best, lowest = number, cost
                _count(chosen, outcomes, i, j, -1.0, modes, sources)
                chosen[i, j], least[i, j] = best, lowest
                _count(chosen, outcomes, i, j, 1.0, modes, sources)
