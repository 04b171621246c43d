"""What a reader does with files that are cut, changed, or something else."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relive.errors import FormatError, InputError
from relive.session import Recorder, RegionSchema, Session, StateField, StateSchema

SCHEMA = StateSchema((StateField("x"),))
COUNT = 50


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A recording of 50 frames in four segments, and its frames."""
    path = tmp_path_factory.mktemp("original") / "s.mcap"
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 4, (COUNT, 10, 12, 3)).astype(np.uint8) * 60
    with Recorder(path, SCHEMA, RegionSchema()) as recorder:
        for i in range(COUNT):
            recorder.add(frames[i], [i], i * 10, frames[i, ..., 0])
    return path.read_bytes(), frames


def check_honest(data, frames, path):
    """Open it, and accept a prefix, a part or an error of one line, but nothing wrong.

    Returns:
        Number of frames that are readable.
    """
    path.write_bytes(data)
    try:
        session = Session.open(path, verify=True)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
        return 0
    with session:
        numbers = session.states[:, 0].astype(int)
        np.testing.assert_array_equal(session.times_ns, numbers * 10)
        for index in np.flatnonzero(session.present):
            np.testing.assert_array_equal(session.frame(int(index)), frames[numbers[index]])
        readable = int(session.present.sum())
        assert session.damaged or readable == COUNT
        maps = session.regions(0, len(session))
        assert maps is None or maps.shape == (len(session), 10, 12)
        return readable


def test_every_cut_leaves_whole_segments(original, tmp_path):
    data, frames = original
    counts = [
        check_honest(data[:size], frames, tmp_path / "cut.mcap") for size in range(0, len(data), 97)
    ]
    assert counts == sorted(counts)
    assert set(counts) == {0, 16, 32, 48, 50}
    assert check_honest(data[:-1], frames, tmp_path / "cut.mcap") == COUNT


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_is_noticed_or_harmless(original, tmp_path_factory, place, flip):
    data, frames = original
    changed = bytearray(data)
    changed[int(place * len(data))] ^= flip
    path = tmp_path_factory.getbasetemp() / "flip.mcap"
    check_honest(bytes(changed), frames, path)


@settings(max_examples=40, deadline=None)
@given(start=st.floats(0, 1), length=st.integers(1, 2000), seed=st.integers(0, 99))
def test_a_hole_or_garbage_is_noticed(original, tmp_path_factory, start, length, seed):
    data, frames = original
    begin = int(start * len(data))
    noise = np.random.default_rng(seed).bytes(length if seed % 2 else 0)
    path = tmp_path_factory.getbasetemp() / "hole.mcap"
    check_honest(data[:begin] + noise + data[begin + length :], frames, path)


@settings(max_examples=20, deadline=None)
@given(data=st.binary(max_size=400))
def test_garbage_is_refused(original, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "garbage.mcap"
    for head in (b"", original[0][:8], original[0][:60]):
        assert check_honest(head + data, original[1], path) == 0


def test_a_damaged_frame_is_an_error_that_names_the_frames(original, tmp_path):
    data, frames = original
    path = tmp_path / "s.mcap"
    path.write_bytes(data)
    with Session.open(path) as session:
        place = session._segments[1].pictures
    changed = bytearray(data)
    changed[place.data_offset + 20] ^= 255
    path.write_bytes(bytes(changed))
    with Session.open(path) as session:
        np.testing.assert_array_equal(session.frame(15), frames[15])
        with pytest.raises(FormatError, match="frames 16 to 31 are damaged"):
            session.frames(10, 20)
    with Session.open(path, verify=True) as session:
        assert session.damaged
        np.testing.assert_array_equal(np.flatnonzero(~session.present), np.arange(16, 32))
        np.testing.assert_array_equal(session.frames(31, 33), frames[[15, 32]])


def test_a_huge_claim_is_refused_before_memory_is_taken(original, tmp_path):
    data, _ = original
    path = tmp_path / "s.mcap"
    path.write_bytes(data)
    with Session.open(path) as session:
        place = session._segments[0].pictures
    changed = bytearray(data)
    changed[place.offset + 25 : place.offset + 33] = (200 << 20).to_bytes(8, "little")
    path.write_bytes(bytes(changed))
    with Session.open(path) as session, pytest.raises(FormatError, match="are the most"):
        session.frame(0)


def test_a_file_that_is_still_being_written_can_be_read(tmp_path):
    path, copy = tmp_path / "s.mcap", tmp_path / "copy.mcap"
    with Recorder(path) as recorder:
        for i in range(64):
            recorder.add(np.full((8, 8, 3), i, np.uint8), [], i)
        while recorder._file.offset < 4000:
            pass
        shutil.copy(path, copy)
    with Session.open(copy) as session:
        assert session.damaged
        assert 0 < len(session) <= 64
        assert session.frame(3)[0, 0, 0] == 3


def test_what_is_no_session_is_refused(tmp_path, original):
    cases = {
        "text.mcap": (b"hello, this is a text\n" * 20, "not an MCAP file"),
        "empty.mcap": (b"", "not an MCAP file"),
        "magic.mcap": (original[0][:8], "header is damaged"),
        "replay.mcap": (
            original[0].replace(b"relive-session", b"relive-replay!", 1),
            "profile 'relive-replay!'",
        ),
    }
    for name, (data, message) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(FormatError, match=message):
            Session.open(tmp_path / name)
    for path in (tmp_path / "missing.mcap", tmp_path):
        with pytest.raises(InputError, match="cannot read"):
            Session.open(path)


def test_no_frames_are_refused(tmp_path):
    with Recorder(tmp_path / "a.mcap"):
        pass
    with Recorder(tmp_path / "b.mcap", SCHEMA) as recorder:
        recorder.add(None, [1.0], 5)
        recorder.event("only states")
    for name in ("a.mcap", "b.mcap"):
        with pytest.raises(InputError, match="no frames"):
            Session.open(tmp_path / name)


def test_a_later_major_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("relive.session.recorder.VERSION", (2, 0))
    with Recorder(tmp_path / "s.mcap") as recorder:
        recorder.add(np.zeros((2, 2, 3), np.uint8), [], 0)
    monkeypatch.undo()
    with pytest.raises(FormatError, match=r"version 2\.0"):
        Session.open(tmp_path / "s.mcap")
