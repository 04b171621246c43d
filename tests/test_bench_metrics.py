"""Metrics against their definitions, curves against known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relive.bench.curves import (
    bd_rate,
    bits_per_pixel_at,
    pareto,
    psnr_at,
    upper_envelope,
)
from relive.bench.metrics import PSNR_CAP_DB, QualityMeter, frame_mse, psnr_from_mse, spread
from relive.errors import InputError

RNG = np.random.default_rng(0)


def noisy(frames: np.ndarray, sigma: float) -> np.ndarray:
    noise = RNG.normal(0, sigma, frames.shape)
    return np.clip(frames + noise, 0, 255).round().astype(np.uint8)


def test_psnr_is_that_of_the_mean_error_over_all_frames() -> None:
    original = RNG.integers(0, 256, (6, 20, 24, 3)).astype(np.uint8)
    decoded = original.copy()
    decoded[3] = 255 - decoded[3]  # one broken frame
    meter = QualityMeter()
    meter.update(original[:4], decoded[:4])
    meter.update(original[4:], decoded[4:])
    quality = meter.result()
    mse = np.mean((original.astype(np.float64) - decoded) ** 2)
    assert quality.psnr_db == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-4)
    assert quality.frames == 6
    assert quality.worst_frames(2) == [3, 0]
    assert quality.frame_psnr_db[0] == PSNR_CAP_DB
    assert quality.ssim is None
    assert quality.flip is None


def test_luma_psnr_weighs_green_most() -> None:
    original = np.full((1, 16, 16, 3), 100, dtype=np.uint8)
    results = []
    for channel in range(3):
        decoded = original.copy()
        decoded[..., channel] += 10
        meter = QualityMeter()
        meter.update(original, decoded)
        results.append(meter.result())
    luma = [quality.psnr_y_db for quality in results]
    assert luma[1] < luma[0] < luma[2]
    assert results[0].psnr_db == pytest.approx(results[1].psnr_db)
    assert luma[1] == pytest.approx(psnr_from_mse((0.7152 * 10) ** 2), abs=1e-3)


def test_structural_metrics_fall_with_noise_and_say_how_many_frames() -> None:
    original = np.repeat(RNG.integers(0, 256, (2, 22, 23, 3)), 8, axis=1).repeat(8, axis=2)
    original = original.astype(np.uint8)  # 176 × 184
    values = []
    for sigma in (3, 20):
        meter = QualityMeter(structural=[0], flip=[1])
        meter.update(original, noisy(original, sigma))
        values.append(meter.result())
    light, heavy = values
    assert 1 > light.ssim > heavy.ssim > 0
    assert 1 > light.ms_ssim > heavy.ms_ssim > 0
    assert 0 < light.flip < heavy.flip < 1
    assert (light.structural_frames, light.flip_frames) == (1, 1)


def test_ms_ssim_is_null_where_the_frame_is_too_small() -> None:
    original = RNG.integers(0, 256, (1, 175, 200, 3)).astype(np.uint8)
    meter = QualityMeter(structural=[0])
    meter.update(original, original)
    quality = meter.result()
    assert quality.ms_ssim is None
    assert quality.ssim == pytest.approx(1)
    assert quality.psnr_db == PSNR_CAP_DB


def test_wrong_shapes_and_nothing_at_all_are_refused() -> None:
    frames = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    with pytest.raises(InputError, match="differ in shape"):
        frame_mse(frames, frames[:1])
    with pytest.raises(InputError, match="no frames"):
        QualityMeter().result()


@given(st.integers(0, 200), st.integers(0, 40))
def test_spread_is_even_and_complete(num_frames: int, count: int) -> None:
    chosen = spread(num_frames, count)
    assert len(chosen) == min(num_frames, count)
    assert chosen == sorted(set(chosen))
    assert all(0 <= position < num_frames for position in chosen)


def test_half_the_rate_is_a_bd_rate_of_minus_fifty() -> None:
    anchor = [(0.02 * 2**i, 24.0 + 2 * i) for i in range(6)]
    test = [(rate / 2, quality) for rate, quality in anchor]
    result = bd_rate(anchor, test)
    assert result.percent == pytest.approx(-50, abs=0.01)
    assert result.psnr_db == pytest.approx(2, abs=0.01)
    assert result.overlap_db == (24, 34)
    assert result.overlap_share == 1
    assert result.reason is None


def test_bd_rate_without_overlap_says_why() -> None:
    low = [(0.02 * 2**i, 14.0 + i) for i in range(6)]
    high = [(0.02 * 2**i, 24.0 + 2 * i) for i in range(6)]
    result = bd_rate(high, low)
    assert result.percent is None
    assert result.overlap_db is None
    assert "no quality that both reach" in result.reason
    assert result.psnr_db < -9
    assert "fewer than 4 points" in bd_rate(high, low[:2]).reason


@given(
    st.lists(
        st.tuples(st.floats(0.001, 1), st.floats(10, 50)), min_size=1, max_size=12, unique=True
    ),
    st.floats(0.001, 1),
)
def test_curves_pass_through_their_points_and_never_extrapolate(
    points: list[tuple[float, float]], rate: float
) -> None:
    best = pareto(points)
    assert best == sorted(best)
    for point in best:
        assert psnr_at(points, point[0]) == pytest.approx(point[1], abs=1e-6)
        assert bits_per_pixel_at(points, point[1]) == pytest.approx(point[0], rel=1e-6)
    value = psnr_at(points, rate)
    if best[0][0] <= rate <= best[-1][0]:
        assert best[0][1] - 1e-9 <= value <= best[-1][1] + 1e-9
    else:
        assert value is None


def test_rates_that_differ_by_rounding_are_one() -> None:
    points = [(0.001, 10.0), (0.0010000000000000002, 11.0)]
    assert pareto(points) == points[1:]
    assert psnr_at(points, points[1][0]) == 11.0


def test_envelope_takes_the_better_curve_at_every_rate() -> None:
    flat = [(0.01, 25.0), (0.04, 28.0), (0.16, 29.0), (0.64, 29.5)]
    steep = [(0.012, 23.0), (0.05, 27.0), (0.17, 31.0), (0.6, 35.0)]
    assert upper_envelope([flat, steep]) == [(0, 0), (0, 1), (1, 2), (1, 3)]
