"""The warps behind one interface: exact rotation, searched, fixed and learned."""

import math
from dataclasses import replace

import pytest
import torch

from relive.errors import InputError
from relive.model.depth import START_DEPTH, sweep
from relive.model.motion import Motion, inverse_depths, source_cubes, warp
from relive.model.motion_search import search
from relive.model.warp import Pinhole
from relive.model.warping import FixedWarp, LearnedWarp, SearchedWarp, Warped, make_warper
from test_motion import BEFORE, CAMERA, FIRST, HEIGHT, SECOND, WIDTH, motion_of, render

Poses = list[list[float]]
WALK: Poses = [BEFORE, FIRST, SECOND]
TURN: Poses = [BEFORE, [0, 0, 0, 0.04, 0.01, 0], [0, 0, 0, 0.08, 0.02, 0]]
KINDS = ("searched", "learned", "rotation", "copy")


def scene(poses: Poses) -> tuple[torch.Tensor, torch.Tensor]:
    """The frame before `[1, 3, H, W]` and the pair `[1, 2, 3, H, W]` of the wall."""
    before, *pair = (render(torch.tensor(p, dtype=torch.float64)) for p in poses)
    return before[None], torch.stack(pair)[None]


def run(
    kind: str, motion: Motion, picture: torch.Tensor, frames: torch.Tensor
) -> tuple[torch.Tensor, Warped]:
    """Choose and warp, the last pair being the picture twice."""
    warper = make_warper(kind)
    pictures = picture[:, None].expand(-1, 2, -1, -1, -1)
    choice = warper.choose(motion, picture, frames)
    return choice, warper(motion, picture, pictures, choice)


