"""One step of training as tensors: what was read, and what both sides know of it.

Shapes: B batch, H W pixels of the crop, H0 W0 of the whole frame, h w cube grid, S state fields,
D latent width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from relive.cubes.clips import Crop, read_step
from relive.cubes.store import SessionStore
from relive.model.context import Carry, Context, Pyramid
from relive.model.motion import Motion
from relive.model.warp import Pinhole
from relive.model.warping import Warped


class Rows(NamedTuple):
    """One step of every chain as it was read: pixels stay 8 bits until they are on the device."""

    frames: Tensor  # uint8 [B, 2, H, W, 3]
    before: Tensor  # uint8 [B, H0, W0, 3]
    poses: Tensor  # float64 [B, 3, 6]
    past: Tensor  # float64 [B, 6]
    with_camera: Tensor  # [B]
    states: Tensor  # [B, 3, S]
    known: Tensor  # [B, S]
    seconds: Tensor  # [B, 3]
    origin_px: Tensor  # [B, 2]
    places: Tensor  # int64 [B], of the step in its GOP


def read_rows(
    crops: Sequence[Crop],
    indices: Sequence[int],
    names: tuple[str, ...],
    known: Sequence[float] | None = None,
) -> Rows:
    """Read one step of every crop.

    Args:
        crops: of one size, from sessions of one size and camera.
        indices: which step of each.
        names: state fields that the model reads.
        known: 0 for rows whose state, and camera, shall not be known.
    """
    steps = [read_step(crop, index, names) for crop, index in zip(crops, indices, strict=True)]
    alive = torch.ones(len(steps)) if known is None else torch.tensor(list(known))

    def pile(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays))

    return Rows(
        pile([s.frames for s in steps]),
        pile([s.before for s in steps]),
        pile([s.poses for s in steps]),
        pile([s.past for s in steps]),
        torch.tensor([float(s.has_camera) for s in steps]) * alive,
        pile([s.states for s in steps]),
        pile([s.known for s in steps]) * alive[:, None],
        pile([s.seconds for s in steps]),
        torch.tensor([[float(c.x), float(c.y)] for c in crops]),
        torch.tensor(list(indices)),
    )


@dataclass(frozen=True)
class Batch:
    """One step of every chain on the device."""

    frames: Tensor  # [B, 2, 3, H, W], 0..1
    before: Tensor  # [B, 3, H0, W0]
    motion: Motion
    states: Tensor  # [B, 3, S]
    known: Tensor  # [B, S]
    seconds: Tensor  # [B, 3]
    index: Tensor  # int64 [B]
    is_delta: Tensor  # [B]
    poses: Tensor  # of the pair's first frame [B, 6], float64
    corners_px: list[tuple[int, int]]  # column and row of every crop in its frame

    @property
    def before_crop(self) -> Tensor:
        """The true previous frame where the crop is, `[B, 3, H, W]`."""
        height, width = self.frames.shape[-2:]
        rows = zip(self.before, self.corners_px, strict=True)
        return torch.stack([p[:, y : y + height, x : x + width] for p, (x, y) in rows])


def to_batch(rows: Rows, camera: Pinhole | None, device: torch.device | str = "cpu") -> Batch:
    """Bring what was read to the device and make numbers of it."""
    corners = [(int(x), int(y)) for x, y in rows.origin_px.tolist()]
    r = Rows(*(part.to(device, non_blocking=True) for part in rows))
    motion = Motion.from_poses(camera, r.poses, r.origin_px, r.with_camera, r.past)
    return Batch(
        (r.frames.permute(0, 1, 4, 2, 3).float() / 255).contiguous(),
        (r.before.permute(0, 3, 1, 2).float() / 255).contiguous(),
        motion,
        r.states,
        r.known,
        r.seconds,
        r.places,
        (r.places > 0).float(),
        r.poses[:, 1],
        corners,
    )


def read_batch(
    crops: Sequence[Crop],
    index: int,
    names: tuple[str, ...],
    device: torch.device | str = "cpu",
) -> Batch:
    """Read step `index` of every crop, onto the device."""
    rows = read_rows(crops, [index] * len(crops), names)
    return to_batch(rows, pinhole(crops[0].store), device)


def pinhole(store: SessionStore) -> Pinhole | None:
    """The camera of a session in pixels, or None."""
    camera = store.schema.camera
    if camera is None:
        return None
    height, width = store.frames.shape[1:3]
    view = camera.view or (0, 0, width, height)
    return Pinhole.from_fov(camera.fov_deg, camera.pixel_aspect, view)


@dataclass(frozen=True)
class View:
    """What an earlier step of every chain saw from where, for comparison with later steps.

    Attributes:
        latents: dequantised `[B, h, w, D]`.
        regions: int64 `[B, h, w]`.
        pose: x, y, z, yaw, pitch, roll of the pair's first frame `[B, 6]`, float64.
        inverse_depth: `[B, h, w]`.
        held: whether there is such a step `[B]`.
    """

    latents: Tensor
    regions: Tensor
    pose: Tensor
    inverse_depth: Tensor
    held: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> View:
        """Change every part alike."""
        return View(*(change(getattr(self, f.name)) for f in fields(self)))


@dataclass(frozen=True)
class Left:
    """What the last step of every chain left; nothing else is remembered between updates."""

    carry: Carry
    masked: Tensor  # hidden from the encoder [B, h, w]
    view: View

    def tensors(self) -> dict[str, Tensor]:
        """All parts by name, rows first."""
        parts = {"masked": self.masked}
        for name, group in (("carry", self.carry), ("view", self.view)):
            parts |= {f"{name}.{f.name}": getattr(group, f.name) for f in fields(group)}
        return parts

    @classmethod
    def of(cls, parts: dict[str, Tensor]) -> Left:
        """Put together what `tensors` took apart."""

        def group(name: str) -> dict[str, Tensor]:
            prefix = f"{name}."
            return {k.removeprefix(prefix): v for k, v in parts.items() if k.startswith(prefix)}

        return cls(Carry(**group("carry")), parts["masked"], View(**group("view")))

    def map(self, change: Callable[[Tensor], Tensor]) -> Left:
        """Change every part alike."""
        return Left(self.carry.map(change), change(self.masked), self.view.map(change))


@dataclass(frozen=True)
class Sight:
    """What both sides know of a step before its codes, and where it comes from."""

    choice: Tensor  # motion hypotheses [B, h, w]
    warped: Warped
    carry: Carry  # of the step before
    context: Context
    pyramid: Pyramid
