"""Masks of the cube grid: which cubes the encoder, and which the decoder, never sees.

Every mask is bool `[B, h, w]`, True = hidden, and hides the same number of cubes in every row of
its batch, because hidden cubes are gathered away. A count follows exactly from a ratio or the
ratio is refused; no ratio is replaced by one that happens to be easier. Masks are drawn outside
compiled code; `visible_indices` runs inside.

Shapes: B batch, h w cube grid, N = h·w cubes, R regions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import torch
from torch import Tensor

from relive.errors import InputError

# Specification, "Region-specific adaptation": share of hidden cubes by complexity of the region.
COMPLEXITY_RATIOS: Final = {"simple": 0.95, "complex": 0.85, "critical": 0.75}

# Hidden positions of a running cell: their numbers less the step, modulo 4.
RUNNING_CELL: Final = {0.25: (0,), 0.5: (0, 2), 0.75: (0, 1, 2)}


def hidden_count(num_cubes: int, ratio: float) -> int:
    """Count the cubes that a ratio hides: the whole cubes in `ratio * num_cubes`.

    The ratio is the decimal number it is written as: 0.29 of 100 cubes are 29, although the product
    of the floats is below 29. The count is never above the ratio and less than one cube below it;
    at least one cube is visible.

    Raises:
        InputError: There is no cube, or the ratio is outside [0, 1).
    """
    if num_cubes < 1:
        raise InputError(f"a mask needs at least one cube, not {num_cubes}")
    return math.floor(_exact(ratio) * num_cubes)


def tube_mask(
    batch: int, grid: tuple[int, int], ratio: float, generator: torch.Generator
) -> Tensor:
    """Hide cubes at random, the same number in every row.

    One mask serves all steps of a clip, so that a hidden place cannot be copied from a
    neighbouring step (tube masking, VideoMAE, arXiv 2203.12602).

    Args:
        batch: Rows.
        grid: Cube grid (h, w).
        ratio: Share of hidden cubes, see `hidden_count`.
        generator: Source of chance; the mask lies on its device.

    Returns:
        bool `[B, h, w]` with `hidden_count(h * w, ratio)` hidden cubes in every row.

    Raises:
        InputError: The grid is empty, or the ratio is outside [0, 1).
    """
    hidden = hidden_count(_num_cubes(grid), ratio)
    score = torch.rand(batch, *grid, generator=generator, device=generator.device)
    return hide_highest(score, hidden)


def region_mask(
    regions: Tensor, ratios: Sequence[float], generator: torch.Generator, hidden: int | None = None
) -> Tensor:
    """Hide a share of every region (specification, "Adaptive masking ratios").

    All rows hide the same total. A row whose own ratios amount to that total keeps every ratio to
    within one cube. Any other row hides proportionally less of every region, or, where more is
    asked for, shows proportionally less of every region; so no region is asked for more than it
    has. Fractions of cubes go to the largest remainders.

    Args:
        regions: Region of every cube, int64 `[B, h, w]`, 0 <= id < len(ratios).
        ratios: Share of hidden cubes by region id, each 0 <= ratio < 1.
        generator: Source of chance, on any device.
        hidden: Total of every row, 0 <= hidden < N; by default the smallest of the rows'
            sums of `ratio * cubes of the region`, in whole cubes.

    Returns:
        bool `[B, h, w]` on the device of `regions`.

    Raises:
        InputError: A ratio is outside [0, 1), a region has no ratio, or the total does not fit.
    """
    exact = [_exact(ratio) for ratio in ratios]
    num_cubes = _num_cubes(regions.shape[1:])
    sizes = _region_sizes(regions, len(exact))  # [B, R]
    rows: list[list[int]] = sizes.tolist()
    quotas = [[n * ratio for n, ratio in zip(row, exact, strict=True)] for row in rows]
    total = min(math.floor(sum(q)) for q in quotas) if hidden is None else hidden
    _check_hidden(total, num_cubes)
    split = [_split(row, q, total) for row, q in zip(rows, quotas, strict=True)]
    counts = torch.tensor(split, device=regions.device)  # [B, R]
    return _hide_in_regions(regions, sizes, counts, generator)


def follow_camera(
    masked_before: Tensor,
    source: Tensor,
    hidden: int,
    generator: torch.Generator,
    keep: float = 0.9,
) -> Tensor:
    """Move a mask with the camera (specification, "Camera-aware masking").

    The `hidden` cubes of the highest score are hidden, where with u uniform in [0, 1)

        score = u + 1 · (source was hidden) - keep · (just came into view)

    So what was hidden stays hidden wherever the camera moves it, before anything else is hidden.
    Hidden cubes that left the view are made up for by cubes that were visible, rarely by what just
    came into view: such a cube is hidden before a given visible one with probability
    (1 - keep)² / 2. Where nothing moved and the count is the same, so is the mask.

    Args:
        masked_before: Mask of the step before, bool `[B, h, w]`.
        source: Cube of the step before that shows the same place, int64 `[B, h, w]`, row * w +
            column; -1 where the place just came into view.
        hidden: Hidden cubes in every row, 0 <= hidden < N.
        generator: Source of chance, on any device.
        keep: How firmly what just came into view is kept visible, from 0 (like any visible cube)
            to 1 (hidden only when everything else is).

    Returns:
        bool `[B, h, w]` on the device of `masked_before`.

    Raises:
        InputError: The count does not fit the grid, or `keep` is outside [0, 1].
        ValueError: The shapes differ.
    """
    if masked_before.shape != source.shape:
        raise ValueError(f"mask {tuple(masked_before.shape)}, source {tuple(source.shape)}")
    if not 0 <= keep <= 1:
        raise InputError(f"keep must be in [0, 1], not {keep}")
    _check_hidden(hidden, _num_cubes(source.shape[1:]))
    new = source < 0
    was_hidden = masked_before.flatten(1).gather(1, source.clamp(min=0).flatten(1))
    was_hidden = was_hidden.view_as(new) & ~new
    score = _chance(source, generator) + was_hidden.float() - keep * new.float()  # [B, h, w]
    return hide_highest(score, hidden)


def running_cell_mask(
    grid: tuple[int, int],
    ratio: float,
    step: int,
    batch: int = 1,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Hide cubes of the decoder: a pattern of 2x2 cells that runs on with every step.

    Running cell masking (MAR, arXiv 2207.11660) as decoder mask (VideoMAE V2, arXiv 2303.16727).
    The positions of a cell are numbered clockwise, and the hidden numbers advance with the step:
    one of four, one diagonal (a checkerboard), or all but one. An odd last row and column form one
    path, numbered along it. Exact on every grid: in any four steps in a row each cube is hidden
    `4 * ratio` times. In one step the number of hidden cubes is `ratio * N` where both sides are
    even and less than one cube off elsewhere; from four cubes on, every step hides a cube and
    shows one.

    Args:
        grid: Cube grid (h, w).
        ratio: 0.25, 0.5 or 0.75.
        step: Number of the step.
        batch: Rows, all alike.
        device: Device of the mask, bool `[B, h, w]`.

    Raises:
        InputError: The grid is empty, or the ratio is none of the three.
    """
    _num_cubes(grid)
    if ratio not in RUNNING_CELL:
        raise InputError(f"a running cell hides 0.25, 0.5 or 0.75 of the cubes, not {ratio}")
    hidden = torch.tensor(RUNNING_CELL[ratio], device=device)
    return torch.isin((_cell_numbers(grid, device) - step) % 4, hidden).repeat(batch, 1, 1)


