"""Parsers under input that somebody made: an error of ours, or something in range."""

import decimal
import json
import struct
import sys
import time
import zlib
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from relive.bitstream import (
    Clock,
    DetailTables,
    Tables,
    decode_codes,
    decode_detail,
    decode_track,
    encode_codes,
    encode_detail,
    encode_track,
)
from relive.bitstream.adapter import (
    apply_adapter,
    change_of,
    families_of,
    nets_of,
    pack_adapter,
    pack_family,
)
from relive.bitstream.framing import seal
from relive.codec import load_bundle, save_bundle
from relive.container import GopRecord, ReplayHeader, ReplayReader, ReplayWriter, repair, verify
from relive.container.header import _checksum as checksum_of
from relive.container.records import EVENTS, MESSAGE, RecordWalk
from relive.errors import InputError, ReliveError
from relive.model.hst_mae import HSTMAE
from relive.quantizer.rvq import ResidualVQ
from relive.session import StateSchema
from relive.session.sources.state_csv import StateCsv
from small_model import SMALL

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from mutations import mutate_json, mutate_raw, reseal_packet, reseal_replay

from test_bitstream_codes import SMALL as SMALL_CODES
from test_bitstream_codes import small_gop
from test_bitstream_detail import make_codes, make_detail

quick = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
seeds = st.integers(0, 2**32 - 1)
STEPS, KINDS = [0.01, 0.0, 1.0], ["linear", "linear", "counter"]
TABLES, DETAIL_TABLES = Tables.uniform(*SMALL_CODES), DetailTables.uniform()
CODES, BASE, LAYER = small_gop(1, 2), make_codes(1, 2, 2, 3), make_detail(1, 2, 2, 3)
CODES_PACKET = encode_codes(CODES, TABLES)
DETAIL_PACKET = encode_detail(LAYER, BASE, DETAIL_TABLES)
TIMES = np.arange(8, dtype=np.int64) * 33_000_000
STATES = np.random.default_rng(1).normal(0, 9, (8, 3)).astype(np.float32)
TRACK_PACKET = encode_track(TIMES, np.ones(8, np.bool_), STATES, STEPS, KINDS)

CLOCK = Clock(8, 0, int(TIMES[-1]))

_NETS = nets_of(TABLES, DETAIL_TABLES)
_CHANGE = np.random.default_rng(4).integers(-9, 9, change_of(_NETS["mode"], _NETS["mode"], 1).size)
ADAPTER = pack_adapter(
    [
        pack_family(_CHANGE.astype(np.int8), 3) if name == "mode" else b"\0"
        for name in families_of(TABLES)
    ]
)


def mutated(data: bytes, seed: int, sealed: bool) -> bytes:
    return (reseal_packet if sealed else mutate_raw)(data, Random(seed))[1]


@quick
@given(seeds, st.booleans())
def test_codes_packets(seed: int, sealed: bool) -> None:
    try:
        gop = decode_codes(mutated(CODES_PACKET, seed, sealed), TABLES, *CODES.depths.shape)
    except ReliveError:
        return
    gop.check(*SMALL_CODES)


@quick
@given(seeds, st.booleans())
def test_enhancement_packets(seed: int, sealed: bool) -> None:
    try:
        layer = decode_detail(mutated(DETAIL_PACKET, seed, sealed), BASE, DETAIL_TABLES)
    except ReliveError:
        return
    layer.check()


@quick
@given(seeds, st.booleans())
def test_adapters(seed: int, sealed: bool) -> None:
    try:
        tables, detail = apply_adapter(mutated(ADAPTER, seed, sealed), TABLES, DETAIL_TABLES)
    except ReliveError:
        return
    for name, family in families_of(TABLES).items():
        for net in nets_of(tables, detail)[name]:
            net.check(family)


@quick
@given(seeds, st.booleans())
def test_track_packets(seed: int, sealed: bool) -> None:
    try:
        times, present, states = decode_track(
            mutated(TRACK_PACKET, seed, sealed), STEPS, KINDS, CLOCK
        )
    except ReliveError:
        return
    assert len(times) == len(present) == len(states)
    assert times[0] >= 0
    assert (np.diff(times) >= 0).all()


def make_replay(path: Path, event_ns: int = 5) -> bytes:
    header = ReplayHeader("5e" * 8, 48, 32, state_schema={"fields": [{"name": "a"}]})
    with ReplayWriter(path, header) as writer:
        for i in range(3):
            gop = GopRecord(i, 8 * i, 8, i * 10, i * 10 + 9, 30.0, CODES_PACKET, TRACK_PACKET)
            writer.add_gop(gop)
        writer.add_event(event_ns, "event", "x")
    return path.read_bytes()


