"""Weights of the losses that follow how fast each of them falls.

Dynamic Weight Average (Liu et al., "End-to-End Multi-Task Learning with Attention", arXiv
1803.10704): with r_k the mean loss of the last window over that of the window before,

    w_k = base_k · K · softmax(r / T)_k

so a loss that falls slower than the others gets more weight, and the sum of w_k / base_k stays K.
It costs no gradient of its own, which methods that compare gradients do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from relive.errors import InputError

NOTHING = 1e-12  # a loss below it has nothing left to fall
# A loss that leaps, as where a phase begins, would take the weight of all others in the paper's
# formula; twice the loss is as much as counts.
HIGHEST_RATIO = 2.0


class DynamicWeights:
    """Weights of K losses, changed once per window of updates.

    Until two windows are over the weights are the base. Every process of a run must observe the
    same numbers: means over the processes.

    Args:
        base: weight of every loss; a loss of weight 0 stays out and is not counted in K.
        window: updates whose mean is compared.
        temperature: T; the higher, the more alike the weights.
        fixed: keep the base weights.

    Raises:
        InputError: A base weight is negative, the window is empty or the temperature is not over 0.
    """

    def __init__(
        self,
        base: Mapping[str, float],
        window: int = 100,
        temperature: float = 2.0,
        fixed: bool = False,
    ) -> None:
        wrong = {name: weight for name, weight in base.items() if not 0 <= weight < math.inf}
        if wrong:
            raise InputError(f"weights of losses are 0 or more, not {wrong}")
        if window < 1 or temperature <= 0:
            raise InputError(f"no window of {window} updates, or no temperature {temperature}")
        self.base = {name: float(weight) for name, weight in base.items()}
        self.window, self.temperature, self.fixed = window, temperature, fixed
        self._tasks = [name for name, weight in self.base.items() if weight > 0]
        self._updates = 0
        self._sums = dict.fromkeys(self._tasks, 0.0)
        self._counts = dict.fromkeys(self._tasks, 0)
        self._last: dict[str, float] = {}
        self._before: dict[str, float] = {}

    def weights(self) -> dict[str, float]:
        """Weight of every loss of the base, by its name."""
        if self.fixed or not self._before:
            return dict(self.base)
        powers = {name: math.exp(self._ratio(name) / self.temperature) for name in self._tasks}
        scale = len(self._tasks) / sum(powers.values())
        return {name: w * powers.get(name, 0.0) * scale for name, w in self.base.items()}

    def _ratio(self, name: str) -> float:
        """How much of a loss the last window left; 1 where nothing can be said."""
        last, before = self._last.get(name), self._before.get(name)
        if last is None or before is None or min(last, before) < NOTHING:
            return 1.0
        return min(last / before, HIGHEST_RATIO)

    def observe(self, losses: Mapping[str, float]) -> None:
        """Take the losses of an update, not weighted; others than the base's do not count.

        A value that is not finite is left out of its mean.
        """
        for name in self._tasks:
            value = losses.get(name, math.nan)
            if math.isfinite(value):
                self._sums[name] += value
                self._counts[name] += 1
        self._updates += 1
        if self._updates >= self.window:
            self._turn()

    def _turn(self) -> None:
        """Close the window."""
        seen = [name for name in self._tasks if self._counts[name]]
        self._before = self._last
        self._last = {name: self._sums[name] / self._counts[name] for name in seen}
        self._updates = 0
        self._sums = dict.fromkeys(self._tasks, 0.0)
        self._counts = dict.fromkeys(self._tasks, 0)

    def state_dict(self) -> dict[str, Any]:
        """What was observed, as plain values that come back from JSON bit for bit."""
        return {
            "updates": self._updates,
            "sums": dict(self._sums),
            "counts": dict(self._counts),
            "last": dict(self._last),
            "before": dict(self._before),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Raises:
            InputError: It is of other losses.
        """
        if set(state["sums"]) != set(self._tasks):
            names = ", ".join(sorted(state["sums"]))
            raise InputError(f"the checkpoint weighs the losses {names}; this run weighs others")
        self._updates = int(state["updates"])
        self._sums = {name: float(state["sums"][name]) for name in self._tasks}
        self._counts = {name: int(state["counts"][name]) for name in self._tasks}
        self._last = {name: float(value) for name, value in state["last"].items()}
        self._before = {name: float(value) for name, value in state["before"].items()}
