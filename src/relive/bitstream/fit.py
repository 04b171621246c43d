"""From training GOPs to nets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from relive.bitstream.coder import Counts, Ints
from relive.bitstream.context_model import Rows
from relive.bitstream.detail_layout import FAMILIES
from relive.bitstream.fit_nets import fit_net
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.layout import Family, Layout
from relive.bitstream.net import Net
from relive.bitstream.walk import walk_gop

if TYPE_CHECKING:
    from relive.bitstream.array_kernel import Sink
    from relive.bitstream.detail_frame import Nets
    from relive.bitstream.detail_model import Room

MAX_SAMPLES = 300_000
"""Symbols kept for the training of one net: an even choice among all."""


def fit_families(gops: Iterable[GopCodes], layout: Layout, seed: int) -> dict[str, tuple[Net, ...]]:
    """Return the nets of every family, learned from GOPs."""
    training = Collector(layout.families())
    for gop in gops:
        gop.check(layout.num_quantizers, layout.codebook_size, layout.num_motion)
        walk_gop(training, gop, layout)
    return {
        name: tuple(
            fit_net(*samples.arrays(), family, seed + i)
            for i, samples in enumerate(training.samples[name])
        )
        for name, family in layout.families().items()
    }


class Samples:
    """An even choice of (feature rows, symbol) pairs, thinned whenever there are too many."""

    def __init__(self) -> None:
        self._pieces: list[tuple[Rows, Ints]] = []
        self._stride = 1
        self._offered = 0
        self._kept = 0

    def add(self, rows: Rows, codes: Ints) -> None:
        """Take feature rows `[features, n]` and their symbols `[n]`."""
        if self._offered % self._stride == 0:
            self._pieces.append((rows.astype(np.int32), codes.copy()))
            self._kept += len(codes)
        self._offered += 1
        if self._kept > MAX_SAMPLES and len(self._pieces) > 1:
            self._pieces = self._pieces[::2]
            self._stride *= 2
            self._kept = sum(len(codes) for _, codes in self._pieces)

    def arrays(self) -> tuple[Rows, Ints]:
        """Return feature rows int32 `[features, n]` and codes int32 `[n]`."""
        if not self._pieces:
            return np.zeros((1, 0), np.int64), np.zeros(0, np.int32)
        rows = np.concatenate([rows for rows, _ in self._pieces], axis=1)
        return rows, np.concatenate([codes for _, codes in self._pieces])


class Collector:
    """A model that collects what is walked, codes or enhancement layers; nothing is coded.

    Attributes:
        samples: family name → samples of each of its nets.
    """

    def __init__(self, families: Mapping[str, Family]) -> None:
        self.samples = {
            name: [Samples() for _ in range(family.count)] for name, family in families.items()
        }

    def code(self, family: str, net: int, rows: Rows, symbols: Ints) -> Ints:
        """Keep symbols `[n]` and their features."""
        self.samples[family][net].add(rows, symbols)
        return symbols

    @cached_property
    def live(self) -> Nets:
        """Nets of the enhancement layer; none is asked."""
        from relive.bitstream.detail_model import no_nets

        return no_nets()

    def sink(self, room: Room) -> Sink:
        """Return where the symbols of the next frame go."""
        from relive.bitstream.detail_model import sink_in

        return sink_in(room, None)

    def took(self, sink: Sink) -> None:
        """Keep the symbols of a frame, array by array."""
        names, first = list(FAMILIES), 0
        for family, net, count, features in sink.pieces[: sink.filled[1]].tolist():
            here = slice(first, first + count)
            rows = sink.kept_rows[here, :features].T
            self.samples[names[family]][net].add(rows, sink.kept[here])
            first += count

    def raw(self, symbols: Ints, ways: int) -> Ints:
        """Keep nothing: raw bits have no net."""
        return symbols

    def given(self, symbols: Ints, counts: Counts) -> Ints:
        """Keep nothing: counts have no net."""
        return symbols
