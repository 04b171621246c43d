"""Session adapters: a low-rank correction of the blocks' linear layers, fitted to one session.

Session-specific adaptation layers of the specification, section "Session-level consistency", as
low-rank adapters (LoRA, arXiv 2106.09685). They are file-level: a file carries `adapter_state`,
and its reader gives it to `load_adapters`.

Shapes: B batch, h w token grid, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from relive.errors import InputError
from relive.model.parts import PointLinear, point_convolution, start_at_zero
from relive.model.windows import Block

ALPHA = 8.0  # the correction is scaled by ALPHA / rank, so that one learning rate fits every rank


class AdaptedLinear(PointLinear):
    """A point-wise linear layer with a low-rank correction: base(x) + scale · up(down(x)).

    It takes over weight and bias of the plain layer under the same names, so weights of a plain
    model fit. `up` starts at zero: at first the layer equals the plain one exactly.
    """

    def __init__(self, base: PointLinear, rank: int) -> None:
        # "meta": neither memory nor chance is spent on weights that are replaced at once
        super().__init__(
            base.in_features, base.out_features, base.bias is not None, torch.device("meta")
        )
        self.weight, self.bias = base.weight, base.bias
        self.scale = ALPHA / rank
        self.down = PointLinear(base.in_features, rank, bias=False).to(base.weight)
        self.up = PointLinear(rank, base.out_features, bias=False).to(base.weight)
        start_at_zero(self.up)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, h, w, D_in]` to `[B, h, w, D_out]`."""
        if torch.is_grad_enabled() or x.device.type != "cpu":
            return super().forward(x) + self.scale * self.up(self.down(x))
        # the codec on a CPU: one product with the corrected weight costs 13 to 15 % more than the
        # plain layer (tiny); the two thin products beside it, 40 % and more
        weight = self.weight + self.scale * (self.up.weight @ self.down.weight)
        y = point_convolution(x.permute(0, 3, 1, 2), weight[:, :, None, None], self.bias)
        return y.permute(0, 2, 3, 1)


def add_adapters(model: nn.Module, rank: int) -> None:
    """Give every linear layer of the attention and the MLP of every `Block` an adapter.

    Args:
        model: a model with blocks; changed in place. What it computes stays the same.
        rank: rank of the correction, at least 1.

    Raises:
        InputError: The rank is below 1, or the model has adapters already.
    """
    if rank < 1:
        raise InputError(f"rank of the session adapters is {rank}; it must be at least 1")
    if any(True for _ in _adapted(model)):
        raise InputError("the model has session adapters already; start from the plain model")
    for part in [p for b in model.modules() if isinstance(b, Block) for p in (b.attention, b.mlp)]:
        for name, layer in list(part.named_children()):
            if isinstance(layer, PointLinear):
                part.add_module(name, AdaptedLinear(layer, rank))


def adapter_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Parameters of the adapters alone, in a fixed order; none for a plain model."""
    return list(_named_parameters(model).values())


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """Copy the adapters out of a model: name in its state dict to tensor."""
    return {name: p.detach().clone() for name, p in _named_parameters(model).items()}


def load_adapters(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put adapters into a model; all of them, or none if anything is wrong.

    Args:
        model: a model with adapters of the same rank.
        tensors: what `adapter_state` returned.

    Raises:
        InputError: A name, a shape or a value does not fit this model.
    """
    parameters = _named_parameters(model)
    wrong = sorted(parameters.keys() ^ tensors.keys())
    if wrong:
        raise InputError(
            f"session adapters do not fit the model: {wrong[0]} is on one side only"
            f" ({len(wrong)} such names); use the model that they were made for"
        )
    for name, parameter in parameters.items():
        _check(name, tensors[name], parameter)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def freeze_all_but_adapters(model: nn.Module) -> None:
    """Let gradients reach the adapters alone.

    Raises:
        ValueError: The model has no adapters, so nothing would be left to train.
    """
    adapters = adapter_parameters(model)
    if not adapters:
        raise ValueError("the model has no adapters to train")
    model.requires_grad_(False)
    for parameter in adapters:
        parameter.requires_grad_(True)


def _adapted(model: nn.Module) -> Iterator[tuple[str, AdaptedLinear]]:
    for name, module in model.named_modules():
        if isinstance(module, AdaptedLinear):
            yield name, module


def _named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return {
        f"{name}.{part}": module.get_parameter(part)
        for name, module in _adapted(model)
        for part in ("down.weight", "up.weight")
    }


def _check(name: str, tensor: Tensor, parameter: nn.Parameter) -> None:
    if tensor.shape != parameter.shape:
        has, wants = list(tensor.shape), list(parameter.shape)
        raise InputError(f"session adapter {name} has shape {has}; the model wants {wants}")
    if not bool(tensor.isfinite().all()):
        raise InputError(f"session adapter {name} has values that are not finite")
