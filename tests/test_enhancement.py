"""The enhancement layer: transform, prediction, and what its encoder chooses."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from relive.bitstream import GopDetail
from relive.bitstream.detail import BASE, BOTH, LAST, MEAN, MOVED, MOVED_MEAN, OLDER, WARPED
from relive.codec.effort import PRESETS
from relive.enhancement.frame import Reference, enlarge, predict, reconstruct, to_blocks, whole
from relive.enhancement.modes import choose_modes, mode_bits
from relive.enhancement.post_filter import FilterSample, PostFilter, fit_filter
from relive.enhancement.search import (
    LAMBDA,
    LevelCosts,
    choose_levels,
    fit_costs,
)
from relive.enhancement.transform import forward, inverse, requantised
from relive.enhancement.vectors import far_vectors, near_errors, search_vectors
from relive.enhancement.weights import choose_weights
from relive.train.chain import enhance
from relive.train.chance import Chance


def smooth_picture(seed: int, height: int, width: int, scale: int = 6) -> Tensor:
    """Return a random picture without sharp edges, whole numbers `[3, H, W]`."""
    rng = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, height // scale + 2, width // scale + 2, generator=rng)
    large = F.interpolate(small, size=(height, width), mode="bicubic", align_corners=True)
    return (large[0].clamp(0, 1) * 255).round()


def still(picture: Tensor, added: Tensor | None = None) -> Reference:
    height, width = picture.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return Reference(picture, added, x, y)


def test_the_transform_is_orthonormal() -> None:
    pictures = torch.randn(2, 3, 24, 40)
    coefficients = forward(pictures)
    assert coefficients.shape == (2, 3, 3, 5, 8, 8)
    torch.testing.assert_close(inverse(coefficients), pictures, atol=1e-5, rtol=0)
    torch.testing.assert_close(coefficients.square().sum(), pictures.square().sum())
    grey = forward(torch.full((3, 8, 8), 2.0))
    assert grey[0, 0, 0, 0, 0].item() == pytest.approx(2 * 8 * 3**0.5)
    assert grey.flatten()[1:].abs().max() < 1e-5


def test_finer_steps_come_closer() -> None:
    target = smooth_picture(0, 32, 48) / 255
    errors = [
        float((requantised(torch.full_like(target, 0.5), target, s / 255) - target).square().mean())
        for s in (64, 16, 4)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < (4 / 255) ** 2


def test_each_mode_predicts_what_it_says() -> None:
    base, last = smooth_picture(1, 32, 48), smooth_picture(2, 32, 48)
    modes = torch.tensor([[BASE, WARPED, MEAN], [MOVED, MOVED_MEAN, BASE]])
    none = torch.zeros_like(modes)
    vectors = torch.zeros(2, 3, 2, dtype=torch.long)
    vectors[1, 0], vectors[1, 1] = torch.tensor([8, -4]), torch.tensor([-8, 4])
    shown = predict(base, still(last), modes, none, to_blocks(vectors))
    assert torch.equal(shown[:, :16, :16], base[:, :16, :16])
    assert torch.equal(shown[:, :16, 16:32], last[:, :16, 16:32])
    assert torch.equal(shown[:, :16, 32:], ((base + last + 1) / 2).floor()[:, :16, 32:])
    assert torch.equal(shown[:, 16:, :16], last[:, 15:31, 2:18])
    mean = (base[:, 16:31, 16:32] + last[:, 17:, 14:30] + 1) / 2
    assert torch.equal(shown[:, 16:31, 16:32], mean.floor())
    assert torch.equal(predict(base, None, modes, none, to_blocks(vectors)), base)
    added = torch.full_like(base, 3.0)
    shown = predict(base, still(last, added), none, none, to_blocks(vectors))
    assert torch.equal(shown, (base + 3).clamp(max=255))


def test_the_older_frame_is_read_at_the_vector_and_for_the_mean_at_twice_that() -> None:
    base, last, old = (smooth_picture(seed, 32, 48) for seed in (1, 2, 3))
    modes = torch.tensor([[WARPED, WARPED, MEAN], [MOVED, MOVED, BASE]])
    sources = torch.tensor([[OLDER, BOTH, OLDER], [OLDER, BOTH, LAST]])
    vectors = torch.zeros(2, 3, 2, dtype=torch.long)
    vectors[1, :2] = torch.tensor([8, -4])
    seen = replace(still(last), older=still(old))
    shown = predict(base, seen, modes, sources, to_blocks(vectors))
    assert torch.equal(shown[:, :16, :16], old[:, :16, :16])
    assert torch.equal(shown[:, :16, 16:32], ((last + old + 1) / 2).floor()[:, :16, 16:32])
    assert torch.equal(shown[:, :16, 32:], ((base + old + 1) / 2).floor()[:, :16, 32:])
    assert torch.equal(shown[:, 16:, :16], old[:, 15:31, 2:18])
    both = (last[:, 15:31, 18:34] + old[:, 14:30, 20:36] + 1) / 2
    assert torch.equal(shown[:, 16:, 16:32], both.floor())
    assert torch.equal(shown[:, 16:, 32:], base[:, 16:, 32:])


def test_what_comes_back_and_what_flickers_is_taken_from_the_older_frame() -> None:
    picture, price = smooth_picture(5, 64, 96, 3), torch.full((4, 6), LAMBDA * 8.0**2)
    noise = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 6
    last, old = (picture + noise).round().clamp(0, 255)
    last[:, :32], old[:, :32] = smooth_picture(6, 32, 96), picture[:, :32]
    seen = replace(still(last), older=still(old))
    vectors = torch.zeros(4, 6, 2, dtype=torch.long)
    _, sources, *_ = choose_modes(picture, torch.full_like(last, 128.0), seen, vectors, price)
    assert (sources[:2] == OLDER).all()
    assert (sources[2:] == BOTH).all()


def test_vectors_find_a_shift() -> None:
    last = smooth_picture(3, 96, 128)
    wide = still(last)
    target = Reference(last, None, wide.x + 5.25, wide.y - 3.5).moved(torch.zeros(6, 8, 2)).round()
    price = torch.full((6, 8), LAMBDA * 8.0**2)
    vectors = search_vectors(target, wide, price)
    inner = vectors[1:-1, 1:-1]
    assert torch.equal(inner, torch.tensor([21, -14]).expand_as(inner))
    grey = torch.full_like(last, 128.0)
    modes, _, split, parts, _ = choose_modes(target, grey, wide, vectors, price)
    assert (modes[1:-1, 1:-1] == MOVED).all()
    assert not split[1:-1, 1:-1].any()
    assert torch.equal(parts[2:-2, 2:-2], torch.tensor([21, -14]).expand(8, 12, 2))
    assert (search_vectors(last, wide, price) == 0).all()


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_finds_a_shift_of_half_pixels(preset: str) -> None:
    last = smooth_picture(3, 96, 128)
    wide, how = still(last), PRESETS[preset].vectors
    target = Reference(last, None, wide.x + 5.5, wide.y - 3.5).moved(torch.zeros(6, 8, 2)).round()
    price = torch.full((6, 8), LAMBDA * 8.0**2)
    inner = search_vectors(target, wide, price, how)[1:-1, 1:-1]
    assert torch.equal(inner, torch.tensor([22, -14]).expand_as(inner))


def test_vectors_of_a_dear_cube_stay_with_its_neighbours() -> None:
    last = smooth_picture(3, 96, 128)
    wide = still(last)
    target = Reference(last, None, wide.x + 5.25, wide.y - 3.5).moved(torch.zeros(6, 8, 2)).round()
    price = torch.full((6, 8), LAMBDA * 8.0**2)
    assert (search_vectors(target, wide, torch.full((6, 8), 1e9)) == 0).all()
    price[2:4, 2:4] = 1e9
    free = search_vectors(target, wide, price)
    assert torch.equal(free[0, 3:5], torch.tensor([[21, -14]] * 2))


def test_errors_of_near_displacements_are_those_of_the_displaced_picture() -> None:
    small, there = (smooth_picture(seed, 48, 64).mean(0) - 128 for seed in (5, 6))
    reach = 3
    padded = F.pad(there[None, None], (reach,) * 4, mode="replicate")[0, 0]
    errors = near_errors(small, padded, reach)
    for number, (dy, dx) in enumerate(product(range(-reach, reach + 1), repeat=2)):
        seen = padded[reach + dy :, reach + dx :][:48, :64]
        true = (seen - small).square().unflatten(0, (6, 8)).unflatten(2, (8, 8)).sum((1, 3))
        assert torch.allclose(errors[..., number], true, rtol=1e-4, atol=2.0)


def test_a_tile_is_found_where_it_was_drawn_before_beyond_the_reach_of_the_search() -> None:
    last, price = smooth_picture(3, 96, 160, 3), torch.full((6, 10), LAMBDA * 8.0**2)
    target = last.clone()
    target[:, 32:64, 32:64], target[:, :32, 96:128] = last[:, 32:64, 80:112], last[:, :32, 48:80]
    vectors = search_vectors(target, still(last), price)
    assert torch.equal(vectors[2:4, 2:4], torch.tensor([192, 0]).expand(2, 2, 2))
    assert torch.equal(vectors[:2, 6:8], torch.tensor([-192, 0]).expand(2, 2, 2))
    vectors[2:4, 2:4] = vectors[:2, 6:8] = 0
    assert not vectors.any()


def test_far_vectors_explain_those_cubes_alone_that_are_asked_for() -> None:
    there, poor = smooth_picture(4, 48, 80, 3).mean(0) - 128, torch.zeros(6, 10, dtype=torch.bool)
    small = there.roll((0, 20), (0, 1))
    small[:24] = there[:24]
    poor[4:] = True
    assert far_vectors(small, there, poor)[0] == (-20, 0)
    assert far_vectors(small, there, ~poor)[0] == (0, 0)


def test_cubes_are_split_where_their_blocks_move_apart() -> None:
    last, price = smooth_picture(3, 96, 128), torch.full((6, 8), LAMBDA * 8.0**2)
    wide, true = still(last), torch.zeros(12, 16, 2, dtype=torch.long)
    true[5, 4:8], true[4, 6], true[4, 7] = torch.tensor([[6], [-5], [4]]) * torch.tensor([1, -1])
    target = wide.moved(true).round()
    grey = torch.full_like(last, 128.0)
    modes, sources, split, vectors, _ = choose_modes(target, grey, wide, true[::2, ::2], price)
    assert not sources.any()
    assert split.nonzero().tolist() == [[2, 2], [2, 3]]
    assert (modes[2, 2:4] == MOVED).all()
    assert (vectors[4:6, 4:8] - true[4:6, 4:8]).abs().max() <= 1
    shown = predict(grey, wide, modes, sources, vectors)
    assert torch.equal(shown[:, 32:48, 32:64], whole(wide.moved(vectors))[:, 32:48, 32:64])


def test_weights_find_a_flash() -> None:
    last, price = smooth_picture(3, 96, 128), torch.full((6, 8), LAMBDA * 8.0**2)
    here = still(last)
    own = torch.full_like(last, 128.0)
    weights = torch.tensor([[-32, 60], [-32, 50], [-16, 0]])
    seen = here.weighted(weights).picture
    assert torch.equal(seen[0], (last[0] * 0.75 + 60.5 + 1 / 64).floor())
    moved = Reference(seen, None, here.x + 5.25, here.y - 3.5).moved(torch.zeros(6, 8, 2)).round()
    moved[:, 80:] = last[:, 80:]
    found, vectors = choose_weights(moved, own, here, price)
    assert (found - weights).abs().max() <= 1
    assert torch.equal(vectors[2, 2], torch.tensor([21, -14]))
    found, _ = choose_weights(last, own, here, price)
    assert not found.any()


def test_levels_pay_for_their_bits() -> None:
    target, step = smooth_picture(4, 48, 64, 3), 20.0
    coefficients = forward(target - 128)
    costs = LevelCosts.guess()
    steps = torch.full((3, 4), step)
    levels = choose_levels(coefficients, steps, costs)
    plain = (coefficients / step).round()
    assert (levels.abs() <= plain.abs()).all()
    assert 0 < (levels != 0).sum() < (plain != 0).sum()
    assert not choose_levels(torch.randn(3, 6, 8, 8, 8) * 3, steps, costs).any()
    fine = torch.full((3, 4), 2.0)
    near = reconstruct(
        torch.full_like(target, 128.0), choose_levels(coefficients, fine, costs), fine
    )
    assert (near - target).square().mean() < 1.5

    layer = GopDetail.empty(2, 3, 4)
    layer.levels[:] = levels.numpy()
    fitted = fit_costs([layer] * 20)
    seen = fitted.of(levels.abs())
    assert seen.gather(-1, levels.abs().long().clamp(max=3)[..., None]).sum() < (
        costs.of(levels.abs()).gather(-1, levels.abs().long().clamp(max=3)[..., None]).sum()
    )
    probability = torch.exp2(-fitted.bits[..., :1]) + torch.exp2(1 - fitted.bits[..., 1:]).sum(
        -1, keepdim=True
    )
    torch.testing.assert_close(probability, torch.ones_like(probability))


def test_training_goes_on_from_enhanced_pictures_in_a_share_of_the_chains() -> None:
    frames = torch.stack([smooth_picture(i, 32, 32) for i in range(16)]).view(8, 2, 3, 32, 32) / 255
    shown = torch.full_like(frames, 0.5)

    def chance() -> Chance:
        return Chance((1, 0, 7), range(8))

    refined = enhance(shown, frames, 0.5, chance())
    error = (refined - frames).square().mean((1, 2, 3, 4))
    before = (shown - frames).square().mean((1, 2, 3, 4))
    changed = error < 0.9 * before
    assert changed.sum() in (4, 5)
    assert torch.equal(refined[~changed], shown[~changed])
    assert torch.equal(refined, enhance(shown, frames, 0.5, chance()))
    whole = (refined * 255 - (refined * 255).round()).abs()
    assert float(whole[changed].max()) < 1e-3
    assert np.isfinite(refined.numpy()).all()


@pytest.mark.parametrize("size", [(48, 64), (16, 16)])
def test_the_post_filter_is_the_same_in_kernels(size: tuple[int, int]) -> None:
    torch.manual_seed(3)
    network = PostFilter().requires_grad_(False)
    torch.nn.init.normal_(network.write.weight, std=0.1)
    shown, prediction, base = torch.randint(0, 256, (3, 3, *size)).float()
    steps = torch.exp2(torch.randint(10, 50, (size[0] // 16, size[1] // 16)) / 6)
    each = enlarge(steps, (size[0] // 2, size[1] // 2))
    once = network(shown[None], prediction[None], base[None], each[None])[0]
    found = network.apply_to(shown, prediction, base, steps)
    assert torch.equal(found, once.round().clamp(0, 255))
    assert (found != shown).any()


def test_the_post_filter_learns_to_mend() -> None:
    def sample(seed: int, step: float) -> FilterSample:
        target = smooth_picture(seed, 64, 96, 4)
        levels = (forward(target - 128) / step).round()
        shown = reconstruct(torch.full_like(target, 128.0), levels, torch.full((4, 6), step))
        grey = np.full(target.shape, 128, np.uint8)
        return FilterSample(
            shown.to(torch.uint8).numpy(),
            grey,
            grey,
            target.to(torch.uint8).numpy(),
            np.full((32, 48), step, np.float32),
        )

    samples = [sample(seed, step) for seed in range(6) for step in (30.0, 60.0)]
    learned = fit_filter(samples, 150)
    assert learned is not None
    held = sample(99, 60.0)
    parts = (held.shown, held.prediction, held.guide, held.target)
    shown, prediction, base, target = (torch.from_numpy(part).float() for part in parts)
    filtered = learned.apply_to(shown, prediction, base, torch.full((4, 6), 60.0))
    assert torch.equal(filtered, filtered.round())
    assert (filtered - target).square().mean() < 0.95 * (shown - target).square().mean()
    again = fit_filter(samples, 150)
    assert again is not None
    assert torch.equal(again.apply_to(shown, prediction, base, torch.full((4, 6), 60.0)), filtered)
    assert fit_filter([], 150) is None


def test_a_mode_costs_less_where_it_came_before() -> None:
    before = torch.full((4, 5), WARPED)
    before[0] = BASE
    bits = mode_bits(before, before.shape)
    assert torch.allclose(torch.exp2(-bits).sum(0), torch.ones(4, 5))
    assert (bits[WARPED, 1:] < 0.6).all()
    assert (bits[BASE, 0] < bits[WARPED, 0]).all()
    assert (bits[WARPED, 0] < bits[MOVED, 0]).all()
    unknown = mode_bits(None, (2, 3))
    assert unknown.shape == (5, 2, 3)
    assert torch.allclose(torch.exp2(-unknown).sum(0), torch.ones(2, 3))