def check_counts(masked: Tensor) -> int:
    """Return the number of visible cubes that all rows of a mask share.

    It waits for the device of the mask, bool `[B, h, w]`: call it outside compiled code.

    Raises:
        ValueError: The rows differ.
    """
    counts: list[int] = (~masked).flatten(1).sum(1).tolist()
    if len(set(counts)) != 1:
        raise ValueError(f"rows of one mask show different numbers of cubes: {counts}")
    return counts[0]


def visible_indices(masked: Tensor, count: int) -> Tensor:
    """List the visible cubes, row by row of the grid.

    Args:
        masked: bool `[B, h, w]` with `count` visible cubes in every row, see `check_counts`.
        count: Visible cubes of a row, Nv.

    Returns:
        int64 `[B, Nv]`, row * w + column, ascending.
    """
    # False sorts before True, and a stable sort keeps the visible ones in their order
    return masked.flatten(1).argsort(dim=1, stable=True)[:, :count]


def _exact(ratio: float) -> Fraction:
    if not 0 <= ratio < 1:
        raise InputError(f"a mask ratio must be in [0, 1), not {ratio}")
    return Fraction(repr(float(ratio)))


def _num_cubes(grid: Sequence[int]) -> int:
    h, w = grid
    if min(h, w) < 1:
        raise InputError(f"a mask needs at least one cube, not a grid of {h}x{w}")
    return h * w


