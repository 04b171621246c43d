"""One process, or many under `torchrun`: what they share, by accelerate and DDP.

A single process needs no accelerate. Under torchrun every process does its rows of the batch;
gradients are averaged by DDP (gloo between CPUs, NCCL between GPUs), sums of the codebooks by hand.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from relive.errors import InputError, MissingExtraError
from relive.train.loader import Share

PATIENCE = datetime.timedelta(hours=2)  # others wait while the first process fits or measures


def pick_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device of this process.

    Raises:
        InputError: There is no CUDA device.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise InputError("device = 'cuda', but torch finds no CUDA device here")
    if wanted == "cpu" or not there:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


class Processes:
    """A single process: nothing to share."""

    share = Share()

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.share.rank == 0

    def wrap(self, objective: nn.Module) -> nn.Module:
        """Bring the module to the device."""
        return objective.to(self.device)

    def accumulating(self, wrapped: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Around a backward pass whose gradient is not the update's last."""
        return nullcontext()

    def sum(self, tensor: Tensor) -> None:
        """Sum over the processes, in place."""

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Mean over the processes of scalars."""
        return {name: float(value) for name, value in values.items()}

    def gather(self, rows: Tensor) -> Tensor:
        """Rows of all processes, in their order."""
        return rows

    def agree(self, values: list[float]) -> list[float]:
        """The largest of each value over the processes."""
        return values

    def wait(self) -> None:
        """Until all are here."""


class ManyProcesses(Processes):
    """Processes of `torchrun`, joined by accelerate."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        try:
            from accelerate import Accelerator
            from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
        except ModuleNotFoundError:
            raise MissingExtraError("accelerate", "train") from None
        # which parts a step runs depends on its mask and on what is a keyframe
        handlers = [
            DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False),
            InitProcessGroupKwargs(timeout=PATIENCE),
        ]
        self.accelerator = Accelerator(cpu=device.type == "cpu", kwargs_handlers=handlers)
        self.device = self.accelerator.device
        self.share = Share(self.accelerator.process_index, self.accelerator.num_processes)

    def wrap(self, objective: nn.Module) -> nn.Module:
        """Let DDP average the gradients."""
        wrapped: nn.Module = self.accelerator.prepare_model(objective)
        return wrapped

    def accumulating(self, wrapped: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Leave gradients alone until the last backward pass of an update."""
        return nullcontext() if last else self.accelerator.no_sync(wrapped)

    def sum(self, tensor: Tensor) -> None:
        """Sum over the processes, in place."""
        tensor.copy_(self.accelerator.reduce(tensor, "sum"))

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Mean over the processes of scalars."""
        names = sorted(values)
        row = torch.stack([values[name].detach().double() for name in names])
        return dict(zip(names, self.accelerator.reduce(row, "mean").tolist(), strict=True))

    def gather(self, rows: Tensor) -> Tensor:
        """Rows of all processes, in their order."""
        if not rows.numel():  # accelerate cannot tell how many rows nothing has
            return rows.new_empty(len(rows) * self.share.processes, *rows.shape[1:])
        gathered: Tensor = self.accelerator.gather(rows.contiguous())
        return gathered

    def agree(self, values: list[float]) -> list[float]:
        """The largest of each value over the processes."""
        row = torch.tensor([values], dtype=torch.float64, device=self.device)
        agreed: list[float] = self.accelerator.gather(row).amax(0).tolist()
        return agreed

    def wait(self) -> None:
        """Until all are here."""
        self.accelerator.wait_for_everyone()


def join(wanted: Literal["auto", "cpu", "cuda"]) -> Processes:
    """Join the processes that were started with this one."""
    device = pick_device(wanted)
    many = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return ManyProcesses(device) if many else Processes(device)
