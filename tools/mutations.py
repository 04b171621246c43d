"""Changes to files and packets, drawn from a seeded generator; with checksums made anew or not.

`check_damage.py` and `fuzz.py` break files with these. A mutation is a function of the bytes and
of a `random.Random`, so a seed names the input.
"""

import json
import struct
import tempfile
import zlib
from collections.abc import Callable
from io import BytesIO
from random import Random
from typing import Any

import zstandard
from mcap.data_stream import ReadDataStream, RecordBuilder
from mcap.records import Metadata

from relive.bitstream.framing import CRC_BYTES, pack_varint, seal
from relive.container import header as replay_header
from relive.container import records
from relive.container.messages import PART, RECORD_HEAD_BYTES, read_message
from relive.session.mcap_read import ChunkWalk
from relive.session.messages import new_message, parse

Mutation = Callable[[bytes, Random], bytes]

_HUGE = (0x7F, 0xFF, 0x7FFF, 0xFFFF, 64 << 20, (1 << 31) - 1, (1 << 32) - 1, 1 << 32, 1 << 40,
         (1 << 63) - 1, (1 << 64) - 1)  # fmt: skip
_WILD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, "", "x", [], {}, [[]], 1 << 31, 1 << 63, 10**400, 1e308, -1e308,
    float("nan"), float("inf"), "\0", "ü" * 300, [0] * 5000, {"": {}},
)  # fmt: skip


def flip_bit(data: bytes, chance: Random) -> bytes:
    """Flip one bit."""
    at = chance.randrange(len(data))
    bit = chance.randrange(8)
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def cut(data: bytes, chance: Random) -> bytes:
    """Keep what comes before a byte."""
    return data[: chance.randrange(len(data))]


def insert(data: bytes, chance: Random) -> bytes:
    """Put 1 to 16 random bytes somewhere."""
    at = chance.randint(0, len(data))
    return data[:at] + chance.randbytes(chance.randint(1, 16)) + data[at:]


def splice(data: bytes, chance: Random) -> bytes:
    """Put a piece of the data in the place of another one, of the same length or not."""
    start, stop = sorted(chance.choices(range(len(data) + 1), k=2))
    length = chance.choice((stop - start, chance.randint(0, 64)))
    at = chance.randint(0, len(data))
    return data[:at] + data[start:stop] + data[at + length :]


def huge_number(data: bytes, chance: Random) -> bytes:
    """Write a large little-endian number over 1, 2, 4 or 8 bytes, mostly near the front."""
    size = chance.choice((1, 2, 4, 8))
    top = chance.choice((len(data), min(len(data), 64)))
    at = chance.randint(0, max(0, top - size))
    number = chance.choice(_HUGE) & ((1 << 8 * size) - 1)
    return data[:at] + number.to_bytes(size, "little") + data[at + size :]


def long_varint(data: bytes, chance: Random) -> bytes:
    """Put a varint that is huge, or longer than its value needs, over a byte."""
    at = chance.randrange(min(len(data), chance.choice((16, 64, len(data)))))
    value = pack_varint(chance.choice(_HUGE))
    padded = b"\x80" * chance.randint(1, 12) + bytes([chance.randrange(2)])
    return data[:at] + chance.choice((value, padded)) + data[at + 1 :]


RAW: dict[str, Mutation] = {
    "bit": flip_bit,
    "cut": cut,
    "insert": insert,
    "splice": splice,
    "huge": huge_number,
    "varint": long_varint,
}


def mutate_raw(data: bytes, chance: Random) -> tuple[str, bytes]:
    """Apply one mutation, every third time two; return what the first one was called."""
    name = chance.choice(tuple(RAW))
    out = RAW[name](data or b"\0", chance)
    if chance.randrange(3) == 0:
        out = RAW[chance.choice(tuple(RAW))](out or b"\0", chance)
    return name, out


def reseal_packet(packet: bytes, chance: Random) -> tuple[str, bytes]:
    """Mutate the body of a packet and close it with the right checksum."""
    name, body = mutate_raw(packet[:-CRC_BYTES], chance)
    return name, seal(body)


def wild_json(value: Any, chance: Random) -> Any:
    """Replace, drop, copy or nest one value somewhere in a tree of JSON."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: wild_json(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        if chance.random() < 0.1:
            return value * chance.choice((0, 2, 3000))
        return [*value[:at], wild_json(value[at], chance), *value[at + 1 :]]
    return chance.choice((*_WILD, [value], {"name": value}))


def mutate_json(text: bytes, chance: Random) -> tuple[str, bytes]:
    """Mutate a JSON text: its bytes, its tree, or its nesting."""
    way = chance.randrange(10)
    if way == 0:
        return "nesting", b'{"fields":' + b"[" * 100_000
    if way < 4:
        return mutate_raw(text, chance)
    return "json", json.dumps(wild_json(json.loads(text), chance)).encode()


def _record(opcode: int, content: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(content)) + content


def _reseal_message(content: bytes, chance: Random) -> tuple[str, bytes]:
    """Mutate the fields of a replay's message, or the packet in it; both checksums hold."""
    body = content[:-5]
    if body[0] != records.EVENTS and chance.randrange(2):
        part = read_message(PART, content)
        name, part.data = reseal_packet(part.data, chance)
        part.ClearField("crc32")
        body = body[:RECORD_HEAD_BYTES] + part.SerializeToString(deterministic=True)
    elif chance.randrange(3) == 0:
        name, head = mutate_raw(body[:RECORD_HEAD_BYTES], chance)
        body = head.ljust(RECORD_HEAD_BYTES, b"\0")[:RECORD_HEAD_BYTES] + body[RECORD_HEAD_BYTES:]
    else:
        end = chance.choice((RECORD_HEAD_BYTES + 24, len(body)))
        name, fields = mutate_raw(body[RECORD_HEAD_BYTES:end], chance)
        body = body[:RECORD_HEAD_BYTES] + fields + body[end:]
    return name, body + b"\x7d" + struct.pack("<I", zlib.crc32(body))


