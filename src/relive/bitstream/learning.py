"""Adaptive counts: the probabilities of small alphabets, learned as they are coded."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from relive.bitstream.coder import Counts, Ints

Numbers = npt.NDArray[np.int64]
FULL = 1 << 15  # a row of counts is halved from here on
STEP = 8  # what one symbol counts


class CountModel(Protocol):
    """What codes symbols whose counts are given."""

    def given(self, symbols: Ints, counts: Counts) -> Ints:
        """Code int32 symbols `[n]` under counts `[n, ways]`."""
        ...

    def raw(self, symbols: Ints, ways: int) -> Ints:
        """Code int32 symbols `[n]` below `ways`, all equally likely."""
        ...


class AdaptiveCounts:
    """Counts of an alphabet in several contexts, whole numbers.

    Attributes:
        table: float32 `[contexts, ways]`.
    """

    def __init__(self, first: npt.ArrayLike, contexts: int = 1) -> None:
        self.table: Counts = np.tile(np.asarray(first, np.float32), (contexts, 1))

    def code(self, model: CountModel, symbols: Numbers, contexts: Numbers) -> Numbers:
        """Code symbols `[n]` in contexts `[n]`, then learn them."""
        coded = model.given(symbols.astype(np.int32), self.table[contexts]).astype(np.int64)
        np.add.at(self.table, (contexts, coded), STEP)
        while (high := self.table.sum(1) > FULL).any():
            self.table[high] = np.ceil(self.table[high] / 2)
        return coded

    def code_one(self, model: CountModel, symbol: int, context: int = 0) -> int:
        """Code one symbol."""
        return int(self.code(model, np.array([symbol]), np.array([context]))[0])

    def copy(self) -> AdaptiveCounts:
        """The same counts, to go on by themselves."""
        other = AdaptiveCounts(self.table[0])
        other.table = self.table.copy()
        return other


def code_raw(model: CountModel, symbol: int, ways: int) -> int:
    """Code one symbol below `ways`, all equally likely."""
    return int(model.raw(np.array([symbol], np.int32), ways)[0])
