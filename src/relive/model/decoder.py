"""Decoder: four transformer blocks on the cube grid, then a progressive convolutional head.

Shapes: B batch, H W pixels, h w cube grid, D width, K quantizers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.config import CUBE_PX, ModelConfig
from relive.model.context import Context, Pyramid, ResidualConv, unfold_pixels
from relive.model.windows import PointConv, PointLinear, make_blocks, start_at_zero

CUBE_VALUES = 2 * 3 * CUBE_PX**2
LINEAR_STD = 0.02


class Decoder(nn.Module):
    """Dequantised latents and context to the pair of frames."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c4, c8, c16 = config.context_dims
        dim, latent = config.decoder_dim, config.quantizer.codebook_dim
        self.linear = PointConv(latent, CUBE_VALUES)
        nn.init.normal_(self.linear.weight, std=LINEAR_STD)
        self.from_latents = PointLinear(latent, dim)
        self.from_context = PointConv(c16, dim)
        self.depth_embed = nn.Embedding(config.quantizer.num_quantizers + 1, dim)
        self.kind_embed = nn.Embedding(2, dim)  # keyframe, delta
        self.blocks = make_blocks(
            dim,
            config.decoder_depth,
            config.decoder_heads,
            config.window_size,
            config.mlp_ratio,
            config.state_dim,
        )
        self.norm = nn.LayerNorm(dim)
        self.up8 = PointConv(dim, 4 * c8)
        self.mix8 = nn.Conv2d(2 * c8, c8, 3, padding=1)
        self.refine8 = ResidualConv(c8)
        self.up4 = PointConv(c8, 4 * c4)
        self.mix4 = nn.Conv2d(2 * c4, c4, 3, padding=1)
        self.refine4 = ResidualConv(c4)
        self.heads = nn.ModuleList(nn.Conv2d(c4, 48, 3, padding=1) for _ in range(2))
        for head in self.heads:
            start_at_zero(head)

    def forward(
        self, latents: Tensor, depths: Tensor, context: Context, pyramid: Pyramid
    ) -> Tensor:
        """Decode one step.

        Args:
            latents: dequantised latents `[B, h, w, D]`.
            depths: quantiser levels that every cube was sent with, int64 `[B, h, w]`; 0 = masked.
            context: what both sides know.
            pyramid: its features.

        Returns:
            Frames `[B, 2, 3, H, W]`, float32, not clamped.
        """
        x = self.from_latents(latents) + self.depth_embed(depths)
        x = x + self.kind_embed(context.is_delta.long())[:, None, None]
        x = x + self.from_context(pyramid.s16).permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x, context.state_tokens)
        y = self.norm(x).permute(0, 3, 1, 2)
        y = F.pixel_shuffle(self.up8(y), 2)
        y = self.refine8(F.gelu(self.mix8(torch.cat([y, pyramid.s8], 1))))
        y = F.pixel_shuffle(self.up4(y), 2)
        y = self.refine4(F.gelu(self.mix4(torch.cat([y, pyramid.s4], 1))))
        remainder = torch.cat([head(y) for head in self.heads], 1)  # [B, 96, H/4, W/4]
        linear = F.pixel_shuffle(self.linear(latents.permute(0, 3, 1, 2)), CUBE_PX)
        linear = linear.unflatten(1, (2, 3))  # [B, 2, 3, H, W]
        return context.reference + linear.float() + unfold_pixels(remainder.float())
