"""Adaptive integer counts: the probability of a symbol given its context.

Every table starts a packet with its static rows and counts up the symbols coded, so any GOP decodes
alone. Counts rise after a whole array has been coded, the same on both sides.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import MAX_TOTAL, Ints, SymbolCoder

Rows = npt.NDArray[np.int64]


class ContextModel(Protocol):
    """What the walk over a GOP drives."""

    def code(self, table: str, contexts: npt.NDArray[np.int64], symbols: Ints) -> Ints:
        """Code int32 symbols `[n]` of a table, each under its row number in `contexts` `[n]`."""
        ...


class AdaptiveModel:
    """Code symbols under live counts, then add them to the counts."""

    def __init__(
        self, rows: dict[str, npt.NDArray[np.float32]], gains: dict[str, int], coder: SymbolCoder
    ) -> None:
        self._live = {name: table.copy() for name, table in rows.items()}
        self._gains = gains
        self._room = {name: _room(table) for name, table in rows.items()}
        self._coder = coder

    def code(self, table: str, contexts: npt.NDArray[np.int64], symbols: Ints) -> Ints:
        """Code symbols `[n]` under the live rows `contexts` `[n]`, then count them up."""
        live = self._live[table]
        ways = live.shape[1]
        if ways == 1 or not len(contexts):
            return np.zeros(len(contexts), dtype=np.int32)
        symbols = self._coder.code(symbols, live[contexts])
        gain = self._gains[table]
        if gain and gain * len(symbols) <= self._room[table]:
            self._room[table] -= gain * len(symbols)
            np.add.at(live.reshape(-1), contexts * ways + symbols, np.float32(gain))
        return symbols


class CountingModel:
    """Count (context, symbol) pairs of training data; nothing is coded."""

    def __init__(self, shapes: dict[str, tuple[int, int]]) -> None:
        self.counts: dict[str, Rows] = {
            name: np.zeros(shape, np.int64) for name, shape in shapes.items()
        }

    def code(self, table: str, contexts: npt.NDArray[np.int64], symbols: Ints) -> Ints:
        """Count symbols `[n]` at contexts `[n]` and return them."""
        counts = self.counts[table]
        flat = contexts * counts.shape[1] + symbols
        counts += np.bincount(flat, minlength=counts.size).reshape(counts.shape)
        return symbols


def _room(table: npt.NDArray[np.float32]) -> int:
    """Return what may be added to one row before its total could leave the exact range."""
    return MAX_TOTAL // 2 - int(table.sum(axis=1).max())
