"""Replay files: round trips, refusals, and what the container costs."""

import io
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import IndexType, Writer

from relive.container import (
    GopRecord,
    ReplayEvent,
    ReplayHeader,
    ReplayReader,
    ReplayWriter,
    repair,
    verify,
)
from relive.container.header import METADATA_NAME
from relive.container.words import WORDS
from relive.errors import FormatError, InputError, ReliveError

FIELD = {"name": "x", "unit": "mapunit", "kind": "linear", "role": "camera.x", "step": 0.0625}
HEADER = ReplayHeader(
    model_id="5e" * 32,
    width=320,
    height=240,
    game="doom:freedoom2/map01",
    state_schema={"fields": [FIELD] * 13, "camera": {"fov_deg": 90.0, "view": [0, 0, 320, 208]}},
    region_schema={"regions": [{"id": 1, "name": "HUD", "complexity": "critical"}]},
    extra={"encoder": "relive 0.1.0"},
)


def make_gop(i: int, codes_bytes: int = 11_000, track_bytes: int = 200) -> GopRecord:
    rng = np.random.default_rng(i)
    start = round(i * 32e9 / 35)
    return GopRecord(
        i,
        32 * i,
        32,
        start,
        start + 885_714_286,
        27.5,
        rng.bytes(codes_bytes),
        rng.bytes(track_bytes),
    )


def write_replay(path: Path, gops: int = 10, **sizes: int) -> list[GopRecord]:
    records = [make_gop(i, **sizes) for i in range(gops)]
    with ReplayWriter(path, HEADER) as writer:
        for record in records:
            writer.add_gop(record)
            if record.index % 4 == 1:
                writer.add_event(record.start_ns + 5, "kill", f"imp {record.index}")
    return records


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.relive"
    written = write_replay(path)
    with ReplayReader.open(path) as reader:
        assert reader.header == HEADER
        assert not reader.damaged
        assert list(reader.iter_gops()) == written
        assert reader.num_frames == 320
        assert reader.events[0] == ReplayEvent(written[1].start_ns + 5, "kill", "imp 1")
        assert reader.read_gop(7) == written[7]
        with pytest.raises(InputError, match="no GOP 10"):
            reader.read_gop(10)
    assert verify(path) == []


def sealed(packet: bytes) -> bytes:
    return packet + zlib.crc32(packet).to_bytes(4, "little")


def test_a_compact_replay_holds_less_and_gives_the_same(tmp_path: Path) -> None:
    plain, small = tmp_path / "plain.relive", tmp_path / "small.relive"
    gops = [
        replace(gop, codes=sealed(gop.codes), track=sealed(gop.track), detail=sealed(b"layer"))
        for gop in map(make_gop, range(10))
    ]
    headers = [replace(HEADER, tiers=2, compact=compact, version="") for compact in (False, True)]
    for path, header in zip((plain, small), headers, strict=True):
        with ReplayWriter(path, header) as writer:
            for gop in gops:
                writer.add_gop(gop)
        assert verify(path) == []
        with ReplayReader.open(path) as reader:
            assert reader.header == header
            assert list(reader.iter_gops()) == gops
            assert sum(reader.parts.values()) == path.stat().st_size
    saved = plain.stat().st_size - small.stat().st_size
    assert saved > 10 * (3 * 4 + 31) + 200  # seals and a message a GOP; schemas


def test_a_compact_replay_refuses_packets_without_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.relive"
    header = replace(HEADER, compact=True, version="")
    with ReplayWriter(path, header) as writer, pytest.raises(FormatError, match="checksum"):
        writer.add_gop(make_gop(0))


def test_a_compact_header_leaves_out_what_is_usual() -> None:
    plain = ReplayHeader("a", 320, 240, state_schema=HEADER.state_schema)
    small = replace(plain, compact=True, version="")
    pairs = small.to_metadata()
    assert not {"profile", "num_quantizers", "codebook_size", "keyframe_interval"} & pairs.keys()
    assert len(pairs["state_schema"]) < len(plain.to_metadata()["state_schema"]) / 2
    assert ReplayHeader.from_metadata(pairs) == small
    other = replace(small, keyframe_interval=8, codebook_size=64)
    assert ReplayHeader.from_metadata(other.to_metadata()) == other


def test_schemas_are_packed_against_these_very_words() -> None:
    """Part of the format: another text would make every replay unreadable."""
    assert (len(WORDS), zlib.crc32(WORDS)) == (3524, 0x2C05ABED)
    assert (Path(__file__).parents[1] / "docs" / "schema-words.txt").read_bytes() == WORDS


def test_empty_replay(tmp_path: Path) -> None:
    path = tmp_path / "a.relive"
    write_replay(path, gops=0)
    with ReplayReader.open(path) as reader:
        assert (reader.gops, reader.damaged, reader.num_frames) == ([], False, 0)


