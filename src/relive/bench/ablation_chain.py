"""Chains of held-out sessions and what they cost: codes and motion under fixed frequencies.

Not a file of the codec: the ablation compares models trained for minutes, so the bits are those of
a plain coder that every model shares, cross-entropy under frequencies counted on training sessions.

Shapes: B chains side by side, N = h w cubes, K quantizers, V codebook size, M motion hypotheses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from relive.config import CUBE_FRAMES, CUBE_PX, QuantizerConfig
from relive.cubes.clips import Crop
from relive.cubes.store import SessionStore
from relive.model.context import Carry, Context, Pyramid
from relive.model.hst_mae import HSTMAE
from relive.model.motion import NUM_MOTION
from relive.quantizer.rvq import NUM_KINDS, ResidualVQ
from relive.train.batch import Batch, read_batch
from relive.train.chain import look

NO_INDEX = NUM_MOTION  # stands for the motion before the first delta


@dataclass(frozen=True)
class ChainStep:
    """What one step of B chains left.

    Attributes:
        kind: 0 keyframe, 1 delta.
        mse: of both frames, after rounding to 8 bits, values 0..1 `[B]`.
        codes: to full depth, int64 `[B, N, K]`.
        motion: index of every cube, int64 `[B, N]`; `NO_INDEX` at a keyframe.
    """

    kind: int
    mse: Tensor
    codes: Tensor
    motion: Tensor


def whole_frames(store: SessionStore, start: int) -> Crop:
    """All whole cubes of a session, from frame `start`."""
    height, width = (side // CUBE_PX * CUBE_PX for side in store.frames.shape[1:3])
    return Crop(store, start, 0, 0, width, height)


@torch.inference_mode()
def run_chain(
    model: HSTMAE, quantizer: ResidualVQ, crops: Sequence[Crop], depths: Tensor, steps: int
) -> list[ChainStep]:
    """Run one GOP of every crop as the codec does, every cube of a chain at one depth.

    Args:
        model: in evaluation mode.
        quantizer: the same.
        crops: whole frames of B sessions of one size and camera.
        depths: of each chain, int64 `[B]`.
        steps: of the GOP.
    """
    names = tuple(s.name for s in model.config.state_inputs)
    carry = model.start(len(crops), crops[0].height, crops[0].width)
    done = []
    for index in range(steps):
        batch = read_batch(crops, index, names)
        step, carry = _step(model, quantizer, batch, carry, depths)
        done.append(step)
    return done


def _step(
    model: HSTMAE, quantizer: ResidualVQ, batch: Batch, carry: Carry, depths: Tensor
) -> tuple[ChainStep, Carry]:
    """One step of all chains; all are at the same place of their GOP."""
    kind, frames = int(batch.is_delta[0] > 0), batch.frames
    context, pyramid, motion = _context(model, batch, carry)
    remainder = model.encoder(frames, context, pyramid)
    prediction = model.prediction(context, pyramid)
    b, h, w, width = prediction.shape
    levels = depths[:, None, None].expand(b, h, w)
    codes = quantizer.encode(remainder.reshape(-1, width), kind)
    sent = quantizer.decode(codes, levels.flatten(), kind).view_as(prediction)
    decoded = model.decoder(prediction + sent, levels, context, pyramid)
    shown = (decoded.frames.clamp(0, 1) * 255).round() / 255
    mse = (shown - frames).square().mean((1, 2, 3, 4))
    carry = model.remember(context, decoded, prediction + sent, shown, levels)
    return ChainStep(kind, mse, codes.view(b, h * w, -1), motion.flatten(1)), carry


def _context(model: HSTMAE, batch: Batch, carry: Carry) -> tuple[Context, Pyramid, Tensor]:
    """What both sides know, and the motion index of every cube `[B, h, w]`."""
    sight = look(model, batch, carry, carry.pictures[:, 1])
    moving = batch.is_delta[:, None, None] > 0
    return sight.context, sight.pyramid, torch.where(moving, sight.choice, NO_INDEX)


class Frequencies:
    """How often each code and each motion index occurs, counted once, with one added to each."""

    def __init__(self, config: QuantizerConfig) -> None:
        shape = (NUM_KINDS, config.num_quantizers, config.codebook_size)
        self.codes = torch.ones(shape, dtype=torch.float64)
        self.motion = torch.ones(NUM_MOTION + 1, NUM_MOTION, dtype=torch.float64)

    def count(self, steps: Sequence[ChainStep], depths: Tensor) -> None:
        """Count what B chains with uniform depths `[B]` sent."""
        before = None
        for step in steps:
            for stage, table in enumerate(self.codes[step.kind]):
                sent = step.codes[depths > stage, :, stage].flatten()
                table += torch.bincount(sent, minlength=len(table))
            if step.kind:
                pairs = _before(before, step) * NUM_MOTION + step.motion
                counts = torch.bincount(pairs.flatten(), minlength=self.motion.numel())
                self.motion += counts.view_as(self.motion)
            before = step

    def bits(self, steps: Sequence[ChainStep], depths: Tensor) -> tuple[Tensor, Tensor]:
        """Bits of the codes and of the motion of every step, each float64 `[steps, B]`."""
        code_bits = -(self.codes / self.codes.sum(-1, keepdim=True)).log2()
        motion_bits = -(self.motion / self.motion.sum(-1, keepdim=True)).log2()
        codes, motion, before = [], [], None
        for step in steps:
            tables = enumerate(code_bits[step.kind])
            stages = [table[step.codes[..., k]].sum(1) * (depths > k) for k, table in tables]
            codes.append(torch.stack(stages).sum(0))
            index = motion_bits[_before(before, step), step.motion.clamp_max(NUM_MOTION - 1)]
            motion.append(index.sum(1) * step.kind)
            before = step
        return torch.stack(codes), torch.stack(motion)


def _before(before: ChainStep | None, step: ChainStep) -> Tensor:
    """Motion index of every cube in the step before `[B, N]`."""
    return torch.full_like(step.motion, NO_INDEX) if before is None else before.motion


@dataclass(frozen=True)
class Curves:
    """Chains at several uniform depths: every step's error and bits per pixel.

    Attributes:
        depths: D of them.
        mse: `[steps, D]`.
        bpp: of codes and motion `[steps, D]`.
        motion_bpp: of motion alone `[steps, D]`.
    """

    depths: tuple[int, ...]
    mse: Tensor
    bpp: Tensor
    motion_bpp: Tensor


def measure_chain(
    model: HSTMAE,
    quantizer: ResidualVQ,
    frequencies: Frequencies,
    crop: Crop,
    depths: tuple[int, ...],
    steps: int,
) -> Curves:
    """Run one GOP at every depth, side by side."""
    levels = torch.tensor(depths)
    run = run_chain(model, quantizer, [crop] * len(depths), levels, steps)
    codes, motion = frequencies.bits(run, levels)
    pixels = CUBE_FRAMES * crop.height * crop.width
    mse = torch.stack([step.mse for step in run]).double()
    return Curves(depths, mse, (codes + motion) / pixels, motion / pixels)


def count_frequencies(
    model: HSTMAE,
    quantizer: ResidualVQ,
    stores: Sequence[SessionStore],
    depths: tuple[int, ...],
    steps: int,
) -> Frequencies:
    """Count codes and motion of a short GOP of every session, depth after depth in turn."""
    frequencies = Frequencies(model.config.quantizer)
    for first in range(0, len(stores), len(depths)):
        group = stores[first : first + len(depths)]
        crops = [whole_frames(s, max(0, (len(s.frames) - 2 * steps) // 4 * 2)) for s in group]
        # turned by one each round, so that a rest of sessions does not favour the low depths
        turned = [depths[(i + first // len(depths)) % len(depths)] for i in range(len(group))]
        levels = torch.tensor(turned)
        frequencies.count(run_chain(model, quantizer, crops, levels, steps), levels)
    return frequencies
