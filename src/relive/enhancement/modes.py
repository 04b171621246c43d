"""Choose the mode of every cube, and whether its four blocks get vectors of their own.

```
 vectors of cubes ─► of blocks, near them ─► predictions ─► what each leaves to code ─► mode, split
```

Shapes: H W padded pixels, h w cube grid; blocks of 8x8 pixels, four to a cube.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from relive.bitstream.detail import BASE, BLOCK, BOTH, LAST, MAX_VECTOR, MOVED, OLDER, WARPED
from relive.enhancement.frame import VECTOR_UNITS, Reference, enlarge, of_blocks, to_blocks
from relive.enhancement.search import LAMBDA, squared_error
from relive.enhancement.transform import forward
from relive.enhancement.vectors import (
    WIDE,
    VectorSearch,
    cut_cubes,
    join_cubes,
    search_vectors,
    vector_cost,
)
from relive.model.warp import sample

MODE_BITS = 1.5
SOURCE_BITS = 2.0  # of another than the last frame
SPLIT_BITS = 3.0
MIN_BITS = 16  # that an error must cost for a split to be tried
FINALISTS = 2  # by squared error, whose levels are counted
LEVEL_COST, OCTAVE_COST = 0.45, 0.25  # of a level, and of each octave of its size; in steps squared


def level_cost(difference: Tensor, price: Tensor) -> Tensor:
    """What a prediction costs, error and levels: `[h, w]`, squared error.

    A coefficient is left out, at its square, or coded, at what a level of its size costs.

    Args:
        difference: between a frame and its prediction `[3, H, W]`.
        price: squared error that one bit must save `[h, w]`.
    """
    square = price / LAMBDA
    size = forward(difference).abs() / of_blocks(square.sqrt())
    cost = torch.minimum(size.square(), LEVEL_COST + OCTAVE_COST * torch.log2(1 + size))
    h, w = (side // 2 for side in cost.shape[1:3])
    return cost.sum((0, 3, 4)).view(h, 2, w, 2).sum((1, 3)) * square


def choose_modes(
    target: Tensor,
    base: Tensor,
    reference: Reference,
    vectors: Tensor,
    price: Tensor,
    how: VectorSearch = WIDE,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Choose modes, sources and vectors.

    Args:
        target: the true frame `[3, H, W]`.
        base: decoded from the codes, with what was added before.
        reference: the frame before, and the one before that.
        vectors: of the cubes int64 `[h, w, 2]`.
        price: squared error that one bit must save `[h, w]`.
        how: to search vectors of the frame before the reference.

    Returns:
        Modes, sources and where a cube is split, int64 `[h, w]` each; vectors of the blocks int64
        `[2h, 2w, 2]`, 0 where the mode has none.
    """
    still = torch.zeros_like(vectors)
    warped = _best_source(target, reference, still, price, OLDER, BOTH)
    moved = _best_source(target, reference, vectors, price, BOTH)
    error = torch.stack([squared_error(c - target) for c in (base, warped[0], moved[0])]).amin(0)
    parts = search_parts(target, reference, vectors, error > MIN_BITS * price, price)
    near = torch.full_like(error, MODE_BITS)
    far = near + 0.5 * vector_cost(vectors.float())
    more = vector_cost(parts.float(), to_blocks(vectors).float())
    farther = far + SPLIT_BITS + more.unflatten(1, (-1, 2)).unflatten(0, (-1, 2)).sum((1, 3))
    ways = [
        _Way(WARPED, 0, to_blocks(still), *warped, near),
        _Way(MOVED, 0, to_blocks(vectors), *moved, far),
        _Way(MOVED, 1, parts, *_best_source(target, reference, parts, price, BOTH), farther),
    ]
    if reference.older is not None:
        old = search_vectors(target, reference.older, price, how)
        source = torch.full_like(old[..., 0], OLDER)
        bits = near + 0.5 * vector_cost(old.float())
        ways.append(_Way(MOVED, 0, to_blocks(old), reference.older.moved(old), source, bits))
    return _cheapest(target, base, ways, price)


@dataclass(frozen=True)
class _Way:
    """A way to predict every cube from the frames before.

    Attributes:
        mode: `WARPED` or `MOVED`; the next number is its mean with the base picture.
        split: 1 if the blocks have vectors of their own.
        vectors: of blocks int64 `[2h, 2w, 2]`.
        picture: what it predicts `[3, H, W]`.
        sources: int64 `[h, w]`.
        bits: to say so, but for the source `[h, w]`.
    """

    mode: int
    split: int
    vectors: Tensor
    picture: Tensor
    sources: Tensor
    bits: Tensor


