"""A bitrate becomes one quality for the whole session."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import pytest

from relive.codec.adapting import Watch
from relive.codec.control import LAST
from relive.codec.targets import Plan, spread, to_bitrate

HEAD, MESSAGE = 900, 190


@dataclass(frozen=True)
class Coded:
    """What a GOP is at a number."""

    size: int
    number: int
    psnr_db: float = 0.0


class Codec:
    """GOPs whose bytes fall by an eighth with every number, as they do; some cost more."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights, self.calls, self.bytes = weights, 0, HEAD

    def submit(self, index: int, number: int) -> Future[Coded]:
        self.calls += 1
        future: Future[Coded] = Future()
        size = int(self.weights[index] * 200_000 * 2 ** (-0.17 * number)) + 60
        future.set_result(Coded(size, number))
        return future

    def run(self, budget: float) -> list[int]:
        numbers = []
        every = to_bitrate(len(self.weights), self.submit, budget, lambda: self.bytes, Watch())
        for coded in every:
            self.bytes += coded.size + MESSAGE
            numbers.append(coded.number)
        return numbers


@pytest.mark.parametrize("budget", [3_000, 8_000, 20_000])
@pytest.mark.parametrize("count", [8, 24, 25, 200])
def test_the_budget_is_met_at_one_quality(count: int, budget: float) -> None:
    weights = np.random.default_rng(count).lognormal(0, 0.5, count)
    codec = Codec(weights)
    numbers = codec.run(budget * count)
    assert abs(codec.bytes / (budget * count) - 1) < 0.03
    assert max(numbers) - min(numbers) <= (1 if count <= 24 else 4)
    assert codec.calls < 7 * 24 + 2 * count


def test_a_session_unlike_its_samples_still_meets_the_budget() -> None:
    weights = np.full(240, 0.5)
    weights[spread(240, 24)] = 1.0
    weights[200:] = 2.0
    codec = Codec(weights)
    codec.run(240 * 8_000)
    assert codec.calls < 7 * 24 + 240
    assert abs(codec.bytes / (240 * 8_000) - 1) < 0.03


def test_quality_ends_where_the_scale_does() -> None:
    assert set(Codec(np.ones(30)).run(1e12)) == {0}
    assert set(Codec(np.ones(30)).run(100.0)) == {LAST}


def test_what_is_measured_is_planned_exactly() -> None:
    """Bytes that remain are fewer than the cheapest GOP would cost more."""
    rng = np.random.default_rng(0)
    after = rng.integers(500, 5_000, 20).astype(float)
    sizes = np.stack([after * 1.13, after], 1)
    budget = float(sizes.mean(1).sum())
    plan, left = Plan(30, sizes, budget), budget
    for index in range(20):
        number = plan.choose(index, left)
        assert number in (30, 31)
        left -= plan.expected(index, number)
    assert 0 <= left < np.diff(-sizes).min() + 1


def test_samples_are_spread() -> None:
    assert spread(5, 24) == [0, 1, 2, 3, 4]
    gops = spread(1000, 24)
    assert len(gops) == 24
    assert max(np.diff(gops)) - min(np.diff(gops)) <= 1
    assert min(gops) + max(gops) == 999
