"""Powers and logarithms of two in integers, by exact arithmetic: the same on every machine.

Logarithms count thirty-seconds of an octave: `UNIT` of them double a number.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UNIT = 32
TOP = 1 << 16
"""The greatest weight that `weights` returns."""
FLOOR = 16 * UNIT
"""A logit this far below the greatest weighs 1."""
_MANTISSA_BITS = 8


def _root(power: int, degree: int) -> int:
    """Return the rounded `degree`-th root of a big integer."""
    low, high = 0, 1 << (power.bit_length() // degree + 2)
    while low < high:
        middle = (low + high + 1) // 2
        if (2 * middle - 1) ** degree <= power << degree:
            low = middle
        else:
            high = middle - 1
    return low


def _falling_weights() -> npt.NDArray[np.float32]:
    """Return round(2^16 · 2^(-i / 32)) for i = 0 … 512."""
    octave = [_root(1 << (17 * UNIT - i), UNIT) for i in range(UNIT)]  # 2^17 · 2^(-i / 32)
    values = [max(1, octave[i % UNIT] >> (i // UNIT + 1)) for i in range(FLOOR + 1)]
    return np.array(values, np.float32)


def _mantissa_logs() -> npt.NDArray[np.int64]:
    """Return round(32 · log2(1 + i / 256)) for i = 0 … 255."""
    logs, k = [], 0
    for x in range(1 << _MANTISSA_BITS, 2 << _MANTISSA_BITS):
        # k + 1/2 <= 32 log2(x / 256)  <=>  2^(2k + 1) · 256^64 <= x^64
        while 1 << (2 * k + 1 + 2 * UNIT * _MANTISSA_BITS) <= x ** (2 * UNIT):
            k += 1
        logs.append(k)
    return np.array(logs, np.int64)


WEIGHTS = _falling_weights()
LOGS = _mantissa_logs()


def weights(logits: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Return weights 1 … 65536 of logits `[n, ways]`; the greatest logit of a row weighs 65536."""
    below = logits.max(axis=1, keepdims=True) - logits
    return np.asarray(WEIGHTS.take(np.minimum(below, FLOOR)))


def logarithm(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """Return 32 · log2 of positive integers below 2^53, from their leading nine bits."""
    mantissa, exponent = np.frexp(values)
    lead = (mantissa * (2 << _MANTISSA_BITS)).astype(np.int64) - (1 << _MANTISSA_BITS)
    return np.asarray(LOGS[lead] + (exponent - 1) * UNIT, np.int32)
