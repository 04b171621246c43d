"""Bytes around a payload: variable-length integers, exact reads, and checksums."""

from __future__ import annotations

import struct
import zlib

from relive.errors import FormatError

CRC_BYTES = 4


def crc32(*parts: bytes) -> int:
    """Return the CRC-32 (zlib's polynomial) of the parts, one after the other."""
    value = 0
    for part in parts:
        value = zlib.crc32(part, value)
    return value


def pack_varint(value: int) -> bytes:
    """Return a non-negative integer below 2^64 as LEB128: 7 bits a byte, low bits first."""
    if not 0 <= value < 1 << 64:
        raise ValueError(f"varint out of range: {value}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """Map a signed integer to a non-negative one: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def unzigzag(value: int) -> int:
    """Undo `zigzag`."""
    return value >> 1 if value & 1 == 0 else -((value + 1) >> 1)


class ByteReader:
    """Read a packet from its start, never past its end."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._at = 0

    def take(self, count: int) -> bytes:
        """Return exactly `count` bytes."""
        if count < 0 or self._at + count > len(self._data):
            raise FormatError(
                f"{self._name} ends early: {count} bytes wanted at byte {self._at} "
                f"of {len(self._data)}"
            )
        part = self._data[self._at : self._at + count]
        self._at += count
        return part

    def byte(self) -> int:
        """Return one byte."""
        return self.take(1)[0]

    def varint(self, limit: int = (1 << 64) - 1) -> int:
        """Return a LEB128 integer no greater than `limit`."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value > limit:
                    raise FormatError(f"{self._name}: value {value} exceeds the limit {limit}")
                return value
        raise FormatError(f"{self._name}: integer longer than 10 bytes")

    def rest(self) -> bytes:
        """Return everything that is left."""
        return self.take(len(self._data) - self._at)


def seal(body: bytes) -> bytes:
    """Append the CRC-32 of a packet body, little endian."""
    return body + struct.pack("<I", crc32(body))


def unseal(packet: bytes, name: str) -> bytes:
    """Check and remove the CRC-32 that `seal` appended.

    Raises:
        FormatError: the packet is shorter than its checksum, or the checksum differs.
    """
    if len(packet) < CRC_BYTES:
        raise FormatError(f"{name} of {len(packet)} bytes is too short to hold its checksum")
    body = packet[:-CRC_BYTES]
    (stored,) = struct.unpack("<I", packet[-CRC_BYTES:])
    if stored != crc32(body):
        raise FormatError(f"{name} is damaged: checksum {crc32(body):08x}, stored {stored:08x}")
    return body
