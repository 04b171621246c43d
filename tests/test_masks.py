"""Masks: exact counts, ratios kept, evenness of the running cell, the camera, refusals."""

import math
from fractions import Fraction
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from relive.errors import InputError
from relive.model.masks import (
    COMPLEXITY_RATIOS,
    check_counts,
    follow_camera,
    hidden_count,
    region_mask,
    running_cell_mask,
    tube_mask,
    visible_indices,
)

GRIDS = list(product(range(1, 21), range(1, 21)))
RATIOS = tuple(COMPLEXITY_RATIOS.values())
CELL_RATIOS = (0.25, 0.5, 0.75)
Grid = tuple[int, int]
grids = st.tuples(st.integers(1, 24), st.integers(1, 24))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def per_row(masked: Tensor) -> Tensor:
    return masked.flatten(1).sum(1)


def identity(batch: int, grid: Grid) -> Tensor:
    h, w = grid
    return torch.arange(h * w).view(1, h, w).repeat(batch, 1, 1)


def moved_right(batch: int, grid: Grid, columns: int) -> Tensor:
    """Sources after the camera turned right: the last columns just came into view."""
    source = torch.full((batch, *grid), -1)
    source[..., : grid[1] - columns] = identity(batch, grid)[..., columns:]
    return source


def random_regions(grid: Grid, num_regions: int, batch: int, seed: int) -> Tensor:
    return torch.randint(num_regions, (batch, *grid), generator=seeded(seed))


# --- counts


@given(st.integers(1, 10_000), st.integers(0, 999))
def test_count_is_the_whole_cubes_of_the_written_ratio(num_cubes: int, thousandths: int) -> None:
    count = hidden_count(num_cubes, thousandths / 1000)
    assert count == num_cubes * thousandths // 1000
    assert num_cubes - count >= 1


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_count_is_less_than_one_cube_below_any_ratio(num_cubes: int, ratio: float) -> None:
    missing = Fraction(repr(ratio)) * num_cubes - hidden_count(num_cubes, ratio)
    assert 0 <= missing < 1


def test_ratio_of_a_float_product_below_the_whole_number() -> None:
    assert 0.29 * 100 < 29
    assert hidden_count(100, 0.29) == 29


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, math.nan, math.inf])
def test_impossible_ratio_is_refused(ratio: float) -> None:
    with pytest.raises(InputError, match="ratio"):
        hidden_count(100, ratio)
    with pytest.raises(InputError, match="ratio"):
        tube_mask(1, (4, 4), ratio, seeded())
    with pytest.raises(InputError, match="ratio"):
        region_mask(torch.zeros(1, 4, 4, dtype=torch.int64), [ratio], seeded())


@pytest.mark.parametrize("grid", [(0, 4), (4, 0), (-2, -2)])
def test_empty_grid_is_refused(grid: Grid) -> None:
    with pytest.raises(InputError, match="at least one cube"):
        tube_mask(1, grid, 0.5, seeded())
    with pytest.raises(InputError, match="at least one cube"):
        running_cell_mask(grid, 0.5, 0)
    with pytest.raises(InputError, match="at least one cube"):
        hidden_count(min(grid), 0.5)


# --- tubes


@pytest.mark.parametrize("ratio", [0.0, 0.6, 0.75, 0.85, 0.9, 0.95])
def test_tube_mask_hides_the_exact_count_on_every_grid(ratio: float) -> None:
    generator = seeded()
    for grid in GRIDS:
        masked = tube_mask(2, grid, ratio, generator)
        assert masked.shape == (2, *grid)
        assert masked.dtype == torch.bool
        assert per_row(masked).tolist() == [hidden_count(math.prod(grid), ratio)] * 2


def test_tube_mask_hides_every_cube_equally_often() -> None:
    share = tube_mask(4000, (5, 7), 0.6, seeded()).float().mean(0)
    assert (share - 0.6).abs().max() < 0.04  # five standard deviations


