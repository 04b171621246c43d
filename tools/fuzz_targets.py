"""What `fuzz.py` breaks: each parser of Relive, with a small real input and a judgement.

A judgement raises one of the project's errors (refused), returns "equal", "partial" (all that is
there is right, the rest is said to be missing) or "different", or raises `AssertionError` where
something is out of range.
"""

# ruff: noqa: S101 - an assertion that fails is a finding

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from mutations import (
    mutate_json,
    mutate_model,
    mutate_raw,
    reseal_packet,
    reseal_replay,
    reseal_session,
)

from relive.bitstream import (
    MAX_TILES,
    Clock,
    GopCodes,
    GopDetail,
    decode_codes,
    decode_detail,
    decode_memory,
    decode_track,
    encode_detail,
    encode_memory,
)
from relive.bitstream import codes_packet as codes_module
from relive.bitstream import detail_packet as detail_module
from relive.bitstream.adapter import (
    PARTS,
    apply_adapter,
    change_of,
    families_of,
    nets_of,
    pack_adapter,
    pack_family,
)
from relive.bitstream.detail import MAX_MIXED, MAX_PULL
from relive.bitstream.framing import pack_varint, seal
from relive.bitstream.memory import Tile
from relive.bitstream.net import Net
from relive.bitstream.track_packet import MAX_VALUES
from relive.codec import Bundle, Replay, encode, load_bundle
from relive.codec.step import Geometry
from relive.config import CUBE_PX
from relive.container import ReplayReader, cut, repair, verify
from relive.errors import FormatError
from relive.session import Recorder, Session, StateSchema
from relive.session.index import _json
from relive.session.sources.state_csv import StateCsv

FRAMES, INTERVAL, THINNED = 16, 8, 4
Mutate = Callable[[bytes, Random], tuple[str, bytes]]


ADAPTED = ("mode", "end")


@dataclass(frozen=True)
class Target:
    """One parser: a whole input, how it is broken, and what reads it.

    Attributes:
        data: the whole input.
        judge: reads bytes and says how the result compares with that of `data`.
        reseal: breaks what lies behind the checksums, where there are any.
        mutate: breaks the input as it is.
        checked: the input has checksums, so that what differs must have been sealed anew.
    """

    data: bytes
    judge: Callable[[bytes], str]
    reseal: Mutate | None = None
    mutate: Mutate = mutate_raw
    checked: bool = True


def write_inputs(session: Path, folder: Path) -> None:
    """Write a short, small recording and replay, and the states as CSV."""
    small = folder / "small.mcap"
    with Session.open(session) as whole:
        camera = whole.schema.camera and replace(whole.schema.camera, view=None)
        schema = replace(whole.schema, camera=camera)
        with Recorder(small, schema, game=whole.game) as recorder:
            for i in range(FRAMES):
                picture = np.ascontiguousarray(whole.frame(i)[::THINNED, ::THINNED])
                recorder.add(picture, whole.states[i], int(whole.times_ns[i]))
            recorder.event("begin", "fuzz", int(whole.times_ns[1]))
        names = [field.name for field in whole.schema.fields]
        rows = [",".join(["time_s", *names])]
        rows += [
            ",".join([f"{t / 1e9:.9f}", *map(str, state.tolist())])
            for t, state in zip(whole.times_ns[:FRAMES], whole.states[:FRAMES], strict=True)
        ]
        (folder / "small.csv").write_text("\n".join(rows) + "\n")
    encode(small, folder / "small.relive", keyframe_interval=INTERVAL)


