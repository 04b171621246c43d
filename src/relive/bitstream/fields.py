"""State columns ↔ integer columns: declared steps, whole numbers, or the very bits of the float."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from relive.errors import FormatError

Column = npt.NDArray[np.int64]
FloatColumn = npt.NDArray[np.float32]

GRID, BITS, WHOLE = 0, 1, 2
"""How a column became integers: round(value / step), ordered float bits, the value itself."""
FORMS = (GRID, BITS, WHOLE)
_MAX_GRID = float(1 << 40)
_MAX_WHOLE = float(1 << 24)
_MAGNITUDE = 0x7FFFFFFF


def to_integers(values: FloatColumn, step: float) -> tuple[int, Column]:
    """Return the form of a column and its integers int64 `[n]`.

    A declared step keeps `round(value / step)`. Without one, or where that does not fit (not
    finite, too many steps), whole numbers stay themselves, and others become their 32 bits.
    """
    wide = values.astype(np.float64)
    if step > 0.0 and np.isfinite(wide).all() and (np.abs(wide) < step * _MAX_GRID).all():
        return GRID, np.rint(wide / step).astype(np.int64)
    if _is_whole(values):
        return WHOLE, values.astype(np.int64)
    return BITS, to_bits(values)


def to_bits(values: FloatColumn) -> Column:
    """Return the bits of floats as integers in the order of their values, int64 `[n]`."""
    signed = np.ascontiguousarray(values).view(np.int32).astype(np.int64)
    return np.where(signed >= 0, signed, -(signed & _MAGNITUDE) - 1)


def to_floats(form: int, integers: Column, step: float) -> FloatColumn:
    """Undo `to_integers`: float32 `[n]`.

    Raises:
        FormatError: the form is unknown, or an integer cannot have come from it.
    """
    low, high = int(integers.min()), int(integers.max())
    if form == GRID and step > 0.0 and max(-low, high) <= _MAX_GRID:
        with np.errstate(over="ignore"):
            return (integers.astype(np.float64) * step).astype(np.float32)
    if form == WHOLE and max(-low, high) <= _MAX_WHOLE:
        return integers.astype(np.float32)
    if form == BITS and low >= -(1 << 31) and high < 1 << 31:
        negative = (-integers - 1) | -(1 << 31)
        return np.where(integers >= 0, integers, negative).astype(np.int32).view(np.float32)
    raise FormatError(f"track packet: integers of a field do not fit its form {form}")


def _is_whole(values: FloatColumn) -> bool:
    if not np.isfinite(values).all() or float(np.abs(values).max()) > _MAX_WHOLE:
        return False
    negative_zero = (values == 0.0) & np.signbit(values)
    return bool((values == np.rint(values)).all() and not negative_zero.any())
