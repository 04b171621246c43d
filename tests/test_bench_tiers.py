"""The archive and the stream tier: targets, and peers brought to our PSNR or our bytes."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from relive.bench.cache import ResultCache
from relive.bench.clip import Clip, open_array
from relive.bench.peers import PEERS, PeerPoint, measure_peer
from relive.bench.points import Aim, OursPoint
from relive.bench.tiers import ARCHIVE_DB, STREAM_BITS_PER_PIXEL, bench_tiers, bracket, match_peer
from relive.cli import run
from relive.codec import save_bundle
from relive.config import ModelConfig, QuantizerConfig
from relive.errors import InputError
from relive.model.hst_mae import HSTMAE
from relive.quantizer.rvq import ResidualVQ
from relive.session import Recorder

FRAMES, WIDTH, HEIGHT, INTERVAL = 8, 48, 32, 8


def waves(count: int, height: int, width: int) -> np.ndarray:
    """A soft coloured pattern that slides, uint8 [count, height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    frames = np.empty((count, height, width, 3), dtype=np.uint8)
    for t in range(count):
        for c in range(3):
            frames[t, ..., c] = 128 + 50 * (np.sin((x + 2 * t) / (5 + c)) + np.cos((y - t) / 6))
    return frames


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    path = tmp_path_factory.mktemp("clip") / "frames.npy"
    np.save(path, waves(6, 48, 64))
    return replace(open_array(path, "waves", fps=30), state_csv_bytes=100)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("split_a") / "waves.mcap"
    with Recorder(path, game="test") as recorder:
        for n, frame in enumerate(waves(FRAMES, HEIGHT, WIDTH)):
            recorder.add(frame, np.zeros(0, np.float32), n * 40_000_000)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(quantizer=QuantizerConfig(num_quantizers=2, codebook_size=16))
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_bundle(path, HSTMAE(config), ResidualVQ(config.quantizer))
    return path


def peer_point(crf: int) -> PeerPoint:
    """A codec that loses half a decibel a step and a tenth of its bytes."""
    size = round(1e6 * 0.9**crf)
    return PeerPoint("c", crf, size, size, size / 1e6, 50 - crf / 2, 0.0, 1.0, 1.0, (), "", "")


def ours(bits_per_pixel: float, psnr_db: float) -> OursPoint:
    return OursPoint(0, 1000, bits_per_pixel, psnr_db, psnr_db, 1.0, 1.0, {}, "", "")


def test_bracket_finds_neighbours_in_few_runs() -> None:
    for goal in (49.4, 40.0, 38.6, 26.1):
        runs: list[int] = []

        def measure(crf: int, runs: list[int] = runs) -> PeerPoint:
            runs.append(crf)
            return peer_point(crf)

        fine, coarse = bracket(measure, lambda point: point.psnr_db, goal, range(1, 52))
        assert fine.psnr_db >= goal > coarse.psnr_db
        assert coarse.crf == fine.crf + 1
        assert len(runs) <= 6


@pytest.mark.parametrize(("goal", "crf"), [(60.0, 1), (10.0, 51)])
def test_bracket_out_of_reach_gives_the_nearest_twice(goal: float, crf: int) -> None:
    fine, coarse = bracket(peer_point, lambda point: point.psnr_db, goal, range(1, 52))
    assert (fine.crf, coarse.crf) == (crf, crf)


def test_a_peer_is_brought_to_our_psnr_and_to_our_bytes(clip: Clip, tmp_path: Path) -> None:
    cache = ResultCache(tmp_path)
    peer = PEERS["x264"]
    archive = match_peer(clip, peer, "archive", ours(1.0, 36.3), INTERVAL, cache)
    assert archive.reached
    assert archive.psnr_db == pytest.approx(36.3)
    candidate = peer.candidate(archive.candidate)
    fine, coarse = (
        measure_peer(clip, candidate, crf, keyframe_interval=INTERVAL, cache=cache)
        for crf in archive.crfs
    )
    assert coarse.bytes <= archive.bytes <= fine.bytes
    assert archive.bits_per_pixel == pytest.approx(8 * archive.bytes / (6 * 48 * 64))
    share = (36.3 - coarse.psnr_db) / (fine.psnr_db - coarse.psnr_db)
    expected = share * math.log(fine.bytes) + (1 - share) * math.log(coarse.bytes)
    assert math.log(archive.bytes) == pytest.approx(expected)
    stream = match_peer(clip, peer, "stream", ours(archive.bits_per_pixel, 20.0), INTERVAL, cache)
    assert stream.bytes == pytest.approx(archive.bytes)
    assert stream.psnr_db >= 36.3 - 1e-6  # no worse than the candidate that needs the fewest bytes


@pytest.mark.parametrize("tier", ["archive", "stream"])
def test_the_best_candidate_counts(clip: Clip, tmp_path: Path, tier: str) -> None:
    cache = ResultCache(tmp_path)
    peer = PEERS["x264"]
    alone = [replace(peer, candidates=(candidate,)) for candidate in peer.candidates]
    goal = ours(0.2, 25.0)
    matches = [match_peer(clip, one, tier, goal, INTERVAL, cache) for one in alone]
    assert all(match.reached for match in matches)
    best = match_peer(clip, peer, tier, goal, INTERVAL, cache)
    if tier == "archive":
        assert best.bytes == min(match.bytes for match in matches)
        assert matches[0].bytes != matches[1].bytes
    else:
        assert best.psnr_db == max(match.psnr_db for match in matches)


def test_a_peer_that_cannot_come_there_says_so(clip: Clip, tmp_path: Path) -> None:
    match = match_peer(
        clip, PEERS["av1"], "archive", ours(9.0, 60.0), INTERVAL, ResultCache(tmp_path)
    )
    assert not match.reached
    assert match.crfs == (1, 1)
    assert match.psnr_db < 60


def test_tiers_are_measured_written_and_kept(
    session: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts: list[tuple[int, int]] = []
    settings = {
        "peers": ("x264",),
        "model": model,
        "keyframe_interval": INTERVAL,
        "cache_folder": tmp_path / "cache",
    }
    first = bench_tiers([session], tmp_path, progress=lambda *c: counts.append(c), **settings)
    assert counts[-1] == (4, 4)
    row = first["sessions"][0]
    archive, stream = row["tiers"]["archive"], row["tiers"]["stream"]
    assert archive["ours"]["reached"]
    assert archive["ours"]["psnr_db"] >= ARCHIVE_DB
    raw_bytes = FRAMES * WIDTH * HEIGHT * 3
    assert archive["ours"]["ratio"] == pytest.approx(raw_bytes / archive["ours"]["bytes"])
    assert "--psnr 38.5" in archive["ours"]["encode_command"]
    rate = STREAM_BITS_PER_PIXEL * WIDTH * HEIGHT * 25
    assert stream["target"] == {"bitrate": pytest.approx(rate)}
    x264 = archive["peers"]["x264"]
    assert x264["psnr_db"] == pytest.approx(archive["ours"]["psnr_db"])
    assert x264["our_bytes_ratio"] == pytest.approx(archive["ours"]["bytes"] / x264["bytes"])
    split = first["splits"][session.parent.name]["tiers"]["archive"]
    assert split["ratio"]["mean"] == pytest.approx(archive["ours"]["ratio"])
    stored = json.loads((tmp_path / "tiers.json").read_text())
    assert stored["kind"] == "bench_tiers"
    assert stored["sessions"][0]["tiers"].keys() == {"archive", "stream"}
    again = bench_tiers([session], tmp_path / "again", tiers=("archive",), **settings)
    assert again["sessions"][0]["tiers"] == {"archive": archive}
    monkeypatch.setenv("RELIVE_CACHE", str(tmp_path / "cache"))
    options = ["--tier", "archive,stream", "--peers", "x264", "--model", str(model)]
    options += ["--keyframe-interval", str(INTERVAL), "-o", str(tmp_path / "cli.json")]
    assert run(["bench", "rd", str(session), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"x264 {x264['ratio']:.1f} times" in lines[0]
    assert f"x264 {stream['peers']['x264']['psnr_db']:.2f} dB" in lines[1]


def test_wrong_tiers_are_refused(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="unknown tier 'best'"):
        bench_tiers([session], tmp_path, tiers=("best",))
    with pytest.raises(InputError, match="no sessions"):
        bench_tiers([], tmp_path)
    assert run(["bench", "rd", str(session), "--tier", "archive", "--metrics"]) == 2
    message = capsys.readouterr().err
    assert "--metrics" in message
    assert message.count("\n") == 1


def test_an_aim_is_the_option_that_does_the_same() -> None:
    assert Aim(quality=5).option() == "--quality 5"
    assert Aim(psnr=38.5).option() == "--psnr 38.5"
    assert Aim(bitrate=116666.5).option() == "--bitrate 116666.5"
