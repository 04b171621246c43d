"""The one door to constriction: range coding of symbol arrays under integer counts.

Determinism. constriction's lazy categorical model (`Categorical(perfect=False)`) turns a row of
`n` weights into 24-bit intervals with these float32 operations alone: the running sum of the
weights, one division `(2^24 - n) / sum`, one product `running_sum * scale`, and truncation. We hand
it *integers* whose sum is at most 2^24, so every running sum is exact in any order, and the one
division and one product are correctly rounded by IEEE 754 on every machine. No float of ours
enters: no division, no logarithm, no matrix product.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import constriction
import numpy as np
import numpy.typing as npt

from relive.errors import FormatError

Ints = npt.NDArray[np.int32]
Counts = npt.NDArray[np.float32]

_FAMILY: Any = constriction.stream.model.Categorical(perfect=False)


class SymbolCoder(Protocol):
    """What the context model drives: the writer and the reader of symbols look the same to it."""

    def code(self, symbols: Ints, counts: Counts) -> Ints:
        """Pass symbols `[n]` under counts `[n, ways]` through the coder; return the symbols."""
        ...


class SymbolEncoder:
    """Write symbols into a growing range-coded buffer."""

    def __init__(self) -> None:
        self._encoder: Any = constriction.stream.queue.RangeEncoder()

    def code(self, symbols: Ints, counts: Counts) -> Ints:
        """Append int32 symbols `[n]`, each below `ways`, under float32 counts `[n, ways]`."""
        if len(symbols):
            self._encoder.encode(np.ascontiguousarray(symbols, dtype=np.int32), _FAMILY, counts)
        return symbols

    def to_bytes(self) -> bytes:
        """Return the words written so far, little endian."""
        words = cast("npt.NDArray[np.uint32]", self._encoder.get_compressed())
        return words.astype("<u4").tobytes()


class SymbolDecoder:
    """Read back what `SymbolEncoder` wrote, given the same counts in the same order."""

    def __init__(self, payload: bytes) -> None:
        if len(payload) % 4:
            raise FormatError(f"entropy-coded payload of {len(payload)} bytes is not whole words")
        words = np.frombuffer(payload, dtype="<u4").astype(np.uint32)
        self._decoder: Any = constriction.stream.queue.RangeDecoder(words)

    def code(self, symbols: Ints, counts: Counts) -> Ints:
        """Return the next `len(counts)` symbols; the argument `symbols` is not looked at."""
        if not len(counts):
            return np.zeros(0, dtype=np.int32)
        try:
            return cast("Ints", self._decoder.decode(_FAMILY, counts))
        except AssertionError as error:  # constriction's way to say: no such bit pattern
            raise FormatError("entropy-coded payload is not valid for its model") from error
