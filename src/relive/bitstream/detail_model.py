"""What the walk over an enhancement layer drives: nets, and where symbols go or come from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Protocol

import numpy as np

from relive.bitstream.array_kernel import PRIOR_LOW, FamilyNets, Kept, Sink, sink_of
from relive.bitstream.coder import Counts, Ints, SymbolCoder
from relive.bitstream.context_model import AdaptiveModel
from relive.bitstream.detail_frame import Nets
from relive.bitstream.detail_layout import FAMILIES
from relive.bitstream.net import Net

MAX_FEATURES = 15
MAX_ARRAYS = 64
"""Of a frame: 12 of cubes, 12 of vectors, 9 of ends, 24 of levels."""


class DetailModel(Protocol):
    """What the walk drives."""

    @property
    def live(self) -> Nets:
        """The nets, and what they have learned in the packet."""
        ...

    def sink(self, room: Room) -> Sink:
        """Return where the symbols of the next frame go, or come from."""
        ...

    def took(self, sink: Sink) -> None:
        """The frame is coded."""
        ...

    def raw(self, symbols: Ints, ways: int) -> Ints:
        """Code int32 symbols `[n]` below `ways`, all equally likely."""
        ...

    def given(self, symbols: Ints, counts: Counts) -> Ints:
        """Code int32 symbols `[n]` under counts `[n, ways]`."""
        ...


class Room:
    """Room for the symbols of a frame.

    Args:
        largest: symbols of one array, at most.
        symbols: of a frame, at most.
        coded: of these under nets.

    Attributes:
        symbols: of a frame, at most.
        rows: int32 `[m, MAX_FEATURES]`, of one array.
        array: int32 `[m]`.
    """

    def __init__(self, largest: int, symbols: int, coded: int) -> None:
        self.symbols, self._coded = symbols, coded
        self.rows = np.empty((largest, MAX_FEATURES), np.int32)
        self.array = np.zeros(largest, np.int32)

    @cached_property
    def kept(self) -> Kept:
        """For a frame that is collected, see `Sink`."""
        rows = np.empty((self._coded, MAX_FEATURES), np.int32)
        return rows, np.empty(self._coded, np.int32), np.empty((MAX_ARRAYS, 4), np.int64)


def stack_nets(nets: Mapping[str, tuple[Net, ...]]) -> Nets:
    """Put the nets of each family into one array for each part; nothing is learned yet."""
    return Nets(*(FamilyNets.of(nets[name], number) for number, name in enumerate(FAMILIES)))


def fresh(nets: Nets) -> Nets:
    """The same nets at the start of a packet."""
    return Nets(*(family._replace(sums=np.full_like(family.sums, PRIOR_LOW)) for family in nets))


def no_nets() -> Nets:
    """Nets that know nothing."""
    return stack_nets({name: (Net.uniform(f),) * f.count for name, f in FAMILIES.items()})


def sink_in(room: Room, coder: SymbolCoder | None) -> Sink:
    """Return a sink for the next frame; without a coder it collects."""
    kept = room.kept if coder is None else None
    return sink_of(
        coder, room.rows, room.array, families=len(FAMILIES), most=room.symbols, kept=kept
    )


class DetailCodingModel(AdaptiveModel):
    """The nets at work, and counts and raw bits beside them.

    Args:
        live: nets of the layer at the start of a packet.
        coder: takes the symbols, or gives them, or counts.
        nets: of other families.
    """

    def __init__(
        self, live: Nets, coder: SymbolCoder, nets: Mapping[str, tuple[Net, ...]] | None = None
    ) -> None:
        super().__init__(dict(nets or {}), coder)
        self._nets = live

    @property
    def live(self) -> Nets:
        """The nets, and what they have learned in the packet."""
        return self._nets

    def sink(self, room: Room) -> Sink:
        """Return where the symbols of the next frame go, or come from."""
        return sink_in(room, self._coder)

    def took(self, sink: Sink) -> None:
        """The frame is coded."""

    def given(self, symbols: Ints, counts: Counts) -> Ints:
        """Code symbols `[n]` under counts `[n, ways]`."""
        return self._coder.code(symbols, counts)

    def raw(self, symbols: Ints, ways: int) -> Ints:
        """Code symbols `[n]` below `ways`, all equally likely."""
        counts = np.ones((len(symbols), ways), np.float32)
        return self._coder.code(symbols, counts)
