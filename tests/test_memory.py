"""Session memory: cubes that a session shows again and again are coded once."""

from pathlib import Path

import numpy as np
import pytest

from relive.bitstream import decode_memory, encode_memory
from relive.bitstream.framing import pack_varint, seal
from relive.bitstream.memory import MAX_BYTES, MAX_TILES, Tile
from relive.bitstream.palettes import tile_key
from relive.codec import Replay, encode
from relive.codec import encoder as encoder_module
from relive.codec.bundle import Bundle
from relive.container import ReplayHeader, ReplayReader, cut, repair, verify
from relive.errors import FormatError
from relive.session import Recorder, StateField, StateSchema
from test_codec import _bundle  # noqa: F401 - a fixture

SIDE = 16


def make_tile(seed: int, colours: int) -> Tile:
    rng = np.random.default_rng(seed)
    packed = np.sort(rng.choice(1 << 24, colours, replace=False))
    palette = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], 1).astype(np.uint8)
    return palette, rng.integers(0, colours, (SIDE, SIDE)).astype(np.uint8)


def contents(tiles: list[Tile]) -> set[bytes]:
    padded = [np.pad(palette, ((0, 16 - len(palette)), (0, 0))) for palette, _ in tiles]
    return {tile_key(p, indices) for p, (_, indices) in zip(padded, tiles, strict=True)}


def test_tiles_come_back() -> None:
    tiles = [make_tile(seed, 1 + seed % 16) for seed in range(40)]
    packet = encode_memory(tiles)
    assert decode_memory(packet).contents() == contents(tiles)
    bits = sum(SIDE**2 * np.log2(len(palette)) + 24 * len(palette) for palette, _ in tiles)
    assert len(packet) < 1.2 * bits / 8  # noise has nothing to be told by
    assert encode_memory([]) == b""


def test_what_no_memory_can_hold_is_refused() -> None:
    tile = make_tile(1, 3)
    with pytest.raises(FormatError, match="alike"):
        encode_memory([tile, tile])
    with pytest.raises(FormatError, match=f"at most {MAX_TILES}"):
        encode_memory([tile] * (MAX_TILES + 1))


def test_damage_is_a_format_error_or_other_tiles() -> None:
    packet, rng = encode_memory([make_tile(seed, 4) for seed in range(5)]), np.random.default_rng(0)
    with pytest.raises(FormatError, match="profile 1"):
        decode_memory(seal(b"\1" + packet[1:-4]))
    with pytest.raises(FormatError, match="at most"):
        decode_memory(bytes(MAX_BYTES + 1))
    with pytest.raises(FormatError, match="exceeds"):
        decode_memory(seal(b"\0" + pack_varint(MAX_TILES + 1)))
    with pytest.raises(FormatError, match="no tiles"):
        decode_memory(seal(b"\0\0"))
    with pytest.raises(FormatError, match="not valid"):
        decode_memory(seal(packet[:-4] + bytes(9)))
    for _ in range(300):
        body = bytearray(packet[:-4])
        body[int(rng.integers(0, len(body)))] ^= int(rng.integers(1, 256))
        with pytest.raises(FormatError, match="damaged"):
            decode_memory(bytes(body) + packet[-4:])
        try:
            coder = decode_memory(seal(bytes(body)))
        except FormatError:
            continue
        assert len(coder.contents()) <= MAX_TILES


def test_a_header_refuses_more_than_is_read() -> None:
    with pytest.raises(FormatError, match="memory"):
        ReplayHeader("a", 16, 16, memory=bytes(MAX_BYTES + 1))


def record(path: Path, frames: int = 24) -> Path:
    """Noise above a row of tiles that every frame shows."""
    rng = np.random.default_rng(0)
    tiles = [make_tile(seed, 3) for seed in range(4)]
    row = np.concatenate([palette[indices] for palette, indices in tiles], axis=1)
    with Recorder(path, StateSchema((StateField("n"),))) as recorder:
        for i in range(frames):
            noise = rng.integers(0, 255, (SIDE, 4 * SIDE, 3), np.uint8)
            recorder.add(np.concatenate([noise, row]), np.array([i], np.float32), 1000 * i)
    return path


def test_a_session_codes_once_what_it_shows_again(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, out = record(tmp_path / "s.mcap"), tmp_path / "s.relive"
    settings = {"model": bundle, "keyframe_interval": 2, "quality": 6}
    report = encode(session, out, **settings)  # type: ignore[arg-type]  # keywords by name
    assert report.parts["memory"] > 0
    assert sum(report.parts.values()) == report.bytes
    assert verify(out) == []
    with ReplayReader.open(out) as reader:
        assert reader.header.version == "1.7"
        known = decode_memory(reader.header.memory).contents()
    assert known == contents([make_tile(seed, 3) for seed in range(4)])
    monkeypatch.setattr(encoder_module, "remember", lambda *_: b"")
    plain = encode(session, tmp_path / "plain.relive", **settings)  # type: ignore[arg-type]  # same
    assert plain.parts["memory"] == 0
    saved = plain.parts["enhancement"] - report.parts["enhancement"]
    assert saved > 3 * report.parts["memory"]
    with (
        Replay.open(out, bundle) as replay,
        Replay.open(tmp_path / "plain.relive", bundle) as other,
    ):
        full = replay.frames(0, 24)
        assert np.array_equal(replay.frame(17), full[17])
        assert np.array_equal(full[:, SIDE:], other.frames(0, 24)[:, SIDE:])  # both exact


def test_a_budget_is_not_spent_on_the_memory(tmp_path: Path, bundle: Bundle) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "s.mcap"
    tiles = [make_tile(seed, 12) for seed in range(60)]
    with Recorder(path, StateSchema((StateField("n"),))) as recorder:
        for i in range(24):
            cubes = [
                palette[indices]
                for palette, indices in (tiles[k] for k in rng.permutation(60)[:20])
            ]
            rows = [np.concatenate(cubes[k : k + 5], axis=1) for k in range(0, 20, 5)]
            recorder.add(np.concatenate(rows), np.array([i], np.float32), i * 10**8)
    report = encode(path, tmp_path / "a.relive", model=bundle, bitrate=40_000, keyframe_interval=4)
    assert report.parts["memory"] < 40_000 * 2.4 / 8 / 15
    free = encode(path, tmp_path / "b.relive", model=bundle, quality=7, keyframe_interval=4)
    assert free.parts["memory"] > 2 * report.parts["memory"]


def test_what_is_cut_or_repaired_keeps_the_memory_it_needs(tmp_path: Path, bundle: Bundle) -> None:
    out = tmp_path / "s.relive"
    encode(record(tmp_path / "s.mcap"), out, model=bundle, keyframe_interval=2, quality=6)
    cut(out, tmp_path / "codes.relive", tiers=1)
    cut(out, tmp_path / "part.relive", start_s=6e-6)
    repair(out, tmp_path / "again.relive")
    for name, kept in (("codes", False), ("part", True), ("again", True)):
        with Replay.open(tmp_path / f"{name}.relive", bundle) as replay:
            assert bool(replay.header.memory) == kept
            assert not replay.damaged
            assert replay.frames(0, 4).any()
    with Replay.open(out, bundle) as whole, Replay.open(tmp_path / "part.relive", bundle) as part:
        assert np.array_equal(whole.frames(6, 24), part.frames(0, 18))
