"""Adaptive integer counts: the probability of a symbol given its context.

Everything starts a packet as the tables say and learns from the symbols coded, so any GOP decodes
alone. Learning happens after a whole array has been coded, the same on both sides.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from relive.bitstream.code_net import CodeNet
from relive.bitstream.coder import MAX_TOTAL, Counts, Ints, SymbolCoder
from relive.bitstream.powers import logarithm, weights
from relive.errors import FormatError

Index = npt.NDArray[np.int64]

ONE = 1 << 12
"""What one symbol counts, seen or expected."""
PRIOR_HIGH = 24 * ONE
PRIOR_LOW = 12 * ONE


class ContextModel(Protocol):
    """What the walk over a GOP drives."""

    def code(self, table: str, contexts: Index, symbols: Ints) -> Ints:
        """Code int32 symbols `[n]` of a table, each under its row number in `contexts` `[n]`."""
        ...

    def code_codes(self, net: int, rows: Index, codes: Ints) -> Ints:
        """Code int32 codes `[n]` with a net, given their feature rows `[features, n]`."""
        ...


class AdaptiveModel:
    """Code symbols through a coder, and learn from them."""

    def __init__(
        self,
        tables: dict[str, Counts],
        gains: dict[str, int],
        nets: tuple[CodeNet, ...],
        coder: SymbolCoder,
    ) -> None:
        self._live = {name: table.copy() for name, table in tables.items()}
        self._gains = gains
        self._room = {name: _room(table) for name, table in tables.items()}
        self._codes = tuple(_LiveCodes(net) for net in nets)
        self._coder = coder

    def code(self, table: str, contexts: Index, symbols: Ints) -> Ints:
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

    def code_codes(self, net: int, rows: Index, codes: Ints) -> Ints:
        """Code codes `[n]` with a net, then correct it where it was wrong on the whole."""
        return self._codes[net].code(rows, codes, self._coder)


class _LiveCodes:
    """A code net and its bias within the packet: how often a part came, and how often expected."""

    def __init__(self, net: CodeNet) -> None:
        self._net = net
        self._highs = len(net.high_bias)
        self._ways = len(net.low_bias) // self._highs
        sums = np.full((2, self._highs + len(net.low_bias)), PRIOR_LOW, np.float64)
        sums[:, : self._highs] = PRIOR_HIGH
        self._sums = sums  # [seen/due, high parts then ranks]: whole numbers, priors included

    def code(self, rows: Index, codes: Ints, coder: SymbolCoder) -> Ints:
        net, ways, highs = self._net, self._ways, self._highs
        logs = logarithm(self._sums)
        correction = logs[0] - logs[1]
        rank = net.rank[codes].astype(np.int32)
        hidden = net.hidden(rows)
        counts = weights(net.high_logits(hidden) + correction[:highs])
        high = coder.code(rank // ways, counts) if highs > 1 else rank * 0
        due_high = _expected(counts).sum(axis=0)
        counts = weights(net.low_logits(hidden, high) + correction[highs:].reshape(-1, ways)[high])
        low = coder.code(rank % ways, counts)
        here = (high == np.arange(highs, dtype=np.int32)[:, None]).astype(np.float64)
        due_low = here @ _expected(counts).astype(np.float64)
        rank = high * ways + low
        if len(rank) and int(rank.max()) >= len(net.rank):
            raise FormatError("codes packet decodes to a code that its codebook does not have")
        self._sums[1, :highs] += due_high
        self._sums[1, highs:] += due_low.reshape(-1)
        self._sums[0, :highs] += here.sum(axis=1) * ONE
        np.add.at(self._sums[0, highs:], rank, ONE)
        return net.code_of[rank]


def _expected(counts: Counts) -> Ints:
    """Return the share of each symbol in its row, int32 `[n, ways]`, `ONE` being all."""
    whole = counts.astype(np.int32)  # at most 2^16 each, 2^24 a row
    return np.asarray(whole * ONE // whole.sum(axis=1, keepdims=True, dtype=np.int32))


def _room(table: Counts) -> int:
    """Return what may be added to one row before its total could leave the exact range."""
    return MAX_TOTAL // 2 - int(table.sum(axis=1).max())
