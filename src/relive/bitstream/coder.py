"""Range coding of symbol arrays under integer counts.

Determinism. A row of `n` weights becomes 24-bit intervals by these float32 operations alone: the
running sum of the weights, one division `(2^24 - n) / sum`, one product `running_sum * scale`, and
truncation, as in constriction's `Categorical(perfect=False)`. We hand it *integers* whose sum is at
most 2^24, so every running sum is exact in any order, and the one division and one product are
correctly rounded by IEEE 754 on every machine. No float of ours enters: no division, no logarithm,
no matrix product.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from relive.errors import FormatError

Ints = npt.NDArray[np.int32]
Counts = npt.NDArray[np.float32]
NOT_WRITTEN = "entropy-coded payload is not valid for its model"
_SPARE = 4  # words that the end of a stream may take
STRIPPED = 8  # bytes at the end of a short stream that may be left out


class SymbolCoder(Protocol):
    """What the context model drives: the writer and the reader of symbols look the same to it."""

    def code(self, symbols: Ints, counts: Counts) -> Ints:
        """Pass symbols `[n]` under counts `[n, ways]` through the coder; return the symbols."""
        ...


def check_symbols(symbols: Ints, ways: int) -> None:
    """Raise `FormatError` where a symbol is outside its alphabet: kernels would not see it."""
    if len(symbols) and not 0 <= int(symbols.min()) <= int(symbols.max()) < ways:
        found = f"{int(symbols.min())} … {int(symbols.max())}"
        raise FormatError(f"symbols must lie in 0 … {ways - 1}, not {found}")


class BitCounter:
    """Stands where a range coder would: adds up what symbols cost.

    Attributes:
        total: bits so far.
    """

    def __init__(self) -> None:
        self.total = 0.0

    def code(self, symbols: Ints, counts: Counts) -> Ints:
        """Count symbols `[n]` under counts `[n, ways]`."""
        if len(symbols):
            own = counts[np.arange(len(symbols)), symbols]
            self.total += float(np.log2(counts.sum(axis=1) / own).sum())
        return symbols


class _RangeCoder:
    """A range coder whose state kernels may take over.

    Attributes:
        decodes: the way it goes.
        words: uint32, written or to be read.
    """

    def __init__(self, *, decodes: bool, words: npt.NDArray[np.uint32]) -> None:
        self.decodes, self.words = decodes, words

    @cached_property
    def _kernel(self) -> Any:
        from relive.bitstream import range_kernel  # half a second that a header can spare

        return range_kernel

    @cached_property
    def state(self) -> npt.NDArray[np.uint64]:
        """State of the coder, see `range_kernel`."""
        state: npt.NDArray[np.uint64] = self._kernel.new_state()
        if self.decodes:
            self._kernel.begin(state, self.words)
        return state

    def _pass(self, symbols: Ints, counts: Counts) -> Ints:
        """Code symbols in place `[n]`, each below `ways`, under counts `[n, ways]`."""
        rows = np.ascontiguousarray(counts, np.float32)
        if not self._kernel.code_rows(self.state, self.words, self.decodes, symbols, rows):
            raise FormatError(NOT_WRITTEN)
        return symbols


class SymbolEncoder(_RangeCoder):
    """Write symbols into a growing range-coded buffer."""

    def __init__(self) -> None:
        super().__init__(decodes=False, words=np.empty(1024, np.uint32))

    def reserve(self, symbols: int) -> None:
        """Make room for so many more symbols: none takes more than a word."""
        kernel = self._kernel
        used = int(self.state[kernel.PLACE])
        needed = used + int(self.state[kernel.HELD]) + symbols + _SPARE
        if needed > len(self.words):
            words = np.empty(max(needed, 2 * len(self.words)), np.uint32)
            words[:used] = self.words[:used]
            self.words = words

    def code(self, symbols: Ints, counts: Counts) -> Ints:
        """Append int32 symbols `[n]`, each below `ways`, under float32 counts `[n, ways]`.

        Raises:
            FormatError: a symbol is not below `ways`.
        """
        if len(symbols):
            check_symbols(symbols, counts.shape[1])
            self.reserve(len(symbols))
            self._pass(np.array(symbols, np.int32), counts)
        return symbols

    def to_bytes(self) -> bytes:
        """Return the words written so far, little endian."""
        return self._closed(short=False).astype("<u4").tobytes()

    def to_short_bytes(self) -> bytes:
        """Return what `SymbolDecoder.of_short` reads: zeros at the end, up to 8, are left out."""
        whole = self._closed(short=True).astype(">u4").tobytes()
        kept = max(len(whole) - STRIPPED, 0)
        return whole[:kept] + whole[kept:].rstrip(b"\0")

    def _closed(self, *, short: bool) -> npt.NDArray[np.uint32]:
        """Words of the whole stream, were it to end here."""
        self.reserve(0)
        state = self.state.copy()
        used = int(state[self._kernel.PLACE]) + int(state[self._kernel.HELD]) + _SPARE
        words = self.words[:used].copy()
        (self._kernel.seal_short if short else self._kernel.seal)(state, words)
        return words[: int(state[self._kernel.PLACE])]


class SymbolDecoder(_RangeCoder):
    """Read back what `SymbolEncoder` wrote, given the same counts in the same order."""

    def __init__(self, payload: bytes) -> None:
        if len(payload) % 4:
            raise FormatError(f"entropy-coded payload of {len(payload)} bytes is not whole words")
        super().__init__(decodes=True, words=np.frombuffer(payload, "<u4").astype(np.uint32))

    @classmethod
    def of_short(cls, payload: bytes) -> Self:
        """Read what `SymbolEncoder.to_short_bytes` wrote."""
        whole = payload + bytes(-len(payload) % 4)
        return cls(np.frombuffer(whole, ">u4").astype("<u4").tobytes())

    def check_end(self) -> None:
        """Check that a short stream was wanted to its end, and not further.

        What is missing reads as zeros, so that else a byte could stand for any number of symbols.

        Raises:
            FormatError: it is longer or shorter than what was read of it.
        """
        over = int(self.state[self._kernel.PLACE]) - len(self.words)
        if not 0 <= over <= STRIPPED // 4:
            raise FormatError(NOT_WRITTEN)

    def code(self, symbols: Ints, counts: Counts) -> Ints:
        """Return the next `len(counts)` symbols; the argument `symbols` is not looked at."""
        return self._pass(np.zeros(len(counts), np.int32), counts)
