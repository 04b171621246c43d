"""Transformer blocks with (shifted) window attention (Swin Transformer, arXiv 2103.14030).

The blocks work on whole pictures and on strips of visible cubes alike: the layout says which tokens
meet (`relive.model.layout`).

Shapes: B batch, h w token grid (or strip), D width, G groups of s queries and k keys, S state
tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.model.parts import PointLinear, start_at_zero
from relive.model.regions import RegionBias
from relive.model.token_windows import Windows


def _heads(x: Tensor, parts: int, num_heads: int) -> Tensor:
    """`[G, n, parts * D]` to `[parts, G, heads, n, D / heads]`."""
    d = x.shape[-1]
    x = x.unflatten(-1, (parts, num_heads, d // parts // num_heads))
    return x.permute(2, 0, 3, 1, 4)


class WindowAttention(nn.Module):
    """Multi-head attention inside (shifted) windows with a learned relative position bias."""

    def __init__(self, dim: int, num_heads: int, window_size: int, shift_size: int) -> None:
        super().__init__()
        self.num_heads, self.window_size, self.shift_size = num_heads, window_size, shift_size
        self.qkv = PointLinear(dim, 3 * dim)
        self.out = PointLinear(dim, dim)
        self.bias = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))

    def forward(self, x: Tensor, windows: Windows, state_tokens: Tensor, regions: Tensor) -> Tensor:
        """Attend inside windows: `[B, h, w, D]` to `[B, h, w, D]`."""
        groups = windows.queries(self.qkv(x))  # [G, s, 3D]
        d = x.shape[-1]
        q = _heads(groups[..., :d], 1, self.num_heads)[0]
        k, v = _heads(windows.keys(groups[..., d:]), 2, self.num_heads)
        bias = self.logits(windows, regions)
        k, v, bias = self.extend(k, v, bias, state_tokens)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.out(windows.join(mixed.transpose(1, 2).flatten(2)))

    def logits(self, windows: Windows, regions: Tensor) -> Tensor:
        """What is added to the attention logits `[G or 1, heads, s, k]`."""
        return windows.bias(self.bias)

    def extend(
        self, k: Tensor, v: Tensor, bias: Tensor, state_tokens: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values `[G, heads, k, D/heads]` and their bias, with what lies outside."""
        return k, v, bias


class RegionAttention(WindowAttention):
    """Region-aware attention (specification, "Spatial coherence modeling")."""

    def __init__(
        self, dim: int, num_heads: int, window_size: int, shift_size: int, bias: RegionBias
    ) -> None:
        super().__init__(dim, num_heads, window_size, shift_size)
        self.region_bias = bias

    def logits(self, windows: Windows, regions: Tensor) -> Tensor:
        """Relative positions, nearness inside a region, cut links between regions."""
        ids = windows.queries(regions[..., None])
        query, key = ids[..., 0], windows.keys(ids)[..., 0]
        place_query, place_key = windows.places()
        bias = self.region_bias(query, key, place_query, place_key, windows.width)
        return windows.bias(self.bias) + bias


class JoinedAttention(WindowAttention):
    """Early fusion: the state tokens are concatenated with the tokens of every window."""

    def __init__(
        self, dim: int, num_heads: int, window_size: int, shift_size: int, state_dim: int
    ) -> None:
        super().__init__(dim, num_heads, window_size, shift_size)
        self.from_state = nn.Linear(state_dim, 2 * dim)

    def extend(
        self, k: Tensor, v: Tensor, bias: Tensor, state_tokens: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Let every window see the state tokens of its picture too."""
        extra = _heads(self.from_state(state_tokens), 2, self.num_heads)
        extra = extra.repeat_interleave(len(k) // len(state_tokens), 1)  # [2, G, heads, S, D/heads]
        bias = F.pad(bias, (0, state_tokens.shape[1]))
        return torch.cat([k, extra[0]], 2), torch.cat([v, extra[1]], 2), bias


class CrossAttention(nn.Module):
    """Visual tokens read state tokens: x + softmax(Q_visual K_state^T / √d) V_state."""

    def __init__(self, dim: int, state_dim: int, num_heads: int, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or dim
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.q = PointLinear(dim, inner)
        self.kv = nn.Linear(state_dim, 2 * inner)
        self.out = PointLinear(inner, dim)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, state_tokens: Tensor) -> Tensor:
        """Read `state_tokens` `[B, S, state_dim]` into `x` `[B, h, w, D]`."""
        b, h, w, _ = x.shape
        q = _heads(self.q(self.norm(x)).reshape(b, h * w, -1), 1, self.num_heads)[0]
        k, v = _heads(self.kv(state_tokens), 2, self.num_heads)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(mixed.transpose(1, 2).reshape(b, h, w, -1))


class StateReader(nn.Module):
    """State tokens read visual tokens, the mean of each cube: the other direction."""

    def __init__(self, dim: int, state_dim: int, num_heads: int, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or state_dim
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(state_dim)
        self.norm_visual = nn.LayerNorm(dim)
        self.q = nn.Linear(state_dim, inner)
        self.kv = nn.Linear(dim, 2 * inner)
        self.out = nn.Linear(inner, state_dim)
        start_at_zero(self.out)

    def forward(self, state_tokens: Tensor, cubes: Tensor) -> Tensor:
        """Read `cubes` `[B, N, D]` into `state_tokens` `[B, S, state_dim]`."""
        q = _heads(self.q(self.norm(state_tokens)), 1, self.num_heads)[0]
        k, v = _heads(self.kv(self.norm_visual(cubes)), 2, self.num_heads)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return state_tokens + self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block: window attention, state cross-attention, MLP."""

    def __init__(
        self, dim: int, attention: WindowAttention, cross: nn.Module, ratio: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention, self.shift_size = attention, attention.shift_size
        self.cross = cross
        self.norm2 = nn.LayerNorm(dim)
        hidden = int(dim * ratio)
        self.mlp = nn.Sequential(PointLinear(dim, hidden), nn.GELU(), PointLinear(hidden, dim))
        for last in (self.attention.out, self.mlp[2]):  # a block starts as the identity
            start_at_zero(last)

    def forward(self, x: Tensor, windows: Windows, state_tokens: Tensor, regions: Tensor) -> Tensor:
        """Map `[B, h, w, D]` to `[B, h, w, D]`."""
        x = x + self.attention(self.norm1(x), windows, state_tokens, regions)
        x = self.cross(x, state_tokens)
        return x + self.mlp(self.norm2(x))
