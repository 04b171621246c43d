"""Enhancement layer of a GOP ↔ packet (docs/format.md, "Enhancement packet")."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import SymbolCoder, SymbolDecoder, SymbolEncoder
from relive.bitstream.codes_packet import content_crc as codes_crc
from relive.bitstream.detail import NUM_STEPS, GopDetail
from relive.bitstream.detail_layout import FAMILIES
from relive.bitstream.fit import Collector
from relive.bitstream.fit_nets import fit_net
from relive.bitstream.framing import ByteReader, crc32, seal, unseal
from relive.bitstream.gop_codes import GopCodes
from relive.bitstream.learning import code_raw
from relive.bitstream.net import Net, stored_parts
from relive.bitstream.palettes import PaletteCoder
from relive.bitstream.settings import code_settings
from relive.bitstream.shown import take_shown
from relive.bitstream.tables import take_nets
from relive.errors import FormatError

PROFILE, FLAT_PROFILE, PULL_PROFILE, COMPACT_PROFILE = 2, 3, 4, 5
"""Without and with palettes and frames that are shown without the post-filter; with frames that
are drawn to the colours of their game; and with settings among the symbols and tiles of the session
memory. The last alone is written."""
_NAME = "enhancement packet"
# what has kernels is imported where it is used: half a second that a look at a header can spare
if TYPE_CHECKING:
    from relive.bitstream.detail_frame import Nets
    from relive.bitstream.detail_model import DetailCodingModel


@dataclass(frozen=True)
class DetailTables:
    """The nets that give the probabilities of modes, vectors, ends and levels.

    Attributes:
        nets: family name → its nets.
        memory: tiles of the session, which GOPs begin with.
    """

    nets: dict[str, tuple[Net, ...]]
    memory: PaletteCoder | None = None

    @classmethod
    def uniform(cls) -> DetailTables:
        """Return tables that know nothing."""
        return cls({name: (Net.uniform(f),) * f.count for name, f in FAMILIES.items()})

    @classmethod
    def fit(cls, layers: Iterable[tuple[GopDetail, GopCodes]], *, seed: int = 0) -> DetailTables:
        """Learn tables from layers of training GOPs and the codes of their base tier."""
        from relive.bitstream.detail_walk import walk_detail

        training = Collector(FAMILIES)
        for detail, codes in layers:
            detail.check()
            flat = PaletteCoder(*detail.modes.shape[1:]) if detail.has_palettes else None
            walk_detail(training, detail, codes, flat)
        return cls(
            {
                name: tuple(
                    fit_net(*samples.arrays(), family, seed + i)
                    for i, samples in enumerate(training.samples[name])
                )
                for name, family in FAMILIES.items()
            }
        )

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything as named integer arrays, ready for safetensors."""
        return {
            f"{name}.{part}": np.stack([getattr(net, part) for net in self.nets[name]])
            for name, family in FAMILIES.items()
            for part in stored_parts(family)
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[Any]]) -> DetailTables:
        """Rebuild tables from `to_arrays`, checking every shape and range.

        A family of which there is no array at all, as in tables older than it, knows nothing.

        Raises:
            FormatError: an array is missing, misshapen or out of range.
        """
        there = {name.split(".")[0] for name in arrays}
        nets = cls.uniform().nets
        for name in there & nets.keys():
            nets[name] = take_nets(arrays, name, FAMILIES[name])
        return cls(nets)

    def palettes(self, grid: tuple[int, ...]) -> PaletteCoder:
        """Return what codes the palettes of a GOP of `(h, w)` cubes in a compact packet."""
        return (self.memory or PaletteCoder(1, 1, compact=True)).begin(*grid)

    def start(self, coder: SymbolCoder) -> DetailCodingModel:
        """Return a model in the state every packet starts from."""
        from relive.bitstream.detail_model import DetailCodingModel, fresh

        return DetailCodingModel(fresh(self._stacked), coder)

    @cached_property
    def _stacked(self) -> Nets:
        from relive.bitstream.detail_model import stack_nets

        return stack_nets(self.nets)


def encode_detail(detail: GopDetail, codes: GopCodes, tables: DetailTables) -> bytes:
    """Encode the enhancement layer of one GOP as a packet.

    Raises:
        FormatError: a number is out of range.
    """
    from relive.bitstream.detail_walk import walk_detail

    detail.check()
    encoder = SymbolEncoder()
    model = tables.start(encoder)
    code_settings(encoder, detail)
    flat = code_raw(model, int(detail.palettes.any()), 2)
    walk_detail(model, detail, codes, tables.palettes(detail.modes.shape[1:]) if flat else None)
    head = bytes([COMPACT_PROFILE]) + struct.pack("<I", content_crc(detail, codes, steps=True))
    return seal(head + encoder.to_short_bytes())


