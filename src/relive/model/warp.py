"""Pose warp: what the previous picture looks like from the new camera, at very few bits.

With the poses of two frames known, where a pixel lay in the earlier picture depends on one number,
its inverse depth. One *motion hypothesis* is one inverse depth: 0 for the sky (pure rotation,
exact), a few dozen levels from near to far, and "copy" for what is fixed to the screen, such as a
HUD. The encoder chooses one hypothesis for every cube and sends its index; the rest follows from
the poses, which are in the file anyway. Games without a camera use a table of displacements instead
(design, section 5.2).

Shapes: B batch, M hypotheses, H W pixels, h w cube grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from relive.kernels.pictures import read


@dataclass(frozen=True)
class Pinhole:
    """Pinhole camera of the part of the picture that shows the scene, in whole-frame pixels."""

    focal_x_px: float
    focal_y_px: float
    centre_x_px: float
    centre_y_px: float
    left_px: int
    top_px: int
    right_px: int
    bottom_px: int

    @classmethod
    def from_fov(
        cls, fov_deg: float, pixel_aspect: float, view: tuple[int, int, int, int]
    ) -> Pinhole:
        """Build from the horizontal field of view and the view rectangle (x, y, w, h)."""
        x, y, w, h = view
        focal = w / 2 / math.tan(math.radians(fov_deg) / 2)
        return cls(focal, focal * pixel_aspect, x + w / 2, y + h / 2, x, y, x + w, y + h)

    def shows(self, xs: Tensor, ys: Tensor) -> Tensor:
        """Whether columns `[B, W]` and rows `[B, H]` show the scene, bool `[B, 1, H, W]`."""
        inside_x = (xs >= self.left_px) & (xs < self.right_px)
        inside_y = (ys >= self.top_px) & (ys < self.bottom_px)
        return (inside_y[:, :, None] & inside_x[:, None, :])[:, None]


def rotation(yaw_pitch_roll: Tensor) -> Tensor:
    """World-from-camera rotation.

    Args:
        yaw_pitch_roll: radians `[..., 3]`; yaw turns left, pitch up, roll clockwise.

    Returns:
        `[..., 3, 3]`, columns are the camera's right, up and forward axes in the world (x, y, z
        up).
    """
    yaw, pitch, roll = yaw_pitch_roll.unbind(-1)
    cy, sy, cp, sp = yaw.cos(), yaw.sin(), pitch.cos(), pitch.sin()
    forward = torch.stack([cp * cy, cp * sy, sp], -1)
    right = torch.stack([sy, -cy, torch.zeros_like(sy)], -1)
    up = torch.linalg.cross(right, forward)
    cr, sr = roll.cos()[..., None], roll.sin()[..., None]
    return torch.stack([right * cr - up * sr, up * cr + right * sr, forward], -1)


def relative_pose(reference: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Pose of the target camera as seen from the reference camera.

    Args:
        reference: x, y, z, yaw, pitch, roll (radians) `[..., 6]`, float64.
        target: the same.

    Returns:
        Rotation `[..., 3, 3]` and translation `[..., 3]` that take target-camera coordinates
        (right, up, forward) to reference-camera coordinates.
    """
    world_ref, world_target = rotation(reference[..., 3:]), rotation(target[..., 3:])
    back = world_ref.transpose(-1, -2)
    shift = (back @ (target[..., :3] - reference[..., :3])[..., None])[..., 0]
    return back @ world_target, shift


def camera_positions(
    camera: Pinhole, turn: Tensor, shift: Tensor, inverse_depth: Tensor, xs: Tensor, ys: Tensor
) -> tuple[Tensor, Tensor]:
    """Where every target pixel lies in the reference picture.

    Args:
        camera: the pinhole camera, the same for both pictures.
        turn: rotation to reference coordinates `[B, 3, 3]`.
        shift: translation to reference coordinates `[B, 3]`.
        inverse_depth: one over the distance along the view, broadcastable to `[B, M, H, W]`.
        xs: pixel-centre columns `[B, W]` in the whole frame.
        ys: pixel-centre rows `[B, H]`.

    Returns:
        Columns and rows in pixels of the whole frame, each `[B, M, H, W]`.
    """
    right = ((xs - camera.centre_x_px) / camera.focal_x_px)[:, None, :]
    up = (-(ys - camera.centre_y_px) / camera.focal_y_px)[:, :, None]
    turn_e, shift_e = turn[:, :, :, None, None], shift[:, :, None, None, None]
    rays = [turn_e[:, k, 0] * right + turn_e[:, k, 1] * up + turn_e[:, k, 2] for k in range(3)]
    v = [rays[k][:, None] + shift_e[:, k] * inverse_depth for k in range(3)]
    nearness = v[2].clamp_min_(1e-3).reciprocal_()
    x = v[0].mul_(camera.focal_x_px).mul_(nearness).add_(camera.centre_x_px)
    y = v[1].mul_(-camera.focal_y_px).mul_(nearness).add_(camera.centre_y_px)
    return x, y


def kernels_may(*tensors: Tensor) -> bool:
    """Whether kernels may take over: on a CPU, without gradients, not while torch compiles."""
    traced = torch.is_grad_enabled() or torch.compiler.is_compiling()
    kinds = (torch.float32, torch.int64)
    return not traced and all(tensor.is_cpu and tensor.dtype in kinds for tensor in tensors)


def sample(picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Read a picture at positions in pixels, edges replicated, bilinear.

    Args:
        picture: `[B, C, H, W]`.
        x: columns `[B, h, w]`; 0.5 is the centre of the first pixel.
        y: rows `[B, h, w]`.

    Returns:
        `[B, C, h, w]`.
    """
    if kernels_may(picture):
        return _read(picture, x, y)
    height, width = picture.shape[-2:]
    grid = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], -1).clamp_(-1.5, 1.5)
    return F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _read(picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """As `sample`, three times as fast as torch, on a CPU and without gradients."""
    size = (picture.shape[-2], picture.shape[-1])
    seen = picture.new_empty(*picture.shape[:2], *x.shape[-2:])
    x, y = (place.float().expand(len(picture), *x.shape[-2:]).flatten(1) for place in (x, y))
    for row, there in enumerate(picture.flatten(2).numpy()):
        read(there, size, x[row].numpy(), y[row].numpy(), seen[row].flatten(1).numpy())
    return seen