def test_masks_repeat_with_their_generator() -> None:
    regions = random_regions((6, 9), 3, 4, 5)
    source = moved_right(4, (6, 9), 2)

    def draw(seed: int) -> tuple[Tensor, Tensor, Tensor]:
        generator = seeded(seed)
        tube = tube_mask(4, (6, 9), 0.85, generator)
        followed = follow_camera(tube, source, 45, generator)
        return tube, region_mask(regions, RATIOS, generator), followed

    for first, again, other in zip(draw(1), draw(1), draw(2), strict=True):
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


# --- regions


def region_counts(masked: Tensor, regions: Tensor, num_regions: int) -> list[list[int]]:
    return [
        [int(m[r == i].sum()) for i in range(num_regions)]
        for m, r in zip(masked, regions, strict=True)
    ]


@settings(deadline=None, max_examples=60)
@given(grids, st.integers(0, 1000))
def test_row_that_sets_the_total_keeps_every_ratio(grid: Grid, seed: int) -> None:
    regions = random_regions(grid, 3, 1, seed)
    masked = region_mask(regions, RATIOS, seeded(seed))
    quotas = [Fraction(repr(x)) * int((regions == i).sum()) for i, x in enumerate(RATIOS)]
    for count, quota in zip(region_counts(masked, regions, 3)[0], quotas, strict=True):
        assert abs(count - quota) < 1
    assert int(masked.sum()) == math.floor(sum(quotas))


@settings(deadline=None, max_examples=60)
@given(grids, st.integers(1, 5), st.integers(0, 1000), st.data())
def test_region_mask_meets_any_total_exactly(
    grid: Grid, batch: int, seed: int, data: st.DataObject
) -> None:
    regions = random_regions(grid, 4, batch, seed)
    hidden = data.draw(st.integers(0, math.prod(grid) - 1))
    masked = region_mask(regions, (0.95, 0.0, 0.85, 0.75), seeded(seed), hidden)
    assert per_row(masked).tolist() == [hidden] * batch


@settings(deadline=None, max_examples=40)
@given(grids, st.integers(2, 5), st.integers(0, 1000))
def test_rows_of_a_batch_share_the_smallest_total(grid: Grid, batch: int, seed: int) -> None:
    regions = random_regions(grid, 3, batch, seed)
    alone = [int(region_mask(row[None], RATIOS, seeded()).sum()) for row in regions]
    assert per_row(region_mask(regions, RATIOS, seeded())).tolist() == [min(alone)] * batch


@pytest.mark.parametrize("hidden", [600, 1100, 1160])
def test_other_totals_are_shared_in_proportion(hidden: int) -> None:
    regions = torch.arange(3).repeat_interleave(400).view(1, 30, 40)
    masked = region_mask(regions, RATIOS, seeded(), hidden)
    counts = region_counts(masked, regions, 3)[0]
    asked, spared = [380, 340, 300], [20, 60, 100]
    for i, count in enumerate(counts):
        less = asked[i] * hidden / sum(asked)
        more = 400 - spared[i] * (1200 - hidden) / sum(spared)
        assert abs(count - (less if hidden < sum(asked) else more)) < 1


def test_cubes_of_a_region_are_hidden_equally_often() -> None:
    regions = (torch.arange(60) % 3).view(1, 6, 10).repeat(4000, 1, 1)
    share = region_mask(regions, RATIOS, seeded()).float().mean(0)
    for i, ratio in enumerate(RATIOS):
        assert (share[regions[0] == i] - ratio).abs().max() < 0.04


def test_wrong_regions_and_totals_are_refused() -> None:
    regions = random_regions((4, 4), 3, 2, 0)
    with pytest.raises(InputError, match="do not fit 2 mask ratios"):
        region_mask(regions + 1, RATIOS[:2], seeded())
    with pytest.raises(InputError, match="regions -1"):
        region_mask(torch.full_like(regions, -1), RATIOS, seeded())
    for hidden in (-1, 16):
        with pytest.raises(InputError, match=f"not {hidden}"):
            region_mask(regions, RATIOS, seeded(), hidden)


# --- camera