@quick
@given(seeds, st.booleans())
def test_replays(tmp_path: Path, seed: int, sealed: bool) -> None:
    """What is accepted can be repaired, and the repaired file is whole."""
    path, out = tmp_path / "a.relive", tmp_path / "b.relive"
    whole = tmp_path / "whole.relive"
    data = whole.read_bytes() if whole.exists() else make_replay(whole)
    path.write_bytes((reseal_replay if sealed else mutate_raw)(data, Random(seed))[1])
    try:
        with ReplayReader.open(path) as reader:
            gops = list(reader.iter_gops())
    except ReliveError:
        return
    repair(path, out, force=True)
    assert verify(out) == []
    with ReplayReader.open(out) as reader:
        assert len(reader.gops) == len(gops)


@quick
@given(seeds)
def test_schemas(seed: int) -> None:
    text = mutate_json(json.dumps({"fields": [{"name": "a", "step": 1}]}).encode(), Random(seed))
    try:
        values = json.loads(text[1].decode())
    except (ValueError, RecursionError):
        return
    if isinstance(values, dict):
        try:
            schema = StateSchema.from_dict(values)
        except InputError:
            return
        assert StateSchema.from_dict(schema.to_dict()) == schema


def test_a_number_that_no_float_holds() -> None:
    with pytest.raises(InputError, match="step must be a number that a float holds"):
        StateSchema.from_dict({"fields": [{"name": "a", "step": 10**400}]})


def test_many_fields_take_no_time() -> None:
    began = time.process_time()
    StateSchema.from_dict({"fields": [{"name": str(i)} for i in range(30_000)]})
    assert time.process_time() - began < 5  # it was quadratic


def test_a_time_beyond_all_decimals(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f"time_s,a\n9e{decimal.MAX_EMAX // 10**12},1\n")
    with StateCsv(file, None) as rows, pytest.raises(InputError, match="time_s"):
        list(rows)


def test_track_times_that_are_negative() -> None:
    clock = Clock(8, 0, 0)  # the steady times of the packet, where the message says otherwise
    packet = encode_track(
        TIMES - TIMES.min() + np.arange(8) % 2, np.ones(8, bool), STATES, STEPS, KINDS
    )
    with pytest.raises(InputError, match="times are negative or fall"):
        decode_track(packet, STEPS, KINDS, clock)


def test_an_event_of_no_time_does_not_hinder_the_repair(tmp_path: Path) -> None:
    data = make_replay(tmp_path / "a.relive", event_ns=7)
    walk = RecordWalk(BytesIO(data), len(data))
    found = [r for r in walk if r.opcode == MESSAGE and r.content[0] == EVENTS]
    content = found[0].content[:-5]
    content = content[:6] + struct.pack("<Q", 1 << 63) + content[14:]
    content += b"\x7d" + struct.pack("<I", zlib.crc32(content))
    at = found[0].offset + 9
    (tmp_path / "b.relive").write_bytes(data[:at] + content + data[at + len(content) :])
    report = repair(tmp_path / "b.relive", tmp_path / "c.relive")
    assert report.gops == 3
    assert any("event 'event': time" in problem for problem in report.problems)


@pytest.mark.parametrize(
    "change",
    [
        5,
        {"embed_dims": [1 << 40, 16, 24, 32]},
        {"embed_dims": [{}, 16, 24, 32]},
        {"depths": [10**9, 1, 1, 1]},
        {"quantizer": {"codebook_size": 10**12}},
        {"mlp_ratio": ""},
        {"mechanisms": 5},
    ],
)
def test_model_configurations(tmp_path: Path, change: object) -> None:
    good, bad = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_bundle(good, HSTMAE(SMALL), ResidualVQ(SMALL.quantizer))
    config = SMALL.to_dict() | change if isinstance(change, dict) else change
    save_file(load_file(good), bad, metadata={"config": json.dumps(config)})
    with pytest.raises(InputError):
        load_bundle(bad)


def test_a_byte_is_not_a_thousand_values() -> None:
    """Missing words read as zeros, which would be values without end."""
    fields = [0.0] * 511, ["linear"] * 511
    with pytest.raises(InputError, match="cannot be"):
        decode_track(seal(b"\1"), *fields, Clock(2048, 0, 0))
    for body in (TRACK_PACKET[:-4] + bytes(9), TRACK_PACKET[:-12]):
        with pytest.raises(InputError):
            decode_track(seal(body), STEPS, KINDS, CLOCK)


@pytest.mark.parametrize("version", ["1." + "9" * 5000, "1.7.1", "one", "1.", ""])
def test_versions_that_are_none(version: str) -> None:
    pairs = ReplayHeader("a", 16, 16).to_metadata() | {"version": version}
    del pairs["crc32"]
    with pytest.raises(InputError, match="no version"):
        ReplayHeader.from_metadata(pairs | {"crc32": checksum_of(pairs)})