def decode_detail(packet: bytes, codes: GopCodes, tables: DetailTables) -> GopDetail:
    """Decode a packet, given the codes of its base tier.

    Raises:
        FormatError: damage, another profile, another length than the base tier has, or other tables
            than the packet was written with.
    """
    return DetailReader(packet, codes, tables).whole()


class DetailReader:
    """A packet that is decoded as far as it is wanted.

    What is there after some steps has passed the checksum of the packet and is in range; that of
    the content, which tells other tables from those of the writer, comes with the last step.

    Raises:
        FormatError: as `decode_detail`, here or later.
    """

    def __init__(self, packet: bytes, codes: GopCodes, tables: DetailTables) -> None:
        from relive.bitstream.detail_walk import DetailWalk

        reader = ByteReader(unseal(packet, _NAME), _NAME)
        profile = reader.byte()
        if not PROFILE <= profile <= COMPACT_PROFILE:
            raise FormatError(
                f"{_NAME} has profile {profile}; this version reads {PROFILE} to {COMPACT_PROFILE}"
            )
        self._count, h, w = codes.depths.shape
        self._codes, self._detail = codes, GopDetail.empty(2 * self._count, h, w)
        self._compact, palettes = profile == COMPACT_PROFILE, None
        if self._compact:
            (self._content,) = struct.unpack("<I", reader.take(4))
            decoder = SymbolDecoder.of_short(reader.rest())
            code_settings(decoder, self._detail)
            model = tables.start(decoder)
            if code_raw(model, 0, 2):
                palettes = tables.palettes((h, w))
        else:
            self._take_head(reader, profile)
            model = tables.start(SymbolDecoder(reader.rest()))
            palettes = PaletteCoder(h, w) if profile >= FLAT_PROFILE else None
        self._walk = DetailWalk(model, h, w, palettes=palettes)
        self._steps = 0

    def _take_head(self, reader: ByteReader, profile: int) -> None:
        """Read what profiles 2 to 4 say before the symbols."""
        frames = reader.varint()
        if frames != 2 * self._count:
            raise FormatError(f"{_NAME} holds {frames} frames, not {2 * self._count}")
        take_settings(reader, self._detail)
        if profile == FLAT_PROFILE:
            bits = np.frombuffer(reader.take(-(-frames // 8)), np.uint8)
            self._detail.unfiltered[:] = np.unpackbits(bits)[:frames]
        elif profile == PULL_PROFILE:
            take_shown(reader, self._detail)
        (self._content,) = struct.unpack("<I", reader.take(4))

    def step(self, index: int) -> GopDetail:
        """Return the layer of step `index`, a view."""
        while self._steps <= index:
            self._next()
        return self._detail.part(index)

    def whole(self) -> GopDetail:
        """Return the layer of all steps."""
        self.step(self._count - 1)
        return self._detail

    def _next(self) -> None:
        """Decode the next step and check it."""
        part = self._detail.part(self._steps)
        self._walk.step(part, self._codes.part(self._steps), part)
        number = 2 * self._steps
        part.check(number, self._detail.offsets[number - 1] if number else 0)
        self._steps += 1
        if self._steps < self._count:
            return
        if content_crc(self._detail, self._codes, steps=self._compact) != self._content:
            raise FormatError(
                f"{_NAME} was written with other probability tables, or for other codes"
            )


def pack_settings(detail: GopDetail) -> bytes:
    """Step and strength of every frame, a byte each."""
    return (detail.steps + NUM_STEPS * detail.strengths).tobytes()


def take_settings(reader: ByteReader, detail: GopDetail) -> None:
    """Read what `pack_settings` wrote into a layer."""
    settings = np.frombuffer(reader.take(len(detail.steps)), np.uint8)
    detail.strengths[:], detail.steps[:] = np.divmod(settings, NUM_STEPS)


def content_crc(detail: GopDetail, codes: GopCodes, *, steps: bool = False) -> int:
    """Return the CRC-32 of what a layer says and of the codes below it.

    Of the content crc of the codes packet, strengths, weights, offsets, modes, sources, split,
    vectors and levels, little endian, in this order; in profile 3 then of palettes, colours,
    indices and unfiltered, in profile 4 also of pulls and tints. With `steps`, as in profile 5, of
    the numbers of the steps last.
    """
    flat = [detail.palettes, detail.colours, detail.indices, detail.unfiltered]
    if detail.has_pulls:
        flat += [detail.pulls, detail.tints]
    return crc32(
        struct.pack("<I", codes_crc(codes)),
        detail.strengths.tobytes(),
        detail.weights.astype("<i2", copy=False).tobytes(),
        detail.offsets.tobytes(),
        detail.modes.tobytes(),
        detail.sources.tobytes(),
        detail.split.tobytes(),
        detail.vectors.astype("<i2", copy=False).tobytes(),
        detail.levels.astype("<i2", copy=False).tobytes(),
        *(part.tobytes() for part in flat if detail.has_palettes),
        detail.steps.tobytes() if steps else b"",
    )
