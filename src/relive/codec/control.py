"""Rate control: how fine to code a GOP, for a PSNR that none may miss; `targets.py` for bitrates.

GOPs come one after the other. Two neighbouring numbers of the scale are tried at a time, on two
workers, until the target lies between them: with the guess of the GOP before that is mostly the
first pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from relive.bitstream.detail import NUM_STEPS
from relive.codec.rate import Setting, price_of
from relive.errors import InputError

COARSER = 12
LAST = NUM_STEPS - 1 + COARSER
"""Highest number of the scale: 0 to 63 are quantiser steps, beyond them codes get dearer."""
FIRST_GUESS = 41
OCTAVES_A_NUMBER = 0.15  # of bytes
DB_A_NUMBER = 0.6
TOLERANCE = 0.03
PSNR_RANGE = (15.0, 60.0)


@dataclass(frozen=True)
class Target:
    """What to aim at: one of the two.

    Attributes:
        bitrate: of the whole file, bits per second of the session.
        psnr: of every GOP at least, dB, RGB.
    """

    bitrate: float | None = None
    psnr: float | None = None

    def check(self) -> None:
        """Raise `InputError` where a target cannot be meant."""
        low, high = PSNR_RANGE
        if self.bitrate is not None and not 0 < self.bitrate < math.inf:
            raise InputError(f"bitrate {self.bitrate:g} is not above 0")
        if self.psnr is not None and not low <= self.psnr <= high:
            raise InputError(f"PSNR {self.psnr:g} is not between {low:g} and {high:g} dB")


class Coded(Protocol):
    """What control has to know of an encoded GOP."""

    @property
    def size(self) -> int:
        """Bytes of its packets."""
        ...

    @property
    def psnr_db(self) -> float:
        """Measured; 0 where the GOP has no frame."""
        ...


C = TypeVar("C", bound=Coded)


def setting_of(number: int) -> Setting:
    """Setting of a number of the scale, 0 (finest) to `LAST`."""
    beyond = max(number - (NUM_STEPS - 1), 0)
    return Setting(price_of(number - beyond) * 2 ** (beyond / 2), number - beyond)


def search(
    tries: Callable[[Sequence[int]], Sequence[C]],
    value: Callable[[C], float],
    goal: float,
    guess: int,
    slope: float,
) -> tuple[dict[int, C], int]:
    """Find the coarsest number whose value is not below the goal.

    Args:
        tries: encodes at some numbers, one or two neighbours.
        value: of a result; falls as the number rises, by and large.
        goal: to be met.
        guess: where to begin.
        slope: by how much the value falls from a number to the next.

    Returns:
        All that was encoded, and the number; -1 where not even 0 meets the goal.
    """
    done: dict[int, C] = {}
    low, high = -1, LAST + 1
    while high - low > 1:
        first = min(max(guess, low + 1), high - 1)
        numbers = [n for n in (first, first + 1) if n < high]
        for number, result in zip(numbers, tries(numbers), strict=True):
            done[number] = result
            if value(result) >= goal:
                low = max(low, number)
            else:
                high = min(high, number)
        guess = first + math.floor((value(done[first]) - goal) / slope)
    return done, low


class Control:
    """Holds the target; for a PSNR chooses GOP after GOP, and remembers the last answer.

    Args:
        target: what to aim at.
    """

    def __init__(self, target: Target) -> None:
        target.check()
        self.target, self._guess = target, FIRST_GUESS
        self.missed = 0
        """GOPs whose PSNR stays under the floor even with the finest step."""

    def choose(self, tries: Callable[[Sequence[int]], Sequence[C]]) -> C:
        """Encode a GOP as coarse as the floor allows; see `search` for `tries`."""
        floor = self.target.psnr or 0.0
        done, best = search(tries, lambda c: c.psnr_db or math.inf, floor, self._guess, DB_A_NUMBER)
        self.missed += best < 0
        self._guess = min(max(best, 0), LAST)
        return done[self._guess]

    def reached(self, size: int, seconds: float) -> bool:
        """Whether a file of so many bytes, over so many seconds, meets the target."""
        if self.target.bitrate is None:
            return self.missed == 0
        return abs(size * 8 / seconds / self.target.bitrate - 1) <= TOLERANCE


def parse_bitrate(text: str) -> float:
    """Bits per second of a text such as `300k`, `1.2M` or `250000`.

    Raises:
        InputError: It is none.
    """
    factor = {"k": 1e3, "m": 1e6}.get(text[-1:].lower(), 1.0)
    try:
        value = float(text[:-1] if factor > 1 else text) * factor
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(f"bitrate {text!r} is no number of bits per second, such as 300k or 1.2M")
    return value
