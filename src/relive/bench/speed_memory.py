"""Peak memory of what a block allocates, counted alike on a GPU and on a CPU.

What is resident before the block (parameters, their gradients, inputs) is not counted; everything
that the block makes is, as long as anything holds it: activations kept for the backward pass,
gradients of activations, temporary results of operations. Scratch memory inside one operation is
seen on a GPU only.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from relive.bench.speed_device import Setting

HOW = {
    "cpu": "peak bytes of tensor storages made in the block and still held, at every operation",
    "cuda": "torch.cuda.max_memory_allocated minus memory_allocated before the block",
}


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of storages that were made inside it and are alive.

    Attributes:
        now: Bytes alive.
        peak: The most that were ever alive.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's is untyped
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation and take note of the storages that it made."""
        before = {_key(t) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and _key(tensor) not in before:
                self._add(tensor)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        if key in self._alive:
            return
        self._alive.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key, storage.nbytes())

    def _remove(self, key: int, count: int) -> None:
        self._alive.discard(key)
        self.now -= count


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def peak_bytes(setting: Setting, case: Callable[[], object]) -> int:
    """Run a case and return the most bytes that it held beyond what was there before."""
    if setting.device == "cuda":
        setting.wait()
        torch.cuda.reset_peak_memory_stats()
        resident = torch.cuda.memory_allocated()
        case()
        setting.wait()
        return int(torch.cuda.max_memory_allocated()) - int(resident)
    with PeakBytes() as counter:
        case()
    return int(counter.peak)
