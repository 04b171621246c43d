"""What an update reads, as a function of its number: any process can make it, at any time.

```
 number of the update ─► stream (sessions of one size and camera) ─► chains, their places ─► Rows
```

A batch has one frame size and one camera, so sessions fall into *streams*, and every update takes
one of them, by the share of its sessions. Rows of a stream are *slots*: a slot holds one chain
after the other. Where they stand in step t follows from t alone.

Shapes: B rows of this process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from relive.cubes.augment import ColourJitter
from relive.cubes.sampling import Augmentation, Sampler, kinds_of
from relive.cubes.store import SessionStore
from relive.train.batch import Rows, read_rows
from relive.train.settings import Augment, Phase, TrainSettings

_STREAM, _CHAIN = 1, 2  # what a draw is for
_BLOCK = 4096  # updates whose streams are drawn at once


class Work(NamedTuple):
    """What one update reads.

    Attributes:
        stream: number of the stream.
        first: number of its first step among all steps of that stream.
        steps: what is read for each of them.
    """

    stream: int
    first: int
    steps: list[Rows]


@dataclass(frozen=True)
class Share:
    """Which part of the rows a process does."""

    rank: int = 0
    processes: int = 1

    def slots(self, batch: int) -> list[int]:
        """Numbers of the slots of this process."""
        return list(range(self.rank * batch, (self.rank + 1) * batch))


def place(slot: int, slots: int, length: int, step: int) -> tuple[int, int]:
    """Where a slot stands: number of its chain, and step in it.

    First chains differ in length, so that the chains of a batch do not end together.
    """
    first = 1 + slot * length // slots
    if step < first:
        return 0, step
    number, index = divmod(step - first, length)
    return 1 + number, index


class Updates(Dataset[Work]):
    """The updates of one phase, by number.

    Args:
        stores: the sessions.
        names: state fields that the model reads.
        settings: of the run.
        number: of the phase.
        share: which rows this process does.
    """

    def __init__(
        self,
        stores: Sequence[SessionStore],
        names: tuple[str, ...],
        settings: TrainSettings,
        number: int,
        share: Share,
    ) -> None:
        self.names, self.settings, self.number = names, settings, number
        self.phase, self.share = settings.phase[number], share
        kinds = kinds_of(stores)
        self.samplers = [Sampler(kind, settings.balanced) for kind in kinds]
        self.sizes = [sum(len(store.frames) for store in kind) for kind in kinds]
        self._drawn: list[np.ndarray] = []

    def stream(self, update: int) -> tuple[int, int]:
        """Stream of an update, and how many updates of the phase took it before."""
        while len(self._drawn) * _BLOCK <= update:
            rng = np.random.default_rng(
                [self.settings.seed, self.number, _STREAM, len(self._drawn)]
            )
            shares = np.array(self.sizes) / sum(self.sizes)
            self._drawn.append(rng.choice(len(shares), _BLOCK, p=shares))
        drawn = np.concatenate(self._drawn)[: update + 1]
        return int(drawn[-1]), int((drawn[:-1] == drawn[-1]).sum())

    def __getitem__(self, update: int) -> Work:
        """Read what update `update` of the phase, counted from 0, needs."""
        stream, before = self.stream(update)
        span = self.phase.span
        steps = [self.read(stream, before * span + step) for step in range(span)]
        return Work(stream, before * span, steps)

    def __len__(self) -> int:
        """Updates without end: the phase says when it is over."""
        return 1 << 62

    def read(self, stream: int, step: int) -> Rows:
        """Read one step of every row of this process."""
        phase = self.phase
        slots = phase.batch * self.share.processes
        crops, indices, known = [], [], []
        for slot in self.share.slots(phase.batch):
            length = phase.chains[slot % len(phase.chains)]
            chain, index = place(slot, slots, length, step)
            numbers = (self.settings.seed, self.number, _CHAIN, stream, slot, chain)
            rng = np.random.default_rng(numbers)
            crops.append(
                self.samplers[stream].draw(length, phase.crop, rng, augmentation(phase.augment))
            )
            known.append(float(rng.random() >= self.settings.state_dropout))
            indices.append(index)
        return read_rows(crops, indices, self.names, known)


def augmentation(augment: Augment) -> Augmentation:
    """What the settings say, as the sampler takes it."""
    stride = 0 if augment.stride == "auto" else augment.stride
    return Augmentation(augment.mirror, ColourJitter() if augment.colour else None, stride)


def load(updates: Updates, first: int, workers: int, pin: bool) -> Iterator[Work]:
    """Read updates in order, ahead of time, in processes of their own.

    Args:
        updates: of the phase.
        first: number to begin with.
        workers: processes; 0 reads when it is asked.
        pin: page-locked memory, for copies to a GPU beside the computation.
    """
    loader = DataLoader(
        updates,
        batch_size=None,
        sampler=range(first, len(updates)),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # the global one is left alone
        pin_memory=pin,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_apart if workers else None,
    )
    torch.set_flush_denormal(True)
    yield from loader


def _apart(_worker: int) -> None:
    """Leave the group of the run: a signal to it is for the run, which then ends its readers."""
    os.setpgrp()


def pixels_of(stores: Sequence[SessionStore]) -> int:
    """Pixels of all frames."""
    return sum(int(np.prod(store.frames.shape[:3])) for store in stores)


def epoch_updates(phase: Phase, stores: Sequence[SessionStore], processes: int) -> float:
    """Updates in which a phase sees as many pixels as there are."""
    width, height = phase.crop
    seen = 2 * width * height * phase.batch * phase.span * phase.accumulate * processes
    return max(1.0, pixels_of(stores) / seen)
