"""Replay files that were flipped, cut, or killed while being written."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from relive.container import GopRecord, ReplayHeader, ReplayReader, ReplayWriter, repair, verify
from relive.container.records import MAGIC, RecordWalk
from relive.errors import FormatError, ReliveError

HEADER = ReplayHeader("5e" * 32, 320, 240, state_schema={"fields": []})
NUM_GOPS = 6


def make_gop(i: int) -> GopRecord:
    rng = np.random.default_rng(i)
    start = i * 10**9
    return GopRecord(i, 32 * i, 32, start, start + 9, 27.5, rng.bytes(900), rng.bytes(90))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "a.relive"
    with ReplayWriter(path, HEADER) as writer:
        for i in range(NUM_GOPS):
            writer.add_gop(make_gop(i))
            writer.add_event(i * 10**9 + 1, "event", str(i))
    return path.read_bytes()


def write(path: Path, data: bytes | bytearray) -> Path:
    """Write a file and name it."""
    path.write_bytes(data)
    return path


def read_all(path: Path) -> tuple[list[GopRecord], list[str]]:
    """Return everything readable, having checked that nothing of it is wrong."""
    with ReplayReader.open(path) as reader:
        gops = list(reader.iter_gops())
        assert all(gop == make_gop(gop.index) for gop in gops)
        assert all(event.time_ns == int(event.payload) * 10**9 + 1 for event in reader.events)
        assert sum(reader.parts.values()) == path.stat().st_size
        assert reader.damaged == bool(reader.problems)
        return gops, reader.problems


def test_thousand_mutations(whole: bytes, tmp_path: Path) -> None:
    """A flipped or cut byte gives an error, or all that it did not hit, and is told."""
    rng = random.Random(2)
    path = tmp_path / "a.relive"
    refused = 0
    started = time.monotonic()
    for number in range(1000):
        data = bytearray(whole)
        if number % 4 == 3:
            del data[rng.randrange(len(data)) :]
        elif number % 4 == 2:
            del data[rng.randrange(len(data))]
        else:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            gops, problems = read_all(path)
        except ReliveError:
            refused += 1
            continue
        assert problems
        if number % 4 != 3:
            assert len(gops) >= NUM_GOPS - 1
    assert refused < 300  # only where the magic or the header is hit
    assert time.monotonic() - started < 60


def test_every_cut_keeps_every_whole_gop(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.relive"
    with (tmp_path / "whole").open("w+b") as file:
        file.write(whole)
        ends = [
            r.end
            for r in RecordWalk(file, len(whole))
            if r.opcode == 5 and r.content[0] == 2  # the track closes the GOP
        ]
    for cut in range(ends[0], len(whole), 7):
        path.write_bytes(whole[:cut])
        gops, problems = read_all(path)
        assert len(gops) == sum(end <= cut for end in ends)
        assert problems


@pytest.mark.parametrize("broken", ["codes", "track", "all"])
def test_a_hole_is_broken_where_its_bytes_are(whole: bytes, tmp_path: Path, broken: str) -> None:
    path, data = tmp_path / "a.relive", bytearray(whole)
    with ReplayReader.open(write(path, whole)) as reader:
        gop, after = reader.gops[2], reader.gops[3]
    at = {"codes": gop.codes_at, "track": gop.track_at, "all": gop.codes_at}[broken]
    last = after.codes_at if broken == "all" else at + 60
    data[at + 40 : last] = bytes(last - at - 40)
    with ReplayReader.open(write(path, data)) as reader:
        assert reader.holes == [(64, 96, True)]


def test_other_damage_does_not_make_a_lost_gop_a_broken_one(whole: bytes, tmp_path: Path) -> None:
    """What is cut out is lost, whatever else is broken elsewhere."""
    path, data = tmp_path / "a.relive", bytearray(whole)
    with ReplayReader.open(write(path, whole)) as reader:
        second, third, fifth = (reader.gops[i] for i in (2, 3, 4))
    data[fifth.codes_at + 60] ^= 255
    del data[second.codes_at : third.codes_at]
    with ReplayReader.open(write(path, data)) as reader:
        assert reader.holes == [(64, 96, False), (128, 160, True)]


def test_several_damages_and_repair(whole: bytes, tmp_path: Path) -> None:
    path, saved = tmp_path / "a.relive", tmp_path / "b.relive"
    data = bytearray(whole)
    for gop in (1, 4):
        at = data.index(make_gop(gop).codes) + 100
        data[at : at + 50] = bytes(50)
    path.write_bytes(data)
    gops, problems = read_all(path)
    assert [gop.index for gop in gops] == [0, 2, 3, 5]
    with ReplayReader.open(path) as reader:
        assert reader.holes == [(32, 64, True), (128, 160, True)]
    assert any("GOP 1 is not whole" in line for line in problems)
    assert verify(path) == problems
    report = repair(path, saved)
    assert (report.gops, report.frames, report.problems) == (4, 128, problems)
    assert verify(saved) == []
    with ReplayReader.open(saved) as reader:
        assert [gop.first_frame for gop in reader.gops] == [0, 64, 96, 160]
        assert [gop.index for gop in reader.gops] == [0, 1, 2, 3]
        assert reader.holes == [(32, 64, False), (128, 160, False)]
        assert len(reader.events) == NUM_GOPS
    assert path.read_bytes() == data


def test_repair_refuses_before_it_writes(tmp_path: Path) -> None:
    path, saved = tmp_path / "a.relive", tmp_path / "b.relive"
    path.write_bytes(b"nothing")
    with pytest.raises(FormatError):
        repair(path, saved)
    assert not saved.exists()


def test_lengths_that_lie_cost_neither_memory_nor_time(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.relive"
    landmark = b"\x05" + (16 << 20).to_bytes(8, "little") + b"\x01\x00"
    path.write_bytes(whole[:2000] + landmark * 100_000 + bytes(17 << 20))
    started = time.monotonic()
    _, problems = read_all(path)
    assert problems
    assert time.monotonic() - started < 20
    path.write_bytes(MAGIC + b"\x01" + (1 << 62).to_bytes(8, "little") + bytes(100))
    with pytest.raises(FormatError):
        ReplayReader.open(path)


WRITER = """
import sys
import time
sys.path.insert(0, sys.argv[2])
from test_container_damage import HEADER, make_gop
from relive.container import ReplayWriter
with ReplayWriter(sys.argv[1], HEADER) as writer:
    for i in range(100_000):
        writer.add_gop(make_gop(i))
        print(i, flush=True)
        time.sleep(0.002)
"""


def test_killed_writer(tmp_path: Path) -> None:
    rng = random.Random(5)
    for attempt in range(3):
        path = tmp_path / f"{attempt}.relive"
        command = [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "0\n"
            time.sleep(rng.random() * 0.2)
            process.send_signal(signal.SIGKILL)
            promised = [0, *(int(line) for line in process.stdout.read().splitlines())]
        gops, problems = read_all(path)
        assert len(gops) >= len(promised)
        assert any("not closed" in line for line in problems)
