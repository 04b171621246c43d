"""Static probability tables: plain integers that ship with a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import SymbolCoder
from relive.bitstream.context_model import AdaptiveModel, CountingModel, Rows
from relive.bitstream.framing import crc32
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.layout import Layout
from relive.bitstream.walk import walk_gop
from relive.errors import FormatError

TABLES_VERSION = 1
ROW_TOTAL = 1 << 14
"""Every static row sums to this, less what rounding leaves out; no entry is 0."""
DEFAULT_GAIN = ROW_TOTAL // 64
"""What one coded symbol adds to its count: the static row weighs as much as 64 symbols."""
MAX_GAIN = ROW_TOTAL


@dataclass(frozen=True)
class Tables:
    """Static rows and adaptation gains of every table of a layout.

    Attributes:
        layout: sizes of the model's alphabets.
        rows: table name → int16 `[contexts, ways]`, 1 … 16384.
        gains: table name → what a coded symbol adds to its count, 0 … 16384.
    """

    layout: Layout
    rows: dict[str, npt.NDArray[np.int16]]
    gains: dict[str, int]

    @classmethod
    def uniform(cls, num_quantizers: int, codebook_size: int, num_motion: int) -> Tables:
        """Return tables that know nothing: every symbol is as likely as every other."""
        layout = Layout(num_quantizers, codebook_size, num_motion)
        shapes = flat_shapes(layout)
        rows = {
            name: np.full(shape, max(1, ROW_TOTAL // shape[1]), np.int16)
            for name, shape in shapes.items()
        }
        return cls(layout, rows, dict.fromkeys(shapes, DEFAULT_GAIN))

    @classmethod
    def fit(
        cls, gops: Iterable[GopCodes], num_quantizers: int, codebook_size: int, num_motion: int
    ) -> Tables:
        """Count training GOPs (one pass, any iterable) and return their tables."""
        layout = Layout(num_quantizers, codebook_size, num_motion)
        counting = CountingModel(flat_shapes(layout))
        for gop in gops:
            gop.check(num_quantizers, codebook_size, num_motion)
            walk_gop(counting, gop, layout)
        rows = {name: _smooth(counts) for name, counts in counting.counts.items()}
        return cls(layout, rows, dict.fromkeys(rows, DEFAULT_GAIN))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything as named integer arrays, ready for safetensors."""
        layout = self.layout
        sizes = (TABLES_VERSION, layout.num_quantizers, layout.codebook_size, layout.num_motion)
        names = list(layout.shapes())
        arrays: dict[str, npt.NDArray[Any]] = {f"rows.{name}": self.rows[name] for name in names}
        arrays["sizes"] = np.array(sizes, np.int32)
        arrays["gains"] = np.array([self.gains[name] for name in names], np.int32)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> Tables:
        """Rebuild tables from `to_arrays`, checking every shape and range.

        Raises:
            FormatError: an array is missing, misshapen or out of range, or of another version.
        """
        sizes = _take(arrays, "sizes", (4,), 0, MAX_GAIN * 2)
        if sizes[0] != TABLES_VERSION:
            raise FormatError(f"probability tables of version {sizes[0]}, not {TABLES_VERSION}")
        layout = Layout(int(sizes[1]), int(sizes[2]), int(sizes[3]))
        shapes = flat_shapes(layout)
        gains = _take(arrays, "gains", (len(shapes),), 0, MAX_GAIN)
        rows = {
            name: _take(arrays, f"rows.{name}", shape, 1, ROW_TOTAL).astype(np.int16)
            for name, shape in shapes.items()
        }
        return cls(layout, rows, {name: int(g) for name, g in zip(shapes, gains, strict=True)})

    def start(self, coder: SymbolCoder) -> AdaptiveModel:
        """Return a context model in the state every packet starts from."""
        return AdaptiveModel(self._weights, self.gains, coder)

    @cached_property
    def _weights(self) -> dict[str, npt.NDArray[np.float32]]:
        return {name: table.astype(np.float32) for name, table in self.rows.items()}

    @cached_property
    def fingerprint(self) -> int:
        """CRC-32 of all the integers: two tables with one fingerprint code alike."""
        arrays = self.to_arrays()
        return crc32(*(arrays[name].astype("<i4").tobytes() for name in sorted(arrays)))


def flat_shapes(layout: Layout) -> dict[str, tuple[int, int]]:
    """Return table name → (number of contexts, ways)."""
    return {name: (int(np.prod(shape[:-1])), shape[-1]) for name, shape in layout.shapes().items()}


def _smooth(counts: Rows) -> npt.NDArray[np.int16]:
    """Turn counts `[contexts, ways]` into rows: seldom seen contexts lean on the mean of all."""
    total = counts.sum(axis=0) + 1
    parent = total / total.sum()
    lean = 16.0
    seen = counts.sum(axis=1, keepdims=True)
    share = (counts + lean * parent) / (seen + lean)
    scaled = np.floor(share * (ROW_TOTAL - counts.shape[1]))
    return np.asarray(np.maximum(1, scaled), np.int16)


def _take(
    arrays: dict[str, npt.NDArray[Any]], name: str, shape: tuple[int, ...], low: int, high: int
) -> npt.NDArray[np.int64]:
    if name not in arrays:
        raise FormatError(f"probability tables lack the array {name!r}")
    array = np.asarray(arrays[name])
    if array.shape != shape or array.dtype.kind not in "iu":
        raise FormatError(
            f"probability table {name!r} must hold integers of shape {shape}, "
            f"not {array.dtype} of shape {array.shape}"
        )
    if int(array.min()) < low or int(array.max()) > high:
        raise FormatError(f"probability table {name!r} has values outside {low} … {high}")
    return array.astype(np.int64)
