"""What both sides know before a step: the warped previous picture, at three scales.

The encoder sees the difference to it, the decoder copies from it (conditional coding, DCVC,
arXiv 2109.15047). At a keyframe the context is empty, and that is all that makes it a keyframe.

Shapes: B batch, H W pixels, h w cube grid, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.model.windows import PatchConv, PointConv, start_at_zero

STRIDE = 4


@dataclass(frozen=True)
class Context:
    """Decoded data that a step starts from; the same on both sides.

    Attributes:
        reference: previous reconstruction warped to both frames `[B, 2, 3, H, W]`, 0..1;
            mid grey at a keyframe.
        valid: 1 where the reference saw the place, 0 elsewhere `[B, 2, 1, H, W]`.
        latents: dequantised latents of the step before `[B, h, w, D]`; zero at a keyframe.
        is_delta: 1 for a delta, 0 for a keyframe `[B]`.
        state_tokens: encoded state of the pair and of the frame before `[B, S, D_state]`.
    """

    reference: Tensor
    valid: Tensor
    latents: Tensor
    is_delta: Tensor
    state_tokens: Tensor


@dataclass(frozen=True)
class Pyramid:
    """Context features at stride 4, 8 and 16, channels first: `[B, D, H/s, W/s]`."""

    s4: Tensor
    s8: Tensor
    s16: Tensor


def unfold_pixels(patches: Tensor) -> Tensor:
    """Patches (2, 4, 4) to frames: `[B, 96, h, w]` to `[B, 2, 3, 4h, 4w]`."""
    return F.pixel_shuffle(patches, STRIDE).unflatten(1, (2, 3))


class ResidualConv(nn.Module):
    """x + conv(gelu(conv(x))), 3x3."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)
        start_at_zero(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, D, h, w]` to `[B, D, h, w]`."""
        y: Tensor = self.conv2(F.gelu(self.conv1(x)))
        return x + y


class ContextPyramid(nn.Module):
    """Features of the context at every scale."""

    def __init__(self, dims: tuple[int, int, int], latent_dim: int) -> None:
        super().__init__()
        d4, d8, d16 = dims
        self.embed = PatchConv(2 * 4, d4, STRIDE)
        self.refine4 = ResidualConv(d4)
        self.down8 = nn.Conv2d(d4, d8, 2, stride=2)
        self.refine8 = ResidualConv(d8)
        self.down16 = nn.Conv2d(d8, d16, 2, stride=2)
        self.from_latents = PointConv(latent_dim, d16)
        self.refine16 = ResidualConv(d16)

    def forward(self, context: Context) -> Pyramid:
        """Compute features that are zero at a keyframe."""
        delta = context.is_delta[:, None, None, None]
        pixels = torch.cat([context.reference - 0.5, context.valid], 2)
        s4 = self.refine4(self.embed(pixels.flatten(1, 2))) * delta
        s8 = self.refine8(self.down8(s4))
        # normalised, so that nothing can grow from step to step
        latents = F.layer_norm(context.latents, context.latents.shape[-1:]).permute(0, 3, 1, 2)
        s16 = self.down16(F.gelu(s8)) + self.from_latents(latents)
        return Pyramid(s4, s8 * delta, self.refine16(s16) * delta)
