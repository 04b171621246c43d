"""Signed integers ↔ bytes: a range-coded size class each, then the bits below its leading one.

The probability of a class follows from the classes before it in the same column, in integers; the
rows are a formula, not data, so that a track decodes without a model.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import SymbolCoder, SymbolDecoder
from relive.errors import FormatError

Residuals = npt.NDArray[np.int64]
Zigzag = npt.NDArray[np.uint64]

CLASSES = 65
"""Class of a residual: bit length of its zigzag value, 0 … 64."""
ACTIVITY_ONE = 16
"""Activity counts classes in sixteenths."""
MAX_ACTIVITY = 64 * ACTIVITY_ONE
_PER_ROW = 8
_PEAK = 1 << 14
_PIECE = 4096
"""Residuals whose bits are unfolded at a time."""
_PLACES = np.arange(63, dtype=np.uint64)


def _rows() -> npt.NDArray[np.float32]:
    """Return counts `[129, 65]`: row i peaks at class i / 2, halves down and quarters up."""
    row, column = np.indices((MAX_ACTIVITY // _PER_ROW + 1, CLASSES))
    above = 2 * column - row  # distance from the peak in half classes
    fall = np.where(above > 0, above, -above // 2)
    return (1 + (_PEAK >> np.minimum(fall, 20))).astype(np.float32)


ROWS = _rows()


LEAST_BITS = 0.4
"""Of a class: the likeliest of a row has three quarters of its counts."""


def to_zigzag(residuals: Residuals) -> Zigzag:
    """Return 0, 1, 2, 3 … for 0, -1, 1, -2 …."""
    return np.asarray((residuals << 1) ^ (residuals >> 63)).view(np.uint64)


def from_zigzag(values: Zigzag) -> Residuals:
    """Undo `to_zigzag`."""
    signs = -(values & np.uint64(1)).astype(np.int64)
    return np.asarray(np.asarray(values >> np.uint64(1)).view(np.int64) ^ signs)


def bit_lengths(values: Zigzag) -> npt.NDArray[np.int32]:
    """Return the bit length of each uint64."""
    left = values.copy()
    lengths = np.zeros(values.shape, np.int32)
    for shift in (32, 16, 8, 4, 2, 1):
        big = left >> np.uint64(shift) != 0
        lengths[big] += shift
        left[big] >>= np.uint64(shift)
    return np.asarray(lengths + (left != 0), np.int32)


def start_activity(residuals: Residuals) -> npt.NDArray[np.int64]:
    """Return the activity each column of residuals `[n, columns]` should start with."""
    first = bit_lengths(to_zigzag(residuals[:2]))
    return np.asarray(first.max(axis=0, initial=0).astype(np.int64) * ACTIVITY_ONE)


def _code_classes(
    coder: SymbolCoder, classes: npt.NDArray[np.int32], activity: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """Pass classes `[n, columns]` through a coder row by row, tracking each column's activity."""
    for row in classes:
        row[:] = coder.code(row, ROWS[activity // _PER_ROW])
        activity = activity + (row * ACTIVITY_ONE - activity) // 4
    return classes


def code_residuals(
    coder: SymbolCoder, residuals: Residuals, activity: npt.NDArray[np.int64]
) -> Residuals:
    """Pass residuals int64 `[n, columns]` through a coder: their classes, then what is below."""
    values = to_zigzag(residuals)
    classes = _code_classes(coder, bit_lengths(values), activity)
    coded = code_bits(coder, values.reshape(-1), classes.reshape(-1))
    return from_zigzag(coded).reshape(values.shape)


def code_bits(coder: SymbolCoder, values: Zigzag, classes: npt.NDArray[np.int32]) -> Zigzag:
    """Pass what is below the leading one of uint64 `[n]`, whose classes are known."""
    lengths = np.maximum(classes - 1, 0)
    out = (classes > 0).astype(np.uint64) << lengths.astype(np.uint64)
    for at in range(0, len(values), _PIECE):
        below = _below(lengths, at)
        bits = ((values[at : at + _PIECE, None] >> _PLACES) & np.uint64(1))[below].astype(np.int32)
        coded = np.zeros(below.shape, np.uint64)
        coded[below] = coder.code(bits, np.ones((len(bits), 2), np.float32))
        out[at : at + _PIECE] |= (coded << _PLACES).sum(axis=1, dtype=np.uint64)
    return out


def decode_residuals(
    packed_classes: bytes, packed_bits: bytes, n: int, activity: npt.NDArray[np.int64]
) -> Residuals:
    """Read residuals of a track of version 0: int64 `[n, columns]`.

    Raises:
        FormatError: there are not exactly as many bits as the classes ask for.
    """
    classes = np.zeros((n, len(activity)), np.int32)
    _code_classes(SymbolDecoder(packed_classes), classes, activity)
    lengths = np.maximum(classes.reshape(-1) - 1, 0)
    total = int(lengths.sum())
    if len(packed_bits) != (total + 7) // 8:
        raise FormatError(f"track packet: {len(packed_bits)} bytes of bits for {total} bits")
    bits = np.unpackbits(np.frombuffer(packed_bits, np.uint8), count=total)
    values = (classes.reshape(-1) > 0).astype(np.uint64) << lengths.astype(np.uint64)
    used = 0
    for at in range(0, len(values), _PIECE):
        below = _below(lengths, at)
        count = int(below.sum())
        piece = np.zeros(below.shape, np.uint64)
        piece[below] = bits[used : used + count]
        values[at : at + _PIECE] |= (piece << _PLACES).sum(axis=1, dtype=np.uint64)
        used += count
    return from_zigzag(values).reshape(n, len(activity))


def _below(lengths: npt.NDArray[np.int32], at: int) -> npt.NDArray[np.bool_]:
    """Return which of 63 bits each of a piece of residuals carries, bool `[piece, 63]`."""
    return np.asarray(lengths[at : at + _PIECE, None].astype(np.uint64) > _PLACES)
