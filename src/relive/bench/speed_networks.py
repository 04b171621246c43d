"""HST-MAE of one size with random weights, and the inputs of one step, on a device.

What the pictures show does not change how long they take, so they are drawn at random. The step is
a delta with a full context: the dearest kind.

Shapes: B batch, H W pixels, h w cube grid, S state fields, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from relive.bench.speed_device import Setting
from relive.config import CUBE_FRAMES, CUBE_PX, ModelConfig, StateInput
from relive.errors import InputError
from relive.model.context import Carry, Context, Pyramid
from relive.model.decoder import Decoded
from relive.model.hst_mae import HSTMAE
from relive.model.layout import Layout, visible
from relive.model.masks import tube_mask
from relive.model.motion import Motion
from relive.model.regions import REGIONS
from relive.model.sizes import SIZES
from relive.model.warp import Pinhole
from relive.model.warping import Warped

SEED = 20
STATE_INPUTS = (
    *(StateInput(name, "linear") for name in ("dx", "dy", "dz", "health", "armor", "ammo")),
    *(StateInput(name, "angle") for name in ("yaw", "pitch", "roll")),
    *(StateInput(role, "linear", role=role) for role in ("score", "level", "mode")),
)


def size_config(name: str) -> ModelConfig:
    """Configuration of a size; where it names no state fields, it reads twelve.

    Raises:
        InputError: There is no such size.
    """
    if name not in SIZES:
        raise InputError(f"--sizes {name}: choose from {', '.join(SIZES)}")
    config = SIZES[name]
    return config if config.state_inputs else replace(config, state_inputs=STATE_INPUTS)


def check_picture(height: int, width: int) -> None:
    """Refuse pictures that are no whole cubes.

    Raises:
        InputError: A side is no multiple of 16.
    """
    if height % CUBE_PX or width % CUBE_PX or min(height, width) < CUBE_PX:
        raise InputError(f"{width}x{height}: both sides must be multiples of {CUBE_PX} pixels")


@dataclass(frozen=True)
class Step:
    """Inputs of one step.

    Attributes:
        frames: the pair `[B, 2, 3, H, W]`, 0..1.
        carry: what the step before left.
        motion: of the camera.
        reference: warped previous pair `[B, 2, 3, H, W]`.
        valid: `[B, 2, 1, H, W]`.
        is_delta: ones `[B]`.
        values: raw state `[B, 3, S]`.
        known: `[B, S]`.
        seconds: `[B, 3]`.
        regions: int64 `[B, h, w]`.
        depths: all levels, int64 `[B, h, w]`.
    """

    frames: Tensor
    carry: Carry
    motion: Motion
    reference: Tensor
    valid: Tensor
    is_delta: Tensor
    values: Tensor
    known: Tensor
    seconds: Tensor
    regions: Tensor
    depths: Tensor

    @property
    def num_frames(self) -> int:
        """Frames in the batch."""
        return len(self.frames) * CUBE_FRAMES

    @property
    def grid(self) -> tuple[int, int]:
        """Cube grid (h, w)."""
        h, w = self.regions.shape[1:]
        return h, w


class Networks:
    """A model of one size, and its calls as the codec makes them.

    Args:
        config: of the model; random weights.
        setting: where it runs.
    """

    def __init__(self, config: ModelConfig, setting: Setting) -> None:
        torch.manual_seed(SEED)
        self.config, self.setting = config, setting
        self.model = HSTMAE(config).to(setting.device)
        self.encoder: Callable[..., Tensor] = self.model.encoder
        self.decoder: Callable[..., Decoded] = self.model.decoder
        if setting.compiled:
            self.encoder, self.decoder = torch.compile(self.encoder), torch.compile(self.decoder)

    def step(self, batch: int, height: int, width: int) -> Step:
        """Draw the inputs of a step of `batch` pictures of H x W pixels."""
        check_picture(height, width)
        device = self.setting.device
        chance = torch.Generator(device).manual_seed(SEED)

        def draw(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=chance, device=device)

        empty, fields = self.model.start(batch, height, width), len(self.config.state_inputs)
        carry = empty.map(lambda p: torch.rand_like(p) if p.is_floating_point() else p)
        h, w = height // CUBE_PX, width // CUBE_PX
        levels = self.config.quantizer.num_quantizers
        return Step(
            frames=draw(batch, 2, 3, height, width),
            carry=carry,
            motion=_motion(batch, height, width, device),
            reference=draw(batch, 2, 3, height, width),
            valid=torch.ones(batch, 2, 1, height, width, device=device),
            is_delta=torch.ones(batch, device=device),
            values=draw(batch, 3, fields),
            known=torch.ones(batch, fields, device=device),
            seconds=torch.arange(3, device=device).expand(batch, 3) / 35,
            regions=_region_blocks(batch, h, w, device),
            depths=torch.full((batch, h, w), levels, device=device),
        )

    def warp(self, step: Step) -> Tensor:
        """Warp the previous picture as both sides do."""
        pictures = step.carry.pictures
        choice = torch.ones_like(step.regions)
        warped: Warped = self.model.warper(step.motion, pictures[:, 1], pictures, choice)
        return warped.reference

    def context(self, step: Step) -> tuple[Context, Pyramid]:
        """Encode the state and put the context together."""
        state = self.model.state(step.values, step.known, step.seconds)
        return self.model.context(
            step.carry, step.reference, step.valid, step.is_delta, state, step.regions
        )

    def encode(
        self, step: Step, context: tuple[Context, Pyramid], layout: Layout | None = None
    ) -> Tensor:
        """Run the encoder alone: the remainder `[B, h, w, D]`."""
        return self.encoder(step.frames, *context, layout)

    def latents(self, step: Step, layout: Layout | None = None) -> Tensor:
        """Run all that leads to latents: state, context, prediction, encoder; `[B, h, w, D]`."""
        context = self.context(step)
        return self.model.prediction(*context) + self.encode(step, context, layout)

    def decode(
        self,
        step: Step,
        context: tuple[Context, Pyramid],
        latents: Tensor,
        layout: Layout | None = None,
    ) -> Decoded:
        """Run the decoder alone."""
        return self.decoder(latents, step.depths, *context, layout)

    def layout(self, step: Step, mask_ratio: float) -> Layout | None:
        """Draw a tube mask; None for the dense encoder."""
        if not mask_ratio:
            return None
        return visible(self.mask(step, mask_ratio))

    def mask(self, step: Step, mask_ratio: float) -> Tensor:
        """Draw a tube mask, True = hidden `[B, h, w]`."""
        chance = torch.Generator(self.setting.device).manual_seed(SEED)
        return tube_mask(len(step.frames), step.grid, mask_ratio, chance)


def _motion(batch: int, height: int, width: int, device: str) -> Motion:
    """A camera that walks and turns a little."""
    camera = Pinhole.from_fov(90, 1.0, (0, 0, width, height))
    move = torch.tensor([8.0, 0, 0, 0.02, 0, 0], dtype=torch.float64, device=device)
    poses = torch.arange(4, device=device)[:, None] * move
    poses = poses.expand(batch, 4, 6)
    origin, known = torch.zeros(batch, 2, device=device), torch.ones(batch, device=device)
    return Motion.from_poses(camera, poses[:, 1:], origin, known, poses[:, 0])


def _region_blocks(batch: int, h: int, w: int, device: str) -> Tensor:
    """Regions as pictures have them: in patches, all kinds present; int64 `[B, h, w]`."""
    rows = torch.arange(h, device=device)[:, None] * 3 // max(h, 1)
    columns = torch.arange(w, device=device) * 2 // max(w, 1)
    return ((rows * 2 + columns) % len(REGIONS)).expand(batch, h, w).clone()


def count_parameters(model: HSTMAE) -> dict[str, Any]:
    """Count parameters: the decoder, and everything else, which is needed to get latents."""
    parts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    own = sum(math.prod(p.shape) for p in model.parameters(recurse=False))
    total = sum(p.numel() for p in model.parameters())
    decoder = parts["decoder"]
    return {
        "encoder_side": total - decoder,
        "decoder": decoder,
        "total": total,
        "parts": {**parts, "own": own},
        "what": "encoder_side is all but the decoder: state, warp, context pyramid, encoder, "
        "prediction, recurrent cell, memory banks",
    }
