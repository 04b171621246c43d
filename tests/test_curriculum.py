"""The learned masking module: exact counts, chance by row, and that it learns what it is asked."""

import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from relive.errors import InputError
from relive.model.masks import check_counts, hidden_count
from relive.train.curriculum import RANGE, Curriculum, MaskingModule, draw, masking_loss, sameness


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- draws


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 4), st.integers(1, 12), st.integers(1, 12), st.floats(0, 0.99), st.integers(0, 9)
)
def test_every_row_hides_the_exact_count(b: int, h: int, w: int, ratio: float, seed: int) -> None:
    hidden = hidden_count(h * w, ratio)
    logits = torch.randn(b, h, w, generator=seeded(seed)) * 4
    masked = draw(logits, hidden, seeded(seed))
    assert masked.dtype == torch.bool
    assert masked.shape == logits.shape
    assert check_counts(masked) == h * w - hidden


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    logits = torch.randn(3, 6, 5, generator=seeded())
    together = draw(logits, 20, [seeded(7), seeded(8), seeded(9)])
    for row in range(3):
        assert torch.equal(draw(logits[row : row + 1], 20, [seeded(7 + row)])[0], together[row])


def test_draws_follow_the_logits() -> None:
    logits = torch.zeros(4000, 1, 4)
    logits[..., 0] = math.log(3.0)  # three times the weight of each of the others
    first = draw(logits, 1, seeded()).float().mean(0)[0]
    assert torch.allclose(first, torch.tensor([3.0, 1.0, 1.0, 1.0]) / 6, atol=0.025)
    two = draw(logits, 2, seeded()).float().mean(0)[0]
    # first by its share, or second after one of the others
    assert float(two[0]) == pytest.approx(0.5 + 0.5 * 3 / 5, abs=0.025)


def test_equal_logits_hide_every_cube_equally() -> None:
    shares = draw(torch.zeros(3000, 4, 4), 12, seeded()).float().mean(0)
    assert torch.allclose(shares, torch.full((4, 4), 0.75), atol=0.035)


def test_draws_refuse_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="0 to 3"):
        draw(torch.zeros(1, 2, 2), 4, seeded())
    with pytest.raises(ValueError, match="1 generators for 2 rows"):
        draw(torch.zeros(2, 2, 2), 1, [seeded()])


# --- the module


def test_masks_are_random_at_the_start() -> None:
    module = MaskingModule()
    frames = torch.rand(2, 2, 3, 64, 96, generator=seeded())
    assert not module(frames).any()
    assert module(frames, frames - 0.5).shape == (2, 4, 6)


def test_the_module_takes_rows_one_by_one() -> None:
    torch.manual_seed(0)
    module = MaskingModule()
    torch.nn.init.normal_(module.score.weight, std=2.0)
    frames = torch.rand(3, 2, 3, 64, 64, generator=seeded())
    rows = [module(frames[i : i + 1], frames[i : i + 1] - 0.5) for i in range(3)]
    both = module(frames, frames - 0.5)
    assert torch.allclose(torch.cat(rows), both, atol=1e-5)
    assert 0.5 < float(both.detach().abs().max()) <= RANGE


@cache
def learn(difficulty: float, updates: int = 40) -> tuple[MaskingModule, float]:
    """Train where pictures are noisy on one side, mostly the left, and errors with them.

    Returns:
        The module, and the share of hidden cubes that lie where errors are large.
    """
    torch.manual_seed(0)
    module, generator = MaskingModule(32), seeded(1)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    for _ in range(updates):
        frames, hard = noisy(8, generator)
        logits = module(frames, frames - 0.5)
        masked = draw(logits, 48, generator)
        errors = 0.001 + 0.01 * hard * torch.rand(hard.shape, generator=generator)
        decoded = torch.rand(hard.shape, generator=generator) < 0.5
        errors = errors.masked_fill(~decoded, math.nan)
        optimizer.zero_grad()
        masking_loss(logits, masked, errors, difficulty).backward()
        optimizer.step()
    frames, hard = noisy(64, seeded(99))
    with torch.no_grad():
        masked = draw(module(frames, frames - 0.5), 48, seeded(2))
    return module, float((masked * hard).sum() / masked.sum())