def _cheapest(
    target: Tensor, base: Tensor, ways: Sequence[_Way], price: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Take for every cube its base picture, or the cheapest way: see `choose_modes`.

    Every way counts twice, as it is and in the mean with the base picture. Squared error names the
    finalists of a cube; what they leave to code decides.
    """
    twice = [way for way in ways for _ in range(2)]
    pictures = torch.stack([p for way in ways for p in (way.picture, (base + way.picture) / 2)])
    bits = torch.stack([way.bits + SOURCE_BITS * (way.sources != LAST) for way in twice])
    errors = torch.stack([squared_error(picture - target) for picture in pictures])
    cubes = cut_cubes(pictures).permute(0, 2, 3, 1, 4)  # [n, h, w, 3, P]
    least = level_cost(base - target, price)
    best = torch.full_like(least, len(twice), dtype=torch.long)  # that is the base picture
    for number in (errors + price * bits).topk(FINALISTS, 0, largest=False).indices:
        picture = join_cubes(_take(cubes, number).permute(2, 0, 1, 3))
        cost = level_cost(picture - target, price) + price * _take(bits, number)
        best = torch.where(cost < least, number, best)
        least = torch.minimum(cost, least)
    modes = [mode for way in ways for mode in (way.mode, way.mode + 1)]
    sources = torch.stack([*(way.sources for way in twice), torch.zeros_like(best)])
    vectors = torch.stack([*(way.vectors for way in twice), torch.zeros_like(ways[0].vectors)])
    return (
        torch.tensor([*modes, BASE])[best],
        _take(sources, best),
        torch.tensor([*(way.split for way in twice), 0])[best],
        _take(vectors, to_blocks(best)),
    )


def _take(table: Tensor, number: Tensor) -> Tensor:
    """Entry `number[i, j]` of every place: `[n, a, b, ...]`, `[a, b]` to `[a, b, ...]`."""
    rows, columns = (torch.arange(side) for side in number.shape)
    taken: Tensor = table[number, rows[:, None], columns]
    return taken


def _best_source(
    target: Tensor, reference: Reference, vectors: Tensor, price: Tensor, *others: int
) -> tuple[Tensor, Tensor]:
    """The source that predicts each cube best: picture `[3, H, W]`, sources `[h, w]`."""
    last = reference.moved(vectors)
    error = squared_error(last - target)
    sources = torch.zeros_like(error, dtype=torch.long)
    if reference.older is None:
        return last, sources
    older = reference.older.moved(2 * vectors)
    chosen = last
    for other in others:
        picture = older if other == OLDER else (last + older) / 2
        tried = squared_error(picture - target) + price * SOURCE_BITS
        better = tried < error
        error, sources = torch.where(better, tried, error), sources.where(~better, other)
        chosen = torch.where(enlarge(better, last.shape[-2:]) > 0, picture, chosen)
    return chosen, sources


def search_parts(
    target: Tensor, reference: Reference, vectors: Tensor, tried: Tensor, price: Tensor
) -> Tensor:
    """Search a vector for every block of some cubes, near those of the cubes around.

    Args:
        target: the true frame `[3, H, W]`.
        reference: the frame before.
        vectors: of the cubes int64 `[h, w, 2]`.
        tried: which cubes, bool `[h, w]`; the others keep their vector.
        price: squared error that one bit must save `[h, w]`.

    Returns:
        int64 `[2h, 2w, 2]`.
    """
    found = to_blocks(vectors)
    live = to_blocks(tried).flatten().nonzero()[:, 0]
    if not len(live):
        return found
    grey = reference.picture.mean(0, keepdim=True)
    goal, x, y = (_blocks(p)[live] for p in (target.mean(0), reference.x, reference.y))
    expected, dear = found.flatten(0, 1)[live].float(), to_blocks(price).flatten()[live]

    def cheapest(offered: Tensor) -> Tensor:
        """Of vectors `[k, n, 2]` the best for every block `[n, 2]`."""
        dx, dy = (part[..., None, None] / VECTOR_UNITS for part in offered.unbind(-1))
        seen = sample(grey[None], (x + dx).flatten(0, 2)[None], (y + dy).flatten(0, 2)[None])
        error = 3 * (seen.view(-1, *goal.shape) - goal).square().sum((-1, -2))
        best = (error + dear * vector_cost(offered, expected)).argmin(0)
        return offered.gather(0, best[None, :, None].expand(1, -1, 2))[0]

    near = [vectors, torch.zeros_like(vectors)]
    near += [vectors.roll(by, axis) for axis in (0, 1) for by in (1, -1)]
    best = cheapest(torch.stack([to_blocks(v).flatten(0, 1)[live] for v in near]).float())
    for unit in (4, 2, 1):
        best = cheapest((best + unit * _AROUND[:, None]).clamp(-MAX_VECTOR, MAX_VECTOR))
    found.flatten(0, 1)[live] = best.long()
    return found


_AROUND = torch.tensor(sorted(product((-1.0, 0.0, 1.0), repeat=2), key=lambda v: v != (0, 0)))


def _blocks(picture: Tensor) -> Tensor:
    """Cut `[H, W]` into blocks, raster order: `[n, 8, 8]`."""
    return picture.unfold(0, BLOCK, BLOCK).unfold(1, BLOCK, BLOCK).flatten(0, 1)
