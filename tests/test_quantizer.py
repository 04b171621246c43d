"""The residual quantiser: prefixes, the zero codeword, learning."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relive.config import QuantizerConfig
from relive.quantizer.rvq import ResidualVQ

CONFIG = QuantizerConfig(num_quantizers=4, codebook_size=32, codebook_dim=6)


def _started(seed: int = 0) -> tuple[ResidualVQ, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(2000, 6, generator=generator) * torch.tensor([3.0, 2, 1, 1, 0.5, 0.1])
    quantizer = ResidualVQ(CONFIG)
    for kind in (0, 1):
        quantizer.start(vectors, kind, generator)
    return quantizer, vectors


def test_first_codeword_stays_zero() -> None:
    quantizer, vectors = _started()
    quantizer.train()
    for _ in range(20):
        quantizer(vectors, torch.full((2000,), 4), torch.arange(2000) % 2)
    quantizer.restart(vectors, 0, torch.Generator().manual_seed(1))
    assert not quantizer.codebooks[:, :, 0].any()


def test_each_stage_leaves_less() -> None:
    quantizer, vectors = _started()
    codes = quantizer.encode(vectors, 0)
    errors = [
        float((vectors - quantizer.decode(codes, torch.full((2000,), d), 0)).square().mean())
        for d in range(5)
    ]
    assert errors[0] == float(vectors.square().mean())
    assert all(b < a * 0.8 for a, b in pairwise(errors)), errors


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(0, 1))
def test_prefix_decodes_as_the_sum_of_its_codewords(depths: list[int], kind: int) -> None:
    quantizer, vectors = _started()
    codes = quantizer.encode(vectors[: len(depths)], kind)
    decoded = quantizer.decode(codes, torch.tensor(depths), kind)
    for row, depth in enumerate(depths):
        parts = [quantizer.codebooks[kind, k, codes[row, k]] for k in range(depth)]
        expected = torch.stack(parts).sum(0) if parts else torch.zeros(6)
        assert torch.allclose(decoded[row], expected, atol=1e-6)


def test_coding_the_zero_vector_is_free_of_error() -> None:
    quantizer, _ = _started()
    codes = quantizer.encode(torch.zeros(1, 6), 1)
    assert codes.tolist() == [[0, 0, 0, 0]]


def test_learning_lowers_the_error_and_restarts_revive() -> None:
    quantizer, vectors = _started()
    shifted = vectors * 1.5 + 2
    before = quantizer.eval()(shifted, torch.full((2000,), 4), torch.zeros(2000)).commitment
    quantizer.train()
    for _ in range(300):
        quantizer(shifted, torch.full((2000,), 4), torch.zeros(2000))
    after = quantizer.eval()(shifted, torch.full((2000,), 4), torch.zeros(2000)).commitment
    assert after < before * 0.6
    quantizer.counts[0, 0, 5] = 1e-6
    assert quantizer.restart(shifted, 0, torch.Generator().manual_seed(0)) >= 1
    assert quantizer.counts[0, 0, 5] > 1e-3


def test_gradient_passes_straight_through_where_something_is_sent() -> None:
    quantizer, vectors = _started()
    x = vectors[:4].clone().requires_grad_()
    depths = torch.tensor([0, 1, 2, 4])
    quantizer.eval()(x, depths, torch.zeros(4)).vectors.sum().backward()
    assert x.grad is not None
    assert x.grad[0].abs().sum() == 0
    assert torch.equal(x.grad[1:], torch.ones(3, 6))
