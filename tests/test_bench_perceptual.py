"""Perceptual metrics at the points of the curves: regions, missing frames, peers beside ours."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from relive.bench.cache import ResultCache
from relive.bench.clip import Clip, spool_session
from relive.bench.metrics import ssim_map
from relive.bench.peers import PEERS, PeerPoint
from relive.bench.perceptual import (
    Perceptual,
    has_vmaf,
    measure_peer_perceptual,
    measure_perceptual,
    read_reference,
    window_in_one_region,
)
from relive.bench.points import OursPoint, PeerCurve
from relive.bench.rd import bench_rd
from relive.bench.rd_metrics import metric_rows
from relive.codec import save_bundle
from relive.config import ModelConfig, QuantizerConfig
from relive.errors import ReliveError
from relive.model.hst_mae import HSTMAE
from relive.quantizer.rvq import ResidualVQ
from relive.session import Recorder, Region, RegionSchema, StateSchema

FRAMES, WIDTH, HEIGHT, INTERVAL = 8, 64, 48, 8
MISSING, BORDER = 3, 24


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("split_a") / "waves.mcap"
    regions = RegionSchema((Region(0, "left", "simple", 1), Region(1, "right", "critical", 2)))
    maps = np.zeros((HEIGHT, WIDTH), np.uint8)
    maps[:, BORDER:] = 1
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 10, (HEIGHT, WIDTH, 3))
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    with Recorder(path, StateSchema(()), regions, game="test") as recorder:
        for n in range(FRAMES):
            wave = 128 + 60 * np.sin((x + 2 * n) / 7)[..., None] * np.cos(y / 5)[..., None]
            frame = np.clip(wave + noise, 0, 255).astype(np.uint8)
            states = np.zeros(0, np.float32)
            if n == MISSING:
                recorder.add(None, states, n * 40_000_000)
            else:
                recorder.add(frame, states, n * 40_000_000, maps)
    return path


@pytest.fixture(scope="module")
def clip(session: Path, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return spool_session(session, tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(quantizer=QuantizerConfig(num_quantizers=2, codebook_size=16))
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_bundle(path, HSTMAE(config), ResidualVQ(config.quantizer))
    return path


def blurred_right_of(clip: Clip, column: int) -> np.ndarray:
    """The frames of the clip, flat grey from a column on: uint8 [T, H, W, 3]."""
    frames = np.array(clip.frames)
    frames[:, :, column:] = 128
    return frames


def test_a_window_sees_one_region_when_it_is_five_pixels_from_the_border() -> None:
    regions = np.zeros((30, 40), np.uint8)
    regions[:, 20:] = 7
    alone = window_in_one_region(regions)
    assert alone[:, :15].all()
    assert not alone[:, 15:25].any()
    assert alone[:, 25:].all()


def test_inside_and_across_are_what_the_map_of_ssim_says(
    session: Path, clip: Clip, tmp_path: Path
) -> None:
    reference = read_reference(session, clip)
    assert reference.present == tuple(n for n in range(FRAMES) if n != MISSING)
    decoded = blurred_right_of(clip, BORDER)
    decoded.tofile(tmp_path / "decoded.rgb")
    values = measure_perceptual(reference, tmp_path / "decoded.rgb")
    maps = np.stack([ssim_map(clip.frames[n], decoded[n]) for n in reference.present])
    across = slice(BORDER - 5, BORDER + 5)
    assert values.ssim == pytest.approx(maps.mean(), abs=1e-6)
    assert values.ssim_across == pytest.approx(maps[:, :, across].mean(), abs=1e-6)
    assert values.ssim_inside == pytest.approx(
        np.delete(maps, across, axis=2).mean(dtype=np.float64), abs=1e-6
    )
    assert values.inside_share == pytest.approx(1 - 10 / WIDTH)
    whole = values.inside_share * values.ssim_inside
    whole += (1 - values.inside_share) * values.ssim_across
    assert whole == pytest.approx(values.ssim, abs=1e-6)
    assert values.ms_ssim is None  # under 176 pixels


def test_the_original_is_perfect_and_a_missing_frame_does_not_count(
    session: Path, clip: Clip, tmp_path: Path
) -> None:
    reference = read_reference(session, clip)
    same = measure_perceptual(reference, clip.path)
    assert same.ssim == pytest.approx(1)
    assert same.flip == 0
    decoded = np.array(clip.frames)
    decoded[MISSING] = 0
    decoded.tofile(tmp_path / "decoded.rgb")
    values = measure_perceptual(reference, tmp_path / "decoded.rgb")
    assert replace(values, vmaf=None) == replace(same, vmaf=None)
    spoiled = blurred_right_of(clip, 0)
    spoiled.tofile(tmp_path / "decoded.rgb")
    worse = measure_perceptual(reference, tmp_path / "decoded.rgb")
    assert worse.ssim < 0.5
    assert worse.flip > 0.1
    if has_vmaf():
        assert same.vmaf > 90
        assert values.vmaf == pytest.approx(same.vmaf, abs=2)  # motion looks at the frame before
        assert worse.vmaf < same.vmaf - 20
    spoiled[:-1].tofile(tmp_path / "short.rgb")
    with pytest.raises(ReliveError, match=r"short\.rgb: 64512 bytes"):
        measure_perceptual(reference, tmp_path / "short.rgb")


def test_without_libvmaf_there_is_no_vmaf(
    session: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relive.bench.perceptual.ffmpeg_filters", frozenset)
    assert measure_perceptual(read_reference(session, clip), clip.path).vmaf is None


def test_a_peer_is_measured_once(session: Path, clip: Clip, tmp_path: Path) -> None:
    reference = read_reference(session, clip)
    candidate = PEERS["x264"].candidates[0]
    cache = ResultCache(tmp_path)
    fine, coarse = (
        measure_peer_perceptual(reference, candidate, crf, cache=cache) for crf in (16, 44)
    )
    assert 1 > fine.ssim > coarse.ssim
    assert fine.flip < coarse.flip
    kept = sorted(tmp_path.rglob("*.json"))
    assert measure_peer_perceptual(reference, candidate, 16, cache=cache) == fine
    assert sorted(tmp_path.rglob("*.json")) == kept
    bare = replace(reference, content_hash="another")
    measure_peer_perceptual(bare, candidate, 16, cache=cache)
    assert len(list(tmp_path.rglob("*.json"))) == len(kept) + 1


def perceptual(step: int, better: float) -> Perceptual:
    """Errors that halve with every step; `better` multiplies them."""
    error = better * 0.4 * 0.5**step
    return Perceptual(1 - error, 1 - error, None, 1 - error, error, 20.0 + 10 * step, None)


def test_half_the_bytes_is_minus_fifty_by_every_metric() -> None:
    peer = PEERS["av1"]
    name = peer.candidates[0].name
    rates = [0.02 * 2**i for i in range(6)]
    points = tuple(
        PeerPoint(name, i, 1, 1, r, 30, 30, 1, 1, (), "", "") for i, r in enumerate(rates)
    )
    curve = PeerCurve(peer, points, points, tuple(perceptual(i, 1.0) for i in range(6)))
    ours = [
        OursPoint(i, 1, r / 2, 30, 30, 1, 1, {}, "", "", perceptual=perceptual(i, 1.0))
        for i, r in enumerate(rates)
    ]
    rows = metric_rows(ours, [curve], [0.01, 0.02, 0.04])
    for metric in ("ssim", "ssim_inside", "ms_ssim", "flip", "vmaf"):
        row = rows[metric]["peers"]["av1"]
        assert row["bd_rate"]["percent"] == pytest.approx(-50, abs=0.1), metric
        assert row["at"]["0.01"] is None  # nothing is extrapolated
        assert rows[metric]["ours"]["at"]["0.01"] is not None
    assert rows["ssim"]["peers"]["av1"]["at"]["0.02"] == pytest.approx(0.6)
    assert rows["ssim"]["ours"]["at"]["0.04"] == pytest.approx(0.9)
    assert rows["flip"]["ours"]["at"]["0.02"] == pytest.approx(0.2)
    assert rows["vmaf"]["ours"]["at"]["0.02"] == pytest.approx(30)
    missing = rows["ssim_across"]["peers"]["av1"]["bd_rate"]
    assert missing["percent"] is None
    assert "(0 and 0)" in missing["reason"]


def test_curves_carry_the_metrics_when_asked(session: Path, model: Path, tmp_path: Path) -> None:
    settings = {
        "qualities": (1, 2, 4, 6, 8, 10),
        "peers": ("av1",),
        "model": model,
        "keyframe_interval": INTERVAL,
        "cache_folder": tmp_path / "cache",
    }
    first = bench_rd([session], tmp_path, metrics=True, **settings)
    row = first["sessions"][0]
    keys = {"ssim", "ssim_inside", "ssim_across", "ms_ssim", "flip", "vmaf", "psnr_y"}
    assert row["metrics"].keys() == keys
    for point in [*row["ours"]["points"], *row["peers"]["av1"]["points"]]:
        assert keys - {"psnr_y"} <= point["perceptual"].keys()
        assert 0 < point["perceptual"]["ssim_inside"] < 1
    ours = first["splits"][session.parent.name]["metrics"]["ssim"]["ours"]["at"]
    assert ours["0.1"]["of"] == 1
    assert json.loads((tmp_path / "rd.json").read_text())["settings"]["metrics"]["vmaf"]
    again = bench_rd([session], tmp_path / "again", metrics=True, **settings)
    assert again["sessions"] == first["sessions"]
    plain = bench_rd([session], tmp_path / "plain", **settings)["sessions"][0]
    assert plain["metrics"] is None
    assert plain["ours"]["points"][0]["perceptual"] is None
    assert plain["ours"]["points"][0]["psnr_db"] == row["ours"]["points"][0]["psnr_db"]
