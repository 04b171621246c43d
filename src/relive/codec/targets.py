"""GOPs of a session under a target: `control.py` for a PSNR, a budget of bytes for a bitrate.

A bitrate is that of the whole file, and the best picture for it is the same quality throughout. So
GOPs spread over the session are encoded first, to find the two neighbouring numbers of the scale
between which the file has the right size. Then each GOP takes one of the two; where a session turns
out otherwise than its samples, the number follows what is left.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from relive.codec.adapting import Watch
from relive.codec.control import FIRST_GUESS, LAST, OCTAVES_A_NUMBER, C, Control, search
from relive.codec.workers import NUM_WORKERS

FEW, SAMPLES = 4, 24
"""GOPs to begin with, and to make sure."""
MESSAGE_BYTES = 200  # of a GOP in the file, beside its packets, until one is written
GOLDEN = 0.618034
LAST_GOPS, SLACK = 3, 0.01  # that do not make up for what is missed by less of the budget
MAX_DRIFT = 8  # numbers that a GOP may be away from what the samples say

Submit = Callable[[int, int], "Future[C]"]
"""Begins to encode a GOP at a number of the scale."""


def to_psnr(count: int, submit: Submit[C], control: Control) -> Iterator[C]:
    """Encode `count` GOPs, each as coarse as the floor allows."""
    for index in range(count):

        def tries(numbers: Sequence[int], index: int = index) -> list[C]:
            waiting = [submit(index, number) for number in numbers]
            return [future.result() for future in waiting]

        yield control.choose(tries)


def to_bitrate(
    count: int, submit: Submit[C], budget: float, written: Callable[[], int], watch: Watch
) -> Iterator[C]:
    """Encode `count` GOPs within a budget, at one quality as far as that goes.

    Args:
        count: GOPs of the session.
        submit: begins to encode one.
        budget: bytes of the whole file.
        written: bytes that the file has already.
        watch: told of the samples.
    """
    head = written()
    samples = Samples(submit)
    plan = samples.plan(count, budget - head - MESSAGE_BYTES * count, watch)
    watch.begin("encoding")
    waiting: deque[tuple[float, Future[C]]] = deque()  # expected bytes
    sizes = done = 0
    for index in range(count):
        beside = (written() - head - sizes) / done if done else MESSAGE_BYTES
        under_way = sum(expected for expected, _ in waiting) + beside * len(waiting)
        left = budget - written() - under_way - beside * (count - index)
        number = plan.choose(index, left)
        waiting.append((plan.expected(index, number), samples.take(index, number)))
        if len(waiting) > NUM_WORKERS:
            encoded = waiting.popleft()[1].result()
            sizes, done = sizes + encoded.size, done + 1
            yield encoded
    while waiting:
        yield waiting.popleft()[1].result()


class Plan:
    """Which number each GOP takes.

    Args:
        low: the number at which the session is too large, or the finest.
        sizes: bytes of every GOP at `low` and at the number after it, `[count, 2]`: measured, or
            the mean of the samples.
        budget: bytes of all of them.
    """

    def __init__(self, low: int, sizes: NDArray[np.float64], budget: float) -> None:
        self._low, self._sizes, self._budget = low, sizes, budget
        self._finer = self._choose_finer(budget)
        planned = np.where(self._finer, sizes[:, 0], sizes[:, 1])
        self._later = np.maximum(np.cumsum(planned[::-1])[::-1], 1.0)  # of a GOP and all after it
        octaves = math.log2(max(sizes[:, 0].sum(), 1.0) / max(sizes[:, 1].sum(), 1.0))
        self._slope = max(octaves, OCTAVES_A_NUMBER / 4)

    def _choose_finer(self, budget: float) -> NDArray[np.bool_]:
        """Those that the budget has room for at `low`: what costs most first, spread otherwise."""
        gains = self._sizes[:, 0] - self._sizes[:, 1]
        spread_out = np.argsort(np.arange(len(gains)) * GOLDEN % 1.0)
        order = spread_out[np.argsort(-gains[spread_out], kind="stable")]
        finer, room = np.zeros(len(gains), np.bool_), budget - self._sizes[:, 1].sum()
        for index in order:
            if gains[index] <= room:
                finer[index], room = True, room - gains[index]
        return finer

    def choose(self, index: int, left: float) -> int:
        """Number of a GOP, where so many bytes are left for it and all after it."""
        drift = 0
        ends = len(self._later) - index <= LAST_GOPS
        if not ends or abs(self._later[index] - left) > SLACK * self._budget:
            over = math.log2(self._later[index] / max(left, 1.0)) / self._slope
            over = min(max(over, -MAX_DRIFT), MAX_DRIFT)
            drift = math.ceil(over) if ends and over < 0 else round(over)  # nothing makes up for it
        return min(max(self._low + 1 - int(self._finer[index]) + drift, 0), LAST)

    def expected(self, index: int, number: int) -> float:
        """Bytes of a GOP at a number."""
        beyond = number - min(max(number, self._low), self._low + 1)
        at = float(self._sizes[index, number - beyond - self._low])
        return at * float(2.0 ** (-self._slope * beyond))


@dataclass
class Samples(Generic[C]):
    """GOPs that were encoded on the way."""

    begin: Submit[C]
    known: dict[tuple[int, int], Future[C]] = field(default_factory=dict)

    def submit(self, index: int, number: int) -> Future[C]:
        """Encode a GOP at a number, unless that was done."""
        if (index, number) not in self.known:
            self.known[index, number] = self.begin(index, number)
        return self.known[index, number]

    def take(self, index: int, number: int) -> Future[C]:
        """As `submit`, for the last time: it is not kept, so that long sessions need no more."""
        return self.known.pop((index, number), None) or self.begin(index, number)

    def total(self, gops: Sequence[int], number: int) -> int:
        """Bytes of some GOPs at a number."""
        waiting = [self.submit(index, number) for index in gops]
        return sum(future.result().size for future in waiting)

    def plan(self, count: int, budget: float, watch: Watch) -> Plan:
        """Find the number between which and the next one `count` GOPs fit the budget."""
        watch.begin("sampling")
        guess = FIRST_GUESS
        for amount in (FEW, SAMPLES):
            gops = spread(count, amount)
            guess = low = self._lowest(gops, budget * len(gops) / count, guess)
        sizes = np.array([[self._size(g, low), self._size(g, low + 1)] for g in gops])
        every = np.broadcast_to(sizes.mean(axis=0), (count, 2)).copy()
        every[gops] = sizes
        self._forget(low)
        return Plan(low, every, budget)

    def _lowest(self, gops: Sequence[int], budget: float, guess: int) -> int:
        """Coarsest number at which some GOPs are not below a budget."""

        def tries(numbers: Sequence[int]) -> list[_Total]:
            return [_Total(self.total(gops, number)) for number in numbers]

        goal = math.log2(max(budget, 1.0))
        _, low = search(tries, _Total.octaves, goal, guess, OCTAVES_A_NUMBER)
        return min(max(low, 0), LAST - 1)

    def _size(self, index: int, number: int) -> float:
        return float(self.submit(index, number).result().size)

    def _forget(self, low: int) -> None:
        """Keep only what the plan may take."""
        self.known = {k: v for k, v in self.known.items() if k[1] in (low, low + 1)}


@dataclass(frozen=True)
class _Total:
    """GOPs together, as `search` wants a result."""

    size: int
    psnr_db: float = 0.0

    def octaves(self) -> float:
        """Logarithm of the bytes."""
        return math.log2(max(self.size, 1))


def spread(count: int, amount: int) -> list[int]:
    """At most `amount` numbers below `count`, as far apart as they can be."""
    if count <= amount:
        return list(range(count))
    return sorted({int((2 * k + 1) * count / (2 * amount)) for k in range(amount)})


__all__ = ["Plan", "Samples", "spread", "to_bitrate", "to_psnr"]
