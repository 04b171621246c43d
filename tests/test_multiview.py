"""Multi-view consistency: which cubes show one place, and the loss that holds them together."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from relive.model.multiview import MultiView, positives, same_place, shared_places
from relive.model.warp import Pinhole

# --- which cubes show the same place

CAMERA = Pinhole.from_fov(90.0, 1.2, (0, 0, 160, 112))  # a bar of 16 px below, as in Doom
GRID = 8, 10


def place_by_hand(
    pose_a: np.ndarray, pose_b: np.ndarray, inverse_depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One cube after the other in numpy, and how far (px) each is from the edge of its cube."""

    def axes(yaw: float, pitch: float, roll: float) -> np.ndarray:
        forward = np.array(
            [np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)]
        )
        right = np.array([np.sin(yaw), -np.cos(yaw), 0])
        up = np.cross(right, forward)
        turned = right * np.cos(roll) - up * np.sin(roll), up * np.cos(roll) + right * np.sin(roll)
        return np.stack([*turned, forward])

    h, w = GRID
    found, margin = np.full(GRID, -1), np.full(GRID, 8.0)
    for i in range(h):
        for j in range(w):
            x, y = 16 * j + 8, 16 * i + 8
            if y >= CAMERA.bottom_px:
                continue
            ray = np.array(
                [(x - 80) / CAMERA.focal_x_px, (56 - y) / CAMERA.focal_y_px, 1.0]
            ) @ axes(*pose_b[3:])
            far = 1 / inverse_depth[i, j] if inverse_depth[i, j] else 1e9
            seen = axes(*pose_a[3:]) @ (pose_b[:3] + far * ray - pose_a[:3])
            if seen[2] <= 0:
                continue
            u = 80 + CAMERA.focal_x_px * seen[0] / seen[2]
            v = 56 - CAMERA.focal_y_px * seen[1] / seen[2]
            margin[i, j] = min(u % 16, 16 - u % 16, v % 16, 16 - v % 16)
            if 0 <= u < 160 and 0 <= v < CAMERA.bottom_px:
                found[i, j] = int(v // 16) * w + int(u // 16)
    return found, margin


def check_places(pose_a: np.ndarray, pose_b: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
    found = same_place(
        CAMERA,
        torch.from_numpy(pose_a)[None],
        torch.from_numpy(pose_b)[None],
        torch.from_numpy(inverse_depth)[None].float(),
    )[0].numpy()
    wanted, margin = place_by_hand(pose_a, pose_b, inverse_depth)
    clear = margin > 1e-3  # rounding decides on the edge of two cubes
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(found[clear], wanted[clear])
    assert found.dtype == np.int64
    return found


HERE = np.array([100.0, -40.0, 20.0, 0.7, 0.1, 0.05])


def test_place_of_the_same_view_is_the_same_cube() -> None:
    found = check_places(HERE, HERE, np.full(GRID, 0.01))
    np.testing.assert_array_equal(found[:7], np.arange(70).reshape(7, 10))
    assert (found[7] == -1).all()  # the overlay


@pytest.mark.parametrize("turn", [0.3, -0.5, 1.2, 3.0, math.pi])
def test_place_after_a_pure_rotation(turn: float) -> None:
    before = HERE - [0, 0, 0, turn, 0.1, 0]
    chance = np.random.default_rng(0)
    found = check_places(HERE, before, chance.uniform(0, 0.1, GRID))
    assert (found >= 0).any() == (abs(turn) < 1.5)  # nothing is seen behind the camera
    if turn == -0.5:  # a turn to the right: what was right is now further left
        assert 0 <= found[3, 9] % 10 < 9


def test_place_after_forward_motion_with_known_depth() -> None:
    ahead = np.array([np.cos(0.7), np.sin(0.7), 0, 0, 0, 0])
    level = np.array([0.0, 0.0, 0.0, 0.7, 0.0, 0.0])
    inverse_depth = np.random.default_rng(1).uniform(0.002, 0.1, GRID)
    inverse_depth[0] = 0  # sky
    nearer = check_places(level + 40 * ahead, level, inverse_depth)
    wider = check_places(level, level + 40 * ahead, inverse_depth)
    assert (nearer[1:7] == -1).any()  # passed by, or behind
    assert (wider[:7] >= 0).all()
    np.testing.assert_array_equal(nearer[0], np.arange(10))


def test_place_of_any_two_views() -> None:
    chance = np.random.default_rng(2)
    for _ in range(20):
        a, b = (HERE + chance.normal(0, 1, 6) * [30, 30, 10, 0.4, 0.2, 0.2] for _ in "ab")
        check_places(a, b, chance.uniform(0, 0.05, GRID))


def test_place_in_a_crop_is_that_of_the_frame() -> None:
    pose = torch.from_numpy(HERE)[None]
    before = pose - torch.tensor([3.0, -8.0, 1.0, 0.2, 0.05, 0.0])
    nearness = torch.rand(1, *GRID, generator=torch.Generator().manual_seed(0)) * 0.05
    whole = same_place(CAMERA, pose, before, nearness)
    part = same_place(
        CAMERA, pose, before, nearness[:, 2:6, 3:8], torch.tensor([[3 * 16.0, 2 * 16.0]])
    )
    row, column = whole[:, 2:6, 3:8] // 10 - 2, whole[:, 2:6, 3:8] % 10 - 3
    inside = (row >= 0) & (row < 4) & (column >= 0) & (column < 5)
    assert torch.equal(part, torch.where(inside, row * 5 + column, -1))
    assert inside.any()


def test_a_place_that_something_hides_is_not_shared() -> None:
    level = torch.zeros(1, 6, dtype=torch.float64)
    aside = level + torch.tensor([0, 80.0, 0, 0, 0, 0])  # one cube further at the wall
    far = torch.full((1, *GRID), 1 / 400)
    near = far.clone()
    near[:, :, 4:6] = 1 / 50  # in view a a post stands before the wall
    to_a = same_place(CAMERA, level, aside, far)
    kept = shared_places(CAMERA, level, aside, near, far)
    hidden = (to_a >= 0) & ((to_a % 10 == 4) | (to_a % 10 == 5))
    assert hidden.any()
    assert not (kept >= 0)[hidden].any()
    assert torch.equal(kept[~hidden], to_a[~hidden])


# --- contrastive loss


def test_positives_against_a_loop() -> None:
    chance = torch.Generator().manual_seed(3)
    source = torch.randint(-1, 12, (2, 3, 4), generator=chance)
    now, before = torch.randint(0, 4, (2, 2, 3, 4), generator=chance)
    wanted = []
    for b in range(2):
        for n in range(12):
            s = int(source[b].flatten()[n])
            if s < 0:
                continue
            pair = {int(now[b].flatten()[n]), int(before[b].flatten()[s])}
            if not pair & {1, 2} and (0 in pair or len(pair) == 1):
                wanted.append((b * 12 + n, b * 12 + s))
    found = positives(source, now, before)
    assert list(zip(*(f.tolist() for f in found), strict=True)) == wanted
    assert len(wanted) > 3


def views(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Two views of a place, two cubes now that show one cube before, and one without a partner."""
    chance = torch.Generator().manual_seed(seed)
    now, before = torch.randn(2, 2, 3, 4, 6, generator=chance)
    source = torch.stack([torch.randperm(12, generator=chance).view(3, 4) for _ in range(2)])
    source[0, 0, 0] = source[0, 0, 1]
    source[1, 2, 2] = -1
    regions = torch.zeros(2, 3, 4, dtype=torch.long)
    return now, before, source, regions, regions


@torch.no_grad()
def test_loss_against_a_loop() -> None:
    torch.manual_seed(0)
    loss = MultiView(6, 8)
    now, before, source, *regions = views()
    index_now, index_before = (i.tolist() for i in positives(source, *regions))
    a = [F.normalize(loss.project(now.flatten(0, 2)[i]), dim=0) for i in index_now]
    b = [F.normalize(loss.project(before.flatten(0, 2)[i]), dim=0) for i in index_before]
    total = 0.0
    for i in range(len(a)):
        others = [j for j in range(len(a)) if j == i or index_before[j] != index_before[i]]
        score = {(p, q): float(a[p] @ b[q] / loss.temperature) for p in others for q in others}
        total -= score[i, i] - math.log(sum(math.exp(score[i, j]) for j in others))
        total -= score[i, i] - math.log(sum(math.exp(score[j, i]) for j in others))
    got = loss(now, before, source, *regions, torch.Generator())
    assert len(a) == 23
    assert float(got) == pytest.approx(total / 2 / len(a), rel=1e-5)


def matching(now: Tensor, before: Tensor, source: Tensor) -> Tensor:
    """Latents now that equal those of their partners."""
    cube = source.clamp_min(0).flatten(1)[..., None].expand(-1, -1, now.shape[-1])
    return before.flatten(1, 2).gather(1, cube).view_as(now)


@torch.no_grad()
def test_loss_falls_when_latents_match() -> None:
    torch.manual_seed(0)
    loss = MultiView(6)
    now, before, source, *regions = views()
    values = [
        float(loss(x, before, source, *regions, torch.Generator()))
        for x in (now, now.lerp(matching(now, before, source), 0.5), matching(now, before, source))
    ]
    assert values[0] > values[1] > values[2] >= 0


def test_loss_pulls_latents_together_and_reaches_every_weight() -> None:
    torch.manual_seed(0)
    loss = MultiView(6)
    now, before, source, *regions = views()
    now.requires_grad_(True)
    optimizer, values = torch.optim.Adam([now, *loss.parameters()], 0.02), []
    for _ in range(60):
        value = loss(now, before, source, *regions, torch.Generator())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.2 * values[0]
    assert all(p.grad is not None and bool(p.grad.any()) for p in loss.parameters())
    assert now.grad is not None
    assert not now.grad[1, 2, 2].any()  # no partner, no pull


@torch.no_grad()
def test_temperature_stays_in_its_bounds() -> None:
    loss = MultiView(6)
    assert float(loss.temperature) == pytest.approx(0.1)
    for value, bound in ((-50.0, 1.0), (50.0, 0.01)):
        loss.sharpness.data.fill_(value)
        assert float(loss.temperature) == pytest.approx(bound)


def test_no_positive_gives_zero_with_a_graph() -> None:
    loss = MultiView(6)
    now, before, source, *regions = views()
    now.requires_grad_(True)
    value = loss(now, before, torch.full_like(source, -1), *regions, torch.Generator())
    value.backward()
    assert value.item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in [now, *loss.parameters()])


@torch.no_grad()
def test_too_many_pairs_are_drawn_from() -> None:
    torch.manual_seed(0)
    few, all_pairs = MultiView(6, max_pairs=5), MultiView(6)
    few.load_state_dict(all_pairs.state_dict())
    inputs = views()
    drawn = [float(few(*inputs, torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] < float(all_pairs(*inputs, torch.Generator()))  # fewer negatives


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loss_works_under_autocast(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    loss = MultiView(6)
    inputs = views()
    inputs[0].requires_grad_(True)
    plain = loss(*inputs, torch.Generator()).item()
    with torch.autocast("cpu", dtype):
        value = loss(*inputs, torch.Generator())
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(plain, rel=0.05)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in loss.parameters())
