"""The nets at work in one packet: code symbols, and learn how the packet differs from the training.

Everything starts a packet as the tables say, so any GOP decodes alone. Learning happens after a
whole array has been coded, the same on both sides.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import Counts, Ints, SymbolCoder
from relive.bitstream.net import Net
from relive.bitstream.powers import logarithm, weights
from relive.errors import FormatError

Rows = npt.NDArray[np.int64]

ONE = 1 << 12
"""What one symbol counts, seen or expected."""
PRIOR_HIGH = 12 * ONE
PRIOR_LOW = 8 * ONE


class ContextModel(Protocol):
    """What the walk over a GOP drives."""

    def code(self, family: str, net: int, rows: Rows, symbols: Ints) -> Ints:
        """Code int32 symbols `[n]` with a net, given their feature rows `[features, n]`."""
        ...


class AdaptiveModel:
    """Code symbols through a coder, and learn from them."""

    def __init__(self, nets: dict[str, tuple[Net, ...]], coder: SymbolCoder) -> None:
        self._live = {name: [LiveNet(net) for net in family] for name, family in nets.items()}
        self._coder = coder

    def code(self, family: str, net: int, rows: Rows, symbols: Ints) -> Ints:
        """Code symbols `[n]`, then correct the net where it was wrong on the whole."""
        return self._live[family][net].code(rows, symbols, self._coder)


class LiveNet:
    """A net and its bias within the packet: how often a part came, and how often expected."""

    def __init__(self, net: Net) -> None:
        self._net = net
        self._highs = len(net.high_bias)
        self._lows = len(net.low_bias) // self._highs
        sums = np.full((2, self._highs + len(net.low_bias)), PRIOR_LOW, np.float64)
        sums[:, : self._highs] = PRIOR_HIGH
        self._sums = sums  # [seen/due, high parts then ranks]: whole numbers, priors included

    def code(self, rows: Rows, symbols: Ints, coder: SymbolCoder) -> Ints:
        """Code symbols `[n]` under the net and its bias, then learn from them."""
        net, lows, highs = self._net, self._lows, self._highs
        if len(net.rank) == 1:
            return np.zeros(rows.shape[1], np.int32)
        logs = logarithm(self._sums)
        correction = logs[0] - logs[1]
        rank = net.rank[symbols].astype(np.int32)
        hidden = net.hidden(rows)
        high = np.zeros(len(hidden), np.int32)
        if highs > 1:
            counts = weights(net.high_logits(hidden) + correction[:highs])
            high = coder.code(rank // lows, counts)
            self._sums[1, :highs] += _expected(counts).sum(axis=0)
        counts = weights(net.low_logits(hidden, high) + correction[highs:].reshape(-1, lows)[high])
        low = coder.code(rank % lows, counts)
        rank = high * lows + low
        if int(rank.max(initial=0)) >= len(net.rank):
            raise FormatError("codes packet decodes to a symbol that its alphabet does not have")
        here = (high == np.arange(highs, dtype=np.int32)[:, None]).astype(np.float64)
        self._sums[1, highs:] += (here @ _expected(counts)).reshape(-1)
        self._sums[0, :highs] += here.sum(axis=1) * ONE
        np.add.at(self._sums[0, highs:], rank, ONE)
        return net.symbol_of[rank]


def _expected(counts: Counts) -> Ints:
    """Return the share of each symbol in its row, int32 `[n, ways]`, `ONE` being all."""
    whole = counts.astype(np.int32)  # at most 2^16 each, 2^24 a row
    return np.asarray(whole * ONE // whole.sum(axis=1, keepdims=True, dtype=np.int32))