def _check_hidden(hidden: int, num_cubes: int) -> None:
    if not 0 <= hidden < num_cubes:
        raise InputError(f"of {num_cubes} cubes 0 to {num_cubes - 1} can be hidden, not {hidden}")


def _chance(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw float32 in [0, 1) where the generator is, and bring it to the other tensor."""
    return torch.rand(like.shape, generator=generator, device=generator.device).to(like.device)


def hide_highest(score: Tensor, hidden: int) -> Tensor:
    """Hide the `hidden` cubes of the highest score, `[B, h, w]`, in every row."""
    flat = score.flatten(1)
    highest = flat.topk(hidden, dim=1, sorted=False).indices  # [B, hidden]
    masked = torch.zeros_like(flat, dtype=torch.bool).scatter(1, highest, value=True)
    return masked.view_as(score)


def _region_sizes(regions: Tensor, num_regions: int) -> Tensor:
    """Count the cubes of every region, int64 `[B, R]`."""
    low, high = (int(x) for x in torch.stack(regions.aminmax()).tolist())
    if low < 0 or high >= num_regions:
        raise InputError(f"regions {low} to {high} do not fit {num_regions} mask ratios")
    flat = regions.flatten(1)
    return flat.new_zeros(len(flat), num_regions).scatter_add_(1, flat, torch.ones_like(flat))


def _split(sizes: Sequence[int], quotas: Sequence[Fraction], hidden: int) -> list[int]:
    """Split the hidden cubes of one row among its regions."""
    if hidden <= math.floor(sum(quotas)):
        return _share_out(quotas, hidden)
    spared = [n - quota for n, quota in zip(sizes, quotas, strict=True)]
    visible = _share_out(spared, sum(sizes) - hidden)
    return [n - v for n, v in zip(sizes, visible, strict=True)]


def _share_out(quotas: Sequence[Fraction], total: int) -> list[int]:
    """Share `total`, at most the sum of the quotas, out by largest remainder."""
    asked = sum(quotas)
    # a fraction of a cube is no reason to scale: every count stays next to its own quota
    scale = Fraction(total) / asked if total < math.floor(asked) else 1
    shares = [quota * scale for quota in quotas]
    counts = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda r: counts[r] - shares[r])
    for r in by_remainder[: total - sum(counts)]:
        counts[r] += 1
    return counts


def _hide_in_regions(
    regions: Tensor, sizes: Tensor, counts: Tensor, generator: torch.Generator
) -> Tensor:
    """Hide `counts` `[B, R]` cubes, chosen at random, of every region."""
    flat = regions.flatten(1)
    # float64 holds id + chance exactly: regions stay apart, their cubes are shuffled
    order = (flat + _chance(flat, generator).double()).argsort(dim=1)
    region = flat.gather(1, order)
    first = (sizes.cumsum(1) - sizes).gather(1, region)
    rank = torch.arange(flat.shape[1], device=flat.device) - first  # inside the region
    hide = rank < counts.gather(1, region)
    return torch.zeros_like(hide).scatter(1, order, hide).view_as(regions)


def _cell_numbers(grid: tuple[int, int], device: torch.device | str) -> Tensor:
    """Number the positions of every cell 0 to 3, int64 `[h, w]`."""
    h, w = grid
    y = torch.arange(h, device=device)[:, None]
    x = torch.arange(w, device=device)[None]
    clockwise = torch.where(y % 2 == 0, x % 2, 3 - x % 2)
    whole = (y < h // 2 * 2) & (x < w // 2 * 2)
    # x - y grows by one from cube to cube along the odd last row and up the odd last column, and is
    # odd where the clockwise number is: half of the cubes stay a checkerboard
    return torch.where(whole, clockwise, (x - y) % 4)
