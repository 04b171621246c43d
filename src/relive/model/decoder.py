"""Decoder: four transformer blocks on the cube grid, then a progressive convolutional head.

Shapes: B batch, H W pixels, h w cube grid, D width, K quantizers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.config import CUBE_PX, ModelConfig
from relive.model.blocks import decoder_blocks
from relive.model.context import STRIDE, Context, Pyramid, ResidualConv, unfold_pixels
from relive.model.layout import Everything, Layout
from relive.model.memory import MemoryAttention
from relive.model.order import OrderedWindows
from relive.model.parts import PointConv, PointLinear, Same, start_at_zero
from relive.model.regions import REGIONS, RegionEmbedding, RegionHierarchy
from relive.model.state import LateFusion, Modulation

CUBE_VALUES = 2 * 3 * CUBE_PX**2
LINEAR_STD = 0.02


@dataclass(frozen=True)
class Decoded:
    """What a step shows.

    Attributes:
        frames: `[B, 2, 3, H, W]`, float32, not clamped; with a decoder mask the decoded cubes one
            below the other `[B, 2, 3, N*16, 16]`, as `layout.cut` takes them from true frames.
        features: of every decoded cube, before the head `[B, h, w, D]` or `[B, N, 1, D]`.
    """

    frames: Tensor
    features: Tensor


class Head(nn.Module):
    """Progressive head: pixel shuffle, context concatenated at stride 8 and 4, 3x3 convolutions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c4, c8, _ = config.context_dims
        self.up8 = PointConv(config.decoder_dim, 4 * c8)
        self.mix8 = nn.Conv2d(2 * c8, c8, 3, padding=1)
        self.refine8 = ResidualConv(c8)
        self.up4 = PointConv(c8, 4 * c4)
        self.mix4 = nn.Conv2d(2 * c4, c4, 3, padding=1)
        self.refine4 = ResidualConv(c4)
        self.heads = nn.ModuleList(nn.Conv2d(c4, 48, 3, padding=1) for _ in range(2))
        for head in self.heads:
            start_at_zero(head)

    def forward(self, y: Tensor, s8: Tensor, s4: Tensor) -> Tensor:
        """Map features `[B, D, h, w]` to patches `[B, 96, 4h, 4w]`, one head a frame."""
        y = F.pixel_shuffle(self.up8(y), 2)
        y = self.refine8(F.gelu(self.mix8(torch.cat([y, s8], 1))))
        y = F.pixel_shuffle(self.up4(y), 2)
        y = self.refine4(F.gelu(self.mix4(torch.cat([y, s4], 1))))
        return torch.cat([head(y) for head in self.heads], 1)


class Decoder(nn.Module):
    """Dequantised latents and context to the pair of frames."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, latent, on = config.decoder_dim, config.quantizer.codebook_dim, config.mechanisms
        self.window_size, self.ranked = config.window_size, on.decoding == "importance"
        self.linear = PointConv(latent, CUBE_VALUES)
        nn.init.normal_(self.linear.weight, std=LINEAR_STD)
        self.from_latents = PointLinear(latent, dim)
        self.from_context = PointConv(config.context_dims[2], dim)
        self.depth_embed = nn.Embedding(config.quantizer.num_quantizers + 1, dim)
        self.kind_embed = nn.Embedding(2, dim)  # keyframe, delta
        self.region = RegionEmbedding(len(REGIONS), dim) if on.region_embedding else Same()
        self.hierarchy = RegionHierarchy(dim, len(REGIONS)) if on.hierarchy else Same()
        heads = config.decoder_heads
        self.memory = MemoryAttention(dim, latent, heads) if on.memory_slots else Same()
        self.modulation = Modulation(dim, config.state_dim) if on.modulation else Same()
        self.blocks = decoder_blocks(config)
        self.norm = nn.LayerNorm(dim)
        self.late = LateFusion(dim, config.state_dim) if on.late_fusion else Same()
        self.head = Head(config)

    def forward(
        self,
        latents: Tensor,
        depths: Tensor,
        context: Context,
        pyramid: Pyramid,
        layout: Layout | None = None,
    ) -> Decoded:
        """Decode one step.

        Args:
            latents: dequantised latents `[B, h, w, D]`.
            depths: quantiser levels that every cube was sent with, int64 `[B, h, w]`; 0 = masked.
            context: what both sides know.
            pyramid: its features.
            layout: the cubes that are decoded, `layout.visible(masked)`; without it all of them.
        """
        layout = layout or Everything(*depths.shape[1:])
        code = layout.cut(latents.permute(0, 3, 1, 2), 1)
        features = self._features(code, depths, context, pyramid, layout, self.ranked)
        y = layout.apart(features.permute(0, 3, 1, 2), 1)
        s8 = layout.apart(layout.cut(pyramid.s8, 2), 2)
        s4 = layout.apart(layout.cut(pyramid.s4, STRIDE), STRIDE)
        remainder = layout.together(self.head(y, s8, s4), STRIDE)
        linear = F.pixel_shuffle(self.linear(code), CUBE_PX).unflatten(1, (2, 3))
        reference = layout.cut(context.reference.flatten(1, 2), CUBE_PX).unflatten(1, (2, 3))
        frames = reference + linear.float() + unfold_pixels(remainder.float())
        return Decoded(frames, features)

    def ordered_features(
        self, latents: Tensor, depths: Tensor, context: Context, pyramid: Pyramid
    ) -> Tensor:
        """Features of a pass by importance, which the parallel variant is held to."""
        layout = Everything(*depths.shape[1:])
        code = latents.permute(0, 3, 1, 2)
        return self._features(code, depths, context, pyramid, layout, ranked=True)

    def _features(
        self,
        code: Tensor,
        depths: Tensor,
        context: Context,
        pyramid: Pyramid,
        layout: Layout,
        ranked: bool,
    ) -> Tensor:
        """Run the blocks: `[B, h, w, D]`, or `[B, N, 1, D]` of the cubes that are decoded."""
        regions = layout.cut(context.regions[:, None], 1)[:, 0]
        depth = layout.cut(depths[:, None], 1)[:, 0]
        x = self.from_latents(code.permute(0, 2, 3, 1)) + self.depth_embed(depth)
        x = x + self.kind_embed(context.is_delta.long())[:, None, None]
        x = x + self.from_context(layout.cut(pyramid.s16, 1)).permute(0, 2, 3, 1)
        x = self.hierarchy(self.region(x, regions), regions, ranked)
        x = self.memory(x, context.banks, regions)
        x = self.modulation(x, context.situation)
        for block in self.blocks:
            shift: int = block.shift_size  # type: ignore[assignment]  # torch: Tensor | Module
            windows = layout.windows(1, self.window_size, shift, len(x), x.device)
            if ranked:
                windows = OrderedWindows(windows, regions)
            x = block(x, windows, context.state_tokens, regions)
        return self.late(self.norm(x), context.state_tokens)
