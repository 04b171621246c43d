"""What a session changes in the nets of a model ↔ packet (docs/format.md, "Adapter").

Nets are small integers, so a change is one too: the difference of a weight, in steps that a family
names. Families that do not change cost a byte.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from relive.bitstream.detail_layout import FAMILIES
from relive.bitstream.detail_packet import DetailTables
from relive.bitstream.framing import ByteReader, pack_varint, seal, unseal
from relive.bitstream.layout import Family
from relive.bitstream.net import MAX_BIAS, Net, net_shapes
from relive.bitstream.tables import Tables
from relive.errors import FormatError

PROFILE = 0
PARTS = ("embed", "high", "low", "high_bias", "low_bias")
MAX_STEP = 64
MAX_BYTES = 1 << 18
_NAME = "adapter"

Nets = Mapping[str, Sequence[Net]]
Change = npt.NDArray[np.int8]


def families_of(tables: Tables) -> dict[str, Family]:
    """Return every family of a model by name, in the order of the packet."""
    return tables.layout.families() | FAMILIES


def nets_of(tables: Tables, detail: DetailTables) -> dict[str, tuple[Net, ...]]:
    """Return the nets of every family."""
    return tables.nets | detail.nets


def change_of(old: Sequence[Net], new: Sequence[Net], step: int) -> Change:
    """Return what leads from the nets of a family to others, in whole steps, int8 `[n]`.

    Changes of half a step and less are left out.
    """
    parts = []
    for a, b in zip(old, new, strict=True):
        for part in PARTS:
            gap = getattr(b, part).astype(np.int64) - getattr(a, part)
            parts.append((np.sign(gap) * ((np.abs(gap) + (step - 1) // 2) // step)).ravel())
    return np.concatenate(parts).clip(-127, 127).astype(np.int8)


def changed(old: Sequence[Net], family: Family, change: Change, step: int) -> tuple[Net, ...]:
    """Apply a change; sums beyond the range of a weight are cut to it."""
    shapes, nets, at = net_shapes(family), [], 0
    for net in old:
        arrays: dict[str, npt.NDArray[Any]] = {"rank": net.rank}
        for part in PARTS:
            shape, kind = shapes[part]
            size = int(np.prod(shape))
            here = change[at : at + size].reshape(shape).astype(np.int64) * step
            top = np.iinfo(np.int8).max if kind is np.int8 else MAX_BIAS
            arrays[part] = (getattr(net, part) + here).clip(-top, top).astype(kind)
            at += size
        nets.append(Net(**arrays))
    return tuple(nets)


def pack_family(change: Change | None, step: int) -> bytes:
    """Pack the change of a family; None leaves it as it is."""
    if change is None or not change.any():
        return b"\0"
    packed = zlib.compress(change.tobytes(), 9)
    return bytes([step]) + pack_varint(len(packed)) + packed


def pack_adapter(families: Sequence[bytes]) -> bytes:
    """Put the packed changes of all families together, in the order of `families_of`.

    Returns:
        The packet; nothing where no family changes.
    """
    body = b"".join(families)
    return seal(bytes([PROFILE]) + body) if body.strip(b"\0") else b""


def apply_adapter(
    packet: bytes, tables: Tables, detail: DetailTables
) -> tuple[Tables, DetailTables]:
    """Return the tables of a model as a packet changes them.

    Raises:
        FormatError: damage, another profile, or a change that does not fit the nets of the model.
    """
    if len(packet) > MAX_BYTES:
        raise FormatError(f"{_NAME} of {len(packet)} bytes; at most {MAX_BYTES} are read")
    reader = ByteReader(unseal(packet, _NAME), _NAME)
    profile = reader.byte()
    if profile != PROFILE:
        raise FormatError(f"{_NAME} has profile {profile}; this version reads profile {PROFILE}")
    nets = nets_of(tables, detail)
    for name, family in families_of(tables).items():
        nets[name] = _take_family(reader, name, family, nets[name])
    if reader.rest():
        raise FormatError(f"{_NAME} is longer than its families")
    return (
        Tables(tables.layout, {name: nets[name] for name in tables.nets}),
        replace(detail, nets={name: nets[name] for name in detail.nets}),
    )


def _take_family(
    reader: ByteReader, name: str, family: Family, nets: tuple[Net, ...]
) -> tuple[Net, ...]:
    """Read the change of one family and apply it."""
    step = reader.byte()
    if not step:
        return nets
    if step > MAX_STEP:
        raise FormatError(f"{_NAME}: step {step} of {name!r} exceeds {MAX_STEP}")
    size = sum(getattr(net, part).size for net in nets for part in PARTS)
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(reader.take(reader.varint(MAX_BYTES)), size + 1)
    except zlib.error as error:
        raise FormatError(f"{_NAME}: {name!r} cannot be unpacked ({error})") from error
    if len(raw) != size or not unpacker.eof or unpacker.unused_data:
        raise FormatError(f"{_NAME}: {name!r} holds {len(raw)} changes or more, not {size}")
    return changed(nets, family, np.frombuffer(raw, np.int8), step)
