"""When a run does what: phases, the share that is done, the learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from relive.cubes.store import SessionStore
from relive.train.loader import epoch_updates
from relive.train.settings import Phase, TrainSettings

PAIRS = 256  # of the base learning rate (specification, "Optimization parameters")


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        update: changes of the weights in all.
        phase: number of the phase.
        phase_update: updates in it.
        phase_seconds: seconds in it.
        seconds: of all updates.
        cpu_seconds: of all updates, of the first process.
        skipped: updates whose gradient was not finite.
        started: whether the codebooks of keyframes and of deltas have started.
        best_db: highest validation PSNR, and 0 before the first.
    """

    update: int = 0
    phase: int = 0
    phase_update: int = 0
    phase_seconds: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    skipped: int = 0
    started: tuple[bool, bool] = (False, False)
    best_db: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """The phases with their lengths, in updates, or in seconds where the clock paces the run."""

    settings: TrainSettings
    lengths: tuple[float, ...]
    warmup: float  # updates
    processes: int = 1

    @classmethod
    def of(
        cls, settings: TrainSettings, stores: Sequence[SessionStore], processes: int
    ) -> Schedule:
        """Count the updates of phases that are given in epochs."""

        def length(phase: Phase) -> float:
            if phase.probability:
                return 0.0
            if phase.minutes is not None:
                return phase.minutes * 60
            if phase.updates is not None:
                return float(phase.updates)
            return math.ceil((phase.epochs or 0) * epoch_updates(phase, stores, processes))

        warmup = float(settings.warmup_updates)
        if settings.warmup_epochs is not None:
            warmup = settings.warmup_epochs * epoch_updates(settings.phase[0], stores, processes)
        return cls(settings, tuple(map(length, settings.phase)), warmup, processes)

    def done(self, progress: Progress) -> float:
        """How much of its phase a run has done, in what paces it."""
        return progress.phase_seconds if self.settings.by_clock else progress.phase_update

    def ended(self, progress: Progress) -> bool:
        """Whether the phase that the run stands in is over."""
        return self.done(progress) >= self.lengths[progress.phase]

    def share(self, progress: Progress) -> float:
        """How much of the whole run is done, 0..1."""
        if progress.phase >= len(self.lengths):
            return 1.0
        before = sum(self.lengths[: progress.phase])
        return min(1.0, (before + self.done(progress)) / max(1e-9, sum(self.lengths)))

    def phase_share(self, progress: Progress) -> float:
        """How much of its phase is done, 0..1."""
        return min(1.0, self.done(progress) / max(1e-9, self.lengths[progress.phase]))

    def learning_rate(self, progress: Progress) -> float:
        """Linear warm-up, then cosine over the share of the run that is done, or constant."""
        highest = self.settings.learning_rate or self._scaled(self.settings.phase[progress.phase])
        warm = min(1.0, (progress.update + 1) / max(1.0, self.warmup))
        if self.settings.decay == "constant":
            return highest * warm
        return highest * warm * max(0.01, 0.5 * (1 + math.cos(math.pi * self.share(progress))))

    def _scaled(self, phase: Phase) -> float:
        """The base rate, in proportion to the pairs of frames that an update sees."""
        pairs = phase.batch * phase.span * phase.accumulate * self.processes
        return self.settings.base_learning_rate * pairs / PAIRS
