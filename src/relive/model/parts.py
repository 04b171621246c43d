"""Small layers that every part of the model is built from."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Same(nn.Module):
    """Stands where a mechanism is left out: the first argument comes back."""

    def forward(self, x: Tensor, *_: object) -> Tensor:
        """Return `x`."""
        return x


class PointLinear(nn.Linear):
    """A linear layer on a channels-last grid, run as a 1x1 convolution on CPUs.

    oneDNN's convolution is about twice as fast on CPUs as the float32 matrix product for these
    sizes; PyTorch does not choose it by itself for one thread.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, h, w, D_in]` to `[B, h, w, D_out]`."""
        if x.device.type != "cpu":
            return F.linear(x, self.weight, self.bias)
        y = point_convolution(x.permute(0, 3, 1, 2), self.weight[:, :, None, None], self.bias)
        return y.permute(0, 2, 3, 1)


class PointConv(nn.Conv2d):
    """A 1x1 convolution on a channels-first grid, as fast as `PointLinear`."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__(dim_in, dim_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, D_in, h, w]` to `[B, D_out, h, w]`."""
        return point_convolution(x, self.weight, self.bias)


class PatchConv(nn.Module):
    """Embed patches: a linear map of every `stride` x `stride` patch of all channels.

    The weight is kept as that of a 1x1 convolution after `pixel_unshuffle`, which is the same map.
    """

    def __init__(self, channels: int, dim: int, stride: int) -> None:
        super().__init__()
        plain = nn.Conv2d(channels * stride**2, dim, 1)
        self.channels, self.stride = channels, stride
        self.weight, self.bias = plain.weight, plain.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to `[B, D, H/stride, W/stride]`."""
        weight = self.weight.view(-1, self.channels, self.stride, self.stride)
        return F.conv2d(x, weight, self.bias, stride=self.stride)


def point_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve 1x1 in the fastest way that there is: `[B, D_in, h, w]` to `[B, D_out, h, w]`."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or not _direct(x):
        return F.conv2d(x, weight, bias)
    one = (1, 1)
    return torch.mkldnn_convolution(x, weight, bias, (0, 0), one, one, 1)


def _direct(x: Tensor) -> bool:
    """Whether oneDNN can be called directly."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32
    return plain and torch.backends.mkldnn.is_available() and not torch.is_autocast_enabled("cpu")


def in_float32(x: Tensor) -> AbstractContextManager[object]:
    """Leave autocast on the device of `x`; the meta device has none."""
    if x.device.type == "meta":
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def start_at_zero(layer: nn.Module) -> None:
    """Let a linear layer or a convolution begin as the zero map."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def pool_cubes(x: Tensor, side: int) -> Tensor:
    """Mean of the `side` x `side` tokens of every cube: `[B, h*side, w*side, D]` to `[B, N, D]`."""
    b, height, width, d = x.shape
    x = x.reshape(b, height // side, side, width // side, side, d)
    return x.mean((2, 4)).flatten(1, 2)
