"""GOP of codes ↔ packet (docs/format.md, "Codes packet")."""

from __future__ import annotations

import struct

from relive.bitstream.coder import SymbolDecoder, SymbolEncoder
from relive.bitstream.framing import ByteReader, crc32, pack_varint, seal, unseal
from relive.bitstream.gop_codes import GopCodes, check_grid
from relive.bitstream.tables import Tables
from relive.bitstream.walk import walk_gop
from relive.errors import FormatError

PROFILE = 0
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
    steps, h, w = gop.depths.shape
    head = bytes([PROFILE]) + b"".join(map(pack_varint, (steps, h, w)))
    return seal(head + struct.pack("<I", content_crc(gop)) + encoder.to_bytes())


def decode_codes(packet: bytes, tables: Tables, steps: int, h: int, w: int) -> GopCodes:
    """Decode a packet of `steps` steps on a grid of `h` x `w` cubes.

    Raises:
        FormatError: damage, another profile, another grid than asked for, or other tables than the
            packet was written with.
    """
    check_grid(steps, h, w)
    reader = ByteReader(unseal(packet, _NAME), _NAME)
    profile = reader.byte()
    if profile != PROFILE:
        raise FormatError(f"{_NAME} has profile {profile}; this version reads profile {PROFILE}")
    grid = (reader.varint(), reader.varint(), reader.varint())
    if grid != (steps, h, w):
        raise FormatError(f"{_NAME} holds a grid of {grid} (steps, h, w), not {(steps, h, w)}")
    (content,) = struct.unpack("<I", reader.take(4))
    decoder = SymbolDecoder(reader.rest())
    layout = tables.layout
    blank = GopCodes.empty(steps, layout.num_quantizers, h, w)
    gop = walk_gop(tables.start(decoder), blank, layout)
    if content_crc(gop) != content:
        raise FormatError(f"{_NAME} was written with other probability tables than the model has")
    gop.check(layout.num_quantizers, layout.codebook_size, layout.num_motion)
    return gop


def content_crc(gop: GopCodes) -> int:
    """Return the CRC-32 of depths, motion and codes, little endian, in this order."""
    codes = gop.codes.astype("<i2", copy=False)
    return crc32(gop.depths.tobytes(), gop.motion.tobytes(), codes.tobytes())
