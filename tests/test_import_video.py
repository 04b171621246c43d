"""Video files with their states and regions as sessions."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest

from relive.errors import InputError
from relive.session import Region, RegionSchema, Session, StateField, StateSchema
from relive.session.sources.video import import_video

COUNT = 20
FRAMES = np.random.default_rng(0).integers(0, 256, (COUNT, 26, 34, 3)).astype(np.uint8)
HEADER = "time_s,x,health\n"


def write_video(path, frames, codec="ffv1", pixels="bgr0", ticks=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = 40 * number if ticks is None else ticks[number]
            picture.time_base = Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def csv_rows(count=COUNT):
    return [f"{0.5 + i / 10},{i / 3},{100 - i}\n" for i in range(count)]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "game.mkv"
    write_video(path, FRAMES)
    return path


@pytest.fixture
def out(tmp_path):
    yield tmp_path / "s.mcap"
    assert not list(tmp_path.glob("*.part"))


def test_a_video_alone(video, out):
    progress = []
    assert import_video(video, out, progress=lambda i, n: progress.append((i, n))) == COUNT
    assert progress[-1][0] == COUNT
    with Session.open(out, verify=True) as session:
        assert not session.damaged
        assert session.game == "video:game.mkv"
        assert session.times_ns.tolist() == [40_000_000 * i for i in range(COUNT)]
        np.testing.assert_array_equal(session.frames(0, COUNT), FRAMES)


def test_states_regions_and_schema(video, out, tmp_path):
    (tmp_path / "s.csv").write_text(HEADER + "".join(csv_rows()))
    (tmp_path / "s.toml").write_text(
        '[[field]]\nname = "health"\nkind = "counter"\nstep = 1\n[[field]]\nname = "x"\n'
    )
    regions = RegionSchema((Region(7, "hud", "critical", 3),))
    maps = FRAMES[..., 0] % 8
    np.savez_compressed(
        tmp_path / "r.npz", regions=maps, schema=np.array(json.dumps(regions.to_dict()))
    )
    import_video(
        video,
        out,
        state=tmp_path / "s.csv",
        schema=tmp_path / "s.toml",
        regions=tmp_path / "r.npz",
    )
    with Session.open(out) as session:
        assert session.schema == StateSchema(
            (StateField("health", kind="counter", step=1.0), StateField("x"))
        )
        assert session.region_schema == regions
        assert session.times_ns[3] == 800_000_000
        np.testing.assert_array_equal(session.states[:, 0], 100 - np.arange(COUNT))
        np.testing.assert_array_equal(
            session.states[:, 1], np.float32([i / 3 for i in range(COUNT)])
        )
        np.testing.assert_array_equal(session.regions(0, COUNT), maps)


def test_without_a_schema_the_header_names_the_fields(video, out, tmp_path):
    (tmp_path / "s.csv").write_text("\ufeff" + HEADER + "".join(csv_rows()), encoding="utf-8")
    import_video(video, out, state=tmp_path / "s.csv", game="maze")
    with Session.open(out) as session:
        assert session.game == "maze"
        assert [field.name for field in session.schema.fields] == ["x", "health"]


def changed(number, text):
    rows = csv_rows()
    rows[number] = text
    return HEADER + "".join(rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first column is nothing, not 'time_s'"),
        ("t,x\n", "the first column is 't', not 'time_s'"),
        ("time_s,x,x\n", "'x' is there twice"),
        ("time_s,x,\n", "non-empty"),
        (HEADER + "".join(csv_rows(COUNT - 1)), "it ends after 19 frames, but .* has more"),
        (HEADER + "".join(csv_rows(COUNT + 3)), "23 rows, but .* has 20 frames"),
        (HEADER, "it ends after 0 frames"),
        (changed(4, "0.9,nan,1\n"), r"row 5 \(line 6\): x is nan"),
        (changed(4, "0.9,1,-inf\n"), r"row 5 \(line 6\): health is -inf"),
        (changed(4, "0.9,1e99,1\n"), r"row 5 \(line 6\): x is 1e99"),
        (changed(4, "0.9,abc,1\n"), r"row 5 \(line 6\): x 'abc' is not a number"),
        (changed(4, "0.9,,1\n"), r"row 5 \(line 6\): x '' is not a number"),
        (changed(4, "0.9,1\n"), r"row 5 \(line 6\): 2 cells, the header has 3"),
        (changed(4, "0.8,1,1\n"), r"row 5 \(line 6\): time_s 0.8 is not after"),
        (changed(4, "0.7,1,1\n"), r"row 5 \(line 6\): time_s 0.7 is not after"),
        (changed(0, "-1,1,1\n"), r"row 1 \(line 2\): time_s -1 is not a number of seconds"),
        (changed(0, "nan,1,1\n"), r"row 1 \(line 2\): time_s nan"),
        (changed(0, "soon,1,1\n"), r"row 1 \(line 2\): time_s 'soon' is not a number"),
        (changed(0, "1e99,1,1\n"), r"row 1 \(line 2\): time_s 1e99"),
        (changed(4, '0.9,"1,1\n'), "not a CSV after row 4"),
    ],
)
def test_a_bad_csv_is_one_line_and_leaves_nothing(video, out, tmp_path, text, message):
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        import_video(video, out, state=path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not out.exists()
    assert path.read_text() == text


def test_a_csv_that_is_no_text(video, out, tmp_path):
    (tmp_path / "s.csv").write_bytes(HEADER.encode() + b"\xff\xfe\x00\n")
    with pytest.raises(InputError, match="not a CSV after row 0"):
        import_video(video, out, state=tmp_path / "s.csv")
    with pytest.raises(InputError, match="cannot read"):
        import_video(video, out, state=tmp_path / "none.csv")


def test_a_schema_that_does_not_fit(video, out, tmp_path):
    (tmp_path / "s.csv").write_text(HEADER + "".join(csv_rows()))
    cases = {
        '[[field]]\nname = "x"\n[[field]]\nname = "mana"\n': "'mana' of the schema is missing",
        '[[field]]\nname = "x"\n': "the schema has no field 'health'",
    }
    for text, message in cases.items():
        (tmp_path / "s.toml").write_text(text)
        with pytest.raises(InputError, match=message):
            import_video(video, out, state=tmp_path / "s.csv", schema=tmp_path / "s.toml")
    with pytest.raises(InputError, match="give --state too"):
        import_video(video, out, schema=tmp_path / "s.toml")
    assert not out.exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"maps": FRAMES[..., 0]}, "the array 'regions' is missing"),
        ({"regions": FRAMES[..., 0].astype(np.int32)}, "is int32"),
        ({"regions": FRAMES}, "not uint8 \\[frames, height, width\\]"),
        ({"regions": np.asfortranarray(FRAMES[..., 0])}, "in C order"),
        ({"regions": FRAMES[:5, ..., 0]}, "it ends after 5 frames"),
        ({"regions": np.concatenate([FRAMES, FRAMES])[..., 0]}, "40 maps, but .* has 20 frames"),
        ({"regions": FRAMES[:, :-1, :, 0]}, "frame 0: the regions have the shape"),
        ({"regions": FRAMES[..., 0], "schema": np.array("[]")}, "not the JSON of a region schema"),
        ({"regions": FRAMES[..., 0], "schema": np.array("{")}, "r.npz"),
        ({"regions": FRAMES[..., 0], "schema": np.array([{}], object)}, "r.npz"),
    ],
)
def test_bad_region_maps(video, out, tmp_path, arrays, message):
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(InputError, match=message) as caught:
        import_video(video, out, regions=tmp_path / "r.npz")
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_region_maps_that_are_cut(video, out, tmp_path):
    np.savez_compressed(tmp_path / "r.npz", regions=FRAMES[..., 0])
    data = (tmp_path / "r.npz").read_bytes()
    for broken in (b"", b"no zip", data[: len(data) // 2], data[:500] + bytes(99) + data[599:]):
        (tmp_path / "r.npz").write_bytes(broken)
        with pytest.raises(InputError, match=r"r\.npz"):
            import_video(video, out, regions=tmp_path / "r.npz")
    with pytest.raises(InputError, match="no such file"):
        import_video(video, out, regions=tmp_path / "none.npz")
    assert not out.exists()


def test_what_is_no_video(video, out, tmp_path):
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    cases = {
        sound: "no video stream",
        tmp_path / "text.mp4": "not a video",
        tmp_path / "empty.mp4": "not a video",
        tmp_path / "none.mp4": "no such file",
        tmp_path: "no such file",
    }
    for path, message in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            import_video(path, out)
        assert "\n" not in str(caught.value)
        assert not out.exists()


def test_a_video_without_times_needs_a_csv(out, tmp_path):
    path = tmp_path / "bare.h264"
    write_video(path, FRAMES[:4], "libx264", "yuv420p")
    with pytest.raises(InputError, match="frame 0: it has no time after"):
        import_video(path, out)
    (tmp_path / "s.csv").write_text(HEADER + "".join(csv_rows(4)))
    assert import_video(path, out, state=tmp_path / "s.csv") == 4


def test_the_output_is_not_an_input_and_not_lost(video, out, tmp_path):
    out.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        import_video(video, out)
    with pytest.raises(InputError):
        import_video(tmp_path / "none.mp4", out, force=True)
    assert out.read_text() == "mine"
    copy = tmp_path / "game.mkv"
    copy.write_bytes(video.read_bytes())
    with pytest.raises(InputError, match="is one of the inputs"):
        import_video(copy, copy, force=True)
    assert copy.read_bytes() == video.read_bytes()
    assert import_video(video, out, force=True) == COUNT


def test_empty_cells_say_that_the_state_is_not_known(video, tmp_path):
    rows = csv_rows()
    rows[7:] = [row.split(",")[0] + ",,\n" for row in rows[7:]]
    (tmp_path / "s.csv").write_text(HEADER + "".join(rows))
    import_video(video, tmp_path / "s.mcap", state=tmp_path / "s.csv")
    with Session.open(tmp_path / "s.mcap") as session:
        assert session.stated.tolist() == [True] * 7 + [False] * (COUNT - 7)
        assert (session.states[7:] == session.states[6]).all()
