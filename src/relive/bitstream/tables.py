"""Static probability tables: plain integers that ship with a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import SymbolCoder
from relive.bitstream.context_model import AdaptiveModel
from relive.bitstream.fit import fit_families
from relive.bitstream.framing import crc32
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.layout import Family, Layout
from relive.bitstream.net import Net, net_shapes, stored_parts
from relive.errors import FormatError

TABLES_VERSION = 1


@dataclass(frozen=True)
class Tables:
    """The nets that give the probabilities of depths, motion and codes.

    Attributes:
        layout: sizes of the model's alphabets.
        nets: family name → its nets.
    """

    layout: Layout
    nets: dict[str, tuple[Net, ...]]

    @classmethod
    def uniform(cls, num_quantizers: int, codebook_size: int, num_motion: int) -> Tables:
        """Return tables that know nothing: every symbol is as likely as every other."""
        layout = Layout(num_quantizers, codebook_size, num_motion)
        families = layout.families().items()
        return cls(layout, {name: (Net.uniform(f),) * f.count for name, f in families})

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

        Some hundred GOPs are wanted, of every quality that will be encoded. Floats take part, so
        another machine may learn slightly other tables; what decides how a packet is coded are the
        integers that come out, and those are stored.
        """
        layout = Layout(num_quantizers, codebook_size, num_motion)
        return cls(layout, fit_families(gops, layout, seed))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything as named integer arrays, ready for safetensors."""
        layout = self.layout
        sizes = (TABLES_VERSION, layout.num_quantizers, layout.codebook_size, layout.num_motion)
        arrays: dict[str, npt.NDArray[Any]] = {"sizes": np.array(sizes, np.int32)}
        for name, family in layout.families().items():
            for part in stored_parts(family):
                stacked = np.stack([getattr(net, part) for net in self.nets[name]])
                arrays[f"{name}.{part}"] = stacked
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
        families = layout.families().items()
        return cls(layout, {name: take_nets(arrays, name, f) for name, f in families})

    def start(self, coder: SymbolCoder) -> AdaptiveModel:
        """Return a context model in the state every packet starts from."""
        return AdaptiveModel(self.nets, coder)

    @cached_property
    def fingerprint(self) -> int:
        """CRC-32 of all the integers: two tables with one fingerprint code alike."""
        arrays = self.to_arrays()
        return crc32(*(arrays[name].astype("<i4").tobytes() for name in sorted(arrays)))


def take_nets(arrays: dict[str, npt.NDArray[Any]], name: str, family: Family) -> tuple[Net, ...]:
    """Take the nets of a family out of named arrays, checking shapes and ranges."""
    parts = {}
    for part, (shape, dtype) in net_shapes(family).items():
        top = int(np.iinfo(dtype).max)
        stacked = np.zeros((family.count, *shape), np.int64)
        if part in stored_parts(family):
            stacked = _take(arrays, f"{name}.{part}", stacked.shape, -top, top)
        parts[part] = stacked.astype(dtype)
    nets = tuple(
        Net(**{part: stacked[i] for part, stacked in parts.items()}) for i in range(family.count)
    )
    for net in nets:
        net.check(family)
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
