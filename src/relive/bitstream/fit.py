"""From training GOPs to static tables: counts for depths and motion, nets for codes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from relive.bitstream.code_net import CodeNet
from relive.bitstream.coder import Ints
from relive.bitstream.context_model import Index
from relive.bitstream.fit_nets import fit_net
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.layout import DEFAULT_GAIN, ROW_TOTAL, Layout
from relive.bitstream.walk import walk_gop

MAX_SAMPLES = 300_000
"""Codes kept for the training of one net: an even choice among all."""
LEAN = 8.0
"""A context leans on the one above it as if that had been seen so often."""

Counts = npt.NDArray[np.int64]


def fit_tables(
    gops: Iterable[GopCodes], layout: Layout, seed: int
) -> tuple[dict[str, npt.NDArray[np.int16]], dict[str, int], tuple[CodeNet, ...]]:
    """Return rows, gains and nets learned from GOPs."""
    training = _TrainingModel(layout)
    for gop in gops:
        gop.check(layout.num_quantizers, layout.codebook_size, layout.num_motion)
        walk_gop(training, gop, layout)
    shapes = layout.shapes()
    rows = {name: smooth(training.counts[name].reshape(shape)) for name, shape in shapes.items()}
    nets = tuple(
        fit_net(*samples.arrays(), layout, seed + i) for i, samples in enumerate(training.samples)
    )
    return rows, dict.fromkeys(rows, DEFAULT_GAIN), nets


def smooth(counts: Counts) -> npt.NDArray[np.int16]:
    """Turn counts `[context axes …, ways]` into rows int16 `[contexts, ways]`.

    A context that was seldom seen leans on the mean over its last axis, that mean on the one over
    the axis before, and so on; all contexts together lean on equal chances.
    """
    ways = counts.shape[-1]
    share = np.full(ways, 1.0 / ways)
    for axis in range(counts.ndim):
        level = counts.sum(axis=tuple(range(axis, counts.ndim - 1))).astype(np.float64)
        parent = share if axis == 0 else share[..., None, :]
        share = (level + LEAN * parent) / (level.sum(axis=-1, keepdims=True) + LEAN)
    scaled = np.floor(share.reshape(-1, ways) * (ROW_TOTAL - ways))
    return np.asarray(np.maximum(1, scaled), np.int16)


class _Samples:
    """An even choice of (feature rows, code) pairs, thinned whenever there are too many."""

    def __init__(self) -> None:
        self._pieces: list[tuple[Index, Ints]] = []
        self._stride = 1
        self._offered = 0
        self._kept = 0

    def add(self, rows: Index, codes: Ints) -> None:
        if self._offered % self._stride == 0:
            self._pieces.append((rows.astype(np.int32), codes.copy()))
            self._kept += len(codes)
        self._offered += 1
        if self._kept > MAX_SAMPLES and len(self._pieces) > 1:
            self._pieces = self._pieces[::2]
            self._stride *= 2
            self._kept = sum(len(codes) for _, codes in self._pieces)

    def arrays(self) -> tuple[Index, Ints]:
        """Return feature rows int32 `[features, n]` and codes int32 `[n]`."""
        if not self._pieces:
            return np.zeros((14, 0), np.int64), np.zeros(0, np.int32)
        rows = np.concatenate([rows for rows, _ in self._pieces], axis=1)
        return rows, np.concatenate([codes for _, codes in self._pieces])


class _TrainingModel:
    """Counts and collects what is walked; nothing is coded."""

    def __init__(self, layout: Layout) -> None:
        self.counts = {
            name: np.zeros(shape, np.int64) for name, shape in layout.flat_shapes().items()
        }
        self.samples = [_Samples() for _ in range(layout.num_nets)]

    def code(self, table: str, contexts: Index, symbols: Ints) -> Ints:
        counts = self.counts[table]
        flat = contexts * counts.shape[1] + symbols
        counts += np.bincount(flat, minlength=counts.size).reshape(counts.shape)
        return symbols

    def code_codes(self, net: int, rows: Index, codes: Ints) -> Ints:
        self.samples[net].add(rows, codes)
        return codes
