"""Kernels against what they stand for: torch's operations, and the formulas written out."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import relive.compiled
from relive.bitstream.array_kernel import PRIOR_LOW
from relive.bitstream.coder import BitCounter, SymbolDecoder, SymbolEncoder
from relive.bitstream.context_model import ONE, LiveNet
from relive.bitstream.detail_layout import FAMILIES
from relive.bitstream.net import Net, net_shapes
from relive.bitstream.powers import logarithm, weights
from relive.enhancement.deblock import block_edges
from relive.enhancement.frame import reconstruct, to_blocks
from relive.enhancement.search import LAMBDA, LevelCosts, choose_levels
from relive.enhancement.transform import colours, dct_matrix, inverse
from relive.kernels import frames, greys, poses, vectors
from relive.kernels.transform import LEVEL, OCTAVE, level_costs
from relive.kernels.weights import moments
from relive.model import motion, motion_search
from relive.model.motion import NUM_MOTION, Motion, cube_positions, positions
from relive.model.warp import Pinhole, sample

H, W = 48, 80


def positions_of_some_pixels(seed: int) -> tuple[Tensor, Tensor]:
    """Return columns and rows, some of them far outside the picture."""
    rng = torch.Generator().manual_seed(seed)
    x, y = torch.rand(2, 2, 30, 50, generator=rng) * 2 - 0.5
    return x * W, y * H


@pytest.mark.parametrize("planes", [1, 3, 4])
def test_pictures_are_read_as_torch_reads_them(planes: int) -> None:
    picture = torch.rand(2, planes, H, W, generator=torch.Generator().manual_seed(1)) * 255
    x, y = positions_of_some_pixels(2)
    with torch.inference_mode():
        seen = sample(picture, x, y)
    grid = torch.stack([x * (2 / W) - 1, y * (2 / H) - 1], -1)
    wanted = F.grid_sample(picture, grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(seen, wanted, atol=2e-2, rtol=0)
    torch.testing.assert_close(sample(picture, x, y), wanted, atol=2e-2, rtol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_positions_that_are_no_numbers_read_the_edge(bad: float) -> None:
    picture = torch.arange(12.0).view(1, 1, 3, 4)
    with torch.inference_mode():
        seen = sample(picture, torch.full((1, 1, 1), bad), torch.full((1, 1, 1), 0.5))
    assert float(seen) in (0.0, 3.0)


def test_pixels_of_a_camera_lie_where_torch_puts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Pinhole.from_fov(90, 1.2, (0, 0, W, 40))
    poses = torch.tensor([[[0.0] * 6, [9, 4, 1, 0.1, 0.02, 0], [12, 8, 2, 0.2, 0.03, 0.01]]])
    step = Motion.from_poses(camera, poses.double(), torch.tensor([[0.0, 3.0]]), torch.ones(1))
    choice = torch.randint(0, NUM_MOTION, (1, 1, H, W), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        found = [positions(step, frame, choice, H, W) for frame in (0, 1)]
        monkeypatch.setattr(motion, "kernels_may", lambda *_: False)
        wanted = [positions(step, frame, choice, H, W) for frame in (0, 1)]
    for (x, y), (true_x, true_y) in zip(found, wanted, strict=True):
        torch.testing.assert_close(x, true_x, atol=1e-3, rtol=1e-6)
        torch.testing.assert_close(y, true_y, atol=1e-3, rtol=1e-6)


@pytest.mark.parametrize("camera", [Pinhole.from_fov(90, 1.2, (8, 0, W - 20, 40)), None])
def test_pixels_of_cubes_lie_where_each_of_them_does(camera: Pinhole | None) -> None:
    poses = torch.tensor([[[0.0] * 6, [9, 4, 1, 0.1, 0.02, 0], [12, 8, 2, 0.2, 0.03, 0.01]]])
    step = Motion.from_poses(camera, poses.double(), torch.tensor([[7.0, 3.0]]), torch.ones(1))
    rng = torch.Generator().manual_seed(4)
    choice = torch.randint(0, NUM_MOTION, (1, H // 16, W // 16), generator=rng)
    with torch.inference_mode():
        for frame in (0, 1):
            found = cube_positions(step, frame, choice, H, W)
            pixels = choice.repeat_interleave(16, 1).repeat_interleave(16, 2)[None]
            wanted = positions(step, frame, pixels, H, W)
            for one, other in zip(found, wanted, strict=True):
                assert torch.equal(one, other[:, 0])


def test_edges_lie_where_torch_finds_them() -> None:
    rng = torch.Generator().manual_seed(5)
    h, w = H // 16, W // 16
    levels = torch.zeros(3, 2 * h, 2 * w, 8, 8)
    levels[torch.rand(levels.shape, generator=rng) < 0.002] = -1
    cubes = torch.randint(0, 2, (h, w), generator=rng)
    blocks = (torch.rand(2 * h, 2 * w, 2, generator=rng) < 0.1).long()
    coded = (levels != 0).flatten(-2).any(-1).any(0)
    across, down = coded[:, 1:] | coded[:, :-1], coded[1:] | coded[:-1]
    for grid in (to_blocks(cubes)[..., None], blocks):
        across = across | (grid[:, 1:] != grid[:, :-1]).any(-1)
        down = down | (grid[1:] != grid[:-1]).any(-1)
    assert 0.2 < across.float().mean() < 0.95
    for found, wanted in zip(block_edges(levels, cubes, blocks), (across, down), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("wrong", [1.0, float("nan"), float("inf"), -1e30])
def test_hypotheses_are_judged_alike(monkeypatch: pytest.MonkeyPatch, wrong: float) -> None:
    rng = torch.Generator().manual_seed(8)
    camera = Pinhole(60.0, 60.0, 40.0, 22.0, 2, 0, 78, 40)
    places = torch.rand(1, 3, 6, generator=rng) * torch.tensor([30, 30, 9, 0.2, 0.1, 0.1])
    step = Motion.from_poses(camera, places.double(), torch.zeros(1, 2), torch.ones(1))
    step = replace(step, shifts=step.shifts * wrong)
    reference = torch.rand(1, 3, H, W, generator=rng)
    pair = torch.rand(1, 2, 3, H, W, generator=rng)
    with torch.inference_mode():
        found = motion_search._errors(step, reference, pair, 2)
        if wrong != 1:
            kernel = SimpleNamespace(add_errors=poses.add_errors.py_func)  # numpy checks bounds
            monkeypatch.setattr(motion_search, "kernels", kernel)
            with np.errstate(all="ignore"):
                plain = motion_search._errors(step, reference, pair, 2)
            assert torch.allclose(found, plain, rtol=1e-4, atol=1e-6)
            return
        monkeypatch.setattr(motion_search, "_projected_errors", None)
        only_reading = motion_search.kernels_may
        monkeypatch.setattr(
            motion_search, "kernels_may", lambda *t: only_reading(*t) and len(t[0]) > 1
        )
        assert torch.allclose(found, motion_search._errors(step, reference, pair, 2), atol=1e-5)


def test_pictures_without_numbers_offer_no_vector_from_outside() -> None:
    small, there = np.zeros((24, 32), np.float32), np.full((34, 42), np.nan, np.float32)
    far, offered = np.array([[1, 2], [3, -4], [-5, 5]]), np.full((3, 4, 2, 2), 99)
    vectors.offer_far(small, there, 5, far, np.ones((3, 4), np.bool_), offered)
    assert {tuple(place) for place in offered.reshape(-1, 2).tolist()} <= {(1, 2), (3, -4), (-5, 5)}


def test_what_is_left_beside_whole_cubes_is_not_looked_at() -> None:
    view = poses.View(*[(np.float32(9), np.float32(9))] * 2, 0, 0, 64, 64)
    errors = np.zeros((3, 3, NUM_MOTION), np.float32)
    rows, target = np.arange(14, dtype=np.float32), np.ones((14, 14), np.float32)
    turn, shift = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
    depths, late = np.zeros(NUM_MOTION, np.float32), np.float32(0)
    given = view, rows, rows, turn, shift, depths, np.zeros((60, 60), np.float32), target, late
    poses.add_errors.py_func(*given, 4, errors)
    assert np.allclose(errors, 16)


def test_levels_give_the_pixels_of_the_inverse_transform() -> None:
    rng = torch.Generator().manual_seed(4)
    prediction = (torch.rand(3, H, W, generator=rng) * 255).round()
    levels = (torch.randn(3, H // 8, W // 8, 8, 8, generator=rng) * 2).round()
    levels[:, :3] *= 0
    levels[1, :, :4] *= 0
    steps = torch.rand(H // 16, W // 16, generator=rng) * 20 + 2
    size = steps.repeat_interleave(2, 0).repeat_interleave(2, 1)[..., None, None]
    exact = prediction + inverse(levels * size)
    shown = reconstruct(prediction, levels, steps)
    assert torch.equal(shown, shown.round())
    assert torch.equal(shown[:, :16], prediction[:, :16])
    assert float((shown - exact.clamp(0, 255)).abs().max()) <= 0.501


@pytest.mark.parametrize("family", ["level", "mode", "split"])
def test_arrays_are_coded_as_the_formulas_of_a_net_say(family: str) -> None:
    rng, shape = np.random.default_rng(5), FAMILIES[family]
    arrays = {
        name: rng.integers(-60, 61, size).astype(dtype)
        for name, (size, dtype) in net_shapes(shape).items()
    }
    net = Net(**arrays | {"rank": rng.permutation(shape.size).astype(np.int16)})
    live, sums = LiveNet(net), np.full((2, shape.lows), PRIOR_LOW, np.float64)
    coder, plain, bits = SymbolEncoder(), SymbolEncoder(), BitCounter()
    counted, pieces = LiveNet(net), []
    for count in (40, 1, 300):
        starts = np.array(shape.starts)
        rows = rng.integers(starts[:-1, None], starts[1:, None], (len(starts) - 1, count))
        symbols = rng.integers(0, shape.size, count).astype(np.int32)
        pieces.append((rows, symbols))
        assert np.array_equal(live.code(rows, symbols, coder), symbols)
        counted.code(rows, symbols, bits)

        logs, hidden = logarithm(sums), net.hidden(rows).astype(np.int64)
        logits = (hidden @ net.low.astype(np.int64) >> 6) + net.low_bias + logs[0] - logs[1]
        wanted, ranks = weights(logits.astype(np.int32)), net.rank[symbols].astype(np.int32)
        plain.code(ranks, wanted)
        shares = [[int(c) * ONE // int(row.sum()) for c in row] for row in wanted.astype(np.int64)]
        sums[0] += ONE * np.bincount(ranks, minlength=shape.lows)
        sums[1] += np.sum(shares, axis=0)
    assert coder.to_bytes() == plain.to_bytes()
    assert abs(8 * len(coder.to_bytes()) - bits.total) <= 64
    reader, fresh = SymbolDecoder(coder.to_bytes()), LiveNet(net)
    for rows, symbols in pieces:
        assert np.array_equal(fresh.code(rows, np.zeros_like(symbols), reader), symbols)


def test_levels_cost_what_the_formula_says() -> None:
    rng = np.random.default_rng(6)
    coefficients = (rng.standard_normal((2, 5, 128)) * 30).astype(np.float32)
    square, costs = np.full(5, 400, np.float32), np.empty((2, 5), np.float32)
    level_costs(coefficients, square, costs)
    size = coefficients.astype(np.float64) ** 2 / 400
    wanted = np.minimum(size, LEVEL + OCTAVE * np.log2(1 + np.sqrt(size))).sum(-1) * 400
    assert np.allclose(costs, wanted, rtol=2e-3)


def test_chosen_levels_cost_less_than_rounded_ones() -> None:
    rng = torch.Generator().manual_seed(7)
    falling = torch.exp(-(torch.arange(8)[:, None] + torch.arange(8)) / 3)
    given = torch.randn(3, 6, 8, 8, 8, generator=rng) * 40 * falling
    steps, costs = torch.full((3, 4), 8.0), LevelCosts.guess()

    def cost(levels: Tensor) -> float:
        bits = costs.of(levels.abs()).gather(-1, levels.abs().long().clamp(max=3)[..., None])[
            ..., 0
        ]
        bits = bits + 2 * torch.log2((levels.abs() - 2).clamp(min=1))
        return float(((levels - given / 8).square() + LAMBDA * bits).sum())

    chosen = choose_levels(given, steps, costs)
    assert torch.equal(chosen, chosen.round())
    assert bool((chosen * given >= 0).all())
    assert bool(((chosen.abs() - given.abs() / 8).abs() <= 1.01).logical_or(chosen == 0).all())
    assert cost(chosen) < 0.97 * cost((given / 8).round())
    assert not choose_levels(given * 0.01, steps, costs).any()


def test_moments_are_sums_over_cubes() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.integers(0, 256, (2, 3, 32, 48)).astype(np.float32)
    sums = np.empty((5, 3, 2, 3))
    moments(x, y, 16, sums)
    a, b = ((p.astype(np.float64) - 128).reshape(3, 2, 16, 3, 16) for p in (x, y))
    for found, wanted in zip(sums, (a, b, a * a, a * b, b * b), strict=True):
        assert np.allclose(found, wanted.sum((2, 4)), rtol=1e-5, atol=1.0)


def test_kernels_are_cached_by_all_that_they_are_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("compiled.py", "kernels/a.py", "bitstream/detail.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(relive.compiled, "__file__", str(tmp_path / "compiled.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = relive.compiled.cache_folder.__wrapped__()
    assert before.parent == tmp_path / "cache" / "relive" / "kernels"
    assert relive.compiled.cache_folder.__wrapped__() == before
    (tmp_path / "bitstream" / "detail.py").write_text("MAX_VECTOR = 511")
    assert relive.compiled.cache_folder.__wrapped__() != before
    assert str(before) != numba.config.CACHE_DIR


def test_both_transforms_are_one() -> None:
    assert np.allclose(frames.DCT, dct_matrix().numpy(), atol=1e-7)
    assert np.allclose(frames.ROOTS, [colours()[0, 0], colours()[1, 0], colours()[2, 0]], atol=1e-7)


def test_greys_are_those_of_torch() -> None:
    rng = torch.Generator().manual_seed(6)
    picture = torch.rand(3, H, W, generator=rng)
    mean = picture.mean(0)
    blurred, small = torch.empty(H + 1, W + 1), torch.empty(H // 2, W // 2)
    greys.blur(picture.numpy(), blurred.numpy())
    wanted = F.avg_pool2d(mean[None, None], 2, 1, padding=1, count_include_pad=False)
    assert torch.equal(blurred, wanted[0, 0])
    greys.halve(picture.numpy(), small.numpy())
    assert torch.equal(small, F.avg_pool2d(mean[None, None], 2)[0, 0])
    frames = torch.randint(0, 256, (2, H, W, 3), generator=rng, dtype=torch.uint8)
    small = torch.empty(2, H // 2, W // 2)
    greys.halve_frames(frames.numpy(), small.numpy())
    assert torch.equal(small, F.avg_pool2d(frames.float().mean(-1)[:, None] - 128, 2)[:, 0])
    flat = torch.empty(H * W)
    greys.grey(picture.flatten().numpy(), flat.numpy())
    assert torch.equal(flat.view(H, W), (picture[0] + picture[1] + picture[2]) * (1 / 3))


def test_errors_of_cubes_are_those_of_torch() -> None:
    rng = torch.Generator().manual_seed(7)
    a, b = torch.rand(2, 2, 3, H, W, generator=rng) * 1.4 - 0.2
    found = torch.empty(H // 16, W // 16)
    greys.cube_errors(a[0].numpy(), b[0].numpy(), found.numpy())
    assert torch.equal(found, F.avg_pool2d((a[0] - b[0]).square().sum(0)[None], 16)[0] * 256)
    greys.pair_errors(a.numpy(), b.numpy(), found.numpy())
    error = (a.clamp(0, 1) - b).square().mean(1).sum(0)
    assert torch.equal(found, F.avg_pool2d(error[None], 16)[0] * 256)
