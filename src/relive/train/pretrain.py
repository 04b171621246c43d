"""Masked pretraining: hidden cubes are dropped from the encoder, half of the cubes are decoded.

Dual masking of VideoMAE V2 (arXiv 2303.16727): the encoder sees 5 to 25 % of the cubes, the decoder
makes a running cell of them, and the loss is taken where a cube is hidden and decoded. A
hidden cube is hidden in the warped step before as well: it has to be rebuilt, not copied. That step
is the true one, since a decoder that skips cubes leaves no picture to go on from; so nothing
accumulates, and what is carried beside the picture is not trained here.

Shapes: B batch, H W pixels, h w cube grid, N decoded cubes, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    hide_highest,
    region_mask,
    running_cell_mask,
)
from relive.model.motion import source_cubes
from relive.model.regions import REGIONS, UNKNOWN
from relive.model.warping import Warped
from relive.train.batch import Batch, Left
from relive.train.chain import UNQUANTIZED_NOISE, Arithmetic, put_together, warp_step
from relive.train.chance import Chance
from relive.train.settings import Masking


@dataclass(frozen=True)
class Rebuilt:
    """One step of masked pretraining, done.

    Attributes:
        mse: of the cubes that were hidden and decoded, of each row `[B]`.
        errors: of every cube `[B, h, w]`; NaN where it was not hidden and decoded.
        remainders: of the visible cubes `[B, h, w, D]`.
        masked: hidden from the encoder `[B, h, w]`.
        left: for the next step.
    """

    mse: Tensor
    errors: Tensor
    remainders: Tensor
    masked: Tensor
    left: Left


def draw_masks(
    masking: Masking,
    left: Left,
    index: Tensor,
    regions: Tensor,
    source: Tensor,
    chance: Chance,
    score: Tensor,
    hidden: int,
) -> Tensor:
    """Hide the same number of cubes of every row.

    Args:
        masking: which mask.
        left: with the masks of the step before.
        index: place of every row in its chain `[B]`.
        regions: int64 `[B, h, w]`.
        source: cube of the step before that shows the same place `[B, h, w]`; -1 for none.
        chance: source of chance.
        score: cubes of the highest score are hidden where a mask begins `[B, h, w]`.
        hidden: cubes to hide in every row.

    Returns:
        True = hidden `[B, h, w]`.
    """
    if masking.kind == "region":
        return _region_masks(regions, chance)
    fresh = hide_highest(score, hidden)
    if int(left.masked[0].sum()) != hidden:  # the ratio has risen: all rows begin anew
        return fresh
    new = (index == 0)[:, None, None]
    if masking.kind == "tube":  # one mask for all steps of a clip
        return torch.where(new, fresh, left.masked)
    rows = zip(left.masked, source, chance.rows, strict=True)
    followed = [follow_camera(m[None], s[None], hidden, row) for m, s, row in rows]
    return torch.where(new, fresh, torch.cat(followed))


def _region_masks(regions: Tensor, chance: Chance) -> Tensor:
    """Hide by the complexity of the regions; the row that asks for least says how much."""
    ratios = [COMPLEXITY_RATIOS[region.complexity] for region in REGIONS]
    rows = list(zip(regions.split(1), chance.rows, strict=True))
    hidden = min(int(region_mask(r, ratios, torch.Generator()).sum()) for r, _ in rows)
    return torch.cat([region_mask(r, ratios, row, hidden) for r, row in rows])


def hide(warped: Warped, masked: Tensor) -> Warped:
    """Hide cubes in the reference too, so that they cannot be copied from the step before."""
    pixels = masked.repeat_interleave(CUBE_PX, 1).repeat_interleave(CUBE_PX, 2)[:, None, None]
    reference = torch.where(pixels, 0.5, warped.reference)
    return replace(warped, reference=reference, valid=warped.valid * ~pixels)


def cube_errors(decoded: Decoded, frames: Tensor, layout: Layout) -> Tensor:
    """Mean squared error of every decoded cube, as the layout cuts them `[B, N, 1]` or `[B, h, w]`.

    Args:
        decoded: from `Decoder` with the same layout.
        frames: the truth `[B, 2, 3, H, W]`.
        layout: the decoded cubes.
    """
    true = layout.cut(frames.flatten(1, 2), CUBE_PX).unflatten(1, (2, 3))
    squares = (decoded.frames - true).square().mean((1, 2))  # [B, N*16, 16], or whole
    return squares.unflatten(1, (-1, CUBE_PX)).unflatten(3, (-1, CUBE_PX)).mean((2, 4))


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
    cubes = cube_errors(decoded, frames, layout)
    counts = layout.cut(masked[:, None].float(), 1)[:, 0]
    return (cubes * counts).sum((1, 2)) / counts.sum((1, 2)).clamp_min(1)


def pretrain_step(
    model: HSTMAE,
    batch: Batch,
    left: Left,
    chance: Chance,
    masking: Masking,
    *,
    score: Tensor | None = None,
    ratio: float | None = None,
    arithmetic: Arithmetic | None = None,
) -> Rebuilt:
    """Run one step of every chain with encoder and decoder masked; no quantiser.

    Args:
        model: the networks.
        batch: the step.
        left: what the last step of every chain left.
        chance: of masks and noise.
        masking: which masks.
        score: where a mask begins, cubes of the highest score are hidden `[B, h, w]`; random by
            default.
        ratio: of hidden cubes; that of `masking` by default.
        arithmetic: numbers of the networks; float32 by default.
    """
    arithmetic = arithmetic or Arithmetic()
    h, w = (side // CUBE_PX for side in batch.frames.shape[-2:])
    hidden = hidden_count(h * w, masking.ratio if ratio is None else ratio)
    choice, warped, regions = warp_step(model, batch, left.carry, batch.before)
    source = source_cubes(batch.motion, choice, h, w, warped.inverse_depth, warped.flow)
    score = chance.uniform(h, w) if score is None else score
    masked = draw_masks(masking, left, batch.index, regions, source, chance, score, hidden)
    warped, regions = hide(warped, masked), regions.masked_fill(masked, UNKNOWN)
    layout: Layout = Everything(h, w)
    if masking.decoder is not None:
        cells = running_cell_mask((h, w), masking.decoder, chance.turn, len(masked), masked.device)
        layout = visible(cells)
    with arithmetic.autocast(batch.frames.device):
        sight = put_together(model, batch, left.carry, choice, warped, regions)
        remainders = arithmetic.encode(model, batch, sight, visible(masked))
    noise = UNQUANTIZED_NOISE * chance.noise(*remainders.shape[1:]) * ~masked[..., None]
    latents = model.prediction(sight.context, sight.pyramid) + remainders + noise
    depths = torch.where(masked, 0, model.config.quantizer.num_quantizers)
    with arithmetic.autocast(batch.frames.device):
        decoded = arithmetic.decode(model, latents, depths, sight, layout)
    carry = replace(left.carry, pictures=batch.frames, latents=latents, regions=regions)
    return Rebuilt(
        hidden_loss(decoded, batch.frames, masked, layout),
        _errors(decoded, batch.frames, masked, layout),
        remainders.detach(),
        masked,
        replace(left, carry=carry, masked=masked),
    )


@torch.no_grad()
def _errors(decoded: Decoded, frames: Tensor, masked: Tensor, layout: Layout) -> Tensor:
    """Errors of the hidden and decoded cubes on the grid, NaN elsewhere `[B, h, w]`."""
    errors = cube_errors(decoded, frames, layout)[..., None]
    nothing = errors.new_full((1,), torch.nan)
    return layout.paste(errors, nothing)[..., 0].masked_fill(~masked, torch.nan)
