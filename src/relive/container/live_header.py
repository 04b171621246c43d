"""What a live stream says about itself before its first step (docs/format.md, "Live packets")."""

from __future__ import annotations

import json
import struct
import zlib

from relive.container.header import ReplayHeader
from relive.errors import FormatError

HEADER_MAGIC = b"RLVH"
LIVE_VERSION = 3
MAX_HEADER_BYTES = 4 << 20
_CRC_BYTES = 4


def pack_live_header(header: ReplayHeader) -> bytes:
    """Return the packet that comes first."""
    pairs = json.dumps(header.to_metadata(), separators=(",", ":"), sort_keys=True)
    body = HEADER_MAGIC + bytes([LIVE_VERSION]) + pairs.encode()
    return body + struct.pack("<I", zlib.crc32(body))


def stream_checksum(packet: bytes) -> int:
    """Return the checksum that a header packet ends with: every packet's checksum has it in it."""
    (checksum,) = struct.unpack("<I", packet[-_CRC_BYTES:])
    return int(checksum)


def is_whole_header(packet: bytes) -> bool:
    """Whether a header packet has come as it was sent."""
    if not len(HEADER_MAGIC) + 1 + _CRC_BYTES <= len(packet) <= MAX_HEADER_BYTES:
        return False
    return stream_checksum(packet) == zlib.crc32(packet[:-_CRC_BYTES])


def unpack_live_header(packet: bytes) -> ReplayHeader:
    """Read a header packet that is whole.

    Raises:
        FormatError: another version, or something in it is wrong.
    """
    body = packet[len(HEADER_MAGIC) : -_CRC_BYTES]
    if body[0] != LIVE_VERSION:
        raise FormatError(
            f"live stream of version {body[0]}; this program reads version {LIVE_VERSION}: "
            "update relive"
        )
    try:
        pairs = json.loads(body[1:].decode())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"live header is no JSON ({error})") from error
    texts = isinstance(pairs, dict) and all(isinstance(value, str) for value in pairs.values())
    if not texts:
        raise FormatError("live header is not one JSON object of texts")
    return ReplayHeader.from_metadata(pairs)
