"""A session comes back as it was recorded, bit by bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader
from mcap_protobuf.decoder import DecoderFactory

from relive.session import (
    Event,
    Recorder,
    Region,
    RegionSchema,
    Session,
    StateField,
    StateSchema,
)
from relive.session.filtering import filter_frame, unfilter_frame

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


def pictures(height, width, channels=(3,)):
    # A gradient with some noise: both ways of storing a picture occur.
    def build(parts):
        slope, noise = parts
        y, x = np.mgrid[:height, :width]
        base = (x * slope[0] + y * slope[1]).astype(np.uint8)
        return (
            np.broadcast_to(base.reshape(height, width, *[1] * len(channels)), noise.shape) + noise
        )

    noise = hnp.arrays(np.uint8, (height, width, *channels))
    return st.tuples(st.tuples(st.integers(0, 9), st.integers(0, 9)), noise).map(build)


@st.composite
def recordings(draw):
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    fields = draw(st.integers(0, 4))
    count = draw(st.integers(1, 40))
    times = np.cumsum(draw(st.lists(st.integers(1, 2**55), min_size=count, max_size=count)))
    states = draw(hnp.arrays(np.float32, (count, fields), elements=FINITE))
    present = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    present[draw(st.integers(0, count - 1))] = True
    labelled = present & draw(st.booleans())
    picture = draw(pictures(height, width))
    frames = np.stack([np.roll(picture, number, axis=1) for number in range(count)])
    return times, states, present, labelled, frames


def nearest(present):
    """The frame that stands for each frame: itself, else the nearest earlier, else later one."""
    sources = []
    for index in range(len(present)):
        earlier = [i for i in range(index + 1) if present[i]]
        sources.append(earlier[-1] if earlier else int(np.argmax(present)))
    return sources


@settings(max_examples=25, deadline=None)
@given(recording=recordings())
def test_everything_comes_back(tmp_path_factory, recording):
    times, states, present, labelled, frames = recording
    path = tmp_path_factory.mktemp("s") / "s.mcap"
    schema = StateSchema(tuple(StateField(f"f{i}") for i in range(states.shape[1])))
    regions = RegionSchema((Region(3, "hud", "critical", 9),))
    with Recorder(path, schema, regions, game="a game") as recorder:
        for i in range(len(times)):
            recorder.add(
                frames[i] if present[i] else None,
                states[i],
                times[i],
                frames[i, ..., 1] if labelled[i] else None,
            )
            if i % 7 == 0:
                recorder.event(f"e{i}", "payload ✓")
    with Session.open(path, verify=True) as session:
        assert not session.damaged
        assert (session.game, session.schema, session.region_schema) == ("a game", schema, regions)
        assert (len(session), session.height, session.width) == frames.shape[:3]
        np.testing.assert_array_equal(session.times_ns, times)
        np.testing.assert_array_equal(session.states.view(np.uint32), states.view(np.uint32))
        np.testing.assert_array_equal(session.present, present)
        sources = nearest(present)
        np.testing.assert_array_equal(session.frames(0, len(times)), frames[sources])
        maps = session.regions(0, len(times))
        if labelled.any():
            np.testing.assert_array_equal(maps, frames[sources, ..., 1])
        else:
            assert maps is None
        wanted = [Event(int(times[i]), f"e{i}", "payload ✓") for i in range(0, len(times), 7)]
        assert session.events == wanted


@settings(max_examples=30, deadline=None)
@given(frame=st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda s: pictures(*s)))
def test_filter_is_undone(frame):
    np.testing.assert_array_equal(unfilter_frame(filter_frame(frame)), frame)


def test_smooth_pictures_are_stored_smaller(tmp_path):
    y, x = np.mgrid[:120, :160]
    smooth = np.stack((x + y, x + y // 2, 255 - x), axis=-1).astype(np.uint8)
    with Recorder(tmp_path / "s.mcap") as recorder:
        for i in range(16):
            recorder.add(np.roll(smooth, i, axis=0), [], i)
    assert (tmp_path / "s.mcap").stat().st_size < 16 * smooth.nbytes / 50
    with Session.open(tmp_path / "s.mcap") as session:
        np.testing.assert_array_equal(session.frame(5), np.roll(smooth, 5, axis=0))


def test_other_mcap_programs_read_it(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (40, 8, 10, 3)).astype(np.uint8)  # stored as they are
    schema = StateSchema((StateField("x"),))
    with Recorder(tmp_path / "s.mcap", schema) as recorder:
        for i in range(40):
            recorder.add(frames[i], [i], 5_000_000_000 + i)
        recorder.event("end")
    with (tmp_path / "s.mcap").open("rb") as file:
        kinds = {type(record).__name__ for record in StreamReader(file, validate_crcs=True).records}
        assert {"Header", "Schema", "Channel", "Message", "Statistics", "Footer"} <= kinds
        assert not kinds & {"MessageIndex", "Attachment", "Metadata"}
    with (tmp_path / "s.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        found = [m for _, c, _, m in reader.iter_decoded_messages() if c.topic == "/frames"]
        assert reader.get_summary().statistics.channel_message_counts[3] == 40
    assert len(found) == 40
    assert (found[7].width, found[7].height, found[7].encoding, found[7].step) == (
        10,
        8,
        "rgb8",
        30,
    )
    assert found[7].data == frames[7].tobytes()
    assert (found[7].timestamp.seconds, found[7].timestamp.nanos) == (5, 7)


@pytest.fixture
def session(tmp_path):
    frames = np.arange(40 * 4 * 6 * 3, dtype=np.uint64).reshape(40, 4, 6, 3).astype(np.uint8)
    with Recorder(tmp_path / "s.mcap") as recorder:
        for i in range(40):
            recorder.add(None if i in (0, 17, 18) else frames[i], [], i * 20_000_000)
    with Session.open(tmp_path / "s.mcap") as session:
        session.original = frames
        yield session


def test_reading_by_frame(session):
    np.testing.assert_array_equal(session.frame(20), session.original[20])
    np.testing.assert_array_equal(session[-1], session.original[39])
    np.testing.assert_array_equal(session[16:20], session.original[[16, 16, 16, 19]])
    np.testing.assert_array_equal(session[38:30:-4], session.original[[38, 34]])
    np.testing.assert_array_equal(session[0:2], session.original[[1, 1]])
    assert session.frames(40, 40).shape == (0, 4, 6, 3)
    with pytest.raises(IndexError):
        session[40]


def test_a_frame_that_was_read_belongs_to_the_caller(session):
    session.frame(20)[:] = 0
    session.frames(20, 21)[:] = 0
    np.testing.assert_array_equal(session.frame(20), session.original[20])


def test_reading_by_time(session):
    assert (session.fps, session.duration_s) == (50.0, 0.8)
    assert [session.index_at(t) for t in (-5, 0, 19_999_999, 20_000_000, 10**12)] == [
        0,
        0,
        0,
        1,
        39,
    ]


def test_one_frame(tmp_path):
    with Recorder(tmp_path / "s.mcap") as recorder:
        recorder.add(np.zeros((1, 1, 3), np.uint8), [], 7)
    with Session.open(tmp_path / "s.mcap") as session:
        assert (len(session), session.fps, session.duration_s) == (1, 0.0, 0.0)
        assert session.regions(0, 1) is None