@settings(deadline=None, max_examples=60)
@given(grids, st.floats(0, 0.99), st.floats(0, 1), st.integers(0, 1000))
def test_mask_stays_where_the_camera_stays(
    grid: Grid, ratio: float, keep: float, seed: int
) -> None:
    generator = seeded(seed)
    before = tube_mask(3, grid, ratio, generator)
    hidden = hidden_count(math.prod(grid), ratio)
    after = follow_camera(before, identity(3, grid), hidden, generator, keep)
    assert torch.equal(after, before)


@settings(deadline=None, max_examples=60)
@given(grids, st.floats(0, 1), st.integers(0, 1000), st.data())
def test_any_count_is_met_and_hidden_places_come_first(
    grid: Grid, keep: float, seed: int, data: st.DataObject
) -> None:
    num_cubes = math.prod(grid)
    source = torch.randint(-1, num_cubes, (3, *grid), generator=seeded(seed))
    before = tube_mask(3, grid, 0.7, seeded(seed))
    hidden = data.draw(st.integers(0, num_cubes - 1))
    after = follow_camera(before, source, hidden, seeded(seed), keep)
    assert per_row(after).tolist() == [hidden] * 3
    was_hidden = before.flatten(1).gather(1, source.clamp(min=0).flatten(1)).view_as(before)
    stayed = per_row(was_hidden & (source >= 0))
    assert torch.equal(per_row(after & was_hidden & (source >= 0)), stayed.clamp(max=hidden))


@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize("ratio", [0.75, 0.9])
def test_mask_moves_with_the_camera_and_new_places_are_hidden_less(
    columns: int, ratio: float
) -> None:
    grid, batch = (12, 20), 200
    before = tube_mask(batch, grid, ratio, seeded())
    source, hidden = moved_right(batch, grid, columns), hidden_count(240, ratio)
    after = follow_camera(before, source, hidden, seeded(1))
    still_hidden = before[..., columns:]
    assert after[..., :-columns][still_hidden].all()
    new, seen = after[..., -columns:].float().mean(), after[..., :-columns].float().mean()
    spread = 0.5 / math.sqrt(batch * 12 * columns)
    assert new + 10 * spread < ratio <= seen


def test_everything_new_is_a_tube_mask() -> None:
    source = torch.full((4000, 5, 7), -1)
    masked = follow_camera(torch.ones_like(source).bool(), source, 21, seeded())
    assert (masked.float().mean(0) - 0.6).abs().max() < 0.04  # five standard deviations


def test_views_of_one_row_serve_as_a_batch() -> None:
    regions, before = torch.zeros(1, 7, 5).long(), torch.zeros(1, 7, 5, dtype=torch.bool)
    shown = [x.transpose(1, 2).expand(3, 5, 7) for x in (regions, before)]
    assert per_row(region_mask(shown[0], RATIOS, seeded(), 20)).tolist() == [20] * 3
    assert per_row(follow_camera(shown[1], shown[0], 20, seeded())).tolist() == [20] * 3
    assert visible_indices(shown[1], check_counts(shown[1])).shape == (3, 35)


def test_keep_says_how_firmly_new_places_stay_visible() -> None:
    before = tube_mask(200, (12, 20), 0.75, seeded())
    source = moved_right(200, (12, 20), 4)
    shares = [
        follow_camera(before, source, 180, seeded(1), keep)[..., -4:].float().mean().item()
        for keep in (0.0, 0.5, 0.9, 1.0)
    ]
    assert shares == sorted(shares, reverse=True)
    # 240 - 180 visible cubes hold all 48 new ones, on average: the last is hidden only by chance
    assert shares[0] > 0.3
    assert shares[-1] < 0.02


def test_keep_is_the_chance_of_one_new_against_one_visible_cube() -> None:
    source = torch.tensor([[[0, -1]]]).repeat(20_000, 1, 1)
    before = torch.zeros(20_000, 1, 2, dtype=torch.bool)
    for keep in (0.0, 0.5, 0.9, 1.0):
        share = follow_camera(before, source, 1, seeded(), keep)[..., 1].float().mean()
        assert abs(share - (1 - keep) ** 2 / 2) < 0.02