def test_parts_add_up_and_the_container_costs_under_three_percent(tmp_path: Path) -> None:
    """100 kbit/s at 35 frames/s are 11.4 kB a GOP of 32 frames; a replay of 300 frames has 10."""
    path = tmp_path / "a.relive"
    written = write_replay(path, codes_bytes=11_200)
    with ReplayReader.open(path) as reader:
        parts = reader.parts
    assert sum(parts.values()) == path.stat().st_size
    assert parts["codes"] == sum(len(gop.codes) for gop in written)
    assert parts["states"] == sum(len(gop.track) for gop in written)
    assert (parts["container"] + parts["header"]) / path.stat().st_size < 0.03


def test_other_tools_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a.relive"
    write_replay(path)
    with path.open("rb") as file:
        messages = list(make_reader(file, validate_crcs=True).iter_messages(log_time_order=False))
    assert [channel.topic for _, channel, _ in messages[:2]] == ["/codes", "/track"]
    assert len(messages) == 23


def test_existing_output_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.relive"
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match="--force"):
        ReplayWriter(path, HEADER)
    assert path.read_bytes() == b"precious"
    ReplayWriter(path, HEADER, force=True).close()
    assert verify(path) == []
    with pytest.raises(InputError, match="cannot be created"):
        ReplayWriter(tmp_path / "no" / "a.relive", HEADER)


def test_failure_removes_the_file_and_ctrl_c_closes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.relive"
    with pytest.raises(RuntimeError):
        write_and_raise(path, RuntimeError())
    assert not path.exists()
    with pytest.raises(KeyboardInterrupt):
        write_and_raise(path, KeyboardInterrupt())
    assert verify(path) == []


def write_and_raise(path: Path, error: BaseException) -> None:
    with ReplayWriter(path, HEADER) as writer:
        writer.add_gop(make_gop(0))
        raise error


def test_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    link = tmp_path / "a.relive"
    link.symlink_to(full)
    with pytest.raises(ReliveError, match="cannot be written"):
        ReplayWriter(link, HEADER, force=True)
    assert not link.is_symlink()


def test_gops_must_follow_each_other(tmp_path: Path) -> None:
    with ReplayWriter(tmp_path / "a.relive", HEADER) as writer:
        writer.add_gop(make_gop(0))
        for wrong in (make_gop(0), make_gop(2)):
            with pytest.raises(FormatError, match="does not follow"):
                writer.add_gop(wrong)
        with pytest.raises(FormatError, match="out of range"):
            writer.add_event(-1, "early")


@pytest.mark.parametrize(
    "change", [{"width": 0}, {"height": 99999}, {"codebook_size": 1}, {"quality": -1}]
)
def test_header_ranges(change: dict[str, int]) -> None:
    with pytest.raises(FormatError, match="must lie in"):
        ReplayHeader(**{"model_id": "", "width": 16, "height": 16} | change)  # type: ignore[arg-type]


def foreign_file(pairs: dict[str, str], profile: str = "relive") -> bytes:
    """Write an MCAP file with any header, an unknown channel and unknown metadata."""
    out = io.BytesIO()
    writer = Writer(out, use_chunking=False, index_types=IndexType.NONE, enable_data_crcs=True,
                    repeat_channels=False, repeat_schemas=False, use_statistics=False,
                    use_summary_offsets=False)  # fmt: skip
    writer.start(profile, "test")
    writer.add_metadata("other", {"a": "b"})
    writer.add_metadata(METADATA_NAME, pairs)
    for topic in ("/codes", "/track", "/events", "/unknown"):
        writer.register_channel(topic, "protobuf", 0)
    writer.add_attachment(0, 0, "note", "text/plain", b"hello")
    writer.finish()
    return out.getvalue()


def test_unknown_things_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.relive"
    newer = ReplayHeader(model_id="a", width=16, height=16, version="1.9").to_metadata()
    path.write_bytes(foreign_file(newer))
    with ReplayReader.open(path) as reader:
        assert reader.header.version == "1.9"
        assert not reader.damaged


def test_unknown_major_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.relive"
    path.write_bytes(foreign_file(ReplayHeader("a", 16, 16, version="2.0").to_metadata()))
    with pytest.raises(FormatError, match=r"version 2\.0.*update relive"):
        ReplayReader.open(path)


def test_not_a_replay(tmp_path: Path) -> None:
    path = tmp_path / "a.relive"
    for data, words in (
        (b"", "the file is empty"),
        (b"RIFF" * 100, "no MCAP file"),
        (b"\x89MCAP0\r\n", "header of the replay is missing"),
        (foreign_file({}, "relive-session"), "a recording, not a replay"),
        (foreign_file({"version": "1.0"}), "checksum differs"),
    ):
        path.write_bytes(data)
        with pytest.raises(FormatError, match=words):
            ReplayReader.open(path)
    with pytest.raises(InputError, match="cannot be opened"):
        ReplayReader.open(tmp_path)
    with pytest.raises(InputError, match="itself"):
        repair(path, path)


def test_header_with_a_bomb_is_refused() -> None:
    pairs = ReplayHeader("a", 16, 16, state_schema={"a": " " * (1 << 21)}).to_metadata()
    with pytest.raises(FormatError, match="not one JSON object"):
        ReplayHeader.from_metadata(pairs)
