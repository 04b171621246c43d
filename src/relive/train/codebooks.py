"""The life of the codebooks in a run: a k-means start, then restarts of what is not used.

Shapes: N vectors, D latent width, B batch, h w cube grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from relive.quantizer.rvq import NUM_KINDS, ResidualVQ
from relive.train.chance import seed_of
from relive.train.objective import Outcome
from relive.train.processes import Processes
from relive.train.schedule import Progress
from relive.train.settings import Phase, TrainSettings

KEPT = 16384  # vectors of each kind
ENOUGH = 4096  # to start from
_CHANCE = 3


@dataclass
class Pool:
    """The latest normalised remainders of each kind, of all processes, `[N, D]` on the CPU."""

    kept: dict[int, Tensor] = field(default_factory=dict)

    def add(self, remainders: Tensor, masked: Tensor, is_delta: Tensor) -> None:
        """Keep what was seen by the encoder; hidden cubes are zero and teach nothing.

        Args:
            remainders: `[B, h, w, D]`.
            masked: hidden from the encoder `[B, h, w]`.
            is_delta: `[B]`.
        """
        remainders, masked, is_delta = (x.cpu() for x in (remainders, masked, is_delta))
        for kind in range(NUM_KINDS):
            rows = is_delta.long() == kind
            fresh = remainders[rows][~masked[rows]].float()
            fresh = fresh[fresh.isfinite().all(1)]  # of an update that is skipped
            old = self.kept.get(kind, fresh[:0])
            self.kept[kind] = torch.cat([old, fresh])[-KEPT:]

    def ready(self, kind: int) -> bool:
        """Whether there is enough to start from."""
        return len(self.kept.get(kind, ())) >= ENOUGH


def tend(
    quantizer: ResidualVQ,
    pool: Pool,
    outcome: Outcome,
    processes: Processes,
    settings: TrainSettings,
    progress: Progress,
    share: float,
) -> None:
    """Keep remainders while they are of use; start the codebooks once, revive what is not used.

    Every process does the same, from the same vectors and the same chance.

    Args:
        quantizer: its codebooks change.
        pool: of remainders.
        outcome: of the last forward pass.
        processes: rows of all of them count.
        settings: when to restart.
        progress: `started` changes.
        share: of the run that is done.
    """
    phase: Phase = settings.phase[progress.phase]
    restarting = share < settings.restart_until and not phase.freeze_codebooks
    if all(progress.started) and not restarting:
        return
    parts = (outcome.remainders, outcome.masked, outcome.is_delta[-1])
    pool.add(*(processes.gather(part) for part in parts))
    if not phase.quantize:
        return
    device, started = quantizer.codebooks.device, list(progress.started)
    due = restarting and progress.update % settings.restart_every == 0
    chance = torch.Generator().manual_seed(seed_of(settings.seed, progress.update, _CHANCE))
    for kind in range(NUM_KINDS):
        if not started[kind] and pool.ready(kind):
            quantizer.start(pool.kept[kind].to(device), kind, chance)
            started[kind] = True
        elif started[kind] and due and kind in pool.kept:
            quantizer.restart(pool.kept[kind].to(device), kind, chance)
    progress.started = (started[0], started[1])