def test_wrong_camera_arguments_are_refused() -> None:
    before, source = torch.zeros(1, 2, 3, dtype=torch.bool), identity(1, (2, 3))
    with pytest.raises(ValueError, match="source"):
        follow_camera(before, source.transpose(1, 2), 3, seeded())
    for keep in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match="keep"):
            follow_camera(before, source, 3, seeded(), keep)
    for hidden in (-1, 6):
        with pytest.raises(InputError, match=f"not {hidden}"):
            follow_camera(before, source, hidden, seeded())


# --- running cell


@pytest.mark.parametrize("ratio", CELL_RATIOS)
def test_running_cell_is_even_over_any_four_steps_on_any_grid(ratio: float) -> None:
    for grid in GRIDS:
        steps = torch.cat([running_cell_mask(grid, ratio, step) for step in range(7)])
        for start in range(4):
            assert (steps[start : start + 4].sum(0) == 4 * ratio).all()


@pytest.mark.parametrize("ratio", CELL_RATIOS)
def test_running_cell_count_is_within_one_cube_in_every_step(ratio: float) -> None:
    for h, w in GRIDS:
        asked = ratio * h * w
        for step in range(4):
            masked = running_cell_mask((h, w), ratio, step, batch=2)
            counts = per_row(masked).tolist()
            assert counts[0] == counts[1]
            assert abs(counts[0] - asked) < 1
            assert counts[0] == asked or h % 2 or w % 2
            assert 0 < counts[0] < h * w or h * w < 4


@pytest.mark.parametrize("ratio", CELL_RATIOS)
def test_running_cell_hides_its_ratio_of_every_whole_cell(ratio: float) -> None:
    for step in range(4):
        cells = running_cell_mask((7, 9), ratio, step)[0, :6, :8].view(3, 2, 4, 2)
        assert (cells.sum((1, 3)) == 4 * ratio).all()


def test_half_of_the_cubes_are_a_checkerboard_that_moves() -> None:
    for h, w in GRIDS:
        board = (torch.arange(h)[:, None] + torch.arange(w)) % 2 == 0
        for step in range(4):
            masked = running_cell_mask((h, w), 0.5, step)[0]
            assert torch.equal(masked, board if step % 2 == 0 else ~board)


@pytest.mark.parametrize("ratio", CELL_RATIOS)
def test_running_cell_moves_with_every_step(ratio: float) -> None:
    steps = [running_cell_mask((5, 6), ratio, step) for step in range(5)]
    assert all(not torch.equal(a, b) for a, b in pairwise(steps))
    assert torch.equal(steps[0], steps[4])


@pytest.mark.parametrize("ratio", [0.0, 0.6, 0.9, 1.0, math.nan])
def test_running_cell_never_replaces_a_ratio(ratio: float) -> None:
    with pytest.raises(InputError, match=r"0\.25, 0\.5 or 0\.75"):
        running_cell_mask((4, 4), ratio, 0)


# --- gathering


@settings(deadline=None, max_examples=60)
@given(grids, st.floats(0, 0.99), st.integers(0, 1000))
def test_visible_indices_are_the_visible_cubes_in_order(
    grid: Grid, ratio: float, seed: int
) -> None:
    masked = tube_mask(3, grid, ratio, seeded(seed))
    count = check_counts(masked)
    assert count == math.prod(grid) - hidden_count(math.prod(grid), ratio)
    expected = [(~row).nonzero()[:, 0].tolist() for row in masked.flatten(1)]
    indices = visible_indices(masked, count)
    assert indices.dtype == torch.int64
    assert indices.tolist() == expected


def test_visible_indices_compile_without_a_graph_break() -> None:
    masked = tube_mask(2, (9, 11), 0.9, seeded())
    compiled = torch.compile(visible_indices, backend="aot_eager", fullgraph=True)
    count = check_counts(masked)
    assert torch.equal(compiled(masked, count), visible_indices(masked, count))


def test_rows_of_different_counts_are_refused() -> None:
    masked = torch.zeros(2, 3, 3, dtype=torch.bool)
    assert check_counts(masked) == 9
    masked[1, 0, 0] = True
    with pytest.raises(ValueError, match=r"\[9, 8\]"):
        check_counts(masked)
    with pytest.raises(ValueError, match=r"\[\]"):
        check_counts(masked[:0])
