"""Chains in training: what the codec does step after step, on crops, with random depths.

A batch holds chains at different places of their GOP. Each update runs a few steps with gradient
and hands
the rest on without (truncated backpropagation through time), so contexts are as old as in the
codec.

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
from relive.model.hst_mae import HSTMAE
from relive.model.motion import Motion, search, warp
from relive.model.warp import Pinhole
from relive.quantizer.rvq import ResidualVQ

UNQUANTIZED_NOISE = (
    0.1  # stands in for the quantiser before it exists, so that latents keep a scale
)


@dataclass
class Chain:
    """One chain of the batch: where it is, and what the last step left."""

    crop: Crop
    index: int
    length: int
    state_known: float
    picture: Tensor | None = None  # last reconstructed frame [3, H, W]
    latents: Tensor | None = None  # [h, w, D]


@dataclass(frozen=True)
class Batch:
    """One step of every chain as tensors."""

    frames: Tensor  # [B, 2, 3, H, W]
    before: Tensor  # [B, 3, H0, W0]
    motion: Motion
    states: Tensor  # [B, 3, S]
    known: Tensor  # [B, S]
    seconds: Tensor  # [B, 3]
    is_delta: Tensor  # [B]


@dataclass(frozen=True)
class StepResult:
    """What one step gave: losses and what the next one starts from."""

    mse: Tensor  # [B]
    commitment: Tensor
    pictures: Tensor  # [B, 3, H, W]
    latents: Tensor  # [B, h, w, D]
    remainders: Tensor  # normalised, [B, h, w, D]


def pinhole(store: SessionStore) -> Pinhole | None:
    """The camera of a session in pixels, or None."""
    camera = store.schema.camera
    if camera is None:
        return None
    height, width = store.frames.shape[1:3]
    view = camera.view or (0, 0, width, height)
    return Pinhole.from_fov(camera.fov_deg, camera.pixel_aspect, view)


def new_chain(
    stores: list[SessionStore], length: int, size: tuple[int, int], rng: np.random.Generator
) -> Chain:
    """Start a chain; 15 % go without state (state dropout)."""
    known = float(rng.random() >= 0.15)
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
    )
    return Batch(
        frames.contiguous(),
        before.contiguous(),
        motion,
        pile([s.states for s in steps]),
        pile([s.known for s in steps]) * alive[:, None],
        pile([s.seconds for s in steps]),
        torch.tensor([float(c.index > 0) for c in chains]),
    )


def _canvas(chains: list[Chain], batch: Batch) -> Tensor:
    """Whole previous frames, the reconstructed crops pasted in (8 bits); `[B, 3, H0, W0]`."""
    rows = []
    for chain, before in zip(chains, batch.before, strict=True):
        if chain.picture is None:
            rows.append(before)
            continue
        crop, rounded = chain.crop, chain.picture.clamp(0, 1)
        rounded = rounded + ((rounded * 255).round() / 255 - rounded).detach()
        canvas = before.clone()
        canvas[:, crop.y : crop.y + crop.height, crop.x : crop.x + crop.width] = rounded
        rows.append(canvas)
    return torch.stack(rows)


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


def run_step(
    model: HSTMAE,
    quantizer: ResidualVQ,
    chains: list[Chain],
    batch: Batch,
    rng: np.random.Generator,
    quantize: bool = True,
) -> StepResult:
    """Run one step of every chain: warp, encode, normalise, quantise, decode."""
    config = model.config
    b, _, _, height, width = batch.frames.shape
    h, w = height // CUBE_PX, width // CUBE_PX
    canvas = _canvas(chains, batch)
    with torch.no_grad():
        choice = search(batch.motion, canvas.detach(), batch.frames)
    reference, valid = warp(batch.motion, canvas, choice, height, width)
    zeros = torch.zeros(h, w, config.quantizer.codebook_dim)
    previous = torch.stack([zeros if c.latents is None else c.latents for c in chains])
    with torch.autocast("cpu", torch.bfloat16):
        tokens = model.state(batch.states, batch.known, batch.seconds)
        context, pyramid = model.context(reference, valid, previous, batch.is_delta, tokens)
        error = (context.reference.detach() - batch.frames).square().mean((1, 2))
        depths = draw_depths(
            F.avg_pool2d(error, CUBE_PX), batch.is_delta, config.quantizer.num_quantizers, rng
        )
        masked = depths == 0 if rng.random() < 0.2 else None
        remainders = model.encoder(batch.frames, context, pyramid, masked)
    prediction = model.prediction(context, pyramid)
    if quantize:
        kinds = batch.is_delta.long()[:, None, None].expand(b, h, w)
        flat = quantizer(remainders.flatten(0, 2), depths.flatten(), kinds.flatten())
        sent, commitment = flat.vectors.view_as(remainders), flat.commitment
    else:
        noise = torch.from_numpy(rng.standard_normal(remainders.shape, dtype=np.float32))
        sent = (remainders + UNQUANTIZED_NOISE * noise) * (depths > 0)[..., None]
        commitment = torch.zeros(())
    decoded = prediction + sent
    with torch.autocast("cpu", torch.bfloat16):
        frames = model.decoder(decoded, depths, context, pyramid)
    mse = (frames - batch.frames).square().mean((1, 2, 3, 4))
    return StepResult(mse, commitment, frames[:, 1], decoded, remainders.detach())


def advance(
    chains: list[Chain],
    result: StepResult,
    stores: list[SessionStore],
    length: int,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> list[Chain]:
    """Move every chain one step on; start anew where the GOP ended."""
    moved = []
    for i, chain in enumerate(chains):
        if chain.index + 1 >= chain.length:
            moved.append(new_chain(stores, length, size, rng))
        else:
            moved.append(
                Chain(
                    chain.crop,
                    chain.index + 1,
                    chain.length,
                    chain.state_known,
                    result.pictures[i],
                    result.latents[i],
                )
            )
    return moved


def detach(chains: list[Chain]) -> None:
    """Cut the gradient between updates."""
    for chain in chains:
        if chain.picture is not None and chain.latents is not None:
            chain.picture, chain.latents = chain.picture.detach(), chain.latents.detach()
