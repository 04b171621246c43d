"""The golden replays: today's is written to the last byte as before, and all are read as before."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from golden import make_replay
from relive.bitstream import Clock, decode_codes, decode_detail, decode_memory, decode_track
from relive.container import ReplayReader


def test_the_same_bytes_are_written(tmp_path: Path) -> None:
    make_replay.write(tmp_path / "a.relive")
    assert (tmp_path / "a.relive").read_bytes() == make_replay.COMPACT.read_bytes()


@pytest.mark.parametrize(
    ("path", "version"),
    [
        (make_replay.LAYERED, "1.3"),
        (make_replay.FLAT, "1.6"),
        (make_replay.COMPACT, "1.7"),
    ],
)
def test_the_golden_layers_read_as_they_were_made(path: Path, version: str) -> None:
    tables, detail_tables = make_replay.make_tables(), make_replay.make_detail_tables()
    make = make_replay.make_detail if version == "1.3" else make_replay.make_flat
    with ReplayReader.open(path) as reader:
        assert not reader.damaged
        assert (reader.header.version, reader.header.tiers) == (version, 2)
        if reader.header.memory:
            detail_tables = replace(detail_tables, memory=decode_memory(reader.header.memory))
        for index, record in enumerate(reader.iter_gops()):
            gop = decode_codes(record.codes, tables, make_replay.STEPS, *make_replay.GRID)
            assert record.detail is not None
            detail = decode_detail(record.detail, gop, detail_tables)
            for name, array in vars(make(index)).items():
                assert np.array_equal(getattr(detail, name), array), name


@pytest.mark.parametrize("path", [make_replay.REPLAY, make_replay.COMPACT])
def test_the_golden_files_read_as_they_were_made(path: Path) -> None:
    tables = make_replay.make_tables()
    with ReplayReader.open(path) as reader:
        assert not reader.damaged
        assert reader.header.extra == {"note": "ä"}
        assert [event.payload for event in reader.events] == [f"of GOP {i}" for i in range(3)]
        for index, record in enumerate(reader.iter_gops()):
            made = make_replay.make_gop(index)
            gop = decode_codes(record.codes, tables, make_replay.STEPS, *make_replay.GRID)
            assert np.array_equal(gop.depths, made.depths)
            assert np.array_equal(gop.motion, made.motion)
            assert np.array_equal(gop.codes, made.codes)
            schema = make_replay.STATE_STEPS, make_replay.STATE_KINDS
            track = decode_track(record.track, *schema, Clock(*record.clock))
            times, present, states = make_replay.make_track(index)
            assert np.array_equal(track[0], times)
            assert np.array_equal(track[1], present)
            assert np.array_equal(track[2][:, 2:], states[:, 2:])
            steps = np.array(make_replay.STATE_STEPS[:2])
            grid = np.rint(states[:, :2].astype(np.float64) / steps) * steps
            assert np.array_equal(track[2][:, :2], grid.astype(np.float32))
