"""Encoder search: how deep to code every cube, by rate and distortion.

Distortion at depth 0 and at full depth is measured in pixels; in between it follows the squared
error that
is left in the latent, scaled to the two ends. Rate is what the static tables say the codes cost.

Shapes: h w cube grid, K quantizers, D latent width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from relive.codec.step import StepCoder, StepContext
from relive.config import CUBE_PX
from relive.model.context import Context, Pyramid

LAMBDAS = (6e-3, 3.6e-3, 2.2e-3, 1.4e-3, 9e-4, 5.5e-4, 3.2e-4, 1.8e-4, 9e-5, 4e-5)
"""Squared error (both frames of a cube, 0..1, mean of colours, times pixels) that one bit must
save."""
KEYFRAME_FACTOR = 0.5  # a keyframe's quality is inherited by the steps after it
STAGE_BITS = 8.5
SKIP_BITS = 1.5


def cube_error(frames: Tensor, target: Tensor) -> Tensor:
    """Squared error of cubes, mean of colours: `[B, 2, 3, H, W]` to `[B, h, w]`."""
    per_pixel = (frames.clamp(0, 1) - target).square().mean(2).sum(1)
    return F.avg_pool2d(per_pixel, CUBE_PX) * CUBE_PX**2


def choose_depths(
    coder: StepCoder,
    step: StepContext,
    target: Tensor,
    remainder: Tensor,
    codes: Tensor,
    quality: int,
) -> Tensor:
    """Choose the depth of every cube.

    Args:
        coder: the shared half.
        step: context of the step.
        target: the pair `[1, 2, 3, H, W]`.
        remainder: latents before quantisation `[1, h, w, D]`.
        codes: full-depth codes `[h, w, K]`.
        quality: 1..10.

    Returns:
        int64 `[h, w]`.
    """
    h, w, stages = codes.shape
    quantizer, kind = coder.bundle.quantizer, step.kind
    left = remainder.reshape(h * w, -1)
    errors = [left.square().sum(-1)]
    flat = codes.flatten(0, 1)
    for stage in range(stages):
        left = left - quantizer.codebooks[kind, stage][flat[:, stage]]
        errors.append(left.square().sum(-1))
    latent_error = torch.stack(errors, -1).view(h, w, stages + 1)

    ends = torch.tensor([0, stages])
    pair = torch.cat([coder.latents(step, codes, torch.full((h, w), int(d))) for d in ends])
    depths = ends[:, None, None].expand(2, h, w)
    context, pyramid = repeat_context(step, 2)
    frames = coder.bundle.model.decoder(pair, depths, context, pyramid)
    skipped, full = cube_error(frames, target)
    span = (latent_error[..., :1] - latent_error[..., -1:]).clamp_min(1e-9)
    share = ((latent_error - latent_error[..., -1:]) / span).clamp(0, 1.2)
    distortion = full[..., None] + (skipped - full)[..., None] * share

    bits = torch.arange(stages + 1) * STAGE_BITS + torch.tensor([0.0] + [SKIP_BITS] * stages)
    weight = LAMBDAS[quality - 1] * (1.0 if kind else KEYFRAME_FACTOR)
    depths_of_cubes: Tensor = (distortion + weight * bits).argmin(-1)
    return depths_of_cubes


def repeat_context(step: StepContext, times: int) -> tuple[Context, Pyramid]:
    """The same context for several trials at once."""

    def again(x: Tensor) -> Tensor:
        return x.expand(times, *x.shape[1:])

    c, p = step.context, step.pyramid
    context = Context(
        again(c.reference),
        again(c.valid),
        again(c.latents),
        again(c.is_delta),
        again(c.state_tokens),
    )
    return context, Pyramid(again(p.s4), again(p.s8), again(p.s16))
