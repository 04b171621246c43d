"""The protobuf messages of a replay and the checksum that closes each (docs/format.md, 1.2)."""

from __future__ import annotations

import struct
import zlib
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from relive.errors import FormatError

PART = "relive.replay.Part"
EVENT = "relive.replay.Event"

_FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    PART: {
        "first_frame": (1, "TYPE_UINT64"),
        "num_frames": (2, "TYPE_UINT32"),
        "duration_ns": (3, "TYPE_UINT64"),
        "psnr_db": (4, "TYPE_FLOAT"),
        "data": (5, "TYPE_BYTES"),
        "track": (6, "TYPE_BYTES"),
        "crc32": (15, "TYPE_FIXED32"),
    },
    EVENT: {
        "name": (1, "TYPE_STRING"),
        "payload": (2, "TYPE_STRING"),
        "crc32": (15, "TYPE_FIXED32"),
    },
}
_CRC_TAG = b"\x7d"
_CRC_FIELD_BYTES = 5
_RECORD_HEAD = struct.Struct("<HIQQ")  # channel id, sequence, log time, publish time
RECORD_HEAD_BYTES = _RECORD_HEAD.size


def _describe(name: str) -> descriptor_pb2.FileDescriptorProto:
    package, _, short = name.rpartition(".")
    file = descriptor_pb2.FileDescriptorProto(name=f"{short}.proto", package=package)
    file.syntax = "proto3"
    message = file.message_type.add(name=short)
    for field, (number, kind) in _FIELDS[name].items():
        message.field.add(
            name=field,
            number=number,
            type=getattr(descriptor_pb2.FieldDescriptorProto, kind),
            label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
        )
    return file


def _build() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    for name in _FIELDS:
        pool.Add(_describe(name))
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in _FIELDS
    }


_CLASSES = _build()


def schema_bytes(name: str) -> bytes:
    """Return the serialised FileDescriptorSet of a message, as MCAP wants it."""
    files = descriptor_pb2.FileDescriptorSet(file=[_describe(name)])
    return bytes(files.SerializeToString(deterministic=True))


def write_message(kind: str, channel: int, sequence: int, time_ns: int, /, **fields: Any) -> bytes:
    """Return a serialised message closed by its checksum."""
    body = bytes(_CLASSES[kind](**fields).SerializeToString(deterministic=True))
    head = _RECORD_HEAD.pack(channel, sequence, time_ns, time_ns)
    return body + _CRC_TAG + struct.pack("<I", zlib.crc32(body, zlib.crc32(head)))


def without_seal(packet: bytes) -> bytes:
    """Take the checksum of a packet off, as compact replays do: that of the message is enough.

    Raises:
        FormatError: it does not hold, so that nobody could put it back.
    """
    body = packet[:-4]
    if with_seal(body) != packet:
        raise FormatError(f"a packet of {len(packet)} bytes does not end with its checksum")
    return body


def with_seal(body: bytes) -> bytes:
    """Put back what `without_seal` took off."""
    return body + struct.pack("<I", zlib.crc32(body))


def is_whole(content: bytes) -> bool:
    """Tell whether the content of a Message record closes with the right checksum."""
    if len(content) < RECORD_HEAD_BYTES + _CRC_FIELD_BYTES:
        return False
    body, tail = content[:-_CRC_FIELD_BYTES], content[-_CRC_FIELD_BYTES:]
    return tail == _CRC_TAG + struct.pack("<I", zlib.crc32(body))


def record_head(content: bytes) -> tuple[int, int, int]:
    """Return channel id, sequence and log time of the content of a Message record."""
    channel, sequence, time_ns, _ = _RECORD_HEAD.unpack_from(content)
    return channel, sequence, time_ns


def read_message(name: str, content: bytes) -> Any:
    """Parse the message inside the content of a Message record whose checksum holds.

    Raises:
        FormatError: it is not a message of that kind.
    """
    try:
        return _CLASSES[name].FromString(content[RECORD_HEAD_BYTES:])
    except DecodeError as error:
        raise FormatError(f"a message of a replay is not a {name}") from error
