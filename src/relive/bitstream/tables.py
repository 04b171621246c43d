"""Static probability tables: plain integers that ship with a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from relive.bitstream.code_net import CodeNet, net_shapes
from relive.bitstream.coder import SymbolCoder
from relive.bitstream.context_model import AdaptiveModel
from relive.bitstream.fit import fit_tables
from relive.bitstream.framing import crc32
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.layout import DEFAULT_GAIN, MAX_GAIN, ROW_TOTAL, Layout
from relive.errors import FormatError

TABLES_VERSION = 1


@dataclass(frozen=True)
class Tables:
    """Static rows and adaptation gains of the count tables, and the code nets.

    Attributes:
        layout: sizes of the model's alphabets.
        rows: table name → int16 `[contexts, ways]`, 1 … 16384.
        gains: table name → what a coded symbol adds to its count, 0 … 16384.
        nets: one for each stage of keyframes, then one for each stage of deltas.
    """

    layout: Layout
    rows: dict[str, npt.NDArray[np.int16]]
    gains: dict[str, int]
    nets: tuple[CodeNet, ...]

    @classmethod
    def uniform(cls, num_quantizers: int, codebook_size: int, num_motion: int) -> Tables:
        """Return tables that know nothing: every symbol is as likely as every other."""
        layout = Layout(num_quantizers, codebook_size, num_motion)
        shapes = layout.flat_shapes()
        rows = {
            name: np.full(shape, max(1, ROW_TOTAL // shape[1]), np.int16)
            for name, shape in shapes.items()
        }
        nets = (CodeNet.uniform(layout),) * layout.num_nets
        return cls(layout, rows, dict.fromkeys(shapes, DEFAULT_GAIN), nets)

    @classmethod
    def fit(
        cls,
        gops: Iterable[GopCodes],
        num_quantizers: int,
        codebook_size: int,
        num_motion: int,
        *,
        seed: int = 0,
    ) -> Tables:
        """Learn tables from training GOPs (one pass, any iterable).

        The same GOPs and seed give the same tables on one machine; what decides how a packet is
        coded are the integers that come out, and they are stored.
        """
        layout = Layout(num_quantizers, codebook_size, num_motion)
        rows, gains, nets = fit_tables(gops, layout, seed)
        return cls(layout, rows, gains, nets)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything as named integer arrays, ready for safetensors."""
        layout = self.layout
        sizes = (TABLES_VERSION, layout.num_quantizers, layout.codebook_size, layout.num_motion)
        names = list(layout.shapes())
        arrays: dict[str, npt.NDArray[Any]] = {f"rows.{name}": self.rows[name] for name in names}
        for name in net_shapes(layout):
            arrays[f"nets.{name}"] = np.stack([getattr(net, name) for net in self.nets])
        arrays["sizes"] = np.array(sizes, np.int32)
        arrays["gains"] = np.array([self.gains[name] for name in names], np.int32)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> Tables:
        """Rebuild tables from `to_arrays`, checking every shape and range.

        Raises:
            FormatError: an array is missing, misshapen or out of range, or of another version.
        """
        sizes = _take(arrays, "sizes", (4,), 0, 1 << 16)
        if sizes[0] != TABLES_VERSION:
            raise FormatError(f"probability tables of version {sizes[0]}, not {TABLES_VERSION}")
        layout = Layout(int(sizes[1]), int(sizes[2]), int(sizes[3]))
        shapes = layout.flat_shapes()
        gains = _take(arrays, "gains", (len(shapes),), 0, MAX_GAIN)
        rows = {
            name: _take(arrays, f"rows.{name}", shape, 1, ROW_TOTAL).astype(np.int16)
            for name, shape in shapes.items()
        }
        nets = _take_nets(arrays, layout)
        return cls(
            layout, rows, {name: int(g) for name, g in zip(shapes, gains, strict=True)}, nets
        )

    def start(self, coder: SymbolCoder) -> AdaptiveModel:
        """Return a context model in the state every packet starts from."""
        return AdaptiveModel(self._weights, self.gains, self.nets, coder)

    @cached_property
    def _weights(self) -> dict[str, npt.NDArray[np.float32]]:
        return {name: table.astype(np.float32) for name, table in self.rows.items()}

    @cached_property
    def fingerprint(self) -> int:
        """CRC-32 of all the integers: two tables with one fingerprint code alike."""
        arrays = self.to_arrays()
        return crc32(*(arrays[name].astype("<i4").tobytes() for name in sorted(arrays)))


def _take_nets(arrays: dict[str, npt.NDArray[Any]], layout: Layout) -> tuple[CodeNet, ...]:
    parts = {}
    for name, (shape, dtype) in net_shapes(layout).items():
        info = np.iinfo(dtype)
        low, high = -int(info.max), int(info.max)
        stacked = _take(arrays, f"nets.{name}", (layout.num_nets, *shape), low, high)
        parts[name] = stacked.astype(dtype)
    nets = tuple(
        CodeNet(**{name: stacked[i] for name, stacked in parts.items()})
        for i in range(layout.num_nets)
    )
    for net in nets:
        net.check(layout)
    return nets


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
