"""Losses on the rebuilt picture: space, time, state, rate; and the weights that follow them."""

import json
import math
from functools import cache
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from relive.config import QuantizerConfig, StateInput
from relive.errors import InputError
from relive.quantizer.rvq import ResidualVQ
from relive.train.consistency import (
    StateAlignment,
    rate,
    spatial_consistency,
    temporal_coherence,
)
from relive.train.weighting import DynamicWeights


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(batch: int, h: int, w: int, seed: int = 0) -> Tensor:
    return torch.rand(batch, 2, 3, 16 * h, 16 * w, generator=seeded(seed))


# --- space


def test_space_knows_no_error_but_that_of_differences() -> None:
    truth, regions = pictures(2, 2, 3), torch.zeros(2, 2, 3, dtype=torch.long)
    assert float(spatial_consistency(truth, truth, regions)) == 0
    assert float(spatial_consistency(truth + 0.3, truth, regions)) < 1e-12


def test_space_leaves_boundaries_of_regions_alone() -> None:
    truth = pictures(1, 2, 2)
    step = torch.zeros_like(truth)
    step[..., 16:] = 0.5  # the right column of cubes is brighter than it should be
    apart = torch.tensor([[[0, 1], [2, 3]]])
    together = torch.zeros(1, 2, 2, dtype=torch.long)
    assert float(spatial_consistency(truth + step, truth, apart)) < 1e-12
    # one pair of 31 in a row is wrong by 0.5; lower neighbours are right
    expected = 0.25 / 31 / 2
    assert float(spatial_consistency(truth + step, truth, together)) == pytest.approx(expected)


def test_space_of_a_batch_is_the_mean_of_its_rows() -> None:
    frames, truth = pictures(2, 2, 2, 1), pictures(2, 2, 2, 2)
    regions = torch.tensor([[[0, 0], [0, 0]], [[0, 1], [2, 3]]])
    rows = [
        spatial_consistency(frames[i : i + 1], truth[i : i + 1], regions[i : i + 1]) for i in (0, 1)
    ]
    assert torch.allclose(spatial_consistency(frames, truth, regions), torch.stack(rows).mean())


def test_space_asks_for_the_contrast_that_blur_loses() -> None:
    truth = (torch.arange(32) % 2).float().expand(1, 2, 3, 32, 32)
    regions = torch.zeros(1, 2, 2, dtype=torch.long)
    blurred = torch.full_like(truth, 0.5).requires_grad_()
    (gradient,) = torch.autograd.grad(spatial_consistency(blurred, truth, regions), blurred)
    inner = (slice(None),) * 4 + (slice(1, -1),)
    assert (-(gradient * (truth - 0.5))[inner] > 0).all()  # a step brings the stripes back


# --- time


def test_time_of_a_keyframe_knows_no_frame_before() -> None:
    truth = pictures(1, 1, 1)
    nonsense = torch.full((1, 3, 16, 16), math.nan)
    key = torch.zeros(1)
    assert float(temporal_coherence(truth + 0.2, truth, nonsense, truth[:, 0], key)) < 1e-12
    frames = truth.clone()
    frames[:, 1] += 0.2
    loss = temporal_coherence(frames, truth, nonsense, truth[:, 0], key)
    assert float(loss) == pytest.approx(0.04, rel=1e-4)


def test_time_of_a_delta_counts_the_step_from_the_frame_before() -> None:
    truth, before = pictures(2, 1, 1), pictures(2, 1, 1, 5)[:, 0]
    frames = truth + torch.tensor([0.3, 0.5])[:, None, None, None]
    is_delta = torch.tensor([1.0, 0.0])
    loss = temporal_coherence(frames, truth, before + 0.1, before, is_delta)
    # delta: (0.2² + 0.2²) / 2; keyframe: 0.2²
    assert float(loss) == pytest.approx(0.04, rel=1e-4)
    steady = temporal_coherence(truth + 0.1, truth, before + 0.1, before, is_delta)
    assert float(steady) < 1e-12


def test_time_teaches_the_pair_and_not_the_frame_before() -> None:
    truth = pictures(1, 1, 1)
    frames = pictures(1, 1, 1, 1).requires_grad_()
    before = pictures(1, 1, 1, 2)[:, 0].requires_grad_()
    temporal_coherence(frames, truth, before, truth[:, 0], torch.ones(1)).backward()
    assert before.grad is None
    assert frames.grad is not None
    assert float(frames.grad.abs().sum()) > 0


# --- state

INPUTS = (
    StateInput("health", "linear", 50.0, 30.0),
    StateInput("yaw", "angle"),
    StateInput("ammo", "linear", 10.0, 5.0),
)