def noisy(batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures of 8x8 cubes, one half of each noisy: frames, and 1 where a cube is noisy."""
    left = torch.rand(batch, generator=generator) < 0.75
    halves = (torch.arange(8) < 4)[None] == left[:, None]
    hard = halves[:, None].expand(-1, 8, -1).float()
    pixels = hard.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None, None]
    noise = torch.rand(batch, 2, 3, 128, 128, generator=generator) - 0.5
    return 0.5 + noise * pixels, hard


def test_the_adversary_hides_what_is_hard_and_the_partner_what_is_easy() -> None:
    # 48 of 64 cubes are hidden: at most 32, two thirds, can lie in one half; by chance half of them
    _, adversary = learn(1)
    _, partner = learn(-1)
    _, neutral = learn(0)
    assert adversary > 0.58, adversary
    assert partner < 0.42, partner
    assert neutral == pytest.approx(0.5, abs=0.02)


def test_the_module_looks_at_the_picture() -> None:
    module, _ = learn(1)
    frames, hard = noisy(64, seeded(5))
    with torch.no_grad():
        logits = module(frames, frames - 0.5)
    # the rare side too: noise on the right is worth more than a still left
    right = hard[:, 0, 7] > 0
    assert float(logits[right][..., 4:].mean()) > float(logits[right][..., :4].mean())


# --- the loss


def test_the_loss_moves_only_cubes_that_were_hidden_and_decoded() -> None:
    logits = torch.zeros(1, 2, 3, requires_grad=True)
    masked = torch.tensor([[[True, True, True], [True, False, False]]])
    errors = torch.tensor([[[1.0, 3.0, 2.0], [math.nan, 100.0, math.nan]]])
    loss = masking_loss(logits, masked, errors, difficulty=1, diversity=0)
    (gradient,) = torch.autograd.grad(loss, logits)
    advantage = math.sqrt(1.5)  # errors 1, 3, 2: mean 2, deviation sqrt(2/3)
    expected = torch.tensor([[[advantage, -advantage, 0], [0, 0, 0]]]) / 3
    assert torch.allclose(gradient, expected, atol=1e-5)
    assert gradient.sum().abs() < 1e-6


@settings(deadline=None, max_examples=30)
@given(st.floats(1e-4, 10), st.floats(0.01, 100))
def test_the_loss_does_not_care_for_the_scale_of_errors(scale: float, shift: float) -> None:
    generator = seeded(3)
    logits = torch.randn(2, 4, 4, generator=generator)
    masked = draw(logits, 12, generator)
    errors = torch.rand(2, 4, 4, generator=generator)
    loss = masking_loss(logits, masked, errors, 1)
    other = masking_loss(logits, masked, errors * scale + shift * scale, 1)
    assert torch.allclose(loss, other, atol=2e-3)


def test_a_row_without_measured_cubes_says_nothing() -> None:
    logits = torch.zeros(2, 2, 2, requires_grad=True)
    masked = torch.tensor([[[True, True], [True, False]]]).repeat(2, 1, 1)
    errors = torch.full((2, 2, 2), math.nan)
    errors[1] = 0.25  # all alike
    (gradient,) = torch.autograd.grad(masking_loss(logits, masked, errors, 1), logits)
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 1e-6


def test_sameness_by_hand() -> None:
    assert float(sameness(torch.full((3, 4), 2.0))) == pytest.approx(0, abs=1e-6)
    left = torch.tensor([1.0, 1.0, -1.0, -1.0])
    p = math.e / (math.e + 1 / math.e) / 2  # of one of the two likely cubes
    both = 2 * p * p + 2 * (0.5 - p) ** 2
    assert float(sameness(left[None])) == pytest.approx(0.5)  # half of a variance of 1
    same = float(sameness(torch.stack([left, left])))
    assert same == pytest.approx(0.5 + 4 * both - 1, rel=1e-5)
    other = float(sameness(torch.stack([left, -left])))
    assert other == pytest.approx(0.5 + 4 * 4 * p * (0.5 - p) - 1, rel=1e-5)
    assert other < 0.5 < same


# --- the plan


def test_three_phases() -> None:
    plan = Curriculum()
    assert [plan.difficulty(s) for s in (0, 0.33, 1 / 3, 0.5, 0.66, 2 / 3, 1.0, 1.01)] == [
        *(-1.0, -1.0),
        *(0.0, 0.0, 0.0),
        *(1.0, 1.0, 1.0),
    ]
    assert [plan.ratio(s) for s in (0, 1 / 6, 1 / 3, 2 / 3, 1.0, 1.2)] == (
        [0.85, 0.875, 0.9, 0.925, 0.95, 0.95]
    )
    assert [u for u in range(20) if plan.updates_module(u)] == [0, 8, 16]


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 4000))
def test_more_is_hidden_as_the_run_goes_on(a: float, b: float, cubes: int) -> None:
    plan, (early, late) = Curriculum(), sorted((a, b))
    assert 0.85 <= plan.ratio(early) <= plan.ratio(late) <= 0.95
    assert plan.hidden(early, cubes) == hidden_count(cubes, plan.ratio(early))
    assert plan.hidden(early, cubes) <= plan.hidden(late, cubes) < cubes


def test_the_plan_refuses_what_is_none() -> None:
    with pytest.raises(InputError, match="rise"):
        Curriculum(first=0.95, second=0.9)
    with pytest.raises(InputError, match="every"):
        Curriculum(every=0)
