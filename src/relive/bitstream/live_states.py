"""States of a live step ↔ bytes: the first row of a packet whole, the second by what changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from relive.bitstream.fields import BITS, GRID, to_bits, to_floats, to_integers
from relive.bitstream.framing import ByteReader, pack_varint, unzigzag, zigzag
from relive.errors import FormatError

Row = npt.NDArray[np.int64]  # one integer a field [S]
States = npt.NDArray[np.float32]


class StateRows:
    """Rows of one schema: whole steps where a field declares one, else the very bits."""

    def __init__(self, steps: Sequence[float]) -> None:
        self._steps = tuple(steps)

    @property
    def blank(self) -> Row:
        """What the first row of a packet differs from."""
        return np.zeros(len(self._steps), np.int64)

    def to_integers(self, state: States) -> Row:
        """Return the integers of float32 `[S]`.

        Raises:
            FormatError: a value is not finite, or too many steps away from 0.
        """
        row = self.blank
        for i, step in enumerate(self._steps):
            form, whole = to_integers(state[i : i + 1], step)
            if step > 0.0 and form != GRID:
                raise FormatError(f"field {i}: {state[i]} is out of range for steps of {step}")
            row[i] = whole[0] if step > 0.0 else to_bits(state[i : i + 1])[0]
        return row

    def to_state(self, row: Row) -> States:
        """Return the values of integers, float32 `[S]`.

        Raises:
            FormatError: an integer cannot have come from its form.
        """
        state = np.empty(len(self._steps), np.float32)
        for i, step in enumerate(self._steps):
            state[i] = to_floats(GRID if step > 0.0 else BITS, row[i : i + 1], step)[0]
        return state

    def pack(self, row: Row, reference: Row) -> bytes:
        """Return one bit a field, 1 where it differs, and the differences."""
        difference = row - reference
        changed = np.packbits(difference != 0).tobytes()
        return changed + b"".join(pack_varint(zigzag(int(d))) for d in difference[difference != 0])

    def unpack(self, reader: ByteReader) -> Row:
        """Read a difference from the reference, int64 `[S]`."""
        count = len(self._steps)
        packed = np.frombuffer(reader.take((count + 7) // 8), np.uint8)
        difference = self.blank
        for i in np.flatnonzero(np.unpackbits(packed, count=count)):
            difference[i] = unzigzag(reader.varint())
        return difference
