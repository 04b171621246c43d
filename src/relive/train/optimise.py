"""Optimiser, precision and the one change of the weights (specification, "Optimization")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from relive.train.settings import TrainSettings

BETAS = (0.9, 0.95)


def make_optimizer(
    module: nn.Module, learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW without weight decay on norms and biases, nor on learned vectors and tables.

    What decays are the matrices and kernels that features are multiplied with.
    """
    tables = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            matrix = name.endswith("weight") and parameter.ndim > 1 and id(parameter) not in tables
            (matrices if matrix else others).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=BETAS, fused=True)


def computes_in_bf16(device: torch.device) -> bool:
    """Whether bf16 is fast on a device; on a CPU without its instructions it is 50 times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16")) or bool(capabilities.get("amx_bf16"))


def pick_dtype(
    wanted: Literal["auto", "float32", "bf16", "fp16"], device: torch.device
) -> torch.dtype | None:
    """What autocast computes in; None for float32.

    By default bf16 where the device has it; elsewhere FP16 on a GPU and float32 on a CPU
    (reading.md, row 19).
    """
    if wanted == "auto":
        if computes_in_bf16(device):
            return torch.bfloat16
        return torch.float16 if device.type == "cuda" else None
    return {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]


def recomputes(settings: TrainSettings) -> bool:
    """Whether activations are computed again instead of kept."""
    if settings.recompute is not None:
        return settings.recompute
    return settings.model in ("base", "large")


class Stepper:
    """Scales the loss, clips the gradient, changes the weights; skips what is not finite.

    Args:
        optimizer: of the weights.
        clip: largest norm of the gradient.
        device: of the weights.
        dtype: of autocast; float16 has its gradients scaled dynamically.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        clip: float,
        device: torch.device,
        dtype: torch.dtype | None,
    ) -> None:
        self.optimizer, self.clip = optimizer, clip
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss."""
        self.scaler.scale(loss).backward()

    def step(self, learning_rate: float) -> bool:
        """Change the weights once.

        Returns:
            False where the gradient was not finite: the weights are as they were.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.scaler.unscale_(self.optimizer)
        learned = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(learned, self.clip)
        finite = bool(torch.isfinite(norm))
        if self.scaler.is_enabled() or finite:
            self.scaler.step(self.optimizer)  # skips by itself what is not finite
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return finite


@torch.no_grad()
def follow(slow: Iterable[Tensor], fast: Iterable[Tensor], keep: float) -> None:
    """Move averaged weights towards the new ones."""
    torch._foreach_lerp_(list(slow), list(fast), 1 - keep)