def targets(folder: Path, work: Path) -> dict[str, Target]:
    """Make the targets from the inputs in `folder`; `work` is for broken copies."""
    bundle = load_bundle()
    replay, session = folder / "small.relive", folder / "small.mcap"
    with ReplayReader.open(replay) as reader:
        gop, header = reader.read_gop(0), reader.header
    schema = StateSchema.from_dict(header.state_schema)
    grid = -(-gop.num_frames // 2), *Geometry(header.width, header.height).grid
    base = decode_codes(gop.codes, bundle.tables, *grid)
    csv = folder / "small.csv"
    model = folder / "small.safetensors"
    return {
        "codes packet": _codes(gop.codes, grid, bundle),
        "enhancement packet": _detail(gop.detail or b"", base, bundle),
        "palettes": _palettes(bundle),
        "session memory": _memory(),
        "adapter": _adapter(bundle),
        "track packet": _track(gop.track, schema, Clock(*gop.clock)),
        "replay": Target(replay.read_bytes(), _ReplayJudge(replay, work), reseal_replay),
        "recording": Target(session.read_bytes(), _SessionJudge(session, work), reseal_session),
        "state schema": Target(
            json.dumps(schema.to_dict()).encode(), _judge_schema, mutate=mutate_json, checked=False
        ),
        "state CSV": Target(csv.read_bytes(), _CsvJudge(csv, work), checked=False),
        "model": Target(model.read_bytes(), _ModelJudge(model, work), None, mutate_model, False),
    }


def _outcome(equal: bool) -> str:
    return "equal" if equal else "different"


def _same(a: Any, b: Any) -> bool:
    return all(np.array_equal(array, getattr(b, name)) for name, array in vars(a).items())


def with_content_crc(module: Any, packet: bytes, decode: Callable[[bytes], Any]) -> bytes:
    """Give a packet the checksum of the content that it decodes to, so that it is accepted."""
    seen: list[int] = []
    real = module.content_crc

    def spy(*content: Any, **settings: Any) -> int:
        seen.append(real(*content, **settings))
        return seen[-1]

    module.content_crc = spy
    try:
        decode(packet)
    except FormatError:
        pass
    finally:
        module.content_crc = real
    if not seen:
        return packet
    return seal(packet[:1] + struct.pack("<I", seen[-1]) + packet[5:-4])


def _codes(packet: bytes, grid: tuple[int, int, int], bundle: Bundle) -> Target:
    def decode(data: bytes) -> GopCodes:
        return decode_codes(data, bundle.tables, *grid)

    whole = decode(packet)

    def judge(data: bytes) -> str:
        gop = decode(data)
        layout = bundle.tables.layout
        gop.check(layout.num_quantizers, layout.codebook_size, layout.num_motion)
        return _outcome(_same(whole, gop))

    return Target(packet, judge, _deep(codes_module, decode))


def _tiles(kinds: int) -> list[Tile]:
    """Cubes of noise in one to eight colours."""
    rng, tiles = np.random.default_rng(0), []
    for size in rng.integers(1, 9, kinds).tolist():
        packed = np.sort(rng.choice(1 << 24, size, replace=False))
        colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], -1).astype(np.uint8)
        tiles.append((colours, rng.integers(0, size, (CUBE_PX, CUBE_PX)).astype(np.uint8)))
    return tiles


def _memory() -> Target:
    packet = encode_memory(_tiles(7))
    whole = decode_memory(packet).contents()

    def judge(data: bytes) -> str:
        found = decode_memory(data).contents()
        assert len(found) <= MAX_TILES
        return _outcome(found == whole)

    return Target(packet, judge, reseal_packet)


def _palettes(bundle: Bundle) -> Target:
    """An enhancement packet of tiles of few colours, some of which change; four are remembered."""
    rng, tiles = np.random.default_rng(0), _tiles(7)
    steps, h, w = 4, 5, 6
    detail = GopDetail.empty(2 * steps, h, w)
    which = rng.integers(0, len(tiles), (2 * steps, h, w))
    for place in np.argwhere(rng.random((2 * steps, h, w)) < 0.7):
        colours, indices = tiles[which[tuple(place)]]
        detail.palettes[tuple(place)] = len(colours)
        detail.colours[tuple(place)][: len(colours)] = colours
        detail.indices[tuple(place)] = indices
    detail.unfiltered[:] = rng.integers(0, 2, 2 * steps)
    detail.pulls[:] = rng.integers(0, MAX_PULL + 1, 2 * steps)
    detail.tints[steps:] = rng.integers(0, MAX_MIXED + 1, 4)
    base = GopCodes.empty(steps, bundle.config.quantizer.num_quantizers, h, w)
    tables = replace(bundle.detail, memory=decode_memory(encode_memory(tiles[:4])))
    remembering = replace(bundle, detail=tables)
    return _detail(encode_detail(detail, base, tables), base, remembering)


def _detail(packet: bytes, base: GopCodes, bundle: Bundle) -> Target:
    def decode(data: bytes) -> GopDetail:
        return decode_detail(data, base, bundle.detail)

    whole = decode(packet)

    def judge(data: bytes) -> str:
        detail = decode(data)
        detail.check()
        return _outcome(_same(whole, detail))

    return Target(packet, judge, _deep(detail_module, decode))


def _adapter(bundle: Bundle) -> Target:
    """An adapter of changes by chance; whatever is accepted leaves nets in their range."""
    families, nets = families_of(bundle.tables), nets_of(bundle.tables, bundle.detail)
    rng = np.random.default_rng(0)

    def change(name: str) -> bytes:
        size = change_of(nets[name], nets[name], 1).size
        return pack_family(rng.integers(-3, 4, size).astype(np.int8), 2)

    packet = pack_adapter([change(name) if name in ADAPTED else b"\0" for name in families])

    def apply(data: bytes) -> dict[str, tuple[Net, ...]]:
        return nets_of(*apply_adapter(data, bundle.tables, bundle.detail))

    whole = apply(packet)

    def judge(data: bytes) -> str:
        made = apply(data)
        for name, family in families.items():
            for net in made[name]:
                net.check(family)
        pairs = [pair for n in made for pair in zip(whole[n], made[n], strict=True)]
        same = (np.array_equal(getattr(a, p), getattr(b, p)) for a, b in pairs for p in PARTS)
        return _outcome(all(same))

    def reseal(packet: bytes, chance: Random) -> tuple[str, bytes]:
        """Reseal the packet; every other time, pack broken changes anew."""
        if chance.randrange(2):
            return reseal_packet(packet, chance)
        changes = rng.integers(-128, 128, change_of(nets["end"], nets["end"], 1).size)
        name, raw = mutate_raw(changes.astype(np.int8).tobytes(), chance)
        packed = zlib.compress(raw if chance.randrange(2) else changes.astype(np.int8).tobytes())
        step = bytes([chance.choice((1, 2, 64, 65, 255))])
        broken = step + pack_varint(len(packed)) + packed
        return name, pack_adapter([broken if name == "end" else b"\0" for name in families])

    return Target(packet, judge, reseal)


