"""One step of every chain of a batch: what the codec does, on crops, with random depths.

A batch holds chains at different places of their GOP. Each update runs a few steps with gradient
and hands the rest on without (truncated backpropagation through time), so contexts are as old as in
the codec.

Shapes: B batch, H W pixels of the crop, H0 W0 of the whole frame, h w cube grid, D latent width.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from relive.config import CUBE_PX
from relive.enhancement.transform import requantised
from relive.model.context import Carry
from relive.model.decoder import Decoded
from relive.model.hst_mae import HSTMAE
from relive.model.layout import Layout, visible
from relive.model.masks import hidden_count, hide_highest
from relive.model.parts import in_float32
from relive.model.regions import cube_regions
from relive.model.warping import Warped
from relive.quantizer.rvq import ResidualVQ
from relive.train.batch import Batch, Left, Sight, View
from relive.train.chance import Chance

VIEW_STEPS = 5  # an earlier view is kept for so long: views 2 to 10 frames apart are compared
ENHANCEMENT_STEPS = (16.0, 110.0)  # of the quantiser, levels of 255
GOLDEN = (5**0.5 - 1) / 2  # spreads any share evenly over the slots
UNQUANTIZED_NOISE = 0.1  # in the quantiser's place before it exists: latents keep a scale


@dataclass(frozen=True)
class Arithmetic:
    """In which numbers the networks compute.

    Attributes:
        dtype: of autocast; None for float32 throughout.
        recompute: activations of encoder and decoder are computed again for their gradient instead
            of kept (arXiv 1604.06174).
    """

    dtype: torch.dtype | None = None
    recompute: bool = False

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Compute in `dtype` on the device."""
        enabled = self.dtype is not None
        return torch.autocast(device.type, self.dtype or torch.bfloat16, enabled=enabled)

    def encode(self, model: HSTMAE, batch: Batch, sight: Sight, layout: Layout | None) -> Tensor:
        """Run the encoder."""
        arguments = (batch.frames, sight.context, sight.pyramid, layout)
        if not self.recompute:
            return model.encoder(*arguments)
        encoded: Tensor = checkpoint(model.encoder, *arguments, use_reentrant=False)
        return encoded

    def decode(
        self,
        model: HSTMAE,
        latents: Tensor,
        depths: Tensor,
        sight: Sight,
        layout: Layout | None = None,
    ) -> Decoded:
        """Run the decoder."""
        arguments = (latents, depths, sight.context, sight.pyramid, layout)
        if not self.recompute:
            return model.decoder(*arguments)
        decoded: Decoded = checkpoint(model.decoder, *arguments, use_reentrant=False)
        return decoded


@dataclass(frozen=True)
class Decoding:
    """One step of every chain, done: what losses are computed from."""

    batch: Batch
    sight: Sight
    decoded: Decoded
    latents: Tensor  # dequantised [B, h, w, D]
    remainders: Tensor  # normalised, before the quantiser [B, h, w, D]
    depths: Tensor  # [B, h, w]
    masked: Tensor  # hidden from the encoder [B, h, w]
    commitment: Tensor  # scalar
    held: View  # an earlier view, from before this step
    left: Left


def start(model: HSTMAE, batch: int, height: int, width: int) -> Left:
    """What a batch of chains that have not begun has left: nothing."""
    carry = model.start(batch, height, width)
    nothing = carry.latents.new_zeros(carry.latents.shape[:3])
    view = View(
        torch.zeros_like(carry.latents),
        torch.zeros_like(carry.regions),
        carry.latents.new_zeros(batch, 6, dtype=torch.float64),
        nothing,
        nothing.new_zeros(batch, dtype=torch.bool),
    )
    return Left(carry, nothing.bool(), view)


def canvas(batch: Batch, carry: Carry) -> Tensor:
    """Whole previous frames, the reconstructed crops pasted in; `[B, 3, H0, W0]`."""
    height, width = batch.frames.shape[-2:]
    rows = []
    for picture, before, (x, y) in zip(
        carry.pictures[:, 1], batch.before, batch.corners_px, strict=True
    ):
        pasted = before.clone()
        pasted[:, y : y + height, x : x + width] = picture
        rows.append(pasted)
    return torch.stack(rows)


def to_8_bits(frames: Tensor) -> Tensor:
    """Round to multiples of 1/255 as a screen does; the gradient passes."""
    shown = frames.clamp(0, 1)
    return shown + ((shown * 255).round() / 255 - shown).detach()


def disturb(carry: Carry, amount: float, chance: Chance) -> Carry:
    """Put noise on the context, so that a chain does not trust it blindly (GameNGen, 2408.14837).

    Args:
        carry: from the step before.
        amount: largest standard deviation on pictures of 0..1; each row draws its own below it.
            Latents, whose scale is about one, get five times that.
        chance: source of noise.
    """
    level = amount * chance.uniform(1, 1, 1)
    noise = level[..., None] * chance.noise(*carry.pictures.shape[1:])
    latents = carry.latents + 5 * level * chance.noise(*carry.latents.shape[1:])
    return replace(carry, pictures=to_8_bits(carry.pictures + noise), latents=latents)


