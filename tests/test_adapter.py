"""Adapters: what a session changes in the tables of a model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from relive.bitstream import DetailTables, GopCodes, GopDetail, Tables, encode_codes, encode_detail
from relive.bitstream.adapter import (
    apply_adapter,
    change_of,
    changed,
    families_of,
    nets_of,
    pack_adapter,
    pack_family,
)
from relive.bitstream.fit_adapter import LEAST_GOPS, Gop, fit_adapter
from relive.bitstream.framing import seal
from relive.codec import Replay, encode
from relive.codec.adapting import of_session, samples_of
from relive.codec.bundle import Bundle
from relive.container import ReplayReader, cut, repair
from relive.errors import FormatError
from test_codec import _bundle, record  # noqa: F401 - a fixture

TABLES, DETAIL = Tables.uniform(2, 8, 5), DetailTables.uniform()
NAMES = list(families_of(TABLES))


def gops(count: int) -> list[Gop]:
    """GOPs of few symbols again and again: tables that know nothing waste bits on them."""
    rng, made = np.random.default_rng(1), []
    for _ in range(count):
        codes, detail = GopCodes.empty(2, 2, 6, 8), GopDetail.empty(4, 6, 8)
        codes.depths[:] = 2
        codes.codes[:] = rng.choice([3, 5], codes.codes.shape, p=[0.9, 0.1])
        detail.steps[:] = 30
        detail.levels[..., 0, 0] = rng.choice([0, 1], detail.levels.shape[:-2])
        made.append((codes, detail))
    return made


def size_of(gop: Gop, tables: Tables, detail: DetailTables) -> int:
    """Bytes of both packets."""
    codes, layer = gop
    assert layer is not None
    return len(encode_codes(codes, tables)) + len(encode_detail(layer, codes, detail))


def test_an_adapter_saves_more_than_it_costs_on_gops_it_has_not_seen() -> None:
    seen, fresh = gops(9), gops(11)[9:]
    packet = fit_adapter(seen, 200, TABLES, DETAIL)
    before = sum(size_of(gop, TABLES, DETAIL) for gop in fresh)
    after = sum(size_of(gop, *apply_adapter(packet, TABLES, DETAIL)) for gop in fresh)
    assert 0 < len(packet) < 100 * (before - after)


def test_an_adapter_that_does_not_pay_is_left_out() -> None:
    noise = [(codes, None) for codes, _ in gops(LEAST_GOPS)]
    rng = np.random.default_rng(2)
    for codes, _ in noise:
        codes.codes[:] = rng.integers(0, 8, codes.codes.shape)
        codes.depths[:] = rng.integers(0, 3, codes.depths.shape)
        codes.codes[codes.depths[:, None] <= np.arange(2)[:, None, None]] = 0
    assert fit_adapter(noise, LEAST_GOPS, TABLES, DETAIL) == b""
    assert fit_adapter(gops(LEAST_GOPS - 1), 1000, TABLES, DETAIL) == b""


def test_changes_lead_to_the_nets_within_half_a_step() -> None:
    rng, old = np.random.default_rng(0), DETAIL.nets["mode"]
    new = tuple(
        replace(net, embed=rng.integers(-90, 90, net.embed.shape).astype(np.int8)) for net in old
    )
    for step in (1, 2, 8):
        got = changed(old, families_of(TABLES)["mode"], change_of(old, new, step), step)
        gap = max(
            int(np.abs(a.embed.astype(int) - b.embed).max()) for a, b in zip(got, new, strict=True)
        )
        assert gap <= step // 2 + 1
        assert all(np.array_equal(a.low_bias, b.low_bias) for a, b in zip(got, old, strict=True))


def packet_of(name: str, packed: bytes) -> bytes:
    """An adapter that changes one family."""
    return pack_adapter([packed if other == name else b"\0" for other in NAMES])


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        (b"abc", "too short"),
        (packet_of("mode", b"\x01\x02xx"), "cannot be unpacked"),
        (packet_of("mode", pack_family(np.ones(9, np.int8), 1)), "holds 9 changes"),
        (packet_of("mode", pack_family(np.ones(1 << 20, np.int8), 1)), "changes or more"),
        (packet_of("mode", pack_family(np.ones(9, np.int8), 65)), "step 65"),
        (seal(b"\x07"), "profile 7"),
        (seal(b"\0" * (len(NAMES) + 2)), "longer than its families"),
        (seal(b"\0" * len(NAMES)), "ends early"),
        (b"\0" * (1 << 19), "at most"),
    ],
)
def test_a_bad_adapter_is_refused(packet: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        apply_adapter(packet, TABLES, DETAIL)


def test_weights_stay_in_their_range() -> None:
    size = sum(
        getattr(net, part).size
        for net in nets_of(TABLES, DETAIL)["mode"]
        for part in ("embed", "high", "low", "high_bias", "low_bias")
    )
    packet = packet_of("mode", pack_family(np.full(size, -127, np.int8), 64))
    _, detail = apply_adapter(packet, TABLES, DETAIL)
    for net in detail.nets["mode"]:
        net.check(families_of(TABLES)["mode"])
        assert int(net.embed.min()) == -127


def test_a_session_is_adapted_to_and_comes_back(tmp_path: Path, bundle: Bundle) -> None:
    session = record(tmp_path / "s.mcap", frames=24)
    plain, out = tmp_path / "plain.relive", tmp_path / "a.relive"
    was = encode(session, plain, model=bundle, keyframe_interval=2, quality=4)
    told: list[object] = []
    came = encode(
        session,
        out,
        model=bundle,
        keyframe_interval=2,
        quality=4,
        adapt=True,
        progress=lambda done, total: told.append((done, total)),
        on_stage=told.append,
    )
    frames = [(done, 24) for done in range(2, 25, 2)]
    gops = [(done, 12) for done in range(1, 13)]
    assert told == ["sampling", *gops, "fitting", "encoding", *frames]
    assert came.bytes < was.bytes
    assert came.parts["adapter"] > 0
    assert sum(came.parts.values()) == came.bytes
    with ReplayReader.open(out) as reader:
        assert reader.header.version == "1.7"
    with Replay.open(plain, bundle) as a, Replay.open(out, bundle) as b:
        assert np.array_equal(a.frames(0, 24), b.frames(0, 24))
        assert np.array_equal(a.frame(13), b.frame(13))
        with Replay.open(out, b.coder.bundle) as again, Replay.open(plain, b.coder.bundle) as other:
            assert np.array_equal(again.frames(0, 4), other.frames(0, 4))
        for name, model in (("x", bundle), ("y", b.coder.bundle)):  # which is adapted, as `out` is
            encode(session, tmp_path / name, model=model, tiers=1)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
    cut(out, tmp_path / "cut.relive", 1)
    repair(out, tmp_path / "again.relive")
    for copy in ("cut", "again"):
        with Replay.open(tmp_path / f"{copy}.relive", bundle) as replay:
            assert replay.frames(20, 24).any()
            assert not replay.damaged


def test_a_damaged_adapter_is_one_error(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(FormatError, match="adapter"):
        of_session(bundle, b"0123456789", b"")


@pytest.mark.parametrize(("count", "first"), [(3, []), (4, [0, 1, 2, 3]), (1000, [0, 43])])
def test_gops_that_are_looked_at_are_spread(count: int, first: list[int]) -> None:
    chosen = samples_of(count)
    assert chosen[: len(first)] == first
    assert len(set(chosen)) == len(chosen) <= 24
    assert not chosen or chosen[-1] == count - 1
