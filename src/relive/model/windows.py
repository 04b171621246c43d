"""Shifted-window transformer blocks (Swin Transformer, arXiv 2103.14030) over one step of cubes.

Shapes: B batch, h w token grid, D width, n windows, s tokens of a window (window_size squared),
S state tokens.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN = -1e4  # added to attention logits; finite, so that a row that sees nothing stays a number


class PointLinear(nn.Linear):
    """A linear layer on a channels-last grid, run as a 1x1 convolution.

    oneDNN's convolution is about twice as fast on CPUs as the float32 matrix product for these
    sizes; PyTorch
    does not choose it by itself for one thread.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, h, w, D_in]` to `[B, h, w, D_out]`."""
        y = _point_convolution(x.permute(0, 3, 1, 2), self.weight[:, :, None, None], self.bias)
        return y.permute(0, 2, 3, 1)


class PointConv(nn.Conv2d):
    """A 1x1 convolution on a channels-first grid, as fast as `PointLinear`."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__(dim_in, dim_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, D_in, h, w]` to `[B, D_out, h, w]`."""
        return _point_convolution(x, self.weight, self.bias)


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


def _point_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if torch.is_grad_enabled() or not _direct(x):
        return F.conv2d(x, weight, bias)
    one = (1, 1)
    return torch.mkldnn_convolution(x, weight, bias, (0, 0), one, one, 1)


def _direct(x: Tensor) -> bool:
    """Whether oneDNN can be called directly."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32
    return plain and torch.backends.mkldnn.is_available() and not torch.is_autocast_enabled("cpu")


def start_at_zero(layer: nn.Module) -> None:
    """Let a linear layer or a convolution begin as the zero map."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def split_windows(x: Tensor, size: int) -> Tensor:
    """Cut `[B, h, w, D]` (h and w multiples of size) into windows `[B*n, size*size, D]`."""
    b, h, w, d = x.shape
    x = x.view(b, h // size, size, w // size, size, d).transpose(2, 3)
    return x.reshape(-1, size * size, d)


def join_windows(windows: Tensor, size: int, h: int, w: int) -> Tensor:
    """Inverse of `split_windows`: `[B*n, size*size, D]` to `[B, h, w, D]`."""
    d = windows.shape[-1]
    x = windows.view(-1, h // size, w // size, size, size, d).transpose(2, 3)
    return x.reshape(-1, h, w, d)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def window_mask(h: int, w: int, size: int, shift: int) -> Tensor | None:
    """Which tokens of a window must not see each other: padding, and neighbours by roll only.

    Args:
        h: rows of the grid before padding.
        w: columns of the grid before padding.
        size: window size in tokens.
        shift: shift of the windows in tokens; 0 for none.

    Returns:
        Additive mask float32 `[n, 1, s, s]`, or None where every token may see every other.
    """
    padded_h, padded_w = -h % size + h, -w % size + w
    if not shift and (padded_h, padded_w) == (h, w):
        return None
    label = torch.full((padded_h, padded_w), -1.0)
    rows = (torch.arange(h) < shift).long()
    columns = (torch.arange(w) < shift).long()
    label[:h, :w] = (rows[:, None] * 2 + columns).float()
    label = torch.roll(label, (-shift, -shift), (0, 1))
    windows = split_windows(label[None, :, :, None], size)[..., 0]  # [n, s]
    apart = windows[:, None, :] != windows[:, :, None]
    return apart.float().mul(HIDDEN)[:, None]


def relative_index(size: int) -> Tensor:
    """Index of the relative position bias for every pair of tokens, int64 `[s, s]`."""
    place = torch.arange(size)
    offset = place[:, None] - place[None, :] + size - 1
    pairs = offset[:, None, :, None] * (2 * size - 1) + offset[None, :, None, :]
    return pairs.reshape(size * size, size * size)


class WindowAttention(nn.Module):
    """Multi-head attention inside (shifted) windows with a learned relative position bias."""

    index: Tensor

    def __init__(self, dim: int, num_heads: int, window_size: int, shift_size: int) -> None:
        super().__init__()
        self.num_heads, self.window_size, self.shift_size = num_heads, window_size, shift_size
        self.qkv = PointLinear(dim, 3 * dim)
        self.out = PointLinear(dim, dim)
        self.bias = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))
        self.register_buffer("index", relative_index(window_size), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend inside windows: `[B, h, w, D]` to `[B, h, w, D]`."""
        b, h, w, d = x.shape
        size, shift = self.window_size, self.shift_size
        qkv = F.pad(self.qkv(x), (0, 0, 0, -w % size, 0, -h % size))
        padded_h, padded_w = qkv.shape[1:3]
        if shift:
            qkv = torch.roll(qkv, (-shift, -shift), (1, 2))
        windows = split_windows(qkv, size)  # [B*n, s, 3D]
        heads = windows.view(-1, size * size, 3, self.num_heads, d // self.num_heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each [B*n, heads, s, D/heads]
        bias = self.bias[self.index].permute(2, 0, 1)[None]  # [1, heads, s, s]
        mask = window_mask(h, w, size, shift)
        if mask is not None:
            bias = (bias + mask.to(bias)).repeat(b, 1, 1, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        mixed = mixed.transpose(1, 2).reshape(-1, size * size, d)
        grid = join_windows(mixed, size, padded_h, padded_w)
        if shift:
            grid = torch.roll(grid, (shift, shift), (1, 2))
        return self.out(grid[:, :h, :w])


class CrossAttention(nn.Module):
    """Visual tokens read state tokens: softmax(Q_visual K_state^T / √d) V_state."""

    def __init__(self, dim: int, state_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = PointLinear(dim, dim)
        self.kv = nn.Linear(state_dim, 2 * dim)
        self.out = PointLinear(dim, dim)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, state_tokens: Tensor) -> Tensor:
        """Read `state_tokens` `[B, S, state_dim]` into `x` `[B, h, w, D]`."""
        b, h, w, d = x.shape
        q = self.q(x).reshape(b, h * w, self.num_heads, -1).transpose(1, 2)
        kv = self.kv(state_tokens).view(b, -1, 2, self.num_heads, d // self.num_heads)
        k, v = kv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(b, h, w, d))


class Block(nn.Module):
    """Pre-norm transformer block: window attention, optional state cross-attention, MLP."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window_size: int,
        shift_size: int,
        mlp_ratio: float,
        state_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = WindowAttention(dim, num_heads, window_size, shift_size)
        self.norm_state = nn.LayerNorm(dim) if state_dim else None
        self.cross = CrossAttention(dim, state_dim, num_heads) if state_dim else None
        self.norm2 = nn.LayerNorm(dim)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(PointLinear(dim, hidden), nn.GELU(), PointLinear(hidden, dim))
        for last in (self.attention.out, self.mlp[2]):  # a block starts as the identity
            start_at_zero(last)

    def forward(self, x: Tensor, state_tokens: Tensor) -> Tensor:
        """Map `[B, h, w, D]` to `[B, h, w, D]`."""
        x = x + self.attention(self.norm1(x))
        if self.cross is not None and self.norm_state is not None:
            x = x + self.cross(self.norm_state(x), state_tokens)
        return x + self.mlp(self.norm2(x))


def make_blocks(
    dim: int,
    depth: int,
    num_heads: int,
    window_size: int,
    mlp_ratio: float,
    state_dim: int | None = None,
) -> nn.ModuleList:
    """Build blocks whose windows are shifted at every second one."""
    return nn.ModuleList(
        Block(dim, num_heads, window_size, window_size // 2 * (i % 2), mlp_ratio, state_dim)
        for i in range(depth)
    )
