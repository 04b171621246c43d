"""Copies inside the first frame of a GOP: found, and the same on both sides."""

import torch
from torch import Tensor

from relive.bitstream.detail import MOVED
from relive.enhancement.copies import Copies, code_copies, find_copies, predict_copies
from relive.enhancement.frame import reconstruct, to_blocks, whole
from relive.enhancement.search import LAMBDA, LevelCosts

STEP = 8.0


def tiles(seed: int, rows: int, columns: int, kinds: int = 2, side: int = 32) -> Tensor:
    """Return a picture of tiles of noise, `[3, H, W]`, whole numbers."""
    rng = torch.Generator().manual_seed(seed)
    every = (torch.rand(kinds, 3, side, side, generator=rng) * 255).round()
    which = torch.randint(0, kinds, (rows, columns), generator=rng)
    return every[which].permute(2, 0, 3, 1, 4).reshape(3, rows * side, columns * side)


def prices(target: Tensor) -> Tensor:
    return torch.full((target.shape[1] // 16, target.shape[2] // 16), LAMBDA * STEP**2)


def copies_in(target: Tensor, base: Tensor) -> Copies:
    """Copies, where no cube has a palette."""
    price = prices(target)
    return find_copies(target, base, price, torch.full_like(price, torch.inf))[0]


def test_every_kind_of_tile_is_coded_once_where_it_can_be_reached() -> None:
    target = tiles(1, 3, 5)
    found = copies_in(target, torch.full_like(target, 128.0))
    assert int((~found.copied).sum()) == 2 * 4
    y, x = found.copied.nonzero().unbind(1)
    for i, j, (dx, dy) in zip(y, x, found.vectors[y, x].tolist(), strict=True):
        cube = target[:, 16 * i : 16 * i + 16, 16 * j : 16 * j + 16]
        top, left = 16 * i + dy, 16 * j + dx
        assert torch.equal(cube, target[:, top : top + 16, left : left + 16])
    uses = found.uses()
    assert int(uses.sum()) == int(found.copied.sum())
    assert not uses[found.copied].any()


def test_nothing_is_copied_in_noise_or_where_the_base_is_right() -> None:
    noise = (torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(2)) * 255).round()
    assert not copies_in(noise, torch.full_like(noise, 128.0)).copied.any()
    target = tiles(3, 2, 3)
    assert not copies_in(target, target).copied.any()


def test_tiles_off_the_grid_of_cubes_are_found_too() -> None:
    target = tiles(4, 3, 4, kinds=1, side=40)[:, :112, :160]
    found = copies_in(target, torch.full_like(target, 128.0))
    assert int(found.copied.sum()) > found.copied.numel() // 3


def test_copies_show_what_was_coded_and_the_decoder_sees_the_same() -> None:
    target = tiles(5, 3, 4)
    base, steps = torch.full_like(target, 100.0), torch.full((6, 8), STEP)
    found, costs = copies_in(target, base), LevelCosts.guess()
    prediction, levels = code_copies(target, base, found, steps, costs)
    vectors = to_blocks(found.vectors)
    assert torch.equal(predict_copies(base, found.modes, vectors, levels, steps), prediction)
    shown = reconstruct(prediction, levels, steps)
    assert float((shown - target).square().mean()) < STEP**2 / 8
    copied = to_blocks(found.copied)
    assert (levels[:, copied] != 0).sum() < 0.02 * (levels[:, ~copied] != 0).sum()
    alone, _ = code_copies(target, base, Copies(found.copied & False, found.vectors), steps, costs)
    assert torch.equal(alone, whole(base))


def test_what_is_copied_often_is_coded_finer() -> None:
    copied = torch.zeros(2, 4, dtype=torch.bool)
    copied[0, 1:], copied[1, 1] = True, True
    vectors = torch.zeros(2, 4, 2, dtype=torch.long)
    vectors[0, 1:, 0] = torch.tensor([-16, -32, -48])
    vectors[1, 1] = torch.tensor([-16, 0])
    found = Copies(copied, vectors)
    assert found.uses().tolist() == [[3, 0, 0, 0], [1, 0, 0, 0]]
    offsets = torch.zeros(2, 4, dtype=torch.int8).numpy()
    assert found.finer(offsets).tolist() == [[-2, 0, 0, 0], [-1, 0, 0, 0]]
    assert (found.modes == MOVED * copied).all()
