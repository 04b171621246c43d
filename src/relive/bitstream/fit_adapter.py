"""From GOPs of a session to its adapter: nets tuned on some, kept where the others are smaller.

```
 GOPs ─┬─ three of four ─► samples ─► tuned nets ─► changes, in coarse and fine steps ─┐
       └─ the fourth ─────► bits with and without each change, × GOPs of the session ──┴─► packet
```
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from relive.bitstream.adapter import (
    Change,
    change_of,
    changed,
    families_of,
    nets_of,
    pack_adapter,
    pack_family,
)
from relive.bitstream.detail import GopDetail
from relive.bitstream.detail_packet import DetailTables
from relive.bitstream.fit import Collector
from relive.bitstream.fit_nets import tune_net
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.layout import Family, Layout
from relive.bitstream.net import Net
from relive.bitstream.palettes import PaletteCoder
from relive.bitstream.tables import Tables
from relive.bitstream.walk import walk_gop

if TYPE_CHECKING:
    from relive.bitstream.counting import CountingModel

STEPS = (1, 2, 4, 8)
"""Of changes, in units of weights: coarser ones cost less."""
LEAST_GOPS = 4
HELD = 4  # of so many GOPs one judges

Gop = tuple[GopCodes, GopDetail | None]


def fit_adapter(
    gops: Sequence[Gop], count: int, tables: Tables, detail: DetailTables, seed: int = 0
) -> bytes:
    """Fit the nets of a model to a session.

    Floats take part, so another machine may fit another adapter; what is coded with it are the
    integers in the packet.

    Args:
        gops: of the session, spread over it: codes, and the enhancement layer if there is one.
        count: GOPs that the session has.
        tables: of the model.
        detail: of the model.
        seed: of the choice of samples.

    Returns:
        The packet for `apply_adapter`; nothing where no change pays for its bytes.
    """
    if len(gops) < LEAST_GOPS:
        return b""
    held = _Some(gops, [i for i in range(len(gops)) if i % HELD == HELD - 1])
    fitted = _Some(gops, [i for i in range(len(gops)) if i % HELD != HELD - 1])
    families, old = families_of(tables), nets_of(tables, detail)
    tuned = _tune(fitted, families, old, tables.layout, seed)
    share = count / len(held)
    before = _bits(held, old, tables.layout)
    least = dict.fromkeys(families, 0.0)
    best = dict.fromkeys(families, pack_family(None, 0))
    for step in STEPS:
        changes = {name: change_of(old[name], tuned[name], step) for name in families}
        after = _bits(held, _apply(old, families, changes, step), tables.layout)
        for name, change in changes.items():
            packed = pack_family(change, step)
            gain = share * (after[name] - before[name]) + 8 * len(packed)
            if gain < least[name]:
                least[name], best[name] = gain, packed
    return pack_adapter([best[name] for name in families])


class _Some:
    """Some of the GOPs, fetched one by one: they may be packed."""

    def __init__(self, gops: Sequence[Gop], places: list[int]) -> None:
        self._gops, self._places = gops, places

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Gop]:
        return (self._gops[place] for place in self._places)


def _apply(
    old: Mapping[str, tuple[Net, ...]],
    families: Mapping[str, Family],
    changes: Mapping[str, Change],
    step: int,
) -> dict[str, tuple[Net, ...]]:
    return {name: changed(old[name], families[name], changes[name], step) for name in families}


def _walk(model: CountingModel | Collector, gop: Gop, layout: Layout) -> None:
    """Let a model see all symbols of a GOP."""
    from relive.bitstream.detail_walk import walk_detail

    codes, detail = gop
    walk_gop(model, codes, layout)
    if detail is not None:
        detail.check()
        flat = PaletteCoder(*detail.modes.shape[1:]) if detail.has_palettes else None
        walk_detail(model, detail, codes, flat)


def _tune(
    gops: Iterable[Gop],
    families: Mapping[str, Family],
    old: Mapping[str, tuple[Net, ...]],
    layout: Layout,
    seed: int,
) -> dict[str, tuple[Net, ...]]:
    """Go on from the nets of every family with the symbols of some GOPs."""
    seen = Collector(families)
    for gop in gops:
        _walk(seen, gop, layout)
    return {
        name: tuple(
            tune_net(net, *seen.samples[name][i].arrays(), seed + i)
            for i, net in enumerate(old[name])
        )
        for name in families
    }


def _bits(
    gops: Iterable[Gop], nets: dict[str, tuple[Net, ...]], layout: Layout
) -> dict[str, float]:
    """Bits of every family; each GOP starts from the nets as they are."""
    from relive.bitstream.counting import CountingModel  # kernels, as in detail_packet

    total: dict[str, float] = defaultdict(float)
    for gop in gops:
        model = CountingModel(nets)
        _walk(model, gop, layout)
        for family, bits in model.bits.items():
            total[family] += bits
    return total
