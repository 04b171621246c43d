"""Encode, seek, decode: round trips of whole sessions through a small model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from relive.bitstream.framing import seal
from relive.codec import Replay, decode, encode
from relive.codec.bundle import Bundle, load_bundle
from relive.codec.effort import PRESETS
from relive.codec.layer import Enhanced
from relive.container import ReplayReader, ReplayWriter, cut, repair
from relive.errors import InputError, ModelMismatchError, ReliveError
from relive.session import Camera, Recorder, Session, StateField, StateSchema
from small_model import write_small_model

SCHEMA = StateSchema(
    (
        StateField("x", "m", "linear", "camera.x", 1 / 16),
        StateField("y", "m", "linear", "camera.y", 1 / 16),
        StateField("z", "m", "linear", "camera.z", 1 / 16),
        StateField("yaw", "deg", "angle", "camera.yaw", 1 / 64),
        StateField("health", "", "linear", "other", 1.0),
    ),
    Camera(90.0),
)


def record(
    path: Path,
    frames: int = 21,
    size: tuple[int, int] = (40, 56),
    schema: StateSchema = SCHEMA,
    missing: tuple[int, ...] = (),
    game: str = "test",
) -> Path:
    """Record a moving pattern."""
    height, width = size
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (height, width + frames, 3), np.uint8)
    with Recorder(path, schema, game=game) as recorder:
        for i in range(frames):
            frame = np.ascontiguousarray(picture[:, i : i + width])
            state = np.array([i, 2 * i, 41, i * 1.5, 100 - i], np.float32)[: schema.width]
            recorder.add(None if i in missing else frame, state, 1_000 + i * 28_571_428)
            if i == 3:
                recorder.event("shot", "pistol")
    return path


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_small_model(tmp_path_factory.mktemp("model") / "m.safetensors"))


@pytest.mark.parametrize("size", [(16, 16), (40, 56), (33, 17)])
def test_any_size_and_an_odd_number_of_frames(
    tmp_path: Path, bundle: Bundle, size: tuple[int, int]
) -> None:
    session = record(tmp_path / "s.mcap", size=size)
    report = encode(session, tmp_path / "s.relive", model=bundle, keyframe_interval=8)
    with Replay.open(tmp_path / "s.relive", bundle) as replay:
        frames = replay.frames(0, replay.num_frames)
        assert frames.shape == (21, *size, 3)
        assert [g.num_frames for g in replay.gops] == [8, 8, 5]
        assert [e.name for e in replay.events] == ["shot"]
    with Session.open(session) as original:
        squares = np.square(original.frames(0, 21).astype(float) - frames).mean()
    assert report.psnr_db == pytest.approx(10 * np.log10(255**2 / squares), abs=1e-6)
    assert report.bytes == (tmp_path / "s.relive").stat().st_size == sum(report.parts.values())


def test_every_seek_equals_the_full_decode(tmp_path: Path, bundle: Bundle) -> None:
    encode(record(tmp_path / "s.mcap"), tmp_path / "s.relive", model=bundle, keyframe_interval=6)
    with Replay.open(tmp_path / "s.relive", bundle) as replay:
        full = replay.frames(0, 21)
    rng = np.random.default_rng(1)
    with Replay.open(tmp_path / "s.relive", bundle) as replay:
        for _ in range(60):
            start, stop = sorted(rng.integers(0, 22, 2).tolist())
            assert np.array_equal(replay.frames(start, stop), full[start:stop]), (start, stop)


def test_states_and_times_come_back(tmp_path: Path, bundle: Bundle) -> None:
    session = record(tmp_path / "s.mcap")
    encode(session, tmp_path / "s.relive", model=bundle, keyframe_interval=6)
    with Session.open(session) as original, Replay.open(tmp_path / "s.relive", bundle) as replay:
        assert np.array_equal(replay.times_ns, original.times_ns)
        steps = np.array([f.step for f in SCHEMA.fields])
        assert (np.abs(replay.states - original.states) <= steps / 2 + 1e-5).all()
        assert replay.schema == SCHEMA
        assert replay.index_at(int(original.times_ns[5]) + 1) == 5


def test_missing_frames_stay_missing(tmp_path: Path, bundle: Bundle) -> None:
    session = record(tmp_path / "s.mcap", missing=(0, 4, 5, 11, 20))
    encode(session, tmp_path / "s.relive", model=bundle, keyframe_interval=8)
    out = tmp_path / "back.mcap"
    assert decode(tmp_path / "s.relive", out, model=bundle) == 16
    with Session.open(out) as back:
        assert np.flatnonzero(~back.present).tolist() == [0, 4, 5, 11, 20]


def test_depth_zero_works_and_costs_less(tmp_path: Path, bundle: Bundle) -> None:
    session = record(tmp_path / "s.mcap")
    sizes = [
        encode(session, tmp_path / f"{d}.relive", model=bundle, depth=d).parts["codes"]
        for d in range(4)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[3] * 0.6


def test_quality_orders_the_bytes(tmp_path: Path, bundle: Bundle) -> None:
    session = record(tmp_path / "s.mcap")
    sizes = [
        encode(session, tmp_path / f"{q}.relive", model=bundle, quality=q).bytes for q in (1, 5, 10)
    ]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_gives_a_replay_that_names_it(
    tmp_path: Path, bundle: Bundle, preset: str
) -> None:
    session = record(tmp_path / "s.mcap")
    report = encode(session, tmp_path / "s.relive", model=bundle, preset=preset)
    with Replay.open(tmp_path / "s.relive", bundle) as replay, Session.open(session) as original:
        assert replay.header.extra == {"preset": preset}
        squares = np.square(original.frames(0, 21).astype(float) - replay.frames(0, 21)).mean()
    assert report.psnr_db == pytest.approx(10 * np.log10(255**2 / squares), abs=1e-6)


def test_a_schema_without_camera_and_one_without_fields(tmp_path: Path, bundle: Bundle) -> None:
    for name, schema in (("plain", replace(SCHEMA, camera=None)), ("none", StateSchema())):
        session = record(tmp_path / f"{name}.mcap", schema=schema)
        encode(session, tmp_path / f"{name}.relive", model=bundle)
        with Replay.open(tmp_path / f"{name}.relive", bundle) as replay:
            assert replay.frames(3, 9).shape == (6, 40, 56, 3)


def test_a_view_outside_the_frame_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    schema = replace(SCHEMA, camera=Camera(90.0, view=(0, 0, 57, 40)))
    session = record(tmp_path / "s.mcap", schema=schema)
    with pytest.raises(InputError, match="57"):
        encode(session, tmp_path / "s.relive", model=bundle)
    assert not (tmp_path / "s.relive").exists()


def test_another_model_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    encode(record(tmp_path / "s.mcap"), tmp_path / "s.relive", model=bundle)
    other = write_small_model(tmp_path / "other.safetensors", seed=1)
    with (
        pytest.raises(ModelMismatchError, match=bundle.model_id),
        Replay.open(tmp_path / "s.relive", other) as replay,
    ):
        replay.frame(0)
    with pytest.raises(ModelMismatchError, match="missing"):
        load_bundle(tmp_path / "nothing.safetensors")


def test_wrong_settings_leave_nothing_behind(tmp_path: Path, bundle: Bundle) -> None:
    session, out = record(tmp_path / "s.mcap"), tmp_path / "s.relive"
    for wrong in (
        {"quality": 0},
        {"quality": 11},
        {"keyframe_interval": 7},
        {"depth": 4},
        {"preset": "quick"},
        {"processes": -1},
        {"tiers": 3},
        {"tiers": 1, "quality": 5},
    ):
        with pytest.raises(InputError):
            encode(session, out, model=bundle, **wrong)  # type: ignore[arg-type]
        assert not out.exists()
    encode(session, out, model=bundle)
    before = out.read_bytes()
    with pytest.raises(InputError, match="exists"):
        encode(session, out, model=bundle)
    assert out.read_bytes() == before


def test_flipped_bytes_never_pass_as_right(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "s.relive"
    encode(record(tmp_path / "s.mcap"), path, model=bundle, keyframe_interval=6)
    with Replay.open(path, bundle) as replay:
        full = replay.frames(0, 21)
    whole, rng = path.read_bytes(), np.random.default_rng(2)
    for _ in range(60):
        broken = bytearray(whole)
        if rng.random() < 0.5:
            broken[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        else:
            del broken[int(rng.integers(len(whole))) :]
        path.write_bytes(broken)
        try:
            with Replay.open(path, bundle) as replay:
                count = replay.num_frames
                frames = replay.frames(0, count)
                here = replay.present
                first = [int(np.searchsorted(TIMES, t)) for t in replay.times_ns]
                for i in np.flatnonzero(here & ~replay.degraded):
                    assert np.array_equal(frames[i], full[first[i]])
                assert replay.damaged or (here.all() and not replay.degraded.any() and count == 21)
        except ReliveError:
            continue


TIMES = 1_000 + np.arange(21) * 28_571_428


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.mcap", "pictures"])
def test_outputs(tmp_path: Path, bundle: Bundle, name: str) -> None:
    encode(record(tmp_path / "s.mcap"), tmp_path / "s.relive", model=bundle)
    out = tmp_path / name
    assert decode(tmp_path / "s.relive", out, model=bundle, start_s=0.1, end_s=0.3) == 7
    assert out.exists()
    with pytest.raises(InputError, match="exists"):
        decode(tmp_path / "s.relive", out, model=bundle)
    with pytest.raises(InputError, match="no frame"):
        decode(tmp_path / "s.relive", tmp_path / "n.mp4", model=bundle, start_s=50)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({name, "s.mcap", "s.relive"})


def test_a_lost_gop_leaves_a_hole_and_no_shift(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "s.relive"
    encode(record(tmp_path / "s.mcap"), path, model=bundle, keyframe_interval=6)
    with Replay.open(path, bundle) as replay:
        full, second = replay.frames(0, 21), replay.gops[1]
    broken = bytearray(path.read_bytes())
    broken[second.codes_at + 40] ^= 255
    path.write_bytes(broken)
    with Replay.open(path, bundle) as replay:
        assert replay.damaged
        assert replay.num_frames == 21
        assert [replay.condition(i) for i in range(4)] == ["whole", "damaged", "whole", "whole"]
        frames = replay.frames(0, 21)
        assert np.flatnonzero(~replay.present).tolist() == list(range(6, 12))
        assert np.array_equal(frames[replay.present], full[replay.present])
        assert (np.diff(replay.times_ns) > 0).all()
    repair(path, tmp_path / "saved.relive")
    with Replay.open(tmp_path / "saved.relive", bundle) as replay:
        assert [replay.condition(i) for i in range(4)] == ["whole", "lost", "whole", "whole"]
        assert np.array_equal(replay.frames(0, 21), frames)


def test_the_codes_alone_show_what_a_lost_enhancement_leaves(
    tmp_path: Path, bundle: Bundle
) -> None:
    path, alone = tmp_path / "s.relive", tmp_path / "alone.relive"
    encode(record(tmp_path / "s.mcap"), path, model=bundle, keyframe_interval=6)
    assert cut(path, alone, 1).frames == 21
    with Replay.open(path, bundle) as replay, Replay.open(path, bundle, tiers=1) as first:
        full, coarse, second = replay.frames(0, 21), first.frames(0, 21), replay.gops[1]
        assert replay.header.tiers == 2
        assert not replay.degraded.any()
        assert not first.degraded.any()
        assert not np.array_equal(full, coarse)
    with Replay.open(alone, bundle) as replay:
        assert np.array_equal(replay.frames(0, 21), coarse)
        assert not replay.degraded.any()
        assert not replay.damaged
        assert alone.stat().st_size < path.stat().st_size
        assert all(gop.psnr_db == 0 for gop in replay.gops)
    assert second.detail_at is not None
    broken = bytearray(path.read_bytes())
    broken[second.detail_at + 40] ^= 255
    path.write_bytes(broken)
    with Replay.open(path, bundle) as replay:
        assert replay.damaged
        assert np.flatnonzero(replay.degraded).tolist() == list(range(6, 12))
        frames = replay.frames(0, 21)
        assert replay.present.all()
        assert np.array_equal(frames[replay.degraded], coarse[replay.degraded])
        assert np.array_equal(frames[~replay.degraded], full[~replay.degraded])
    repair(path, tmp_path / "saved.relive")
    with Replay.open(tmp_path / "saved.relive", bundle) as replay:
        assert not replay.damaged
        assert np.flatnonzero(replay.degraded).tolist() == list(range(6, 12))


def test_a_layer_of_other_tables_degrades(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "s.relive"
    encode(record(tmp_path / "s.mcap"), path, model=bundle, keyframe_interval=8)
    with ReplayReader.open(path) as reader:
        gops, header = list(reader.iter_gops()), reader.header
    with ReplayWriter(path, header, force=True) as writer:
        for gop in gops:
            writer.add_gop(replace(gop, detail=gops[0].detail))
    with Replay.open(path, bundle) as replay:
        assert not replay.damaged
        assert replay.frames(0, 21).shape[0] == 21
        assert replay.damaged
        assert replay.degraded[8:].all()
        assert not replay.degraded[:8].any()


def test_the_session_itself_is_never_the_output(tmp_path: Path, bundle: Bundle) -> None:
    session = record(tmp_path / "s.mcap")
    before = session.read_bytes()
    with pytest.raises(InputError, match="itself"):
        encode(session, session, model=bundle, force=True)
    assert session.read_bytes() == before


def test_a_range_without_a_frame_writes_nothing(tmp_path: Path, bundle: Bundle) -> None:
    session = record(tmp_path / "s.mcap", missing=(0, 1, 2))
    encode(session, tmp_path / "s.relive", model=bundle)
    for name in ("v.mp4", "v.mcap", "pictures"):
        with pytest.raises(InputError, match="missing"):
            decode(tmp_path / "s.relive", tmp_path / name, model=bundle, end_s=0.07)
        assert not (tmp_path / name).exists()


def test_an_enhancement_that_proves_wrong_at_its_end_is_taken_back(
    tmp_path: Path, bundle: Bundle
) -> None:
    path, forged = tmp_path / "s.relive", tmp_path / "forged.relive"
    encode(record(tmp_path / "s.mcap"), path, model=bundle, keyframe_interval=6)
    with ReplayReader.open(path) as reader, ReplayWriter(forged, reader.header) as writer:
        for place in range(len(reader.gops)):
            gop = reader.read_gop(place)
            assert gop.detail is not None
            packet = bytearray(gop.detail[:-4])
            packet[2 + gop.num_frames] ^= place == 1  # the checksum of what it says
            writer.add_gop(replace(gop, detail=seal(bytes(packet))))
    with Replay.open(path, bundle) as good, Replay.open(path, bundle, tiers=1) as first:
        full, coarse = good.frames(0, 21), first.frames(0, 21)
    with Replay.open(forged, bundle) as replay:
        assert np.array_equal(
            replay.frames(0, 21), np.concatenate([full[:6], coarse[6:12], full[12:]])
        )
        assert np.flatnonzero(replay.degraded).tolist() == list(range(6, 12))
        assert replay.damaged
    with Replay.open(forged, bundle) as replay:
        frames = list(replay.iter_span(1))
        assert np.array_equal(frames[-1], coarse[11])
        assert replay.condition(1) == "degraded"


def test_a_seek_filters_no_picture_on_its_way(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, shown = tmp_path / "s.relive", []
    encode(record(tmp_path / "s.mcap"), path, model=bundle, keyframe_interval=6)
    usual = Enhanced.pixels

    def pixels(pair: Enhanced, place: int) -> NDArray[np.uint8]:
        shown.append(place)
        return usual(pair, place)

    monkeypatch.setattr(Enhanced, "pixels", pixels)
    with Replay.open(path, bundle) as replay:
        last = replay.frame(11)
        assert shown == [1]
        assert np.array_equal(last, replay.frames(6, 12)[5])
