"""GOP of codes ↔ packet (docs/format.md, "Codes packet")."""

from __future__ import annotations

import struct

from relive.bitstream.coder import SymbolDecoder, SymbolEncoder
from relive.bitstream.framing import ByteReader, crc32, seal, unseal
from relive.bitstream.gop_codes import GopCodes, check_grid
from relive.bitstream.layout import Layout
from relive.bitstream.tables import Tables
from relive.bitstream.walk import CodesWalk, walk_gop
from relive.errors import FormatError

PROFILE = 1
"""Profile 0 says the grid, too, and ends with whole words; it is read, not written."""
_NAME = "codes packet"


def encode_codes(gop: GopCodes, tables: Tables) -> bytes:
    """Encode one GOP's integers as a packet that decodes alone.

    Raises:
        FormatError: the GOP does not fit the layout of the tables.
    """
    layout = tables.layout
    gop.check(layout.num_quantizers, layout.codebook_size, layout.num_motion)
    encoder = SymbolEncoder()
    walk_gop(tables.start(encoder), gop, layout)
    head = bytes([PROFILE]) + struct.pack("<I", content_crc(gop))
    return seal(head + encoder.to_short_bytes())


def decode_codes(packet: bytes, tables: Tables, steps: int, h: int, w: int) -> GopCodes:
    """Decode a packet of `steps` steps on a grid of `h` x `w` cubes.

    Raises:
        FormatError: damage, another profile, another grid than asked for, or other tables than the
            packet was written with.
    """
    content, walk, layout = _open(packet, tables, steps, h, w)
    blank = GopCodes.empty(steps, layout.num_quantizers, h, w)
    gop = GopCodes.join([walk.step(blank.part(step)) for step in range(steps)])
    if content_crc(gop) != content:
        raise FormatError(
            f"{_NAME} was written with other probability tables than the model has, "
            f"or for another grid"
        )
    gop.check(layout.num_quantizers, layout.codebook_size, layout.num_motion)
    return gop


def decode_keyframe(packet: bytes, tables: Tables, steps: int, h: int, w: int) -> GopCodes:
    """Decode the first step of a packet alone, some three times faster than all of it.

    The checksum over the content is of all steps, so that tables of another model go unnoticed
    where they give possible codes; the checksum over the packet is checked.

    Raises:
        FormatError: damage, another profile or another grid than asked for.
    """
    _, walk, layout = _open(packet, tables, steps, h, w)
    gop = walk.step(GopCodes.empty(1, layout.num_quantizers, h, w))
    gop.check(layout.num_quantizers, layout.codebook_size, layout.num_motion)
    return gop


def _open(
    packet: bytes, tables: Tables, steps: int, h: int, w: int
) -> tuple[int, CodesWalk, Layout]:
    """Check the head of a packet; return the checksum of its content, and how to go on."""
    check_grid(steps, h, w)
    reader = ByteReader(unseal(packet, _NAME), _NAME)
    profile = reader.byte()
    if profile > PROFILE:
        raise FormatError(f"{_NAME} has profile {profile}; this version reads 0 to {PROFILE}")
    grid = (steps, h, w)
    if profile == 0 and (there := (reader.varint(), reader.varint(), reader.varint())) != grid:
        raise FormatError(f"{_NAME} holds a grid of {there} (steps, h, w), not {grid}")
    (content,) = struct.unpack("<I", reader.take(4))
    decoder = SymbolDecoder if profile == 0 else SymbolDecoder.of_short
    model = tables.start(decoder(reader.rest()))
    return content, CodesWalk(model, tables.layout, h, w), tables.layout


def content_crc(gop: GopCodes) -> int:
    """Return the CRC-32 of depths, motion and codes, little endian, in this order."""
    codes = gop.codes.astype("<i2", copy=False)
    return crc32(gop.depths.tobytes(), gop.motion.tobytes(), codes.tobytes())