def enhance(shown: Tensor, frames: Tensor, share: float, chance: Chance) -> Tensor:
    """Pictures as the enhancement layer leaves them to the next step, in some of the chains.

    Which chains is a matter of their slots, so that a chain has the layer in all of its steps; its
    quantiser step is drawn for each.

    Args:
        shown: decoded pairs `[B, 2, 3, H, W]`, 0..1.
        frames: the true ones.
        share: of the chains.
        chance: of the quantiser steps.
    """
    low, high = (math.log(step / 255) for step in ENHANCEMENT_STEPS)
    step = (low + (high - low) * chance.uniform(1, 1, 1, 1, 1, 1)).exp()
    refined = to_8_bits(requantised(shown.detach(), frames, step))
    mine = torch.tensor([slot * GOLDEN % 1 < share for slot in chance.slots], device=shown.device)
    return torch.where(mine.view(-1, 1, 1, 1, 1), refined, shown)


def draw_depths(error: Tensor, is_delta: Tensor, top: int, chance: Chance) -> Tensor:
    """Draw depths of training: uniform, random, or more where the context fails, as the codec does.

    Args:
        error: mean squared error of the context per cube `[B, h, w]`.
        is_delta: `[B]`.
        top: number of quantisers.
        chance: source of chance.

    Returns:
        int64 `[B, h, w]`, 0..top; at least 1 on keyframes.
    """
    delta = is_delta[:, None, None] > 0
    even, deepest, level, by_error, a, b = chance.uniform(6)[:, :, None, None].unbind(1)
    least = torch.where(delta, 0.0, 1.0)
    drawn = (least + level * (top + 1 - least)).floor()
    uniform = torch.where(deepest < 0.4, float(top), drawn).expand(error.shape)
    guided = by_error < 0.7
    score = torch.where(guided, torch.log(error + 1e-5), 0.0)
    score = score + torch.where(guided, 0.5, 1.0) * chance.normal(*error.shape[1:])
    rank = score.flatten(1).argsort(1).argsort(1).view(error.shape)
    rank = rank / max(1, error[0].numel() - 1)
    skipped = torch.where(delta, torch.minimum(a, b), 0.0)
    full = torch.where(delta, torch.maximum(a, b), a)
    ramp = ((rank - skipped) / (full - skipped).clamp_min(1e-3) * top).ceil()
    chosen = torch.where(even < torch.where(delta, 0.3, 0.7), uniform, ramp)
    return chosen.clamp(max=top).maximum(least).long()


def draw_mask(h: int, w: int, share: float, chance: Chance) -> Tensor | None:
    """Hide cubes from the encoder in a share of the steps: a random ratio, the same count in all.

    Returns:
        True = hidden `[B, h, w]`, or None in the other steps.
    """
    drawn, ratio = chance.shared.random(), round(float(chance.shared.uniform(0.1, 0.9)), 3)
    if drawn >= share or not (hidden := hidden_count(h * w, ratio)):
        return None
    return hide_highest(chance.uniform(h, w), hidden)


def look(model: HSTMAE, batch: Batch, carry: Carry, picture: Tensor) -> Sight:
    """Warp the step before and put together what both sides know of this one.

    Args:
        model: the networks.
        batch: the step.
        carry: what the step before left.
        picture: the last frame, whole `[B, 3, H0, W0]`.
    """
    choice, warped, regions = warp_step(model, batch, carry, picture)
    return put_together(model, batch, carry, choice, warped, regions)


def warp_step(
    model: HSTMAE, batch: Batch, carry: Carry, picture: Tensor
) -> tuple[Tensor, Warped, Tensor]:
    """Choose the motion `[B, h, w]`, warp by it, and tell the regions `[B, h, w]`."""
    with in_float32(picture):
        choice = model.warper.choose(batch.motion, picture.detach(), batch.frames)
        warped = model.warper(batch.motion, picture, carry.pictures, choice)
    moving = model.warper.regions(batch.motion, choice, warped)
    still = cube_regions(batch.motion, None, *choice.shape[1:])  # a keyframe knows no motion
    return choice, warped, torch.where(batch.is_delta[:, None, None] > 0, moving, still)


def put_together(
    model: HSTMAE, batch: Batch, carry: Carry, choice: Tensor, warped: Warped, regions: Tensor
) -> Sight:
    """Encode the state and build the context of a step."""
    state = model.state(batch.states, batch.known, batch.seconds)
    context, pyramid = model.context(
        carry, warped.reference, warped.valid, batch.is_delta, state, regions
    )
    return Sight(choice, warped, carry, context, pyramid)


