"""The golden replay: written to the last byte as before, and read as before."""

from pathlib import Path

import numpy as np

from golden import make_replay
from relive.bitstream import decode_codes, decode_detail, decode_track
from relive.container import ReplayReader


def test_the_same_bytes_are_written(tmp_path: Path) -> None:
    make_replay.write(tmp_path / "a.relive")
    assert (tmp_path / "a.relive").read_bytes() == make_replay.REPLAY.read_bytes()
    make_replay.write(tmp_path / "b.relive", layered=True)
    assert (tmp_path / "b.relive").read_bytes() == make_replay.LAYERED.read_bytes()


def test_the_golden_layer_reads_as_it_was_made() -> None:
    tables, detail_tables = make_replay.make_tables(), make_replay.make_detail_tables()
    with ReplayReader.open(make_replay.LAYERED) as reader:
        assert not reader.damaged
        assert (reader.header.version, reader.header.tiers) == ("1.3", 2)
        for index, record in enumerate(reader.iter_gops()):
            gop = decode_codes(record.codes, tables, make_replay.STEPS, *make_replay.GRID)
            assert record.detail is not None
            detail = decode_detail(record.detail, gop, detail_tables)
            made = make_replay.make_detail(index)
            for name, array in vars(made).items():
                assert np.array_equal(getattr(detail, name), array)


def test_the_golden_file_reads_as_it_was_made() -> None:
    tables = make_replay.make_tables()
    with ReplayReader.open(make_replay.REPLAY) as reader:
        assert not reader.damaged
        assert reader.header.extra == {"note": "ä"}
        assert [event.payload for event in reader.events] == [f"of GOP {i}" for i in range(3)]
        for index, record in enumerate(reader.iter_gops()):
            made = make_replay.make_gop(index)
            gop = decode_codes(record.codes, tables, make_replay.STEPS, *make_replay.GRID)
            assert np.array_equal(gop.depths, made.depths)
            assert np.array_equal(gop.motion, made.motion)
            assert np.array_equal(gop.codes, made.codes)
            track = decode_track(record.track, make_replay.STATE_STEPS, make_replay.STATE_KINDS)
            times, present, states = make_replay.make_track(index)
            assert np.array_equal(track[0], times)
            assert np.array_equal(track[1], present)
            assert np.array_equal(track[2][:, 2:], states[:, 2:])
            steps = np.array(make_replay.STATE_STEPS[:2])
            grid = np.rint(states[:, :2].astype(np.float64) / steps) * steps
            assert np.array_equal(track[2][:, :2], grid.astype(np.float32))
