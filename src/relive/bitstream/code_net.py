"""Probabilities of codes: rows of small integers summed over the features of a code.

```
 feature rows ── E (int8) ──► sum, clip 0 … 255: hidden ─┬─ · high (int8) + bias ──► 16 logits
                                                         └─ · low  (int8) + bias ──► 16 x 32 logits
```

Every number is an integer and every sum stays below 2^24, so float32 products are exact in any
order, with any number of threads. A code is coded as its *rank*: the high part, then the low part.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from relive.bitstream.code_features import feature_starts
from relive.bitstream.layout import Layout
from relive.bitstream.powers import UNIT
from relive.errors import FormatError

HIDDEN = 16
MAX_HIDDEN = 255
SHIFT = 6
"""Products are counted in 1/64 of a logit unit."""
MAX_BIAS = 64 * UNIT

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CodeNet:
    """The integers that give the probabilities of one stage of keyframes, or of deltas.

    Attributes:
        embed: int8 `[feature rows, HIDDEN]`.
        high: int8 `[HIDDEN, high ways]`.
        low: int8 `[HIDDEN, high ways * low ways]`.
        high_bias: int16 `[high ways]`, 1/32 of an octave.
        low_bias: int16 `[high ways * low ways]`.
        rank: int16 `[codebook_size]`, code → rank, a permutation.
    """

    embed: npt.NDArray[np.int8]
    high: npt.NDArray[np.int8]
    low: npt.NDArray[np.int8]
    high_bias: npt.NDArray[np.int16]
    low_bias: npt.NDArray[np.int16]
    rank: npt.NDArray[np.int16]

    @classmethod
    def uniform(cls, layout: Layout) -> CodeNet:
        """Return the net that knows nothing."""
        shapes = net_shapes(layout)
        zeros = {name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()}
        return cls(**zeros | {"rank": np.arange(layout.codebook_size, dtype=np.int16)})

    def check(self, layout: Layout) -> None:
        """Raise `FormatError` where an array does not fit the layout."""
        for name, (shape, dtype) in net_shapes(layout).items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise FormatError(
                    f"code net: {name} must be {dtype.__name__} of shape {shape}, "
                    f"not {array.dtype} of shape {array.shape}"
                )
        biases = np.concatenate([self.high_bias, self.low_bias])
        if int(np.abs(biases.astype(np.int64)).max()) > MAX_BIAS:
            raise FormatError(f"code net: a bias exceeds {MAX_BIAS}")
        if not np.array_equal(np.sort(self.rank), np.arange(layout.codebook_size)):
            raise FormatError("code net: rank is not a permutation of the codes")

    def hidden(self, rows: Rows) -> Floats:
        """Return the hidden integers float32 `[n, HIDDEN]` of feature rows `[features, n]`."""
        total = self._embed.take(rows, axis=0).sum(axis=0)
        np.clip(total, np.float32(0), np.float32(MAX_HIDDEN), out=total)
        return np.asarray(total)

    def high_logits(self, hidden: Floats) -> npt.NDArray[np.int32]:
        """Return logits int32 `[n, high ways]`."""
        return _logits(hidden @ self._high, self.high_bias)

    def low_logits(self, hidden: Floats, high: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """Return logits int32 `[n, low ways]`, given the high parts `[n]`."""
        products = np.matmul(hidden[:, None, :], self._low.take(high, axis=0))[:, 0]
        return _logits(products, self._low_bias.take(high, axis=0))

    @cached_property
    def code_of(self) -> npt.NDArray[np.int32]:
        """Return rank → code, int32 `[codebook_size]`."""
        return np.argsort(self.rank).astype(np.int32)

    @cached_property
    def _embed(self) -> Floats:
        return self.embed.astype(np.float32)

    @cached_property
    def _high(self) -> Floats:
        return self.high.astype(np.float32)

    @cached_property
    def _low(self) -> Floats:
        parts = self.low.astype(np.float32).reshape(HIDDEN, len(self.high_bias), -1)
        return np.ascontiguousarray(parts.transpose(1, 0, 2))  # [high ways, HIDDEN, low ways]

    @cached_property
    def _low_bias(self) -> npt.NDArray[np.int16]:
        return self.low_bias.reshape(len(self.high_bias), -1)


def net_shapes(layout: Layout) -> dict[str, tuple[tuple[int, ...], type[np.signedinteger]]]:
    """Return array name → shape and type."""
    high, every = layout.high_ways, layout.high_ways * layout.low_ways
    return {
        "embed": ((feature_starts(layout)[-1], HIDDEN), np.int8),
        "high": ((HIDDEN, high), np.int8),
        "low": ((HIDDEN, every), np.int8),
        "high_bias": ((high,), np.int16),
        "low_bias": ((every,), np.int16),
        "rank": ((layout.codebook_size,), np.int16),
    }


def _logits(products: Floats, bias: npt.NDArray[np.int16]) -> npt.NDArray[np.int32]:
    return np.asarray((products.astype(np.int32) >> SHIFT) + bias)
