"""Deblocking: which edges, how much, and the same numbers on both sides."""

import pytest
import torch
from torch import Tensor

from relive.enhancement.deblock import BEND, LIMIT, block_edges, choose_strength, deblock

H, W = 32, 48
GRID = (H // 16, W // 16)


def no_levels() -> Tensor:
    return torch.zeros(3, H // 8, W // 8, 8, 8)


def steps(size: float) -> Tensor:
    return torch.full(GRID, size)


def staircase(rise: float) -> Tensor:
    """Return blocks that are flat, each `rise` brighter than the one to the left or above."""
    y, x = torch.meshgrid(torch.arange(H) // 8, torch.arange(W) // 8, indexing="ij")
    return (rise * (y + x)).float().expand(3, H, W).contiguous()


def every_edge() -> tuple[Tensor, Tensor]:
    levels = no_levels()
    levels[0, :, :, 0, 0] = 1
    return block_edges(levels)


def test_edges_lie_where_levels_begin_or_the_prediction_changes() -> None:
    same, other = torch.zeros(GRID, dtype=torch.long), torch.tensor([[0, 0, 1], [0, 0, 0]])
    vectors = torch.zeros(*GRID, 2, dtype=torch.long)
    vectors[1, 0, 1] = -3
    across, down = block_edges(no_levels(), same, torch.zeros(*GRID, 2, dtype=torch.long))
    assert not across.any()
    assert not down.any()
    across, down = block_edges(no_levels(), other, torch.zeros(*GRID, 2, dtype=torch.long))
    assert across.nonzero().tolist() == [[0, 3], [1, 3]]
    assert down.nonzero().tolist() == [[1, 4], [1, 5]]
    across, down = block_edges(no_levels(), same, vectors)
    assert across.nonzero().tolist() == [[2, 1], [3, 1]]
    assert down.nonzero().tolist() == [[1, 0], [1, 1]]
    levels = no_levels()
    levels[2, 1, 2, 7, 7] = -1
    across, down = block_edges(levels, same, vectors * 0)
    assert across.nonzero().tolist() == [[1, 1], [1, 2]]
    assert down.nonzero().tolist() == [[0, 2], [1, 2]]


def test_a_step_between_blocks_becomes_a_slope_within_the_limit() -> None:
    frame, size = staircase(8), 100.0
    shown = deblock(frame, every_edge(), steps(size), 3)
    row = shown[0, 3].tolist()  # away from edges between rows
    assert row[:14] == [0] * 6 + [2, 3, 5, 6] + [8] * 4
    assert torch.equal(shown[:, :24, 3], shown[:, 3, :24])
    assert torch.equal(shown, shown.round())
    for strength in (1, 2, 3):
        weak = deblock(staircase(30), every_edge(), steps(size), strength) - staircase(30)
        most = weak[0, 3].abs().max().item()
        assert most == round(int(LIMIT * strength * size) / 16)
    assert torch.equal(deblock(frame, every_edge(), steps(size), 0), frame)


def test_every_cube_has_its_own_step() -> None:
    step = steps(100.0)
    step[:, 1:] = 1.0
    change = (deblock(staircase(30), every_edge(), step, 3) - staircase(30))[0, 3]
    assert change[7] == 9
    assert change[15] == 4  # between cubes: of the mean step
    assert not change[20:].any()


def test_limits_are_sixteenths_and_half_of_that_beside() -> None:
    frame = staircase(30)
    assert torch.equal(deblock(frame, every_edge(), steps(17.0), 1)[0, 3], frame[0, 3])
    frame[:, :, 14] -= 4
    assert deblock(frame, every_edge(), steps(100.0), 3)[0, 3, 14] == 30


def test_pixels_that_are_no_edge_of_a_block_stay() -> None:
    frame = torch.randint(0, 256, (3, H, W), generator=torch.Generator().manual_seed(0)).float()
    nothing = block_edges(no_levels(), torch.zeros(GRID, dtype=torch.long))
    assert torch.equal(deblock(frame, nothing, steps(100.0), 3), frame)
    changed = (deblock(frame, every_edge(), steps(2.0**10), 3) != frame).any(0)
    inner = torch.arange(8)[2:6]
    assert not changed.view(H // 8, 8, W // 8, 8)[:, inner][..., inner].any()
    assert changed.any()


def test_what_bends_is_the_pictures_own_edge() -> None:
    frame, size = torch.full((3, H, W), 100.0), 50.0
    frame[:, :, 23:] += BEND * size / 3 + 1  # a line within a block, one pixel before its edge
    assert torch.equal(deblock(frame, every_edge(), steps(size), 3), frame)


@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_both_passes_are_exact_in_float32(scale: float) -> None:
    frame = torch.randint(90, 110, (3, H, W), generator=torch.Generator().manual_seed(1)).float()
    step = steps(2 ** (40 / 6)) * scale
    whole = deblock(frame, every_edge(), step, 2)
    assert torch.equal(deblock(frame.double(), every_edge(), step, 2).float(), whole)


def test_the_encoder_takes_the_strength_that_comes_closest() -> None:
    frame, edges, step = staircase(30), every_edge(), steps(60.0)
    assert choose_strength(frame, frame, edges, step)[0] == 0
    for strength in range(4):
        target = deblock(frame, edges, step, strength)
        chosen, shown = choose_strength(target, frame, edges, step)
        assert chosen == strength
        assert torch.equal(shown, target)
    target = deblock(frame, edges, step, 1)
    target.view(3, H // 8, 8, W // 8, 8)[:, :, 2:6, :, 2:6] += 100  # closer, but by a trifle
    assert choose_strength(target, frame, edges, step)[0] == 0
