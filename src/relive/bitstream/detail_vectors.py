"""Weights and vectors of an enhancement layer: symbols that end in raw bits."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import Counts, Ints
from relive.bitstream.detail import COLOURS, MAX_VECTOR
from relive.bitstream.detail_layout import (
    VECTOR_CLASSES,
    join_vector,
    place_rows,
    split_vector,
    spread_class,
    vector_bits,
)
from relive.errors import FormatError

Rows = npt.NDArray[np.int64]
Grid = npt.NDArray[np.int64]
RAW_BITS = 6
WEIGHT_BITS = (8, 9)  # gain, shift


class DetailModel(Protocol):
    """What the walk drives."""

    def code(self, family: str, net: int, rows: Rows, symbols: Ints) -> Ints:
        """Code int32 symbols `[n]` with a net, given their feature rows `[features, n]`."""
        ...

    def raw(self, symbols: Ints, ways: int) -> Ints:
        """Code int32 symbols `[n]` below `ways`, all equally likely."""
        ...

    def given(self, symbols: Ints, counts: Counts) -> Ints:
        """Code int32 symbols `[n]` under counts `[n, ways]`."""
        ...


def code_raw(model: DetailModel, values: Grid, bits: Grid) -> Grid:
    """Code values below 2^bits, at most `RAW_BITS` bits at a time, low bits first."""
    out = np.zeros_like(values)
    for shift in range(0, int(bits.max(initial=0)), RAW_BITS):
        left = np.clip(bits - shift, 0, RAW_BITS)
        for width in np.flatnonzero(np.bincount(left)[1:]) + 1:
            mine = left == width
            part = (values[mine] >> shift) & ((1 << int(width)) - 1)
            coded = model.raw(part.astype(np.int32), 1 << int(width))
            out[mine] |= coded.astype(np.int64) << shift
    return out


def code_weights(model: DetailModel, weights: Grid) -> None:
    """Code in place whether there are weights `[colours, 2]`, and which.

    Raises:
        FormatError: a weight is out of range.
    """
    some = model.raw(np.array([weights.any()], np.int32), 2)
    if some[0]:
        for part, bits in enumerate(WEIGHT_BITS):
            middle = 1 << (bits - 1)
            coded = code_raw(model, weights[:, part] + middle, np.full(COLOURS, bits))
            weights[:, part] = coded - middle
            if int(np.abs(weights[:, part]).max()) >= middle:
                raise FormatError(f"enhancement packet: a weight exceeds {middle - 1}")


def code_near(model: DetailModel, near: Grid, vectors: Grid, about: tuple[Grid, Grid, int]) -> Grid:
    """Code vectors as differences from the middle of those near.

    Args:
        model: see `DetailModel`.
        near: four for each, `[4, n, 2]`, or one `[1, n, 2]`.
        vectors: `[n, 2]`.
        about: modes `[n]`, class of the frame's step, number of the group.

    Returns:
        What was coded `[n, 2]`.

    Raises:
        FormatError: a vector is out of range.
    """
    modes, step, group = about
    count = len(vectors)
    near = np.broadcast_to(near, (4, count, 2))
    middle = np.sort(near, axis=0)[1:3].sum(axis=0) >> 1
    first = np.full(count, VECTOR_CLASSES)
    coded = np.empty_like(vectors)
    for axis in range(2):
        same = [modes, np.full(count, step), np.full(count, group)]
        rows = place_rows("vector", [spread_class(near[:, :, axis]), first, *same])
        symbols, raw = split_vector(vectors[:, axis] - middle[:, axis])
        first = model.code("vector", axis, rows, symbols.astype(np.int32)).astype(np.int64)
        raw = code_raw(model, raw, vector_bits(first))
        coded[:, axis] = join_vector(first, raw) + middle[:, axis]
    if int(np.abs(coded).max(initial=0)) > MAX_VECTOR:
        raise FormatError(f"enhancement packet: a vector exceeds {MAX_VECTOR}")
    return coded
