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
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.codec.bundle import Bundle
from relive.config import CUBE_PX
from relive.cubes.states import camera_poses, has_camera, model_states
from relive.errors import InputError
from relive.model.context import Carry, Context, Pyramid
from relive.model.motion import Motion, cube_positions
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


Places = tuple[Tensor, Tensor]
"""Columns and rows in another picture, in pixels, each `[1, H, W]`."""


@dataclass(frozen=True)
class StepState:
    """States and times of a step, as networks and warp take them."""

    motion: Motion  # of both frames, from the last frame of the step before
    within: Motion  # of the second frame, from the first
    encode: Callable[[], EncodedState]
    _found: dict[tuple[int, int], tuple[Tensor, Places]] = field(
        default_factory=dict, compare=False, repr=False, init=False
    )

    @cached_property
    def encoded(self) -> EncodedState:
        """States and times, as the networks take them; a light step never asks."""
        return self.encode()

    def places(self, frame: int, back: int, choice: Tensor, size: tuple[int, int]) -> Places:
        """Where the pixels of frame 0 or 1 lie one or two frames back, found once.

        Args:
            frame: of the pair.
            back: 1 or 2; nothing is back of a keyframe but its own first frame.
            choice: motion hypotheses int64 `[1, h, w]`.
            size: H and W.

        Returns:
            Columns and rows, each `[1, H, W]`.
        """
        known, found = self._found.get((frame, back), (None, None))
        if found is None or known is not choice:
            found = cube_positions(*self._move(frame, back), choice, *size)
            self._found[frame, back] = choice, found
        return found

    def _move(self, frame: int, back: int) -> tuple[Motion, int]:
        """Motion from a frame before, and the number in it of frame 0 or 1.

        Without a camera, motion two frames back is twice that of one.
        """
        if back == 1:
            return (self.within, 0) if frame else (self.motion, 0)
        if frame or self.motion.camera is None:
            return self.motion, 1
        return self.motion.before(), 0


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
        return self.states(states[None], times_ns[None])[0]

    def states(self, states: NDArray[np.float32], times_ns: NDArray[np.int64]) -> list[StepState]:
        """Prepare steps as `state` does one, at little more cost: `[n, 4, S]` and `[n, 4]`."""
        poses = camera_poses(self.schema, states.reshape(4 * len(states), states.shape[-1]))
        all_poses = torch.from_numpy(poses).unflatten(0, (-1, 4))
        with_camera = torch.tensor([float(self.camera is not None)])
        motion, within = (
            Motion.from_poses(self.camera, seen, torch.zeros(1, 2), with_camera, past)
            for seen, past in (
                (all_poses[:, 1:], all_poses[:, 0]),
                (all_poses[:, [2, 3, 3]], None),
            )
        )
        return [
            StepState(
                motion.step(k),
                within.step(k),
                partial(self._encode, states[k, 1:], times_ns[k, 1:]),
            )
            for k in range(len(states))
        ]

    def _encode(self, states: NDArray[np.float32], times_ns: NDArray[np.int64]) -> EncodedState:
        """Encode states of the frame before and of the pair `[3, S]`, with their times `[3]`."""
        values, known = model_states(self.schema, states, self.names)
        seconds = ((times_ns - times_ns[0]) / 1e9).astype(np.float32)
        encoded: EncodedState = self.bundle.model.state(
            *(torch.from_numpy(array)[None] for array in (values, known, seconds))
        )
        return encoded

    def warp(self, carry: Carry, state: StepState, choice: Tensor) -> Warped:
        """Warp the last frame to both of this step by hypotheses int64 `[1, h, w]`."""
        pictures = carry.pictures
        warped: Warped = self.bundle.model.warper(state.motion, pictures[:, 1], pictures, choice)
        return warped

    def is_light(self, carry: Carry | None, depths: Tensor) -> bool:
        """Whether a step of depths `[h, w]` runs no network; no carry makes it a keyframe."""
        return self.light and carry is not None and not depths.any()

    def move(self, carry: Carry, state: StepState, choice: Tensor) -> Carry:
        """Make a light step: frames before, warped, are its pictures; all else stays as it was.

        For the second frame that is the last one. For the first it is the one before the last: its
        enhancement layer predicts from the last one anyhow.
        """
        pictures = torch.empty_like(carry.pictures)
        for place in range(2):
            x, y = state.places(place, 2, choice, self.geometry.padded)
            pictures[:, place] = sample(carry.pictures[:, place], x, y)
        return replace(carry, pictures=_rounded(pictures))

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

    def finish(self, step: StepContext, codes: Tensor, depths: Tensor) -> Carry:
        """Decode a step; its frames are the pictures of the carry."""
        latents = self.latents(step, codes, depths)
        model, depths = self.bundle.model, depths[None]
        decoded = model.decoder(latents, depths, step.context, step.pyramid)
        pictures = _rounded(decoded.frames.clone())
        return model.remember(step.context, decoded, latents, pictures, depths)


def _rounded(pictures: Tensor) -> Tensor:
    """Round to 8 bits, 0..1, in place."""
    return pictures.clamp_(0, 1).mul_(255).round_().div_(255)


def to_pixels(picture: Tensor) -> NDArray[np.uint8]:
    """Whole numbers in 0..255 `[3, H, W]` to uint8 `[H, W, 3]`."""
    return picture.to(torch.uint8).permute(1, 2, 0).contiguous().numpy()


def frame_of(carry: Carry, place: int) -> NDArray[np.uint8]:
    """Frame 0 or 1 of the pictures of a carry, uint8 `[H, W, 3]`."""
    return to_pixels((carry.pictures[0, place] * 255).round())
