"""Chance that no split of a batch changes: every chain has its own source in every step.

A draw is a function of (seed, phase, step, slot). So a run that is killed and resumed, and a run
on two processes, draw what one process draws that was never killed.

Shapes: B batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def seed_of(*numbers: int) -> int:
    """Mix numbers to a seed of 63 bits."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Chance:
    """Draws for the rows of a batch, each from its own generator.

    Args:
        common: numbers that all rows share: seed of the run, phase, number of the step.
        slots: number of the chain behind each row, over all processes.
        device: where the draws are wanted; they are made on the CPU, so that it does not matter,
            but for those of `noise`.
    """

    def __init__(
        self, common: Sequence[int], slots: Sequence[int], device: torch.device | str = "cpu"
    ) -> None:
        self.device, self.turn, self.slots = torch.device(device), common[-1], tuple(slots)
        self.shared = np.random.default_rng([*common, 0])
        seeds = [seed_of(*common, 1, slot) for slot in slots]
        self.rows = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._large = self.rows
        if self.device.type != "cpu":
            self._large = [torch.Generator(self.device).manual_seed(seed) for seed in seeds]

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), `[B, *shape]`."""
        return self._stack([torch.rand(shape, generator=row) for row in self.rows])

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, `[B, *shape]`."""
        return self._stack([torch.randn(shape, generator=row) for row in self.rows])

    def noise(self, *shape: int) -> Tensor:
        """Standard normal, `[B, *shape]`, for whole pictures: drawn by the device itself.

        One CPU thread would keep a GPU waiting. So a GPU draws other numbers than a CPU, though
        the same ones every time.
        """
        rows = [torch.randn(shape, generator=row, device=row.device) for row in self._large]
        return torch.stack(rows)

    def _stack(self, rows: list[Tensor]) -> Tensor:
        return torch.stack(rows).to(self.device, non_blocking=True)
