"""The nets at work in one packet: code symbols, and learn how the packet differs from the training.

Everything starts a packet as the tables say, so any GOP decodes alone. Learning happens after a
whole array has been coded, the same on both sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import (
    NOT_WRITTEN,
    BitCounter,
    Counts,
    Ints,
    SymbolCoder,
    check_symbols,
)
from relive.bitstream.net import Net
from relive.bitstream.powers import logarithm, weights
from relive.errors import FormatError

if TYPE_CHECKING:
    from relive.bitstream.array_kernel import FamilyNets

Rows = npt.NDArray[np.int64]

ONE = 1 << 12
"""What one symbol counts, seen or expected."""
PRIOR_HIGH = 12 * ONE


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
        from relive.bitstream import array_kernel  # half a second that a header can spare

        self._net, self._kernel = net, array_kernel
        self._highs = len(net.high_bias)
        self._whole = array_kernel.FamilyNets.of([net]) if self._highs == 1 else None
        if self._whole is not None:
            return
        self._lows = len(net.low_bias) // self._highs
        sums = np.full((2, self._highs + len(net.low_bias)), array_kernel.PRIOR_LOW, np.float64)
        sums[:, : self._highs] = PRIOR_HIGH
        self._sums = sums  # [seen/due, high parts then ranks]: whole numbers, priors included

    def code(self, rows: Rows, symbols: Ints, coder: SymbolCoder) -> Ints:
        """Code symbols `[n]` under the net and its bias, then learn from them."""
        if len(self._net.rank) == 1:
            return np.zeros(rows.shape[1], np.int32)
        if self._whole is not None:
            return self._code_whole(self._whole, rows, symbols, coder)
        rank = self._net.rank.take(symbols).astype(np.int32)
        return self._net.symbol_of.take(self._parts(rows, rank, coder))

    def bits(self, rows: Rows) -> npt.NDArray[np.float32]:
        """What every symbol would cost, `[n, symbols]`; about, where the net has no high parts."""
        net, lows = self._net, len(self._net.low_bias) // self._highs
        correction = np.zeros(self._highs + len(net.low_bias), np.int32)
        if self._whole is None:
            logs = logarithm(self._sums)
            correction = logs[0] - logs[1]
        hidden = net.hidden(rows)
        high = _bits(weights(net.high_logits(hidden) + correction[: self._highs]))
        low_logits = net.every_low_logit(hidden) + correction[self._highs :]
        low = _bits(weights(low_logits.reshape(-1, lows))).reshape(len(hidden), self._highs, lows)
        return (high[..., None] + low).reshape(len(hidden), -1).take(net.rank, axis=1)

    def _code_whole(self, nets: FamilyNets, rows: Rows, symbols: Ints, coder: SymbolCoder) -> Ints:
        """Code symbols that have no high part, and learn."""
        check_symbols(symbols, len(self._net.rank))
        features, count = rows.shape
        laid = np.ascontiguousarray(rows.T, np.int32)
        sink = self._kernel.sink_of(coder, laid, np.array(symbols, np.int32), most=count)
        if not self._kernel.code_array(sink, nets, 0, count, features):
            raise FormatError(NOT_WRITTEN)
        if isinstance(coder, BitCounter):
            coder.total += float(sink.bits[0])
        return sink.symbols

    def _parts(self, rows: Rows, rank: Ints, coder: SymbolCoder) -> Ints:
        """Code ranks in two parts, and learn."""
        net, lows, highs = self._net, self._lows, self._highs
        logs, hidden = logarithm(self._sums), net.hidden(rows)
        correction = logs[0] - logs[1]
        counts = weights(net.high_logits(hidden) + correction[:highs])
        high = coder.code(rank // lows, counts)
        self._sums[1, :highs] += np.add.reduce(_expected(counts), axis=0)
        low_correction = correction[highs:].reshape(-1, lows).take(high, axis=0)
        counts = weights(net.low_logits(hidden, high) + low_correction)
        rank = high * lows + coder.code(rank % lows, counts)
        if int(rank.max(initial=0)) >= len(net.rank):
            raise FormatError("codes packet decodes to a symbol that its alphabet does not have")
        here = (high == np.arange(highs, dtype=np.int32)[:, None]).astype(np.float64)
        self._sums[1, highs:] += (here @ _expected(counts)).reshape(-1)
        self._sums[0, :highs] += here.sum(axis=1) * ONE
        self._sums[0, highs:] += np.bincount(rank, minlength=highs * lows) * ONE
        return rank


def _bits(counts: Counts) -> npt.NDArray[np.float32]:
    """Bits of every symbol of a row of counts `[n, ways]`."""
    total = counts.sum(1, keepdims=True)
    return np.asarray(np.log2(total) - np.log2(counts), np.float32)


def _expected(counts: Counts) -> npt.NDArray[np.float64]:
    """Return the share of each symbol in its row, whole numbers `[n, ways]`, `ONE` being all.

    Counts are at most 2^16 and their sum 2^24, so the rounding of a quotient, 2^-41 at most, cannot
    reach a whole number that the quotient is not.
    """
    whole = counts.astype(np.float64)
    total = whole @ np.ones((whole.shape[1], 1))
    whole *= ONE
    whole /= total  # one rounding alone
    return np.asarray(np.floor(whole, out=whole))
