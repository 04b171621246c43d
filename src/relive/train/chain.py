"""Chains in training: what the codec does step after step, on crops, with random depths.

A batch holds chains at different places of their GOP. Each update runs a few steps with gradient
and hands the rest on without (truncated backpropagation through time), so contexts are as old as in
the codec.

Shapes: B batch, H W pixels of the crop, H0 W0 of the whole frame, h w cube grid, D latent width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from relive.config import CUBE_PX
from relive.cubes.clips import Crop, Step, draw_crop, read_step
from relive.cubes.store import SessionStore
from relive.model.context import Carry
from relive.model.hst_mae import HSTMAE
from relive.model.layout import visible
from relive.model.masks import tube_mask
from relive.model.motion import Motion
from relive.model.parts import in_float32
from relive.model.regions import cube_regions
from relive.model.warp import Pinhole
from relive.model.warping import Warped
from relive.quantizer.rvq import ResidualVQ
from relive.train.batch import Batch, Sight, View
from relive.train.losses import Auxiliary

VIEW_STEPS = 5  # an earlier view is kept for so long: views 2 to 10 frames apart are compared
UNQUANTIZED_NOISE = 0.1  # in the quantiser's place before it exists: latents keep a scale


@dataclass
class Chain:
    """One chain of the batch: where it is, and what the last step left."""

    crop: Crop
    index: int
    length: int
    state_known: float
    carry: Carry | None = None  # a batch of one
    masked: Tensor | None = None  # what was hidden in the last step [1, h, w]
    view: View | None = None  # an earlier view, for the multi-view loss


@dataclass(frozen=True)
class StepResult:
    """What one step gave: losses and what the next one starts from."""

    mse: Tensor  # [B]
    losses: dict[str, Tensor]  # the others, scalars, not weighted
    carry: Carry
    remainders: Tensor  # normalised, [B, h, w, D]
    masked: Tensor  # hidden from the encoder [B, h, w]
    views: tuple[View, ...] = ()  # what each row saw, if a later step may compare


def pinhole(store: SessionStore) -> Pinhole | None:
    """The camera of a session in pixels, or None."""
    camera = store.schema.camera
    if camera is None:
        return None
    height, width = store.frames.shape[1:3]
    view = camera.view or (0, 0, width, height)
    return Pinhole.from_fov(camera.fov_deg, camera.pixel_aspect, view)


def new_chain(
    stores: list[SessionStore],
    length: int,
    size: tuple[int, int],
    rng: np.random.Generator,
    state_dropout: float = 0.15,
) -> Chain:
    """Start a chain; a share goes without state, so that the model works without (design 4)."""
    known = float(rng.random() >= state_dropout)
    return Chain(draw_crop(stores, length, size, rng), 0, length, known)


def to_tensors(chains: list[Chain], names: tuple[str, ...]) -> Batch:
    """Read the next step of every chain."""
    steps: list[Step] = [read_step(c.crop, c.index, names) for c in chains]

    def pile(arrays: list[np.ndarray], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(dtype)

    frames = pile([s.frames for s in steps]).permute(0, 1, 4, 2, 3) / 255
    before = pile([s.before for s in steps]).permute(0, 3, 1, 2) / 255
    alive = torch.tensor([c.state_known for c in chains])
    with_camera = torch.tensor([float(s.has_camera) for s in steps])
    motion = Motion.from_poses(
        pinhole(chains[0].crop.store),
        pile([s.poses for s in steps], torch.float64),
        torch.tensor([[float(c.crop.x), float(c.crop.y)] for c in chains]),
        with_camera * alive,
        pile([s.past for s in steps], torch.float64),
    )
    return Batch(
        frames.contiguous(),
        before.contiguous(),
        motion,
        pile([s.states for s in steps]),
        pile([s.known for s in steps]) * alive[:, None],
        pile([s.seconds for s in steps]),
        torch.tensor([float(c.index > 0) for c in chains]),
        pile([s.poses[1] for s in steps], torch.float64),
        tuple(c.view for c in chains),
    )


def _canvas(chains: list[Chain], batch: Batch) -> Tensor:
    """Whole previous frames, the reconstructed crops pasted in; `[B, 3, H0, W0]`."""
    rows = []
    for chain, before in zip(chains, batch.before, strict=True):
        if chain.carry is None:
            rows.append(before)
            continue
        crop, canvas = chain.crop, before.clone()
        picture = chain.carry.pictures[0, 1]
        canvas[:, crop.y : crop.y + crop.height, crop.x : crop.x + crop.width] = picture
        rows.append(canvas)
    return torch.stack(rows)


def to_8_bits(frames: Tensor) -> Tensor:
    """Round to multiples of 1/255 as a screen does; the gradient passes."""
    shown = frames.clamp(0, 1)
    return shown + ((shown * 255).round() / 255 - shown).detach()


def draw_depths(error: Tensor, is_delta: Tensor, top: int, rng: np.random.Generator) -> Tensor:
    """Draw depths of training: uniform, random, or more where the context fails, as the codec does.

    Args:
        error: mean squared error of the context per cube `[B, h, w]`.
        is_delta: `[B]`.
        top: number of quantisers.
        rng: source of chance.

    Returns:
        int64 `[B, h, w]`, 0..top.
    """
    depths = []
    for cubes, delta in zip(error, is_delta.tolist(), strict=True):
        draw = rng.random()
        if draw < (0.3 if delta else 0.7):
            level = top if rng.random() < 0.4 else int(rng.integers(0 if delta else 1, top + 1))
            depths.append(torch.full(cubes.shape, level))
            continue
        noise = torch.from_numpy(rng.standard_normal(cubes.shape)).float()
        weight = 1.0 if rng.random() < 0.7 else 0.0
        score = weight * torch.log(cubes + 1e-5) + (0.5 if weight else 1.0) * noise
        rank = score.flatten().argsort().argsort().view(cubes.shape) / max(1, cubes.numel() - 1)
        skipped, full = sorted(rng.random(2)) if delta else (0.0, float(rng.random()))
        ramp = (rank - skipped) / max(full - skipped, 1e-3) * top
        depths.append(ramp.ceil().clamp(0 if delta else 1, top).long())
    return torch.stack(depths)


def draw_mask(h: int, w: int, batch: int, share: float, rng: np.random.Generator) -> Tensor:
    """Hide cubes from the encoder in a share of the steps: a random ratio, the same count in all.

    Returns:
        True = hidden `[B, h, w]`.
    """
    ratio = float(rng.uniform(0.1, 0.9)) if rng.random() < share else 0.0
    return tube_mask(batch, (h, w), ratio, generator(rng))


def generator(rng: np.random.Generator) -> torch.Generator:
    """Draw a source of chance for torch."""
    return torch.Generator().manual_seed(int(rng.integers(1 << 31)))


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


def carry_of(model: HSTMAE, chains: list[Chain], height: int, width: int) -> Carry:
    """What the chains' last steps left; a fresh start where there was none."""
    fresh = model.start(1, height, width)
    return Carry.cat([fresh if c.carry is None else c.carry for c in chains])


