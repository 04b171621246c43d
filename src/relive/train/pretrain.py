"""Masked pretraining: hidden cubes are dropped from the encoder, half of the cubes are decoded.

Dual masking of VideoMAE V2 (arXiv 2303.16727): the encoder sees 5 to 25 % of the cubes, the decoder
makes a running cell of them, and the loss is taken where a cube is hidden and decoded. A
hidden cube is hidden in the warped step before as well: it has to be rebuilt, not copied. That step
is the true one, since a decoder that skips cubes leaves no picture to go on from; so nothing
accumulates, and what is carried beside the picture is not trained here.

Shapes: B batch, H W pixels, h w cube grid, N decoded cubes, D width.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from relive.config import CUBE_PX
from relive.model.decoder import Decoded
from relive.model.hst_mae import HSTMAE
from relive.model.layout import Everything, Layout, visible
from relive.model.masks import (
    COMPLEXITY_RATIOS,
    follow_camera,
    hidden_count,
    region_mask,
    running_cell_mask,
    tube_mask,
)
from relive.model.motion import source_cubes
from relive.model.regions import REGIONS, UNKNOWN
from relive.model.warping import Warped
from relive.train.batch import Batch
from relive.train.chain import (
    UNQUANTIZED_NOISE,
    Chain,
    StepResult,
    carry_of,
    generator,
    put_together,
    warp_step,
)
from relive.train.settings import Masking


def draw_masks(
    masking: Masking,
    chains: list[Chain],
    regions: Tensor,
    source: Tensor,
    chance: torch.Generator,
) -> Tensor:
    """Hide the same number of cubes of every row.

    Args:
        masking: which mask, and how much of it.
        chains: with the masks of the step before.
        regions: int64 `[B, h, w]`.
        source: cube of the step before that shows the same place `[B, h, w]`; -1 for none.
        chance: source of chance.

    Returns:
        True = hidden `[B, h, w]`.
    """
    b, h, w = regions.shape
    if masking.kind == "region":
        ratios = [COMPLEXITY_RATIOS[region.complexity] for region in REGIONS]
        return region_mask(regions, ratios, chance)
    fresh = tube_mask(b, (h, w), masking.ratio, chance)
    before = torch.cat(
        [fresh[i : i + 1] if c.masked is None else c.masked for i, c in enumerate(chains)]
    )
    if masking.kind == "tube":  # one mask for all steps of a clip
        return before
    new = torch.tensor([c.masked is None for c in chains])[:, None, None]
    hidden = hidden_count(h * w, masking.ratio)
    return torch.where(new, fresh, follow_camera(before, source, hidden, chance))


def hide(warped: Warped, masked: Tensor) -> Warped:
    """Hide cubes in the reference too, so that they cannot be copied from the step before."""
    pixels = masked.repeat_interleave(CUBE_PX, 1).repeat_interleave(CUBE_PX, 2)[:, None, None]
    reference = torch.where(pixels, 0.5, warped.reference)
    return replace(warped, reference=reference, valid=warped.valid * ~pixels)


def hidden_loss(decoded: Decoded, frames: Tensor, masked: Tensor, layout: Layout) -> Tensor:
    """Mean squared error of the cubes that were hidden from the encoder and decoded, of each row.

    Args:
        decoded: from `Decoder` with the same layout.
        frames: the truth `[B, 2, 3, H, W]`.
        masked: hidden from the encoder `[B, h, w]`.
        layout: the decoded cubes.

    Returns:
        `[B]`; zero where no decoded cube was hidden.
    """
    true = layout.cut(frames.flatten(1, 2), CUBE_PX).unflatten(1, (2, 3))
    squares = (decoded.frames - true).square().mean((1, 2))  # [B, N*16, 16], or whole
    cubes = squares.unflatten(1, (-1, CUBE_PX)).unflatten(3, (-1, CUBE_PX)).mean((2, 4))
    counts = layout.cut(masked[:, None].float(), 1)[:, 0]
    return (cubes * counts).sum((1, 2)) / counts.sum((1, 2)).clamp_min(1)


def pretrain_step(
    model: HSTMAE, chains: list[Chain], batch: Batch, rng: np.random.Generator, masking: Masking
) -> StepResult:
    """Run one step of every chain with encoder and decoder masked; no quantiser."""
    b, _, _, height, width = batch.frames.shape
    h, w = height // CUBE_PX, width // CUBE_PX
    chance, carry = generator(rng), carry_of(model, chains, height, width)
    choice, warped, regions = warp_step(model, batch, carry, batch.before)
    source = source_cubes(batch.motion, choice, h, w, warped.inverse_depth, warped.flow)
    masked = draw_masks(masking, chains, regions, source, chance)
    warped, regions = hide(warped, masked), regions.masked_fill(masked, UNKNOWN)
    with torch.autocast("cpu", torch.bfloat16):
        sight = put_together(model, batch, carry, choice, warped, regions)
    context, pyramid = sight.context, sight.pyramid
    layout: Layout = Everything(h, w)
    if masking.decoder is not None:
        layout = visible(running_cell_mask((h, w), masking.decoder, chains[0].index, b))
    with torch.autocast("cpu", torch.bfloat16):
        remainders = model.encoder(batch.frames, context, pyramid, visible(masked))
    seen = ~masked[..., None]
    noise = torch.randn(remainders.shape, generator=chance)
    latents = model.prediction(context, pyramid) + remainders + UNQUANTIZED_NOISE * noise * seen
    depths = torch.where(masked, 0, model.config.quantizer.num_quantizers)
    with torch.autocast("cpu", torch.bfloat16):
        decoded = model.decoder(latents, depths, context, pyramid, layout)
    mse = hidden_loss(decoded, batch.frames, masked, layout)
    left = replace(carry, pictures=batch.frames, latents=latents, regions=regions)
    return StepResult(mse, {}, left, remainders.detach(), masked)