def quantise(
    quantizer: ResidualVQ,
    remainders: Tensor,
    depths: Tensor,
    is_delta: Tensor,
    masked: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Send what the encoder saw.

    Args:
        quantizer: learns from it in training mode.
        remainders: `[B, h, w, D]`.
        depths: `[B, h, w]`.
        is_delta: `[B]`.
        masked: hidden cubes `[B, h, w]`; nothing is sent of them, and nothing learned.

    Returns:
        What arrives `[B, h, w, D]`, and the commitment.
    """
    kinds = is_delta.long()[:, None, None].expand_as(depths)
    if masked is None:
        flat = quantizer(remainders.flatten(0, 2), depths.flatten(), kinds.flatten())
        return flat.vectors.view_as(remainders), flat.commitment
    seen = ~masked
    flat = quantizer(remainders[seen], depths[seen], kinds[seen])
    arrived = torch.zeros_like(remainders).masked_scatter(seen[..., None], flat.vectors)
    return arrived, flat.commitment


def add_noise(remainders: Tensor, depths: Tensor, chance: Chance) -> Tensor:
    """Let noise stand in for the quantiser; nothing arrives of what is not sent."""
    noise = UNQUANTIZED_NOISE * chance.noise(*remainders.shape[1:])
    return (remainders + noise) * (depths > 0)[..., None]


def run_step(
    model: HSTMAE,
    quantizer: ResidualVQ,
    batch: Batch,
    left: Left,
    chance: Chance,
    *,
    quantize: bool = True,
    mask_share: float = 0.2,
    context_noise: float = 0.0,
    enhanced: float = 0.0,
    arithmetic: Arithmetic | None = None,
) -> Decoding:
    """Run one step of every chain: warp, encode, quantise, decode.

    Args:
        model: the networks.
        quantizer: in training mode its codebooks learn.
        batch: the step.
        left: what the last step of every chain left.
        chance: of depths, masks and noise.
        quantize: without it noise stands in for the quantiser.
        mask_share: share of the steps with cubes hidden from the encoder.
        context_noise: see `disturb`.
        enhanced: share of the chains that go on from enhanced pictures, see `enhance`.
        arithmetic: numbers of the networks; float32 by default.
    """
    arithmetic = arithmetic or Arithmetic()
    h, w = (side // CUBE_PX for side in batch.frames.shape[-2:])
    carry = disturb(left.carry, context_noise, chance) if context_noise else left.carry
    with arithmetic.autocast(batch.frames.device):
        sight = look(model, batch, carry, canvas(batch, carry))
        error = (sight.context.reference.detach() - batch.frames).square().mean((1, 2))
        top = model.config.quantizer.num_quantizers
        depths = draw_depths(F.avg_pool2d(error, CUBE_PX), batch.is_delta, top, chance)
        masked = draw_mask(h, w, mask_share, chance)
        hidden = torch.zeros_like(depths, dtype=torch.bool) if masked is None else masked
        depths = depths.masked_fill(hidden, 0)
        layout = None if masked is None else visible(masked)
        remainders = arithmetic.encode(model, batch, sight, layout)
    if quantize:
        sent, commitment = quantise(quantizer, remainders, depths, batch.is_delta, masked)
    else:
        sent, commitment = add_noise(remainders, depths, chance), remainders.new_zeros(())
    latents = model.prediction(sight.context, sight.pyramid) + sent
    with arithmetic.autocast(batch.frames.device):
        decoded = arithmetic.decode(model, latents, depths, sight)
    shown = to_8_bits(decoded.frames)
    if enhanced:
        shown = enhance(shown, batch.frames, enhanced, chance)
    carry = model.remember(sight.context, decoded, latents, shown, depths)
    held, view = left.view, see(left.view, batch, sight, latents)
    left = Left(carry, hidden, view)
    return Decoding(
        batch, sight, decoded, latents, remainders, depths, hidden, commitment, held, left
    )


def see(held: View, batch: Batch, sight: Sight, latents: Tensor) -> View:
    """Keep what some steps saw, without its gradient, and forget it where a GOP begins."""
    now = View(
        latents.detach(),
        sight.context.regions,
        batch.poses,
        sight.warped.inverse_depth.detach(),
        torch.ones_like(held.held),
    )
    due = batch.index % VIEW_STEPS == 1  # no keyframe: it knows no depth

    def choose(name: str) -> Tensor:
        new, old = getattr(now, name), getattr(held, name)
        return torch.where(due.view(-1, *[1] * (new.ndim - 1)), new, old)

    parts = ("latents", "regions", "pose", "inverse_depth", "held")
    view = View(*(choose(name) for name in parts))
    return replace(view, held=view.held & (batch.index > 0))
