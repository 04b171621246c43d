"""`--adapt`: fit the probability tables to the session at hand (bitstream/fit_adapter.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, overload

import numpy as np

from relive.bitstream import (
    LEAST_GOPS,
    GopCodes,
    GopDetail,
    apply_adapter,
    decode_codes,
    decode_detail,
    decode_memory,
    fit_adapter,
)
from relive.codec.bundle import Bundle
from relive.codec.packing import pack_gop
from relive.container import GopRecord

SAMPLES = 24
"""GOPs that an adapter is fitted to, spread over the session."""

Gop = tuple[GopCodes, GopDetail | None]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Watch:
    """Who wants to know how far the work has come.

    Attributes:
        progress: told samples done and samples in all.
        on_stage: told what begins.
    """

    progress: Callable[[int, int], None] | None = None
    on_stage: Callable[[str], None] | None = None

    def begin(self, stage: str) -> None:
        """Say what begins."""
        if self.on_stage:
            self.on_stage(stage)

    def counted(self, samples: Iterable[Item], total: int) -> Iterator[Item]:
        """Pass samples on as they come, and say how many there are."""
        self.begin("sampling")
        for done, sample in enumerate(samples, 1):
            yield sample
            if self.progress:
                self.progress(done, total)


def of_session(bundle: Bundle, adapter: bytes, memory: bytes) -> Bundle:
    """Return the model as a session has it, whatever session it was of before.

    Args:
        bundle: the model.
        adapter: packet that changes its tables; may be empty.
        memory: packet of what GOPs begin with; may be empty.

    Raises:
        FormatError: a packet is damaged, or of another model.
    """
    if (adapter, memory) == (bundle.adapter, bundle.memory):
        return bundle
    plain = bundle.plain or bundle
    if not adapter and not memory:
        return plain
    tables, detail = plain.tables, plain.detail
    if adapter:
        tables, detail = apply_adapter(adapter, tables, detail)
    if memory:
        detail = replace(detail, memory=decode_memory(memory))
    return replace(plain, tables=tables, detail=detail, adapter=adapter, memory=memory, plain=plain)


def samples_of(count: int) -> list[int]:
    """Choose the GOPs of a session of `count` that are looked at first; none of a short one."""
    if count < LEAST_GOPS:
        return []
    return sorted({round(place) for place in np.linspace(0, count - 1, SAMPLES).tolist()})


def fit_to_session(
    bundle: Bundle, records: Sequence[GopRecord], grid: tuple[int, int], count: int
) -> bytes:
    """Fit an adapter to some GOPs.

    Args:
        bundle: the model that they were encoded with.
        records: the GOPs, in the order of the session.
        grid: rows and columns of cubes.
        count: GOPs of the session.

    Returns:
        The packet of the adapter, empty where none pays for its bytes.
    """
    return fit_adapter(_Unpacked(bundle, records, grid), count, bundle.tables, bundle.detail)


def unpack(bundle: Bundle, record: GopRecord, grid: tuple[int, int]) -> Gop:
    """Decode the packets of a GOP that the model has encoded."""
    codes = decode_codes(record.codes, bundle.tables, -(-record.num_frames // 2), *grid)
    detail = record.detail and decode_detail(record.detail, codes, bundle.detail)
    return codes, detail or None


def pack_again(
    record: GopRecord, before: Bundle, after: Bundle, grid: tuple[int, int]
) -> GopRecord:
    """Pack a GOP with other tables: what was chosen does not depend on them."""
    codes, detail = pack_gop(record.index, *unpack(before, record, grid), after)
    return replace(record, codes=codes, detail=detail)


class _Unpacked(Sequence[Gop]):
    """GOPs that are decoded when they are asked for: as integers they would fill the memory."""

    def __init__(self, bundle: Bundle, records: Sequence[GopRecord], grid: tuple[int, int]) -> None:
        self._bundle, self._records, self._grid = bundle, records, grid

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, place: int) -> Gop: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Gop]: ...
    def __getitem__(self, place: int | slice) -> Gop | Sequence[Gop]:
        if isinstance(place, slice):
            return [self[i] for i in range(len(self))[place]]
        return unpack(self._bundle, self._records[place], self._grid)
