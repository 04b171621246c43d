"""Hierarchical encoder: shifted windows at stride 4, 8, 16 and 32, fused to the cube grid.

Shapes: B batch, H W pixels, h w cube grid, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.config import CUBE_PX, ModelConfig
from relive.model.context import STRIDE, Context, Pyramid
from relive.model.windows import PatchConv, PointConv, PointLinear, make_blocks

LINEAR_STD = 0.05
LATENT_LIMIT = 4.0  # the normalised remainder is bounded, softly


def merge(x: Tensor) -> Tensor:
    """Patch merging: gather 2x2 tokens, `[B, h, w, D]` to `[B, h/2, w/2, 4D]`."""
    b, h, w, d = x.shape
    x = x.view(b, h // 2, 2, w // 2, 2, d).transpose(2, 3)
    return x.reshape(b, h // 2, w // 2, 4 * d)


class Encoder(nn.Module):
    """Frames and context to the latent remainder on the cube grid."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d4, d8, d16, d32 = config.embed_dims
        c4, c8, c16 = config.context_dims
        latent = config.quantizer.codebook_dim
        self.linear = PatchConv(2 * 3, latent, CUBE_PX)
        nn.init.normal_(self.linear.weight, std=LINEAR_STD)
        self.embed = PatchConv(2 * 2 * 3, d4, STRIDE)
        self.hidden_patch = nn.Parameter(torch.zeros(d4))
        self.hidden_cube = nn.Parameter(torch.zeros(d16))
        self.contexts = nn.ModuleList(PointConv(c, d) for c, d in ((c4, d4), (c8, d8), (c16, d16)))
        states = (None, None, config.state_dim, config.state_dim)
        self.stages = nn.ModuleList(
            make_blocks(dim, depth, heads, config.window_size, config.mlp_ratio, state)
            for dim, depth, heads, state in zip(
                config.embed_dims, config.depths, config.num_heads, states, strict=True
            )
        )
        self.merges = nn.ModuleList(
            PointLinear(4 * a, b) for a, b in ((d4, d8), (d8, d16), (d16, d32))
        )
        self.fuse4 = nn.Conv2d(d4, d16, 4, stride=4)
        self.fuse8 = nn.Conv2d(d8, d16, 2, stride=2)
        self.fuse32 = PointConv(d32, d16)
        self.norm = nn.LayerNorm(d16)
        self.to_latents = PointLinear(d16, latent)

    def forward(
        self, frames: Tensor, context: Context, pyramid: Pyramid, masked: Tensor | None = None
    ) -> Tensor:
        """Encode one step.

        Args:
            frames: the pair `[B, 2, 3, H, W]`, 0..1, H and W multiples of 16.
            context: what both sides know.
            pyramid: its features.
            masked: True = hidden `[B, h, w]`; hidden cubes are not seen.

        Returns:
            Remainder after prediction, normalised `[B, h, w, D]`, float32, within LATENT_LIMIT. The
            encoder sees the context, so it learns to leave out what both sides know.
        """
        pixels = torch.cat([frames - 0.5, frames - context.reference], 2)
        x = self.embed(pixels.flatten(1, 2)).permute(0, 2, 3, 1)  # [B, H/4, W/4, D]
        if masked is not None:
            fine = masked.repeat_interleave(4, 1).repeat_interleave(4, 2)[..., None]
            x = torch.where(fine, self.hidden_patch, x)
        scales = []
        for stage in range(3):
            if stage:
                x = self.merges[stage - 1](merge(x))
            feature = (pyramid.s4, pyramid.s8, pyramid.s16)[stage]
            x = x + self.contexts[stage](feature).permute(0, 2, 3, 1)
            for block in self.stages[stage]:  # type: ignore[attr-defined]
                x = block(x, context.state_tokens)
            scales.append(x.permute(0, 3, 1, 2))
        coarse = self._coarse(x, context, masked)
        h, w = frames.shape[-2] // CUBE_PX, frames.shape[-1] // CUBE_PX
        fused = self.fuse4(scales[0]) + self.fuse8(scales[1]) + scales[2]
        fused = fused + F.interpolate(self.fuse32(coarse), scale_factor=2)[:, :, :h, :w]
        latents: Tensor = self.to_latents(self.norm(fused.permute(0, 2, 3, 1))).float()
        latents = latents + self._linear(frames - context.reference, masked)
        return LATENT_LIMIT * torch.tanh(latents / LATENT_LIMIT)

    def _linear(self, difference: Tensor, masked: Tensor | None) -> Tensor:
        """Linear path around the stages: training starts as a linear autoencoder."""
        projected = self.linear(difference.flatten(1, 2))
        latents: Tensor = projected.permute(0, 2, 3, 1).float()
        return latents if masked is None else latents * ~masked[..., None]

    def _coarse(self, x: Tensor, context: Context, masked: Tensor | None) -> Tensor:
        """Stage 4: merge 2x2 cubes, hidden ones as a learned vector: `[B, D, h/2, w/2]`."""
        b, h, w, d = x.shape
        if masked is not None:
            x = torch.where(masked[..., None], self.hidden_cube.to(x), x)
        if h % 2 or w % 2:
            padded = self.hidden_cube.to(x).expand(b, h + h % 2, w + w % 2, d).clone()
            padded[:, :h, :w] = x
            x = padded
        y: Tensor = self.merges[2](merge(x))
        for block in self.stages[3]:  # type: ignore[attr-defined]
            y = block(y, context.state_tokens)
        return y.permute(0, 3, 1, 2)
