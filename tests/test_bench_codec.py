"""Measurements of our own codec, with a small random model: figures must be true, not good."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from relive.bench.cache import ResultCache
from relive.bench.chain import Chain, bench_chain, chain_psnr
from relive.bench.clip import cut_session, spool_session
from relive.bench.compare import compare
from relive.bench.demo import DemoResult, run_demo
from relive.bench.metrics import QualityMeter
from relive.bench.peers import PEERS
from relive.bench.points import measure_ours, measure_peer_curve
from relive.bench.rd import bench_rd
from relive.bench.report import write_report
from relive.bench.report_data import gather_report
from relive.bench.state import bench_state
from relive.codec import Replay, encode, save_bundle
from relive.config import ModelConfig, QuantizerConfig
from relive.errors import InputError
from relive.model.hst_mae import HSTMAE
from relive.quantizer.rvq import ResidualVQ
from relive.session import Recorder, Session, StateField, StateSchema

SCHEMA = StateSchema((StateField("health", unit="hp", step=1.0), StateField("x", step=0.25)))
FRAMES, WIDTH, HEIGHT, INTERVAL = 20, 48, 32, 8
MISSING = 7


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(quantizer=QuantizerConfig(num_quantizers=2, codebook_size=16))
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_bundle(path, HSTMAE(config), ResidualVQ(config.quantizer))
    return path


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("split_a") / "waves.mcap"
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    with Recorder(path, SCHEMA, game="test:<waves>") as recorder:
        for n in range(FRAMES):
            wave = 128 + 60 * np.sin((x + 2 * n) / 7)[..., None] * np.cos(y / 5)[..., None]
            frame = np.repeat(wave, 3, axis=2).astype(np.uint8)
            state = np.array([100 - n, 1.5 * n], dtype=np.float32)
            recorder.add(None if n == MISSING else frame, state, n * 40_000_000)
        recorder.event("end", "", FRAMES * 40_000_000)
    return path


@pytest.fixture(scope="module")
def replay(session: Path, model: Path) -> Path:
    path = session.with_suffix(".relive")
    encode(session, path, model=model, quality=5, keyframe_interval=INTERVAL)
    return path


def test_compare_says_what_a_direct_measurement_says(
    session: Path, replay: Path, model: Path
) -> None:
    calls: list[tuple[int, int]] = []
    result = compare(session, replay, model, lambda *counts: calls.append(counts))
    kept = [n for n in range(FRAMES) if n != MISSING]
    with Session.open(session) as original, Replay.open(replay, model=model) as decoded:
        meter = QualityMeter()
        meter.update(original.frames(0, FRAMES)[kept], decoded.frames(0, FRAMES)[kept])
    assert result.psnr_db == pytest.approx(meter.result().psnr_db)
    assert result.frames == FRAMES - 1
    assert result.frame_numbers == tuple(kept)
    size = replay.stat().st_size
    assert result.bits_per_pixel == pytest.approx(8 * size / (FRAMES * WIDTH * HEIGHT))
    assert result.bits_per_second == pytest.approx(8 * size / (FRAMES * 0.04))
    assert result.compression_ratio == pytest.approx(FRAMES * WIDTH * HEIGHT * 3 / size)
    assert result.ms_ssim is None
    assert calls[-1] == (FRAMES, FRAMES)
    promised = {
        *("frames", "psnr_db", "psnr_y_db", "ssim", "ms_ssim", "flip", "bits_per_pixel"),
        *("bits_per_second", "compression_ratio", "decode_fps", "worst_frames"),
    }
    assert promised <= result.to_dict().keys()
    json.dumps(result.to_dict(), allow_nan=False)


def test_files_that_do_not_belong_together_are_refused(
    replay: Path, model: Path, tmp_path: Path
) -> None:
    frame = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    for name, shape_frame, time_ns in (("size", frame[:16], 0), ("time", frame, 13)):
        with Recorder(tmp_path / f"{name}.mcap") as recorder:
            recorder.add(shape_frame, np.zeros(0, np.float32), time_ns)
        with pytest.raises(InputError, match="its own session"):
            compare(tmp_path / f"{name}.mcap", replay, model)


def test_cut_keeps_frames_states_and_gaps(session: Path, tmp_path: Path) -> None:
    assert cut_session(session, tmp_path, frames=None) == session
    assert cut_session(session, tmp_path, frames=FRAMES + 1) == session
    cut = cut_session(session, tmp_path, frames=9)
    with Session.open(session) as whole, Session.open(cut) as part:
        assert part.num_frames == 9
        assert part.schema == whole.schema
        np.testing.assert_array_equal(part.states, whole.states[:9])
        np.testing.assert_array_equal(part.present, whole.present[:9])
        np.testing.assert_array_equal(part.frames(0, 9), whole.frames(0, 9))
    clip = spool_session(session, tmp_path, frames=9)
    assert clip.num_frames == 9
    assert clip.fps == pytest.approx(25)
    assert clip.content_hash == spool_session(cut, tmp_path).content_hash


def test_chain_orders_frames_by_step_after_the_keyframe(
    session: Path, replay: Path, model: Path
) -> None:
    with Session.open(session) as original, Replay.open(replay, model=model) as decoded:
        steps = chain_psnr(original, decoded)
        assert len(steps) == INTERVAL // 2
        meter = QualityMeter()
        first = [n for start in range(0, FRAMES, INTERVAL) for n in (start, start + 1)]
        meter.update(original.frames(0, FRAMES)[first], decoded.frames(0, FRAMES)[first])
    assert steps[0] == pytest.approx(meter.result().psnr_db)
    chain = Chain.from_steps([24.0, 26.0, 25.5, 25.0])
    assert (chain.decay_db, chain.temporal_gain_db) == (1.0, 1.5)


def test_a_long_chain_is_held_against_more_keyframes(
    session: Path, model: Path, tmp_path: Path
) -> None:
    row = bench_chain(
        [session], tmp_path, depths=(1,), model=model, frames=8, keyframe_interval=8, against=4
    )["runs"][0]
    with Session.open(session) as original:
        psnr = []
        for interval in (8, 4):
            path = tmp_path / f"{interval}.relive"
            encode(session, path, model=model, keyframe_interval=interval, depth=1)
            with Replay.open(path, model=model) as decoded:
                meter = QualityMeter()
                meter.update(original.frames(4, 6), decoded.frames(4, 6))
                psnr.append(meter.result().psnr_db)
    decay = row["decay"]
    assert len(decay["step_loss_db"]) == 4
    assert decay["early_loss_db"] == 0  # one chain in both
    assert decay["step_loss_db"][2] == pytest.approx(psnr[1] - psnr[0])
    assert decay["late_loss_db"] == pytest.approx(np.mean(decay["step_loss_db"][2:]))
    with pytest.raises(InputError, match="--against 8"):
        bench_chain([session], tmp_path, model=model, keyframe_interval=8, against=8)


def test_bench_chain_and_state_write_what_they_measure(
    session: Path, model: Path, tmp_path: Path
) -> None:
    chain = bench_chain(
        [session], tmp_path, depths=(1, None), model=model, frames=8, keyframe_interval=INTERVAL
    )
    assert json.loads((tmp_path / "chain.json").read_text())["kind"] == "bench_chain"
    assert [row["depth"] for row in chain["runs"]] == [1, None]
    assert {row["split"] for row in chain["splits"]} == {session.parent.name}
    state = bench_state(
        [session], tmp_path / "s.json", qualities=(5,), model=model, frames=8, keyframe_interval=8
    )
    assert json.loads((tmp_path / "s.json").read_text())["runs"] == state["runs"]
    assert [row["states"] for row in state["runs"]] == ["true", "shuffled", "none"]
    by_variant = {row["states"]: row for row in state["splits"]}
    assert by_variant["true"]["psnr_change_db"] == 0
    assert [row["states"] for row in state["bd_rates"]] == ["shuffled", "none"]
    assert state["bd_rates"][0]["bd_rate_percent"] is None  # one quality is no curve


def test_rd_measures_once_and_resumes(session: Path, model: Path, tmp_path: Path) -> None:
    counts: list[tuple[int, int]] = []
    settings = {
        "qualities": (1, 2, 4, 6, 8, 10),
        "peers": ("x264",),
        "model": model,
        "frames": 8,
        "keyframe_interval": INTERVAL,
        "cache_folder": tmp_path / "cache",
    }
    first = bench_rd([session], tmp_path, progress=lambda *c: counts.append(c), **settings)
    assert counts[-1][0] == counts[-1][1] == 6 + 2 * len(PEERS["x264"].crfs)
    row = first["sessions"][0]
    assert row["split"] == session.parent.name
    assert [point["quality"] for point in row["ours"]["points"]] == [1, 2, 4, 6, 8, 10]
    x264 = row["peers"]["x264"]
    assert x264["bd_rate"]["percent"] is None or x264["bd_rate"]["overlap_db"]
    assert all("ffmpeg" in point["encode_command"] for point in x264["points"])
    assert (tmp_path / f"rd-{session.parent.name}-test-mean.png").stat().st_size > 1000
    assert first["games"].keys() == {f"{session.parent.name}/test"}
    stored = json.loads((tmp_path / "rd.json").read_text())
    assert stored["versions"]["ffmpeg"].startswith("ffmpeg")
    again = bench_rd([session], tmp_path / "again", **settings)
    assert again["sessions"] == first["sessions"]
    with pytest.raises(InputError, match="at least 6"):
        bench_rd([session], tmp_path, qualities=(1, 2), model=model)
    with pytest.raises(InputError, match="no sessions"):
        bench_rd([], tmp_path, model=model)


def test_report_is_one_file_with_everything_in_it(
    session: Path, replay: Path, model: Path, tmp_path: Path
) -> None:
    clip = spool_session(session, tmp_path)
    point = measure_ours(session, 5, tmp_path, model=model, keyframe_interval=INTERVAL)
    cache = ResultCache(tmp_path / "cache")
    peers = [measure_peer_curve(clip, PEERS["x264"], crfs=(20, 30, 40, 50), cache=cache)]
    data = gather_report(
        session,
        replay,
        clip,
        peers,
        [(point.bits_per_pixel, point.psnr_db)],
        quality=5,
        encode_fps=point.encode_fps,
        parts=point.parts,
        model=model,
        keyframe_interval=INTERVAL,
        cache=cache,
    )
    assert sum(data.parts.values()) == data.comparison.bytes
    assert data.state_deviation_steps <= 0.5
    assert [frame.why for frame in data.frames] == ["best", "median", "worst"]
    write_report(tmp_path / "report.html", data)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "test:&lt;waves&gt;" in text
    assert "$" not in re.sub(r"base64,[^\"]*", "", text)
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert text.count("<svg") == 3
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.timeout(300)  # twenty ffmpeg runs and a game, on a machine that may be busy
def test_demo_records_encodes_compares_and_reports(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("vizdoom")
    stages: list[str] = []
    counts: list[tuple[int, int]] = []
    result = run_demo(
        tmp_path / "demo",
        seconds=0.3,
        seed=3,
        qualities=(5, 7),
        peers=("av1",),
        model=model,
        progress=lambda *c: counts.append(c),
        on_stage=stages.append,
    )
    assert isinstance(result, DemoResult)
    assert stages == [
        "recording",
        "encoding",
        "encoding at other qualities, and with other codecs",
        "report",
    ]
    assert counts[-1][0] == counts[-1][1]
    assert [c[0] for c in counts] == sorted(c[0] for c in counts)
    assert result.frames == 10
    assert "SVT-AV1" in result.table()
    for name in ("session.mcap", "replay.relive", "report.html", "frames.png", "demo.json"):
        assert (tmp_path / "demo" / name).stat().st_size > 0
    assert json.loads((tmp_path / "demo" / "demo.json").read_text())["frames"] == 10
    with pytest.raises(InputError, match="--force"):
        run_demo(tmp_path / "demo", model=model)
