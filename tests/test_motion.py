"""The pose warp: geometry against a rendered plane, the search, crops."""

import math

import numpy as np
import pytest
import torch

from relive.cubes.states import camera_poses, has_camera, model_states
from relive.model.motion import DISPLACEMENTS, NUM_MOTION, Motion, inverse_depths, positions, warp
from relive.model.motion_search import search
from relive.model.warp import Pinhole, relative_pose, rotation
from relive.session import Camera, StateField, StateSchema

HEIGHT, WIDTH = 64, 96
CAMERA = Pinhole.from_fov(80.0, 1.1, (0, 0, WIDTH, HEIGHT))
WALL = 300.0  # the plane x = WALL in the world


def wall_texture(y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Smooth colours on the wall, by place."""
    return torch.stack(
        [0.5 + 0.4 * torch.sin(y / 17 + z / 29), 0.5 + 0.4 * torch.cos(y / 23), y * 0 + 0.3], -3
    )


def render(pose: torch.Tensor) -> torch.Tensor:
    """Picture `[3, H, W]` of the wall from a pose `[6]`."""
    xs = (torch.arange(WIDTH) + 0.5 - CAMERA.centre_x_px) / CAMERA.focal_x_px
    ys = -(torch.arange(HEIGHT) + 0.5 - CAMERA.centre_y_px) / CAMERA.focal_y_px
    up, right = torch.meshgrid(ys, xs, indexing="ij")
    rays = torch.stack([right, up, torch.ones_like(up)], -1).double() @ rotation(pose[3:]).T
    reach = (WALL - pose[0]) / rays[..., 0]
    return wall_texture(pose[1] + rays[..., 1] * reach, pose[2] + rays[..., 2] * reach).float()


def motion_of(*poses: list[float], camera: Pinhole | None = CAMERA) -> Motion:
    """Motion of one step from the poses of its three frames."""
    stack = torch.tensor([poses], dtype=torch.float64)
    return Motion.from_poses(
        camera, stack, torch.zeros(1, 2), torch.tensor([float(camera is not None)])
    )


BEFORE = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
FIRST = [6.0, 4.0, 1.0, 0.05, 0.02, 0.01]
SECOND = [12.0, 8.0, 2.0, 0.1, 0.04, 0.02]


def _pictures(*poses: list[float]) -> list[torch.Tensor]:
    return [render(torch.tensor(p, dtype=torch.float64)) for p in poses]


def test_rotation_is_a_rotation_and_turns_left() -> None:
    turn = rotation(torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64))
    assert torch.allclose(turn.T @ turn, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert torch.linalg.det(turn) == pytest.approx(-1.0)  # (right, up, forward) is left-handed
    forward = rotation(torch.tensor([math.pi / 2, 0.0, 0.0], dtype=torch.float64))[:, 2]
    assert torch.allclose(forward, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), atol=1e-12)


def test_relative_pose_of_itself_is_nothing() -> None:
    pose = torch.tensor([FIRST], dtype=torch.float64)
    turn, shift = relative_pose(pose, pose)
    assert torch.allclose(turn, torch.eye(3, dtype=torch.float64)[None], atol=1e-12)
    assert not shift.any()


def test_warp_by_the_true_depth_gives_the_new_picture() -> None:
    before, first, second = _pictures(BEFORE, FIRST, SECOND)
    motion = motion_of(BEFORE, FIRST, SECOND)
    frames = torch.stack([first, second])[None]
    choice = search(motion, before[None], frames, step=2)
    warped, valid = warp(motion, before[None], choice, HEIGHT, WIDTH)
    seen = valid.expand_as(warped) > 0
    error = (warped - frames)[seen].square().mean()
    still = (before - frames)[seen].square().mean()
    assert error < still / 20
    depth = 1 / inverse_depths()[choice]
    assert (depth.median() / WALL).log().abs() < 0.2


def test_pure_rotation_needs_no_depth() -> None:
    turned = [0.0, 0.0, 0.0, 0.08, 0.0, 0.0]
    before, after = _pictures(BEFORE, turned)
    choice = torch.ones(1, 4, 6, dtype=torch.long)
    warped, valid = warp(motion_of(BEFORE, turned, turned), before[None], choice, HEIGHT, WIDTH)
    seen = valid[0, 0].expand(3, -1, -1) > 0
    assert (warped[0, 0] - after)[seen].square().mean() < 1e-5


def test_copy_moves_nothing() -> None:
    before = torch.rand(1, 3, HEIGHT, WIDTH)
    choice = torch.zeros(1, 4, 6, dtype=torch.long)
    warped, valid = warp(motion_of(BEFORE, FIRST, SECOND), before, choice, HEIGHT, WIDTH)
    assert torch.allclose(warped[0, 1], before[0], atol=1e-4)
    assert valid.all()


def test_overlay_stays_where_it_is() -> None:
    camera = Pinhole.from_fov(80.0, 1.0, (0, 0, WIDTH, 48))
    before = torch.rand(1, 3, HEIGHT, WIDTH)
    choice = torch.full((1, 4, 6), 9)
    motion = motion_of(BEFORE, FIRST, SECOND, camera=camera)
    warped, _ = warp(motion, before, choice, HEIGHT, WIDTH)
    assert torch.allclose(warped[0, 0, :, 48:], before[0, :, 48:], atol=1e-4)
    assert not torch.allclose(warped[0, 0, :, :48], before[0, :, :48], atol=1e-2)


def test_without_a_camera_the_displacement_is_found() -> None:
    torch.manual_seed(0)
    wide = torch.rand(1, 3, 8, 16)
    wide = torch.nn.functional.interpolate(wide, (HEIGHT, WIDTH + 32), mode="bicubic").clamp(0, 1)
    before = wide[..., 16 : 16 + WIDTH]
    frames = torch.stack([wide[..., 12 : 12 + WIDTH], wide[..., 8 : 8 + WIDTH]], 1)
    motion = motion_of(BEFORE, BEFORE, BEFORE, camera=None)
    choice = search(motion, before, frames)
    assert DISPLACEMENTS[int(choice[0, 1:3, 1:5].flatten().mode().values)] == (4, 0)


def test_tables_fit() -> None:
    assert len(DISPLACEMENTS) == NUM_MOTION == len(inverse_depths())
    assert len(set(DISPLACEMENTS)) == NUM_MOTION
    assert DISPLACEMENTS[0] == (0, 0)


def test_a_crop_moves_like_the_whole_picture() -> None:
    whole = motion_of(BEFORE, FIRST, SECOND)
    crop = Motion(
        whole.camera, whole.turns, whole.shifts, torch.tensor([[32.0, 16.0]]), whole.known
    )
    choice = torch.full((1, 1, HEIGHT, WIDTH), 7)
    full = positions(whole, 1, choice, HEIGHT, WIDTH)
    part = positions(crop, 1, choice[..., :32, :48], 32, 48)
    for whole_axis, part_axis in zip(full, part, strict=True):
        assert torch.allclose(whole_axis[:, :, 16:48, 32:80], part_axis, atol=1e-4)


SCHEMA = StateSchema(
    (
        StateField("x", role="camera.x"),
        StateField("y", role="camera.y"),
        StateField("z", role="camera.z"),
        StateField("heading", "deg", "angle", "camera.yaw"),
        StateField("health"),
    ),
    Camera(90, yaw_positive="right"),
)


def test_poses_and_fields_follow_the_schema() -> None:
    states = np.array([[0, 0, 1, 90, 50], [0, -2, 1, 80, 40]], np.float32)
    assert has_camera(SCHEMA)
    poses = camera_poses(SCHEMA, states)
    assert poses[0].tolist() == pytest.approx([0, 0, 1, -math.pi / 2, 0, 0])
    values, known = model_states(SCHEMA, states, ("@forward", "@turn", "health", "ammo"))
    assert known.tolist() == [1, 1, 1, 0]
    assert values[1].tolist() == pytest.approx([2.0, math.radians(10), 40, 0], abs=1e-5)


def test_no_camera_means_no_pose() -> None:
    schema = StateSchema(SCHEMA.fields)
    assert not has_camera(schema)
    _, known = model_states(schema, np.zeros((3, 5), np.float32), ("@forward", "health"))
    assert known.tolist() == [0, 1]