def quantise(
    quantizer: ResidualVQ, remainders: Tensor, depths: Tensor, is_delta: Tensor, masked: Tensor
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
    seen = ~masked
    kinds = is_delta.long()[:, None, None].expand_as(depths)
    flat = quantizer(remainders[seen], depths[seen], kinds[seen])
    arrived = torch.zeros_like(remainders).masked_scatter(seen[..., None], flat.vectors)
    return arrived, flat.commitment


def add_noise(remainders: Tensor, depths: Tensor, rng: np.random.Generator) -> Tensor:
    """Let noise stand in for the quantiser; nothing arrives of what is not sent."""
    noise = torch.from_numpy(rng.standard_normal(remainders.shape, dtype=np.float32))
    return (remainders + UNQUANTIZED_NOISE * noise) * (depths > 0)[..., None]


def run_step(
    model: HSTMAE,
    quantizer: ResidualVQ,
    chains: list[Chain],
    batch: Batch,
    rng: np.random.Generator,
    quantize: bool = True,
    *,
    mask_share: float = 0.2,
    auxiliary: Auxiliary | None = None,
) -> StepResult:
    """Run one step of every chain: warp, encode, quantise, decode.

    Args:
        model: the networks.
        quantizer: in training mode its codebooks learn.
        chains: where each row of the batch stands.
        batch: the step, from `to_tensors`.
        rng: source of chance for depths and masks.
        quantize: without it noise stands in for the quantiser.
        mask_share: share of the steps with cubes hidden from the encoder.
        auxiliary: further losses; without it none.
    """
    b, _, _, height, width = batch.frames.shape
    h, w = height // CUBE_PX, width // CUBE_PX
    carry = carry_of(model, chains, height, width)
    with torch.autocast("cpu", torch.bfloat16):
        sight = look(model, batch, carry, _canvas(chains, batch))
        context, pyramid = sight.context, sight.pyramid
        error = (context.reference.detach() - batch.frames).square().mean((1, 2))
        top = model.config.quantizer.num_quantizers
        depths = draw_depths(F.avg_pool2d(error, CUBE_PX), batch.is_delta, top, rng)
        masked = draw_mask(h, w, b, mask_share, rng)
        layout = visible(masked) if bool(masked.any()) else None
        depths = depths.masked_fill(masked, 0)
        remainders = model.encoder(batch.frames, context, pyramid, layout)
    losses = {"commitment": torch.zeros(())}
    if quantize:
        sent, losses["commitment"] = quantise(quantizer, remainders, depths, batch.is_delta, masked)
    else:
        sent = add_noise(remainders, depths, rng)
    latents = model.prediction(context, pyramid) + sent
    with torch.autocast("cpu", torch.bfloat16):
        decoded = model.decoder(latents, depths, context, pyramid)
        if auxiliary is not None:
            losses |= auxiliary(model, batch, sight, latents, depths, decoded)
    mse = (decoded.frames - batch.frames).square().mean((1, 2, 3, 4))
    left = model.remember(context, decoded, latents, to_8_bits(decoded.frames), depths)
    views = see(latents, context.regions, batch.poses, sight.warped.inverse_depth)
    return StepResult(mse, losses, left, remainders.detach(), masked, views)


def see(latents: Tensor, regions: Tensor, poses: Tensor, inverse_depth: Tensor) -> tuple[View, ...]:
    """Keep what a step saw, row by row, without its gradient."""
    parts = (latents.detach(), regions, poses, inverse_depth.detach())
    return tuple(View(*(p[i : i + 1] for p in parts)) for i in range(len(latents)))


def advance(
    chains: list[Chain],
    result: StepResult,
    stores: list[SessionStore],
    length: int,
    size: tuple[int, int],
    rng: np.random.Generator,
    state_dropout: float = 0.15,
) -> list[Chain]:
    """Move every chain one step on; start anew where the GOP ended."""
    moved = []
    for i, chain in enumerate(chains):
        if chain.index + 1 >= chain.length:
            moved.append(new_chain(stores, length, size, rng, state_dropout))
        else:
            left = result.carry.row(i)
            masked, view = result.masked[i : i + 1], chain.view
            if result.views and chain.index % VIEW_STEPS == 1:  # a keyframe knows no depth
                view = result.views[i]
            moved.append(
                Chain(
                    chain.crop, chain.index + 1, chain.length, chain.state_known, left, masked, view
                )
            )
    return moved


def detach(chains: list[Chain]) -> None:
    """Cut the gradient between updates."""
    for chain in chains:
        if chain.carry is not None:
            chain.carry = chain.carry.map(Tensor.detach)
