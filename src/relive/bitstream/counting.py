"""What symbols cost under nets, family by family, without a stream."""

from __future__ import annotations

from collections import defaultdict

from relive.bitstream.array_kernel import Sink
from relive.bitstream.coder import BitCounter, Ints
from relive.bitstream.context_model import Rows
from relive.bitstream.detail_layout import FAMILIES
from relive.bitstream.detail_model import DetailCodingModel, stack_nets
from relive.bitstream.net import Net


class CountingModel(DetailCodingModel):
    """The nets at work, for nothing but the bits of every family."""

    def __init__(self, nets: dict[str, tuple[Net, ...]]) -> None:
        self._bits = BitCounter()
        others = {name: family for name, family in nets.items() if name not in FAMILIES}
        super().__init__(stack_nets(nets), self._bits, others)
        self.bits: dict[str, float] = defaultdict(float)

    def code(self, family: str, net: int, rows: Rows, symbols: Ints) -> Ints:
        """Code symbols `[n]`, and add their bits to the family."""
        before = self._bits.total
        coded = super().code(family, net, rows, symbols)
        self.bits[family] += self._bits.total - before
        return coded

    def took(self, sink: Sink) -> None:
        """Add the bits of a frame to the families of the layer."""
        for name, bits in zip(FAMILIES, sink.bits.tolist(), strict=True):
            self.bits[name] += bits
