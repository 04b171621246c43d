"""The protobuf messages of a recording, built from their descriptions (docs/format-session.md).

There is no generated code: a description below is the one source of the class that writes and
reads a message and of the schema that travels in the file.
"""

from dataclasses import dataclass
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    timestamp_pb2,
)
from google.protobuf.message import DecodeError

__all__ = ["CHANNELS", "SCHEMAS", "DecodeError", "new_message", "parse", "schema_bytes"]

_TIMESTAMP = ".google.protobuf.Timestamp"
_DESCRIPTIONS: dict[str, dict[str, tuple[int, str]]] = {
    "relive.SessionHeader": {
        "version_major": (1, "uint32"),
        "version_minor": (2, "uint32"),
        "game": (3, "string"),
        "state_schema": (4, "string"),
        "region_schema": (5, "string"),
    },
    "relive.Segment": {
        "first_frame": (1, "uint64"),
        "num_frames": (2, "uint32"),
        "width": (3, "uint32"),
        "height": (4, "uint32"),
        "pictures_offset": (5, "uint64"),
        "regions_offset": (6, "uint64"),
    },
    "relive.State": {
        "frame": (1, "uint64"),
        "present": (2, "bool"),
        "labelled": (3, "bool"),
        "values": (4, "repeated float"),
    },
    "relive.Event": {"time_ns": (1, "uint64"), "name": (2, "string"), "payload": (3, "string")},
    "foxglove.RawImage": {
        "timestamp": (1, _TIMESTAMP),
        "width": (2, "fixed32"),
        "height": (3, "fixed32"),
        "encoding": (4, "string"),
        "step": (5, "fixed32"),
        "data": (6, "bytes"),
        "frame_id": (7, "string"),
    },
    "relive.FilteredFrame": {"width": (1, "uint32"), "height": (2, "uint32"), "data": (3, "bytes")},
}


@dataclass(frozen=True)
class ChannelInfo:
    """One channel of the recording; the ids are fixed in version 1."""

    id: int
    topic: str
    schema: str


SCHEMAS: tuple[str, ...] = tuple(_DESCRIPTIONS)
CHANNELS: dict[str, ChannelInfo] = {
    topic: ChannelInfo(number, topic, schema)
    for number, (topic, schema) in enumerate(
        (
            ("/session", "relive.SessionHeader"),
            ("/segment", "relive.Segment"),
            ("/states", "relive.State"),
            ("/events", "relive.Event"),
            ("/frames", "foxglove.RawImage"),
            ("/regions", "foxglove.RawImage"),
            ("/frames/filtered", "relive.FilteredFrame"),
        ),
        1,
    )
}


def _describe(name: str) -> Any:
    """Describe one message as a protobuf file of its own."""
    package, _, short = name.rpartition(".")
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}/{short}.proto", package=package, syntax="proto3"
    )
    message = file.message_type.add(name=short)
    for field_name, (number, kind) in _DESCRIPTIONS[name].items():
        repeated, _, word = kind.rpartition(" ")
        field = message.field.add(name=field_name, number=number)
        field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        if word.startswith("."):
            field.type, field.type_name = field.TYPE_MESSAGE, word
            file.dependency.append(timestamp_pb2.DESCRIPTOR.name)
        else:
            field.type = getattr(field, f"TYPE_{word.upper()}")
    return file


def _timestamp_file() -> Any:
    file = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(file)
    return file


def _build_classes() -> dict[str, Any]:
    # A pool of our own: other packages may register foxglove.RawImage in the default one.
    pool = descriptor_pool.DescriptorPool()
    for file in (_timestamp_file(), *map(_describe, SCHEMAS)):
        pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in SCHEMAS
    }


_CLASSES = _build_classes()


def new_message(name: str, /, **values: Any) -> Any:
    """Make a message of a schema."""
    return _CLASSES[name](**values)


def parse(name: str, data: bytes | memoryview) -> Any:
    """Read a message of a schema.

    Raises:
        DecodeError: The bytes are no such message.
    """
    message = _CLASSES[name]()
    message.ParseFromString(bytes(data))
    return message


def schema_bytes(name: str) -> bytes:
    """Serialise the FileDescriptorSet of a schema with its dependencies."""
    files = descriptor_pb2.FileDescriptorSet()
    description = _describe(name)
    if description.dependency:
        files.file.append(_timestamp_file())
    files.file.append(description)
    return bytes(files.SerializeToString())
