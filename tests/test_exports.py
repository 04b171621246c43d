"""What comes out of a replay: clips, cuts without encoding again, recordings for Rerun."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from relive.cli import run
from relive.codec import Replay
from relive.codec.clips import write_clip
from relive.codec.gif import Picture, write_gif
from relive.container import cut
from relive.errors import DamagedError, InputError
from short_replay import FRAMES, HEIGHT, INTERVAL_NS, MISSING, WIDTH, write_short

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_short(tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="module")
def replay(folder: Path) -> Iterator[Replay]:
    with Replay.open(folder / "s.relive", folder / "m.safetensors") as replay:
        yield replay


def read_video(path: Path) -> tuple[list[float], list[np.ndarray]]:
    """Times in seconds and pictures of a video."""
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        return [float(f.pts * f.time_base) for f in frames], [
            f.to_ndarray(format="rgb24") for f in frames
        ]


def test_a_clip_has_the_times_of_the_session(replay: Replay, tmp_path: Path) -> None:
    shown = [n for n in range(3, 30) if n != MISSING]
    true = [(n - 3) * INTERVAL_NS / 1e9 for n in shown]
    for name, step in (("c.mp4", 1e-6), ("c.gif", 0.005)):
        assert write_clip(replay, tmp_path / name, 3, 30) == len(shown)
        times, _ = read_video(tmp_path / name)
        assert len(times) == len(shown)
        assert np.abs(np.array(times) - true).max() <= step + 1e-9
    assert sorted(f.name for f in tmp_path.iterdir()) == ["c.gif", "c.mp4"]


def test_an_mp4_is_even_and_plays_everywhere(replay: Replay, tmp_path: Path) -> None:
    write_clip(replay, tmp_path / "c.mp4", 0, 6)
    with av.open(str(tmp_path / "c.mp4")) as file:
        video = file.streams.video[0]
        assert (video.width, video.height, video.pix_fmt) == (WIDTH + 1, HEIGHT + 1, "yuv420p")
    data = (tmp_path / "c.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays before it is loaded


def test_a_gif_repeats_and_shows_the_last_frame_as_long_as_the_others(
    replay: Replay, tmp_path: Path
) -> None:
    write_clip(replay, tmp_path / "c.gif", 10, 20)
    data = (tmp_path / "c.gif").read_bytes()
    assert b"NETSCAPE2.0\x03\x01\x00\x00" in data  # endless
    at = [i for i in range(len(data) - 8) if data[i : i + 3] == b"\x21\xf9\x04"]
    delays = [int.from_bytes(data[i + 4 : i + 6], "little") for i in at]
    assert len(delays) == 10
    assert set(delays) == {2, 3}
    assert sum(delays) == round(10 * INTERVAL_NS / 1e7)


def test_a_gif_of_few_colours_is_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (200, 3), dtype=np.uint8)
    frames = [colours[rng.integers(0, 200, (20, 30))] for _ in range(4)]
    pictures = (Picture(f, n * 50_000_000, 50_000_000) for n, f in enumerate(frames))
    assert write_gif(pictures, tmp_path / "c.gif") == 4
    _, shown = read_video(tmp_path / "c.gif")
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(shown, frames, strict=True)) <= 4


def test_scale_and_rate(replay: Replay, tmp_path: Path) -> None:
    kept = write_clip(replay, tmp_path / "c.gif", 8, FRAMES, scale=3, max_fps=10)
    times, pictures = read_video(tmp_path / "c.gif")
    assert pictures[0].shape == (3 * HEIGHT, 3 * WIDTH, 3)
    assert kept == len(times) == 9  # the last of 32 frames appears at 0.886 s
    assert np.abs(np.diff(times) - 0.1).max() < 0.03


@pytest.mark.parametrize(
    ("name", "start", "stop", "settings"),
    [
        ("c.avi", 0, 4, {}),
        ("c.mp4", 4, 4, {}),
        ("c.mp4", 0, FRAMES + 1, {}),
        ("c.gif", 0, 4, {"scale": 0}),
        ("c.gif", 0, 4, {"max_fps": float("nan")}),
    ],
)
def test_what_is_no_clip_is_refused(
    replay: Replay, tmp_path: Path, name: str, start: int, stop: int, settings: dict[str, float]
) -> None:
    with pytest.raises(InputError):
        write_clip(replay, tmp_path / name, start, stop, **settings)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_damaged_range_leaves_what_is_whole(folder: Path, tmp_path: Path) -> None:
    data = bytearray((folder / "s.relive").read_bytes())
    with Replay.open(folder / "s.relive") as whole:
        data[whole.gops[2].codes_at + 60] ^= 0xFF
    (tmp_path / "bad.relive").write_bytes(data)
    with (
        Replay.open(tmp_path / "bad.relive", folder / "m.safetensors") as bad,
        pytest.raises(DamagedError, match="whole frames"),
    ):
        write_clip(bad, tmp_path / "c.gif", 10, 30)
    assert len(read_video(tmp_path / "c.gif")[0]) == 12


def test_a_cut_shows_the_same_frames(folder: Path, replay: Replay, tmp_path: Path) -> None:
    """Seconds 0.3 to 0.5 are frames 11 to 17, so GOPs 1 and 2: frames 8 to 23."""
    report = cut(folder / "s.relive", tmp_path / "c.relive", start_s=0.3, end_s=0.5)
    assert (report.gops, report.frames, report.problems) == (2, 16, [])
    with Replay.open(tmp_path / "c.relive", folder / "m.safetensors") as part:
        assert not part.damaged
        assert np.array_equal(part.frames(0, 16), replay.frames(8, 24))
        assert np.array_equal(part.times_ns, replay.times_ns[8:24])
        assert np.array_equal(part.states, replay.states[8:24])
        assert [event.payload for event in part.events] == ["imp 13", "imp 23"]
        assert part.tiers == replay.tiers
    with pytest.raises(InputError, match="no frame lies"):
        cut(folder / "s.relive", tmp_path / "d.relive", start_s=5)
    assert not (tmp_path / "d.relive").exists()


def export(folder: Path, *args: str) -> int:
    before = Path.cwd()
    os.chdir(folder)
    try:
        return run(["export", "s.relive", *args])
    finally:
        os.chdir(before)


def test_export_by_suffix(folder: Path, capsys: Capsys) -> None:
    span, model = ["--start", "0.1", "--end", "0.4"], ["--model", "m.safetensors", "--json"]
    for name in ("e.mp4", "e.gif", "e.rrd"):
        assert export(folder, "-o", name, *span, *model) == 0
        values = json.loads(capsys.readouterr().out)
        # frames 4 to 14, one of them missing
        assert values == {"frames": 10, "bytes": (folder / name).stat().st_size, "out": name}
    assert export(folder, "-o", "e.relive", *span, *model) == 0
    assert json.loads(capsys.readouterr().out)["gops"] == 2
    for wrong in (
        ["-o", "x.txt"],
        ["-o", "x.rrd", "--scale", "2"],
        ["-o", "x.gif", "--end", "nan"],
    ):
        assert export(folder, *wrong) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not list(folder.glob("x*"))


def test_rerun_reads_its_recording(replay: Replay, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    from rerun.chunk import RrdReader

    from relive.codec.rerun_log import write_rerun

    assert write_rerun(replay, tmp_path / "r.rrd", 5, 25) == 19
    rows: dict[str, int] = {}
    values: dict[str, list[float]] = {}
    times: dict[str, list[int]] = {}
    for chunk in RrdReader(tmp_path / "r.rrd").stream():
        if not chunk.is_static:
            path, batch = chunk.entity_path, chunk.to_record_batch()
            rows[path] = rows.get(path, 0) + chunk.num_rows
            assert set(chunk.timeline_names) == {"time", "frame"}
            times.setdefault(path, []).extend(batch.column("frame").to_pylist())
            if path.startswith("/state"):
                column = batch.column("Scalars:scalars").to_pylist()
                values.setdefault(path, []).extend(row[0] for row in column)
            if path == "/world/camera":
                (axes,) = batch.column("Transform3D:mat3x3").to_pylist()[7]
    assert rows == {
        "/state/health": 20,
        "/state/x": 20,
        "/state/y": 20,
        "/state/z": 20,
        "/state/yaw": 20,
        "/world/camera": 20,
        "/world/camera/screen": 19,
        "/events": 2,
    }
    assert values["/state/health"] == replay.states[5:25, 0].tolist()
    # frame 12 looks 12 degrees to the left of x: its right, down and forward, column by column
    cos, sin = np.cos(np.radians(12)), np.sin(np.radians(12))
    assert axes == pytest.approx([sin, -cos, 0, 0, 0, -1, cos, sin, 0], abs=1e-3)
    assert sorted(times["/events"]) == [13, 23]
    assert MISSING not in times["/world/camera/screen"]


def test_without_rerun_the_extra_is_named(
    folder: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert export(folder, "-o", "n.rrd", "--model", "m.safetensors") == 2
    assert "pip install 'relive[rerun]'" in capsys.readouterr().err
    assert not (folder / "n.rrd").exists()
