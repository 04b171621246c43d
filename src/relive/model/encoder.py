"""Hierarchical encoder: shifted windows at stride 4, 8, 16 and 32, fused to the cube grid.

Hidden cubes are dropped: the first three stages compute the visible cubes only, as a strip
(`relive.model.layout`), and stage 4 meets the hidden ones as one learned vector.

Shapes: B batch, H W pixels, h w cube grid, D width, N visible cubes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.config import CUBE_PX, ModelConfig
from relive.model.blocks import encoder_stages
from relive.model.context import STRIDE, Context, Pyramid
from relive.model.layout import Everything, Layout
from relive.model.parts import PatchConv, PointConv, PointLinear, Same, pool_cubes
from relive.model.regions import REGIONS, RegionEmbedding, RegionHierarchy
from relive.model.state import LateFusion
from relive.model.windows import StateReader

LINEAR_STD = 0.05
LATENT_LIMIT = 4.0  # the normalised remainder is bounded, softly


def merge(x: Tensor) -> Tensor:
    """Patch merging: gather 2x2 tokens, `[B, h, w, D]` to `[B, h/2, w/2, 4D]`."""
    b, h, w, d = x.shape
    x = x.view(b, h // 2, 2, w // 2, 2, d).transpose(2, 3)
    return x.reshape(b, h // 2, w // 2, 4 * d)


def _gather(dim: int, target: int, side: int, inner: int | None) -> nn.Module:
    """All tokens of a cube to one vector; by way of a narrow layer where the widths are large."""
    if inner is None:
        return nn.Conv2d(dim, target, side, stride=side)
    return nn.Sequential(PointConv(dim, inner), nn.Conv2d(inner, target, side, stride=side))


class LastScales(nn.Module):
    """The two coarsest stages feed the latents."""

    def __init__(self, dims: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.fuse32 = PointConv(dims[3], dims[2])

    def forward(self, scales: list[Tensor]) -> Tensor:
        """Fuse stage 3 and what stage 4 says of each cube, channels first."""
        return scales[2] + scales[3]


class MultiScale(LastScales):
    """Every stage feeds the latents, so that fine detail reaches the quantiser."""

    def __init__(self, dims: tuple[int, int, int, int], inner: int | None = None) -> None:
        super().__init__(dims)
        d4, d8, d16, _ = dims
        self.fuse4 = _gather(d4, d16, 4, inner)
        self.fuse8 = _gather(d8, d16, 2, inner)

    def forward(self, scales: list[Tensor]) -> Tensor:
        """Fuse all four stages, channels first."""
        fused: Tensor = self.fuse4(scales[0]) + self.fuse8(scales[1]) + scales[2]
        return fused + scales[3]


class Encoder(nn.Module):
    """Frames and context to the latent remainder on the cube grid."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d4, d8, d16, d32 = dims = config.embed_dims
        c4, c8, c16 = config.context_dims
        latent, on = config.quantizer.codebook_dim, config.mechanisms
        self.window_size = config.window_size
        self.linear = PatchConv(2 * 3, latent, CUBE_PX)
        nn.init.normal_(self.linear.weight, std=LINEAR_STD)
        self.embed = PatchConv(2 * 2 * 3, d4, STRIDE)
        self.hidden_cube = nn.Parameter(torch.zeros(d16))
        self.contexts = nn.ModuleList(PointConv(c, d) for c, d in ((c4, d4), (c8, d8), (c16, d16)))
        self.region = RegionEmbedding(len(REGIONS), d16) if on.region_embedding else Same()
        self.hierarchy = RegionHierarchy(d16, len(REGIONS)) if on.hierarchy else Same()
        self.stages = encoder_stages(config)
        # what state tokens read at stage 4 comes back by late fusion
        reading = (on.two_way,) * 3 + (on.two_way and on.late_fusion,)
        self.readers = nn.ModuleList(
            StateReader(dim, config.state_dim, config.state_heads, config.cross_dim)
            if reads
            else Same()
            for dim, reads in zip(dims, reading, strict=True)
        )
        self.merges = nn.ModuleList(
            PointLinear(4 * a, b) for a, b in ((d4, d8), (d8, d16), (d16, d32))
        )
        self.fusion = MultiScale(dims, config.fuse_dim) if on.multi_scale else LastScales(dims)
        self.norm = nn.LayerNorm(d16)
        self.late = LateFusion(d16, config.state_dim) if on.late_fusion else Same()
        self.to_latents = PointLinear(d16, latent)

    def forward(
        self, frames: Tensor, context: Context, pyramid: Pyramid, layout: Layout | None = None
    ) -> Tensor:
        """Encode one step.

        Args:
            frames: the pair `[B, 2, 3, H, W]`, 0..1, H and W multiples of 16.
            context: what both sides know.
            pyramid: its features.
            layout: the cubes that are seen, `layout.visible(masked)`; without it all of them.

        Returns:
            Remainder after prediction, normalised `[B, h, w, D]`, float32, within LATENT_LIMIT;
            zero at hidden cubes. The encoder sees the context, so it learns to leave out what both
            sides know.
        """
        h, w = frames.shape[-2] // CUBE_PX, frames.shape[-1] // CUBE_PX
        layout = layout or Everything(h, w)
        difference = layout.cut((frames - context.reference).flatten(1, 2), CUBE_PX)
        scales, tokens = self._stages(frames, difference, context, pyramid, layout)
        fused: Tensor = self.norm(self.fusion(scales).permute(0, 2, 3, 1))
        latents: Tensor = self.to_latents(self.late(fused, tokens)).float()
        # linear path around the stages: training starts as a linear autoencoder
        latents = latents + self.linear(difference).permute(0, 2, 3, 1).float()
        latents = LATENT_LIMIT * torch.tanh(latents / LATENT_LIMIT)
        return layout.paste(latents, latents.new_zeros(latents.shape[-1]))

    def _stages(
        self,
        frames: Tensor,
        difference: Tensor,
        context: Context,
        pyramid: Pyramid,
        layout: Layout,
    ) -> tuple[list[Tensor], Tensor]:
        """Run the four stages: what they say of the visible cubes, channels first; state tokens."""
        centred = layout.cut((frames - 0.5).flatten(1, 2), CUBE_PX).unflatten(1, (2, 3))
        pixels = torch.cat([centred, difference.unflatten(1, (2, 3))], 2)
        x = self.embed(pixels.flatten(1, 2)).permute(0, 2, 3, 1)  # [B, H/4, W/4, D]
        regions = layout.cut(context.regions[:, None], 1)[:, 0]
        tokens, scales = context.state_tokens, []
        for stage, feature in enumerate((pyramid.s4, pyramid.s8, pyramid.s16)):
            side = STRIDE >> stage  # tokens of a cube, each way
            if stage:
                x = self.merges[stage - 1](merge(x))
            x = x + self.contexts[stage](layout.cut(feature, side)).permute(0, 2, 3, 1)
            if stage == 2:
                x = self.hierarchy(self.region(x, regions), regions)
            x = self._blocks(stage, x, layout, side, tokens, regions)
            tokens = self.readers[stage](tokens, pool_cubes(x, side))
            scales.append(x.permute(0, 3, 1, 2))
        y = self._coarse(layout.paste(x, self.hidden_cube), tokens)
        tokens = self.readers[3](tokens, pool_cubes(y, 1))
        said = F.interpolate(self.fusion.fuse32(y.permute(0, 3, 1, 2)), scale_factor=2)
        h, w = context.regions.shape[1:]
        scales.append(layout.cut(said[:, :, :h, :w], 1))
        return scales, tokens

    def _blocks(
        self, stage: int, x: Tensor, layout: Layout, side: int, tokens: Tensor, regions: Tensor
    ) -> Tensor:
        for block in self.stages[stage]:  # type: ignore[attr-defined]  # torch: a Module
            windows = layout.windows(side, self.window_size, block.shift_size, len(x), x.device)
            x = block(x, windows, tokens, regions)
        return x

    def _coarse(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Stage 4 of the whole grid, `[B, h, w, D]` to `[B, ceil(h/2), ceil(w/2), D]`."""
        b, h, w, d = x.shape
        if h % 2 or w % 2:
            padded = self.hidden_cube.to(x).expand(b, h + h % 2, w + w % 2, d).clone()
            padded[:, :h, :w] = x
            x = padded
        y: Tensor = self.merges[2](merge(x))
        whole = Everything(*y.shape[1:3])
        return self._blocks(3, y, whole, 1, tokens, y.new_zeros(y.shape[:3], dtype=torch.long))
