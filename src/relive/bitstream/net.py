"""Probabilities of symbols: rows of small integers summed over the features of a symbol.

```
 feature rows ── embed (int8) ──► sum, clip 0 … 255: hidden ─┬─ · high (int8) + bias ─► G logits
                                                             └─ · low (int8) + bias ─► G L logits
```

Every number is an integer and every sum stays below 2^24, so float32 products are exact in any
order, with any number of threads. A symbol is coded as its *rank*: high part first, then low part.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from relive.bitstream.layout import Family
from relive.bitstream.powers import UNIT
from relive.errors import FormatError

HIDDEN = 16
MAX_HIDDEN = 255
SHIFT = 6
"""Products are counted in 1/64 of a logit unit."""
MAX_BIAS = 64 * UNIT

_LEAST, _MOST = np.int16(0), np.int16(MAX_HIDDEN)

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Net:
    """The integers that give the probabilities of one kind of symbol.

    Attributes:
        embed: int8 `[feature rows, HIDDEN]`.
        high: int8 `[HIDDEN, G]`.
        low: int8 `[HIDDEN, G * L]`.
        high_bias: int16 `[G]`, 1/32 of an octave.
        low_bias: int16 `[G * L]`.
        rank: int16 `[size]`, symbol → rank, a permutation.
    """

    embed: npt.NDArray[np.int8]
    high: npt.NDArray[np.int8]
    low: npt.NDArray[np.int8]
    high_bias: npt.NDArray[np.int16]
    low_bias: npt.NDArray[np.int16]
    rank: npt.NDArray[np.int16]

    @classmethod
    def uniform(cls, family: Family) -> Net:
        """Return the net that knows nothing."""
        shapes = net_shapes(family)
        zeros = {name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()}
        return cls(**zeros | {"rank": np.arange(family.size, dtype=np.int16)})

    def check(self, family: Family) -> None:
        """Raise `FormatError` where a number is out of range; shapes and types are right."""
        biases = np.concatenate([self.high_bias, self.low_bias])
        if int(np.abs(biases.astype(np.int64)).max()) > MAX_BIAS:
            raise FormatError(f"probability tables: a bias exceeds {MAX_BIAS}")
        if not np.array_equal(np.sort(self.rank), np.arange(family.size)):
            raise FormatError("probability tables: a rank is not a permutation of the symbols")

    def hidden(self, rows: Rows) -> Floats:
        """Return the hidden integers float32 `[n, HIDDEN]` of feature rows `[features, n]`."""
        total, *others = self._embed.take(rows, axis=0)
        for other in others:  # four times as fast as a sum over the axis
            total += other
        np.minimum(np.maximum(total, _LEAST, out=total), _MOST, out=total)
        return np.asarray(total, np.float32)

    def high_logits(self, hidden: Floats) -> Ints:
        """Return logits int32 `[n, G]`."""
        return _logits(hidden @ self._high, self.high_bias)

    def low_logits(self, hidden: Floats, high: Ints) -> Ints:
        """Return logits int32 `[n, L]`, given the high parts `[n]`."""
        products = np.matmul(hidden[:, None, :], self._low.take(high, axis=0))[:, 0]
        return _logits(products, self._low_bias.take(high, axis=0))

    def every_low_logit(self, hidden: Floats) -> Ints:
        """Return logits int32 `[n, G * L]`, whatever the high part."""
        return _logits(hidden @ self.low.astype(np.float32), self.low_bias)

    @cached_property
    def symbol_of(self) -> Ints:
        """Return rank → symbol, int32 `[size]`."""
        return np.argsort(self.rank).astype(np.int32)

    @cached_property
    def _embed(self) -> npt.NDArray[np.int16]:
        return self.embed.astype(np.int16)  # sums of at most 64 rows fit

    @cached_property
    def _high(self) -> Floats:
        return self.high.astype(np.float32)

    @cached_property
    def _low(self) -> Floats:
        parts = self.low.astype(np.float32).reshape(HIDDEN, len(self.high_bias), -1)
        return np.ascontiguousarray(parts.transpose(1, 0, 2))  # [G, HIDDEN, L]

    @cached_property
    def _low_bias(self) -> npt.NDArray[np.int16]:
        return self.low_bias.reshape(len(self.high_bias), -1)


def net_shapes(family: Family) -> dict[str, tuple[tuple[int, ...], type[np.signedinteger]]]:
    """Return array name → shape and type."""
    every = family.highs * family.lows
    return {
        "embed": ((family.starts[-1], HIDDEN), np.int8),
        "high": ((HIDDEN, family.highs), np.int8),
        "low": ((HIDDEN, every), np.int8),
        "high_bias": ((family.highs,), np.int16),
        "low_bias": ((every,), np.int16),
        "rank": ((family.size,), np.int16),
    }


def stored_parts(family: Family) -> list[str]:
    """Names of the arrays that a model stores; without high parts, theirs are 0."""
    return [part for part in net_shapes(family) if family.highs > 1 or "high" not in part]


def _logits(products: Floats, bias: npt.NDArray[np.int16]) -> Ints:
    return np.asarray((products.astype(np.int32) >> SHIFT) + bias)