def error(warped: Warped, frames: torch.Tensor) -> float:
    """Mean squared error where the previous picture saw the place."""
    seen = warped.valid.expand_as(frames) > 0.99
    return float((warped.reference - frames)[seen].detach().square().mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("camera", [CAMERA, None])
def test_all_warps_have_the_same_shapes(kind: str, camera: Pinhole | None) -> None:
    picture, frames = scene(WALK)
    choice, warped = run(kind, motion_of(*WALK, camera=camera), picture, frames)
    assert choice.shape == (1, 4, 6)
    assert choice.dtype == torch.int64
    assert warped.reference.shape == frames.shape
    assert warped.valid.shape == (1, 2, 1, HEIGHT, WIDTH)
    assert warped.inverse_depth.shape == (1, 4, 6)
    assert make_warper(kind).loss(warped, frames).shape == ()
    if kind != "searched":
        assert choice.unique().numel() == 1


def test_searched_is_what_it_was() -> None:
    picture, frames = scene(WALK)
    motion = motion_of(*WALK)
    choice, warped = run("searched", motion, picture, frames)
    assert torch.equal(choice, search(motion, picture, frames))
    reference, valid = warp(motion, picture, choice, HEIGHT, WIDTH)
    assert torch.equal(warped.reference, reference)
    assert torch.equal(warped.valid, valid)
    assert torch.equal(warped.inverse_depth, inverse_depths()[choice])


@pytest.mark.parametrize("kind", ["rotation", "learned"])
def test_rotation_is_exact(kind: str) -> None:
    picture, frames = scene(TURN)
    _, warped = run(kind, motion_of(*TURN), picture, frames)
    limit = 1e-5 if kind == "rotation" else 1e-4  # an untrained gate is open by two percent
    assert error(warped, frames) < limit < (picture[:, None] - frames).square().mean() / 20


def test_untrained_is_a_constant_depth() -> None:
    poses = [[pose[0] + 100.0, *pose[1:]] for pose in WALK]  # the wall is 300 units away
    picture, frames = scene(poses)
    _, learned = run("learned", motion_of(*poses), picture, frames)
    _, rotated = run("rotation", motion_of(*poses), picture, frames)
    assert learned.inverse_depth.allclose(torch.tensor(1 / START_DEPTH), rtol=0.05)
    assert error(learned, frames) < error(rotated, frames) / 10


def test_fixed_rotation_without_camera_is_copy() -> None:
    picture, frames = scene(WALK)
    motion = motion_of(*WALK)
    unknown = Motion(CAMERA, motion.turns, motion.shifts, motion.origin_px, torch.zeros(1))
    for blind in (unknown, motion_of(*WALK, camera=None)):
        choice = FixedWarp(1).choose(blind, picture, frames)
        assert not choice.any()


def test_depth_is_learned_from_one_pair() -> None:
    torch.manual_seed(0)
    poses = [[pose[0] + 230.0, *pose[1:]] for pose in WALK]  # 70 units from the wall
    picture, frames = scene(poses)
    motion, warper = motion_of(*poses), LearnedWarp()
    optimizer = torch.optim.Adam(warper.parameters(), 1e-2)
    pictures = picture[:, None].expand(-1, 2, -1, -1, -1)
    choice = warper.choose(motion, picture, frames)
    first = warper(motion, picture, pictures, choice)
    for _ in range(20):
        warped = warper(motion, picture, pictures, choice)
        optimizer.zero_grad()
        warper.loss(warped, frames).backward()
        optimizer.step()
    assert error(warped, frames) < error(first, frames) / 3
    assert (warped.inverse_depth.median() * 64).log().abs() < 0.25


def test_parallax_of_the_last_pair_gives_the_depth() -> None:
    near = [[pose[0] + 230.0, *pose[1:]] for pose in ([0.0, 0, 0, 0, 0, 0], FIRST, SECOND)]
    third = [248.0, 12.0, 3.0, 0.15, 0.06, 0.03]
    older, picture, first, second = scene_row([*near, third])
    poses = torch.tensor([[*near[1:], third]], dtype=torch.float64)
    past = torch.tensor([near[0]], dtype=torch.float64)
    motion = Motion.from_poses(CAMERA, poses, torch.zeros(1, 2), torch.ones(1), past)
    pictures, frames = torch.stack([older, picture], 1), torch.stack([first, second], 1)
    warper = LearnedWarp()
    choice = warper.choose(motion, picture, frames)
    seen = warper(motion, picture, pictures, choice)
    blind = replace(motion, past_turn=None, past_shift=None)
    assert error(seen, frames) < error(warper(blind, picture, pictures, choice), frames) / 1.5
    crop = replace(motion, origin_px=torch.tensor([[32.0, 16.0]]))
    misfit, share = sweep(crop, picture, pictures[..., 16:48, 32:80], warper.depth.depths)
    best = misfit.argmin(1)[share[:, 0] > 0.8]
    assert best.numel() > 3
    assert (warper.depth.depths[best].median() + math.log(64)).abs() < 0.3  # 58 to 70 units away


def scene_row(poses: Poses) -> list[torch.Tensor]:
    """Pictures `[1, 3, H, W]` of the wall."""
    return [render(torch.tensor(p, dtype=torch.float64))[None] for p in poses]


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    picture, frames = (x.repeat(2, 1, 1, 1) for x in (scene(WALK)[0], scene(WALK)[1][0]))
    frames = frames.view(2, 2, 3, HEIGHT, WIDTH)
    one = motion_of(*WALK)
    motion = Motion(
        CAMERA,
        one.turns.repeat(2, 1, 1, 1),
        one.shifts.repeat(2, 1, 1),
        torch.zeros(2, 2),
        torch.tensor([1.0, 0.0]),
        one.turns[:, 0].transpose(1, 2).repeat(2, 1, 1),
        -one.shifts[:, 0].repeat(2, 1),
    )
    warper = LearnedWarp()
    optimizer = torch.optim.SGD(warper.parameters(), 0.1)
    pictures = torch.rand(2, 2, 3, HEIGHT, WIDTH)
    for _ in range(2):
        optimizer.zero_grad()
        warped = warper(motion, picture, pictures, warper.choose(motion, picture, frames))
        ((warped.reference - frames).square().mean() + warper.loss(warped, frames)).backward()
        optimizer.step()
    silent = [n for n, p in warper.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    assert sum(p.numel() for p in warper.depth.parameters()) < 250_000


def test_nothing_is_nan_in_bfloat16() -> None:
    picture, frames = scene(WALK)
    warper = LearnedWarp()
    pictures = torch.stack([picture, picture], 1)
    for known in (0.0, 1.0):
        whole = motion_of(*WALK)
        motion = Motion(CAMERA, whole.turns, whole.shifts, whole.origin_px, torch.tensor([known]))
        with torch.autocast("cpu", torch.bfloat16):
            warped = warper(motion, picture, pictures, warper.choose(motion, picture, frames))
            loss = warper.loss(warped, frames)
        loss.backward()
        assert warped.reference.dtype == torch.float32
        assert warped.reference.isfinite().all()
        assert all(p.grad.isfinite().all() for p in warper.parameters() if p.grad is not None)


def test_overlay_stays_and_a_crop_warps_like_the_whole() -> None:
    torch.manual_seed(0)
    camera = Pinhole.from_fov(80.0, 1.0, (0, 0, WIDTH, 48))
    picture, frames = scene(WALK)
    motion = motion_of(*WALK, camera=camera)
    _, whole = run("learned", motion, picture, frames)
    assert torch.allclose(whole.reference[0, 0, :, 48:], picture[0, :, 48:], atol=1e-4)
    assert not whole.inverse_depth[:, 3].any()
    crop = Motion(camera, motion.turns, motion.shifts, torch.tensor([[32.0, 16.0]]), motion.known)
    warper = LearnedWarp()
    part = frames[..., 16:48, 32:80]
    warped = warper(crop, picture, part, warper.choose(crop, picture, part))
    assert torch.allclose(whole.reference[..., 16:48, 32:80], warped.reference, atol=1e-4)


def test_source_cubes_of_a_pan() -> None:
    turned = [0.0, 0.0, 0.0, -float(torch.atan(torch.tensor(32 / CAMERA.focal_x_px))), 0.0, 0.0]
    motion = motion_of(BEFORE, turned, turned)
    choice = torch.ones(1, 4, 6, dtype=torch.long)
    cubes = source_cubes(motion, choice, 4, 6)
    assert cubes[0, 1, 1].item() == 9  # 32 pixels to the right were two cubes
    assert (cubes[0, :, 5] == -1).all()
    still = torch.arange(24).view(1, 4, 6)
    assert torch.equal(source_cubes(motion, choice * 0, 4, 6), still)
    depth = torch.full((1, 4, 6), 1e-6)
    assert torch.equal(source_cubes(motion, choice * 0, 4, 6, depth), cubes)


def test_source_cubes_by_displacement_and_in_a_crop() -> None:
    motion = motion_of(BEFORE, BEFORE, BEFORE, camera=None)
    flow = torch.zeros(1, 2, 4, 6)
    flow[:, 0] = 16.0
    cubes = source_cubes(motion, torch.zeros(1, 4, 6, dtype=torch.long), 4, 6, flow=flow)
    assert (cubes[0, :, 0] == -1).all()
    assert cubes[0, 2, 3].item() == 2 * 6 + 2
    crop = Motion(None, motion.turns, motion.shifts, torch.tensor([[32.0, 16.0]]), motion.known)
    assert torch.equal(source_cubes(crop, torch.zeros(1, 4, 6).long(), 4, 6, flow=flow), cubes)


def test_flow_goes_on() -> None:
    torch.manual_seed(0)
    strip = torch.nn.functional.interpolate(
        torch.rand(1, 3, 16, 30), (HEIGHT, WIDTH + 24), mode="bilinear"
    )
    older, picture, *pair = (strip[..., x : x + WIDTH] for x in (0, 6, 12, 18))
    motion = motion_of(BEFORE, BEFORE, BEFORE, camera=None)
    warper, frames = LearnedWarp(), torch.stack(pair, 1)
    choice = warper.choose(motion, picture, frames)
    warped = warper(motion, picture, torch.stack([older, picture], 1), choice)
    assert warped.flow is not None
    assert warped.flow[0, :, 1:3, 1:4].mean((1, 2)).tolist() == pytest.approx([-6, 0], abs=0.5)
    assert error(warped, frames) < (picture[:, None] - frames).square().mean() / 10


def test_unknown_warp_is_refused() -> None:
    with pytest.raises(InputError, match="warp 'wide'"):
        make_warper("wide")
    assert isinstance(make_warper("searched"), SearchedWarp)
