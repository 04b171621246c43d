"""Peers through the real ffmpeg, on a small moving picture."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from relive.bench.cache import ResultCache, default_cache_folder
from relive.bench.clip import Clip, open_array, state_csv_size
from relive.bench.equal_bytes import best_peer_at, decode_run, run_at_equal_bytes
from relive.bench.ffmpeg import ffmpeg_encoders
from relive.bench.metrics import frame_mse, psnr_from_mse
from relive.bench.peers import PEERS, Candidate, find_peers, measure_peer
from relive.bench.points import measure_peer_curve
from relive.errors import InputError, ReliveError


def moving_picture(count: int, height: int, width: int) -> np.ndarray:
    """A soft coloured pattern that slides, uint8 [count, height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    frames = np.empty((count, height, width, 3), dtype=np.uint8)
    for t in range(count):
        for c in range(3):
            wave = np.sin((x + 2 * t) / (7 + c)) + np.cos((y - t) / (9 - c))
            frames[t, ..., c] = 128 + 50 * wave
    return frames


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    path = tmp_path_factory.mktemp("clip") / "frames.npy"
    np.save(path, moving_picture(12, 64, 80))
    return replace(open_array(path, "waves", fps=30), state_csv_bytes=100)


def candidates() -> list[Candidate]:
    return [c for name in ("x264", "x265", "av1") for c in PEERS[name].candidates]


def test_this_ffmpeg_has_every_encoder() -> None:
    assert {"libx264", "libx265", "libsvtav1"} <= ffmpeg_encoders()


@pytest.mark.parametrize("candidate", candidates(), ids=lambda candidate: candidate.name)
def test_peer_gives_less_for_fewer_bytes(clip: Clip, candidate: Candidate) -> None:
    fine, coarse = (measure_peer(clip, candidate, crf) for crf in (20, 45))
    assert fine.bytes > coarse.bytes
    assert fine.psnr_db > coarse.psnr_db > 15
    assert fine.bytes_with_state == fine.bytes + 100
    assert fine.bits_per_pixel == pytest.approx(8 * fine.bytes / (12 * 64 * 80))
    assert len(fine.frame_psnr_db) == 12
    assert f"out.{candidate.suffix}" in fine.decode_command


@pytest.mark.parametrize("name", ["x264", "x265"])
def test_colour_conversion_is_not_what_limits_a_peer(clip: Clip, name: str) -> None:
    full_colour = PEERS[name].candidates[0]
    assert full_colour.pix_fmt == "yuv444p"
    assert measure_peer(clip, full_colour, 0).psnr_db > 45


def test_odd_sizes_come_back_in_their_own_size(tmp_path: Path) -> None:
    path = tmp_path / "odd.npy"
    np.save(path, moving_picture(4, 67, 71))
    odd = open_array(path, "odd", fps=30)
    for candidate in (PEERS["x264"].candidates[1], PEERS["av1"].candidates[0]):
        assert measure_peer(odd, candidate, 30).psnr_db > 20


def test_results_are_cached_by_content_and_command(clip: Clip, tmp_path: Path) -> None:
    cache = ResultCache(tmp_path)
    candidate = PEERS["x264"].candidates[1]
    first = measure_peer(clip, candidate, 30, cache=cache)
    files = list(tmp_path.rglob("*.json"))
    assert len(files) == 1
    assert measure_peer(clip, candidate, 30, cache=cache) == first
    stored = json.loads(files[0].read_text())
    stored["value"]["bytes"] = 1
    files[0].write_text(json.dumps(stored))
    assert measure_peer(clip, candidate, 30, cache=cache).bytes == 1
    files[0].write_text("{ damaged")
    assert measure_peer(clip, candidate, 30, cache=cache).bytes == first.bytes
    other = replace(clip, content_hash="another")
    measure_peer(other, candidate, 30, cache=cache)
    assert len(list(tmp_path.rglob("*.json"))) == 2


def test_best_peer_is_run_at_about_our_bytes(clip: Clip, tmp_path: Path) -> None:
    cache = ResultCache(tmp_path)
    ticks: list[int] = []
    curve = measure_peer_curve(
        clip, PEERS["x264"], crfs=(16, 24, 32, 40), cache=cache, on_point=lambda: ticks.append(1)
    )
    assert len(curve.points) == len(ticks) == 8
    assert list(curve.envelope) == sorted(curve.envelope, key=lambda p: p.bits_per_pixel)
    wanted = curve.envelope[1].bytes + 20
    assert best_peer_at([curve], clip.bits_per_pixel(wanted)) is curve
    assert best_peer_at([curve], 1e-6) is None
    run = run_at_equal_bytes(clip, curve, wanted, cache=cache)
    assert 0.6 * wanted < run.point.bytes < 1.6 * wanted
    frames = decode_run(clip, run, [0, 11])
    for number, frame in frames.items():
        error = float(frame_mse(clip.frames[number][None], frame[None])[0])
        assert psnr_from_mse(error) == pytest.approx(run.point.frame_psnr_db[number], abs=1e-3)


def test_an_encoder_that_fails_is_one_line(clip: Clip) -> None:
    broken = Candidate("broken", "yuv420p", "h264", "-c:v libx264 -crf {crf} -preset nonsense")
    with pytest.raises(ReliveError, match="could not encode waves") as caught:
        measure_peer(clip, broken, 30)
    assert "\n" not in str(caught.value)


def test_unknown_peer_is_refused() -> None:
    with pytest.raises(InputError, match="unknown peer 'mpeg1'"):
        find_peers(("mpeg1",))


def test_state_csv_writes_values_to_their_step() -> None:
    states = np.array([[1.25, 3.0], [1.5, 4.0]], dtype=np.float32)
    times = np.array([0, 28571429], dtype=np.int64)
    coarse = state_csv_size(states, times, ["x", "hp"], [0.25, 1.0])
    jitter = states + np.array([[0.0123, 0.0], [0.0311, 0.0]], dtype=np.float32)
    assert state_csv_size(jitter, times, ["x", "hp"], [0.25, 1.0]) == coarse
    assert state_csv_size(jitter, times, ["x", "hp"], [0.0, 1.0]) > coarse


def test_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RELIVE_CACHE", str(tmp_path))
    assert default_cache_folder() == tmp_path
    monkeypatch.delenv("RELIVE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "relive" / "bench"