def shown_states(batch: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures whose brightness is the health, and whose red and green are a direction."""
    generator = seeded(seed)
    states = torch.zeros(batch, 3, 3)
    health = torch.rand(batch, generator=generator) * 100
    yaw = torch.rand(batch, generator=generator) * 2 * math.pi
    states[:, -1] = torch.stack([health, yaw, torch.full_like(yaw, 10.0)], 1)
    colours = torch.stack([yaw.sin() / 2 + 0.5, yaw.cos() / 2 + 0.5, health / 100], 1)
    frames = colours[:, None, :, None, None].expand(-1, 2, -1, 16, 16)
    return frames, torch.zeros(batch, 3, 16, 16), states


@cache
def trained(shuffle: bool) -> tuple[StateAlignment, float]:
    """Train on pictures, with their own states or with those of others; the loss on new ones."""
    torch.manual_seed(0)
    reader = StateAlignment(INPUTS)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=3e-3)
    known = torch.ones(64, 3)
    for update in range(150):
        frames, before, states = shown_states(64, update)
        states = states.roll(1, 0) if shuffle else states
        optimizer.zero_grad()
        reader(frames, before, states, known).backward()
        optimizer.step()
    with torch.no_grad():
        return reader, float(reader(*shown_states(64, 1000), known))


def test_state_is_read_from_the_picture() -> None:
    _, own = trained(shuffle=False)
    _, others = trained(shuffle=True)
    assert own < 0.1 * others, (own, others)


def test_state_pulls_the_picture_to_what_it_says() -> None:
    reader, _ = trained(shuffle=False)
    frames, before, states = shown_states(8, 2000)
    wrong = frames.roll(1, 0).clone().requires_grad_()  # pictures of another state
    known = torch.ones(8, 3)
    first = reader(wrong, before, states, known)
    (gradient,) = torch.autograd.grad(first, wrong)
    assert gradient.flatten(1).abs().sum(1).gt(0).all()
    better = wrong - gradient / gradient.abs().max() * 0.1
    assert reader(better.detach(), before, states, known) < first


def test_state_of_unknown_fields_does_not_count() -> None:
    torch.manual_seed(0)
    reader = StateAlignment(INPUTS)
    frames, before, states = shown_states(2, 0)
    known = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    loss = reader(frames, before, states, known)
    other = states.clone()
    other[0, -1, 2], other[1, -1] = math.nan, 7.0
    assert torch.equal(reader(frames, before, other, known), loss)
    alone = reader(frames[:1], before[:1], states[:1], known[:1])
    assert torch.allclose(loss, alone / 2)  # the row without a known field gave 0
    turned = states.clone()
    turned[0, -1, 1] += 2 * math.pi
    assert torch.allclose(reader(frames, before, turned, known), loss, atol=1e-5)


def test_state_may_have_no_fields() -> None:
    reader = StateAlignment(())
    frames = torch.rand(2, 2, 3, 16, 16, requires_grad=True)
    loss = reader(frames, frames[:, 0], torch.zeros(2, 3, 0), torch.zeros(2, 0))
    loss.backward()
    assert not loss.any()


# --- rate

CONFIG = QuantizerConfig(num_quantizers=3, codebook_size=16, codebook_dim=4, decay=0.9)


def started(seed: int = 0) -> tuple[ResidualVQ, Tensor]:
    """A quantiser that has seen vectors of which half are nearly nothing."""
    generator = seeded(seed)
    vectors = torch.randn(800, 4, generator=generator)
    vectors[::2] *= 0.1
    quantizer = ResidualVQ(CONFIG)
    for kind in (0, 1):
        quantizer.start(vectors, kind, generator)
    return quantizer, vectors


def slow_bits(quantizer: ResidualVQ, vectors: Tensor, depths: Tensor, kinds: Tensor) -> float:
    """Bits of a vector, codeword after codeword, where none is rarer than the floor."""
    total = 0.0
    for vector, depth, kind in zip(vectors, depths.tolist(), kinds.tolist(), strict=True):
        codes = quantizer.encode(vector[None], kind)[0].tolist()
        for stage in range(depth):
            counts = quantizer.counts[kind, stage]
            total -= math.log2(float(counts[codes[stage]] / counts.sum()))
    return total / len(vectors)


def test_rate_of_codewords_alike_is_their_number() -> None:
    quantizer, vectors = started()
    quantizer.counts.fill_(3.0)
    depths, kinds = torch.arange(800) % 4, torch.arange(800) % 2
    expected, actual = rate(quantizer, vectors, depths, kinds)
    assert float(expected) == pytest.approx(1.5 * 4, rel=1e-5)  # mean depth, log2(16)
    assert float(actual) == pytest.approx(1.5 * 4, rel=1e-5)


def test_rate_is_what_the_codes_cost() -> None:
    quantizer, vectors = started()
    depths, kinds = torch.arange(800) % 4, (torch.arange(800) // 4) % 2
    expected, actual = rate(quantizer, vectors, depths, kinds)
    assert float(actual) == pytest.approx(slow_bits(quantizer, vectors, depths, kinds), rel=1e-4)
    assert float(actual) * 0.7 < float(expected) < float(actual) * 1.5
    assert not actual.requires_grad


def test_rate_of_nothing_sent_is_zero() -> None:
    quantizer, vectors = started()
    vectors.requires_grad_()
    none = torch.zeros(800, dtype=torch.long)
    expected, actual = rate(quantizer, vectors, none, none)
    expected.backward()
    assert not expected.any()
    assert not actual.any()
    assert vectors.grad is not None
    assert not vectors.grad.any()
    empty, _ = rate(quantizer, vectors[:0], none[:0], none[:0])
    assert not empty.any()


def test_rate_floor_bounds_a_codeword_never_used() -> None:
    quantizer, vectors = started()
    quantizer.counts.zero_()
    quantizer.counts[..., 0] = 1.0
    _, actual = rate(quantizer, vectors, torch.ones(800), torch.zeros(800))
    assert 0 < float(actual) < 13.4


def test_steps_down_the_rate_lower_the_actual_bits() -> None:
    quantizer, vectors = started()
    vectors = vectors.clone().requires_grad_()
    depths, kinds = torch.full((800,), 3), torch.arange(800) % 2
    bits = []
    for _ in range(20):
        expected, actual = rate(quantizer, vectors, depths, kinds)
        (gradient,) = torch.autograd.grad(expected, vectors)
        vectors = (vectors - 8 * gradient).detach().requires_grad_()
        bits.append(float(actual))
    assert bits[-1] < 0.95 * bits[0], bits
    assert sum(b < a for a, b in pairwise(bits)) > 14, bits


def test_rate_outlives_codebooks_that_learn_before_the_gradient() -> None:
    quantizer, vectors = started()
    quantizer.train()
    vectors.requires_grad_()
    depths, kinds = torch.full((800,), 3), torch.arange(800) % 2
    expected, _ = rate(quantizer, vectors, depths, kinds)
    books = quantizer.codebooks.clone()
    quantizer(vectors.detach(), depths, kinds)
    assert not torch.equal(books, quantizer.codebooks)
    expected.backward()
    assert vectors.grad is not None


# --- weights


def test_weights_by_hand() -> None:
    weights = DynamicWeights({"a": 1.0, "b": 0.3, "off": 0.0}, window=2)
    for a, b in ((4.0, 1.0), (2.0, 1.0)):  # means 3 and 1
        assert weights.weights() == {"a": 1.0, "b": 0.3, "off": 0.0}
        weights.observe({"a": a, "b": b, "off": 9.0, "not ours": 1.0})
    for a, b in ((2.0, 1.0), (1.0, 2.0)):  # means 1.5 and 1.5: r is 0.5 and 1.5
        weights.observe({"a": a, "b": b})
    powers = math.exp(0.25), math.exp(0.75)
    found = weights.weights()
    assert found["a"] == pytest.approx(2 * powers[0] / sum(powers))
    assert found["b"] == pytest.approx(0.3 * 2 * powers[1] / sum(powers))
    assert found["off"] == 0


def test_weights_may_stay_fixed() -> None:
    weights = DynamicWeights({"a": 1.0, "b": 0.3}, window=1, fixed=True)
    for value in (1.0, 0.1, 5.0):
        weights.observe({"a": value, "b": 1.0})
    assert weights.weights() == {"a": 1.0, "b": 0.3}


def test_a_loss_of_nothing_or_of_a_leap_leaves_the_others_their_weight() -> None:
    weights = DynamicWeights({"a": 1.0, "b": 1.0}, window=1)
    for a, b in ((0.0, 1.0), (1.0, 1.0)):
        weights.observe({"a": a, "b": b})
    assert weights.weights() == pytest.approx({"a": 1.0, "b": 1.0})
    weights.observe({"a": 1000.0, "b": 1.0})
    assert weights.weights()["b"] > 0.7
    weights.observe({"a": math.nan})  # neither says anything of this window
    assert weights.weights() == pytest.approx({"a": 1.0, "b": 1.0})


losses = st.fixed_dictionaries({"a": st.floats(1e-9, 1e3), "b": st.floats(1e-9, 1e3)})


@settings(deadline=None, max_examples=50)
@given(st.lists(losses, min_size=1, max_size=20), st.integers(0, 20))
def test_weights_go_on_bit_for_bit(seen: list[dict[str, float]], stop: int) -> None:
    whole, first = (DynamicWeights({"a": 1.0, "b": 0.3}, window=3) for _ in range(2))
    for update in seen:
        whole.observe(update)
    for update in seen[:stop]:
        first.observe(update)
    second = DynamicWeights({"a": 1.0, "b": 0.3}, window=3)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for update in seen[stop:]:
        second.observe(update)
    assert second.weights() == whole.weights()
    assert second.state_dict() == whole.state_dict()
    assert sum(w / base for w, base in zip(whole.weights().values(), (1, 0.3), strict=True)) == (
        pytest.approx(2)
    )


def test_weights_refuse_what_is_none() -> None:
    with pytest.raises(InputError, match="0 or more"):
        DynamicWeights({"a": -1.0})
    with pytest.raises(InputError, match="window"):
        DynamicWeights({"a": 1.0}, window=0)
    with pytest.raises(InputError, match="others"):
        DynamicWeights({"a": 1.0}).load_state_dict(DynamicWeights({"b": 1.0}).state_dict())