def _deep(module: Any, decode: Callable[[bytes], Any]) -> Mutate:
    """Reseal the packet; every other time its content, too."""

    def reseal(packet: bytes, chance: Random) -> tuple[str, bytes]:
        if chance.randrange(2):
            return reseal_packet(packet, chance)
        head = 1 + 4  # profile, checksum of the content
        name, tail = mutate_raw(packet[head:-4], chance)
        return name, with_content_crc(module, seal(packet[:head] + tail), decode)

    return reseal


def _track(packet: bytes, schema: StateSchema, clock: Clock) -> Target:
    steps, kinds = [f.step for f in schema.fields], [f.kind for f in schema.fields]
    whole = decode_track(packet, steps, kinds, clock)

    def judge(data: bytes) -> str:
        times, present, states = decode_track(data, steps, kinds, clock)
        assert len(times) * (len(steps) + 1) <= MAX_VALUES
        assert len(times) == len(present) == len(states)
        assert times[0] >= 0, "negative time"
        assert (np.diff(times) >= 0).all(), "times fall"
        return _outcome(all(map(np.array_equal, whole, (times, present, states))))

    return Target(packet, judge, reseal_packet)


class _FileJudge:
    def __init__(self, whole: Path, work: Path) -> None:
        self._file = work / f"broken{whole.suffix}"
        self._whole = self._read(whole)

    def __call__(self, data: bytes) -> str:
        self._file.write_bytes(data)
        found = self._read(self._file)
        if found == self._whole:
            return "equal"
        return "partial" if self._is_part(found) else "different"

    def _read(self, file: Path) -> Any:
        raise NotImplementedError

    def _is_part(self, found: Any) -> bool:
        """Whether all that is there is right, and the rest is said to be missing."""
        return False


class _ReplayJudge(_FileJudge):
    """Opens, verifies, repairs and cuts; what comes of it must be whole."""

    def _read(self, file: Path) -> Any:
        with ReplayReader.open(file) as reader:
            gops = list(reader.iter_gops())
            for gop in gops:
                gop.check()
        lost = verify(file)
        for out, rewrite in (("repaired", repair), ("cut", lambda a, b: cut(a, b, 1, True))):
            made = self._file.with_name(f"{out}.relive")
            made.unlink(missing_ok=True)
            rewrite(file, made)
            assert verify(made) == [], f"{out} file is damaged"
            with ReplayReader.open(made) as reader:
                assert len(reader.gops) == len(gops), f"{out} file lacks GOPs"
        with Replay.open(file) as replay:
            assert (replay.times_ns >= 0).all(), "negative time"
            assert np.isfinite(replay.states).all(), "a state is not finite"
            return gops, replay.events, replay.header, bool(lost)

    def _is_part(self, found: Any) -> bool:
        gops, events, header, lost = found
        known = self._whole[0] + [replace(gop, detail=None) for gop in self._whole[0]]
        right = all(gop in known for gop in gops) and all(e in self._whole[1] for e in events)
        return lost and right and header == self._whole[2]


class _SessionJudge(_FileJudge):
    def _read(self, file: Path) -> Any:
        with Session.open(file, verify=True) as session:
            assert np.isfinite(session.states).all()
            assert (np.diff(session.times_ns) > 0).all()
            frames = session.frames(0, session.num_frames)
            assert frames.shape == (session.num_frames, session.height, session.width, 3)
            there = session.present
            times, states = session.times_ns[there].tolist(), session.states[there]
            rows = [
                (t, state.tobytes(), frame.tobytes())
                for t, state, frame in zip(times, states, frames[there], strict=True)
            ]
            return rows, session.events, session.schema, session.damaged

    def _is_part(self, found: Any) -> bool:
        rows, events, schema, damaged = found
        right = all(row in self._whole[0] for row in rows)
        right = right and all(event in self._whole[1] for event in events)
        return damaged and right and schema == self._whole[2]


class _CsvJudge(_FileJudge):
    def _read(self, file: Path) -> Any:
        with StateCsv(file, None) as rows:
            read = [(time, state.tobytes()) for time, state in rows]
        assert all(a < b for (a, _), (b, _) in pairwise(read))
        return read


class _ModelJudge(_FileJudge):
    def _read(self, file: Path) -> Any:
        return load_bundle(file).model_id


def _judge_schema(data: bytes) -> str:
    try:
        values = _json(data.decode())
    except UnicodeDecodeError as error:
        raise FormatError("not UTF-8") from error
    schema = StateSchema.from_dict(values)
    assert StateSchema.from_dict(schema.to_dict()) == schema
    return _outcome(schema.to_dict() == values)