def _reseal_header(content: bytes, chance: Random) -> tuple[str, bytes]:
    """Mutate a value of a replay's header, or the JSON of its schema; its checksum holds."""
    metadata = Metadata.read(ReadDataStream(BytesIO(content)))
    pairs = {k: v for k, v in metadata.metadata.items() if k != "crc32"}
    key = chance.choice((*pairs, "state_schema", "state_schema"))
    if key == "state_schema":
        words = replay_header.WORDS if "profile" not in pairs else b""  # a compact header
        schema = replay_header._unpack_json(pairs[key], words)
        name, text = mutate_json(json.dumps(schema).encode(), chance)
        pairs[key] = replay_header.base64.b85encode(zlib.compress(text)).decode()
    else:
        name, value = mutate_raw(pairs[key].encode(), chance)
        number = str(chance.choice(_HUGE))
        pairs[key] = chance.choice((value.decode("utf-8", "replace"), number))
    builder = RecordBuilder()
    pairs["crc32"] = replay_header._checksum(pairs)
    Metadata(name=metadata.name, metadata=pairs).write(builder)
    return name, builder.end()[9:]


def reseal_replay(data: bytes, chance: Random) -> tuple[str, bytes]:
    """Mutate one record of a replay, or their order; every checksum of the file holds."""
    walk = records.RecordWalk(BytesIO(data), len(data))
    found = [(record.opcode, record.content) for record in walk]
    touched = [i for i, (op, _) in enumerate(found) if op in (records.MESSAGE, records.METADATA)]
    at = chance.choice(touched)
    opcode, content = found[at]
    way = chance.randrange(8)
    if way == 0:
        name, other = "order", chance.choice(touched)
        found[at], found[other] = found[other], found[at]
    elif way == 1:
        name = "twice"
        found.insert(chance.choice(touched), found[at])
    else:
        reseal = _reseal_header if opcode == records.METADATA else _reseal_message
        name, content = reseal(content, chance)
        found[at] = (opcode, content)
    return name, _close_replay(found)


def _close_replay(found: list[tuple[int, bytes]]) -> bytes:
    out = bytearray(records.MAGIC)
    for opcode, content in found:
        if opcode == records.DATA_END:
            content = struct.pack("<I", zlib.crc32(out))
        elif opcode == records.FOOTER:
            start = _record(opcode, content)[:-4]
            content = content[:-4] + struct.pack("<I", zlib.crc32(start))
        out += _record(opcode, content)
    return bytes(out) + records.MAGIC


def reseal_session(data: bytes, chance: Random) -> tuple[str, bytes]:
    """Mutate the records in one chunk of a recording; the checksum of the chunk holds."""
    with _opened(data) as file:
        places = list(ChunkWalk(file))
    place = chance.choice(places)
    inner = data[place.data_offset : place.data_offset + place.data_bytes]
    if place.compression:
        inner = zstandard.ZstdDecompressor().decompress(inner)
    schema = inner.find(b'{"fields"')
    if schema >= 0 and chance.randrange(2):
        name, inner = _reseal_schema(inner, chance)
    else:
        name, inner = mutate_raw(inner, chance)
    size, crc = len(inner), zlib.crc32(inner)
    if place.compression:
        inner = zstandard.ZstdCompressor().compress(inner)
    label = place.compression.encode()
    claimed = size if chance.randrange(10) else chance.choice(_HUGE)
    content = data[place.offset + 9 : place.offset + 25] + struct.pack("<QI", claimed, crc)
    content += struct.pack("<I", len(label)) + label + struct.pack("<Q", len(inner)) + inner
    end = place.data_offset + place.data_bytes
    return name, data[: place.offset] + _record(0x06, content) + data[end:]


def _reseal_schema(inner: bytes, chance: Random) -> tuple[str, bytes]:
    """Mutate the state schema in the session header, all lengths right."""
    head = inner[:31]  # opcode, length, channel, sequence and times of the one message
    message = parse("relive.SessionHeader", inner[31 : 9 + int.from_bytes(inner[1:9], "little")])
    name, text = mutate_json(message.state_schema.encode(), chance)
    fields = {d.name: v for d, v in message.ListFields()}
    fields["state_schema"] = text.decode("utf-8", "replace")
    body = new_message("relive.SessionHeader", **fields).SerializeToString()
    rest = inner[9 + int.from_bytes(inner[1:9], "little") :]
    return name, head[:1] + struct.pack("<Q", 22 + len(body)) + head[9:] + body + rest


def _opened(data: bytes) -> Any:
    """A real file, because a recording is read by its descriptor."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by who asked
    file.write(data)
    file.flush()
    return file


def mutate_model(data: bytes, chance: Random) -> tuple[str, bytes]:
    """Mutate a safetensors file: its bytes, mostly its header, or the model's configuration."""
    length = int.from_bytes(data[:8], "little")
    way = chance.randrange(4)
    if way == 0:
        return mutate_raw(data, chance)
    if way == 1:
        name, head = mutate_raw(data[: 8 + length], chance)
        return name, head + data[8 + length :]
    tree = json.loads(data[8 : 8 + length])
    if way == 2:
        config = json.loads(tree["__metadata__"]["config"])
        name = "config"
        tree["__metadata__"]["config"] = json.dumps(wild_json(config, chance))
    else:
        name = "header"
        key = chance.choice(list(tree))
        tree[key] = wild_json(tree[key], chance)
    text = json.dumps(tree).encode()
    return name, struct.pack("<Q", len(text)) + text + data[8 + length :]
