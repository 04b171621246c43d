"""What both sides know before a step: the warped previous picture, at three scales.

The encoder sees the difference to it, the decoder copies from it (conditional coding, DCVC,
arXiv 2109.15047). At a keyframe the context is empty, and that is all that makes it a keyframe.

Shapes: B batch, H W pixels, h w cube grid, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.config import ModelConfig
from relive.model.memory import MemoryAttention
from relive.model.parts import PatchConv, PointConv, Same, start_at_zero
from relive.model.windows import CrossAttention

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
        situation: encoded score, level and mode `[B, D_state]`.
        regions: region of every cube, int64 `[B, h, w]`; see `regions.REGIONS`.
        recurrent: state from step to step `[B, h, w, D_recurrent]`; zero at a keyframe.
        banks: memory of every region `[B, R, M, D]`; as learned at a keyframe.
    """

    reference: Tensor
    valid: Tensor
    latents: Tensor
    is_delta: Tensor
    state_tokens: Tensor
    situation: Tensor
    regions: Tensor
    recurrent: Tensor
    banks: Tensor


@dataclass(frozen=True)
class Carry:
    """What a step leaves for the next one: everything that a keyframe forgets.

    Attributes:
        pictures: the pair as decoded, rounded to 8 bits `[B, 2, 3, H, W]`, 0..1.
        latents: dequantised latents `[B, h, w, D]`.
        recurrent: `[B, h, w, D_recurrent]`.
        banks: `[B, R, M, D]`.
        regions: region of every cube, int64 `[B, h, w]`.
    """

    pictures: Tensor
    latents: Tensor
    recurrent: Tensor
    banks: Tensor
    regions: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Carry:
        """Apply a function to every part."""
        return Carry(*(change(getattr(self, f.name)) for f in fields(self)))

    def row(self, i: int) -> Carry:
        """One row of the batch, as a batch of one."""
        return self.map(lambda part: part[i : i + 1])

    @staticmethod
    def cat(carries: Sequence[Carry]) -> Carry:
        """Join along the batch."""
        names = [f.name for f in fields(Carry)]
        return Carry(*(torch.cat([getattr(c, name) for c in carries]) for name in names))


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


class Recall(nn.Module):
    """Add what the recurrent state says to the features of the cube grid."""

    def __init__(self, recurrent_dim: int, dim: int) -> None:
        super().__init__()
        self.project = PointConv(recurrent_dim, dim)
        start_at_zero(self.project)

    def forward(self, x: Tensor, recurrent: Tensor) -> Tensor:
        """Read `recurrent` `[B, h, w, D_recurrent]` into `x` `[B, D, h, w]`."""
        return x + self.project(recurrent.permute(0, 3, 1, 2))


class Informed(nn.Module):
    """What both sides predict from reads the state and the memory banks, at keyframes too."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, heads = config.context_dims[2], max(1, config.context_dims[2] // 32)
        latent_dim, on = config.quantizer.codebook_dim, config.mechanisms
        self.state = CrossAttention(dim, config.state_dim, heads)
        self.memory = MemoryAttention(dim, latent_dim, heads) if on.memory_slots else Same()

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Map features of the cube grid `[B, D, h, w]` to `[B, D, h, w]`."""
        y = self.state(x.permute(0, 2, 3, 1), context.state_tokens)
        y = self.memory(y, context.banks, context.regions)
        return y.permute(0, 3, 1, 2)


class ContextPyramid(nn.Module):
    """Features of the context at every scale."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dims = d4, d8, d16 = config.context_dims
        latent_dim, recurrent_dim = config.quantizer.codebook_dim, config.mechanisms.recurrent_dim
        self.embed = PatchConv(2 * 4, d4, STRIDE)
        self.refine4 = ResidualConv(d4)
        self.down8 = nn.Conv2d(d4, d8, 2, stride=2)
        self.refine8 = ResidualConv(d8)
        self.down16 = nn.Conv2d(d8, d16, 2, stride=2)
        self.from_latents = PointConv(latent_dim, d16)
        self.recall = Recall(recurrent_dim, d16) if recurrent_dim else Same()
        self.refine16 = ResidualConv(d16)
        self.informed = Informed(config) if config.mechanisms.informed else Same()

    def forward(self, context: Context) -> Pyramid:
        """Compute features; what the step before gave is zero at a keyframe."""
        delta = context.is_delta[:, None, None, None]
        pixels = torch.cat([context.reference - 0.5, context.valid], 2)
        # channels-last makes these and the decoder's convolutions 7 % faster (tiny, CPU)
        planes = pixels.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        s4 = self.refine4(self.embed(planes)) * delta
        s8 = self.refine8(self.down8(s4))
        # normalised, so that nothing can grow from step to step
        latents = F.layer_norm(context.latents, context.latents.shape[-1:]).permute(0, 3, 1, 2)
        s16 = self.down16(F.gelu(s8)) + self.from_latents(latents)
        s16 = self.recall(s16, context.recurrent)
        return Pyramid(s4, s8 * delta, self.informed(self.refine16(s16) * delta, context))

    def empty(self, context: Context) -> Pyramid:
        """Features of a keyframe, as `forward` gives them, without computing any."""
        b, _, _, height, width = context.reference.shape
        sizes = zip(self.dims, (STRIDE, 2 * STRIDE, 4 * STRIDE), strict=True)
        make = context.reference.new_zeros
        s4, s8, s16 = (make(b, dim, height // s, width // s) for dim, s in sizes)
        return Pyramid(s4, s8, self.informed(s16, context))
