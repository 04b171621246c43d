"""One step of the codec, the part that encoder and decoder do alike.

```
 carry (last picture, last latents) ─► warp ─► context ─► pyramid ─┬─► (encoder only) latents, codes
 states, times ─────────────────────────────────────────────────── ┤
 codes, depths ─► dequantise ─► + prediction ──────────────────────┴─► decoder ─► frames, next carry
```

Shapes: H W padded pixels, h w cube grid, K quantizers, D latent width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.codec.bundle import Bundle
from relive.config import CUBE_PX
from relive.cubes.states import camera_poses, has_camera, model_states
from relive.errors import InputError
from relive.model.context import Carry, Context, Pyramid
from relive.model.motion import Motion, positions
from relive.model.regions import cube_regions
from relive.model.state import EncodedState
from relive.model.warp import Pinhole, sample
from relive.model.warping import Warped
from relive.session import StateSchema


@dataclass(frozen=True)
class Geometry:
    """Size of the pictures and of their cube grid."""

    width: int
    height: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of cubes."""
        return -(-self.height // CUBE_PX), -(-self.width // CUBE_PX)

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of the padded picture."""
        h, w = self.grid
        return h * CUBE_PX, w * CUBE_PX

    def pad(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Replicate the edges: `[n, height, width, 3]` to `[n, H, W, 3]`."""
        high, wide = self.padded
        edges = ((0, 0), (0, high - self.height), (0, wide - self.width), (0, 0))
        return np.pad(frames, edges, mode="edge")


@dataclass(frozen=True)
class StepContext:
    """Everything that both sides know before the codes of a step."""

    kind: int  # 0 keyframe, 1 delta
    context: Context
    pyramid: Pyramid
    prediction: Tensor


@dataclass(frozen=True)
class StepState:
    """States and times of a step, as networks and warp take them."""

    motion: Motion  # of both frames, from the last frame of the step before
    within: Motion  # of the second frame, from the first
    encode: Callable[[], EncodedState]

    @cached_property
    def encoded(self) -> EncodedState:
        """States and times, as the networks take them; a light step never asks."""
        return self.encode()


def to_picture(frames: NDArray[np.uint8]) -> Tensor:
    """uint8 `[n, H, W, 3]` to float32 `[n, 3, H, W]`, 0..1."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255


class StepCoder:
    """The shared half of a step for one replay: a model, a schema and a size.

    With `light` a delta without codes runs no network: see `ReplayHeader.light`.
    """

    def __init__(
        self, bundle: Bundle, schema: StateSchema, geometry: Geometry, light: bool = False
    ) -> None:
        self.bundle, self.schema, self.geometry, self.light = bundle, schema, geometry, light
        self.names = tuple(s.name for s in bundle.config.state_inputs)
        camera = schema.camera
        self.camera: Pinhole | None = None
        if camera is not None and has_camera(schema):
            x, y, w, h = view = camera.view or (0, 0, geometry.width, geometry.height)
            if x + w > geometry.width or y + h > geometry.height:
                raise InputError(
                    f"camera: view {list(view)} does not lie in a frame of "
                    f"{geometry.width}x{geometry.height}"
                )
            self.camera = Pinhole.from_fov(camera.fov_deg, camera.pixel_aspect, view)

    def under(self, bundle: Bundle) -> StepCoder:
        """The same for another bundle."""
        return StepCoder(bundle, self.schema, self.geometry, self.light)

    def state(self, states: NDArray[np.float32], times_ns: NDArray[np.int64]) -> StepState:
        """Prepare a step.

        Args:
            states: of both frames of the step before and of the pair `[4, S]`; at a keyframe the
                first frame stands for those before it.
            times_ns: of the same frames `[4]`.
        """
        past = torch.from_numpy(camera_poses(self.schema, states[:1]))
        states, times_ns = states[1:], times_ns[1:]
        values, known = model_states(self.schema, states, self.names)
        seconds = ((times_ns - times_ns[0]) / 1e9).astype(np.float32)
        inputs = [torch.from_numpy(array)[None] for array in (values, known, seconds)]
        poses = torch.from_numpy(camera_poses(self.schema, states))[None]
        with_camera = torch.tensor([float(self.camera is not None)])
        origin = torch.zeros(1, 2)
        motion = Motion.from_poses(self.camera, poses, origin, with_camera, past)
        within = Motion.from_poses(self.camera, poses[:, [1, 2, 2]], origin, with_camera)
        return StepState(motion, within, lambda: self.bundle.model.state(*inputs))

    def warp(self, carry: Carry, state: StepState, choice: Tensor) -> Warped:
        """Warp the last frame to both of this step by hypotheses int64 `[1, h, w]`."""
        pictures = carry.pictures
        warped: Warped = self.bundle.model.warper(state.motion, pictures[:, 1], pictures, choice)
        return warped

    def is_light(self, carry: Carry | None, depths: Tensor) -> bool:
        """Whether a step of depths `[h, w]` runs no network; no carry makes it a keyframe."""
        return self.light and carry is not None and not depths.any()

    def move(
        self, carry: Carry, state: StepState, choice: Tensor
    ) -> tuple[NDArray[np.uint8], Carry]:
        """Make a light step: frames before, warped, are its pictures; all else stays as it was.

        For the second frame that is the last one. For the first it is the one before the last: its
        enhancement layer predicts from the last one anyhow.
        """
        motion, (height, width) = state.motion, self.geometry.padded
        pixels = choice.repeat_interleave(CUBE_PX, 1).repeat_interleave(CUBE_PX, 2)[:, None]
        before = (motion, 1) if motion.camera is None else (motion.before(), 0)
        seen = []
        for place, (moved, frame) in enumerate((before, (motion, 1))):
            x, y = (p[:, 0] for p in positions(moved, frame, pixels, height, width))
            x, y = (p.expand(1, height, width) for p in (x, y))
            seen.append(sample(carry.pictures[:, place], x, y))
        rounded = (torch.stack(seen, 1).clamp(0, 1) * 255).round()
        return _pixels(rounded), replace(carry, pictures=rounded / 255)

    def begin(
        self, carry: Carry | None, state: StepState, choice: Tensor, warped: Warped | None = None
    ) -> StepContext:
        """Build the context of a step; no carry makes it a keyframe.

        Args:
            carry: from the step before.
            state: of this step.
            choice: motion hypotheses int64 `[1, h, w]`; not used at a keyframe.
            warped: what `warp` gave, if it was called.
        """
        model, (height, width) = self.bundle.model, self.geometry.padded
        if carry is None:
            regions = cube_regions(state.motion, None, *self.geometry.grid)
            context, pyramid = model.empty_context(height, width, state.encoded, regions)
        else:
            warped = warped or self.warp(carry, state, choice)
            regions = model.warper.regions(state.motion, choice, warped)
            context, pyramid = model.context(
                carry, warped.reference, warped.valid, torch.ones(1), state.encoded, regions
            )
        prediction = model.prediction(context, pyramid)
        return StepContext(int(carry is not None), context, pyramid, prediction)

    def latents(self, step: StepContext, codes: Tensor, depths: Tensor) -> Tensor:
        """Dequantise codes `[h, w, K]` to depths `[h, w]`: latents `[1, h, w, D]`."""
        sent = self.bundle.quantizer.decode(codes.flatten(0, 1), depths.flatten(), step.kind)
        return step.prediction + sent.view_as(step.prediction)

    def finish(
        self, step: StepContext, codes: Tensor, depths: Tensor
    ) -> tuple[NDArray[np.uint8], Carry]:
        """Decode a step: frames uint8 `[2, H, W, 3]` and the carry."""
        latents = self.latents(step, codes, depths)
        model, depths = self.bundle.model, depths[None]
        decoded = model.decoder(latents, depths, step.context, step.pyramid)
        rounded = (decoded.frames.clamp(0, 1) * 255).round()
        after = model.remember(step.context, decoded, latents, rounded / 255, depths)
        return _pixels(rounded), after


def _pixels(rounded: Tensor) -> NDArray[np.uint8]:
    """`[1, 2, 3, H, W]`, whole numbers in 0..255, to uint8 `[2, H, W, 3]`."""
    return rounded[0].to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
