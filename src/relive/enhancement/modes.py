"""Choose the mode of every cube, and whether its four blocks get vectors of their own.

```
 vectors of cubes ─► of blocks, near them ─► predictions ─► what each leaves to code ─► mode, split
```

Shapes: H W padded pixels, h w cube grid; blocks of 8x8 pixels, four to a cube.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from relive.bitstream.detail import BASE, BLOCK, BOTH, LAST, MOVED, NUM_MODES, OLDER, WARPED
from relive.enhancement.frame import Reference, to_array, to_blocks
from relive.enhancement.search import LAMBDA, squared_error
from relive.enhancement.transform import kronecker
from relive.enhancement.vectors import WIDE, VectorSearch, scene_of, search_vectors, vector_cost
from relive.kernels import choice, settling, transform
from relive.kernels.vectors import search_blocks

USUAL = (0.3, 0.3, 0.1, 0.2, 0.1)  # shares of the modes where nothing is known
_SHARES = np.array(USUAL, np.float32), np.array((0.7, 0.15, 0.15), np.float32)
LASTING = 0.5
SOURCE_BITS = 2.0  # of another than the last frame
SPLIT_BITS = 3.0
_KINDS = torch.tensor(  # mode, source, split of the ways of `choice.rank`
    [
        (WARPED, LAST, 0),
        (WARPED, OLDER, 0),
        (WARPED, BOTH, 0),
        (MOVED, LAST, 0),
        (MOVED, BOTH, 0),
        (MOVED, LAST, 1),
        (MOVED, BOTH, 1),
        (MOVED, OLDER, 0),
    ]
)
_MIXED = _KINDS + torch.tensor([1, 0, 0])
_OUTCOMES = torch.cat(
    [torch.stack([_KINDS, _MIXED], 1).flatten(0, 1), torch.tensor([[BASE, 0, 0]])]
)


def choose_modes(
    target: Tensor,
    base: Tensor,
    reference: Reference,
    vectors: Tensor,
    price: Tensor,
    how: VectorSearch = WIDE,
    before: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Choose modes, sources and vectors.

    Squared error names the finalists of a cube; what they leave to code decides.

    Args:
        target: the true frame `[3, H, W]`.
        base: decoded from the codes, with what was added before.
        reference: the frame before, and the one before that.
        vectors: of the cubes int64 `[h, w, 2]`.
        price: squared error that one bit must save `[h, w]`.
        how: to search vectors of the frame before the reference.
        before: modes of the frame before int64 `[h, w]`, if it was predicted from another.

    Returns:
        Modes, sources and where a cube is split, int64 `[h, w]` each; vectors of the blocks int64
        `[2h, 2w, 2]`, 0 where the mode has none; what each cube costs, squared error `[h, w]`.
    """
    older = reference.older
    own = torch.zeros_like(vectors)
    error = squared_error(reference.moved(vectors), target)
    error = torch.minimum(error, squared_error(base, target))
    tried = error > how.least_bits * price
    if older is not None:
        begin = torch.stack([2 * vectors, vectors], 2)
        own = search_vectors(target, older, price, how, begin, tried)
    parts = search_parts(target, reference, vectors, tried, price, how.diagonal_parts)
    modes = mode_bits(before, price.shape)
    bits = _bits(vectors, parts, own, older is not None, modes)
    unnamed = bits - modes[_OUTCOMES[:, 0]] - _source_bits(older is not None)[:, None, None]
    ranked = torch.empty(1 + how.finalists, *price.shape, dtype=torch.long)
    rests = torch.empty(*ranked.shape, 3 * 4 * BLOCK**2)
    choice.rank(
        to_array(target),
        to_array(base),
        reference.before(),
        (older or reference).before(),
        choice.Vectors(to_array(vectors), to_array(parts), to_array(own)),
        to_array(bits),
        to_array(price),
        ranked.numpy(),
        rests.numpy(),
    )
    costs = level_costs(rests, price / LAMBDA)
    bits, unnamed = bits.gather(0, ranked), unnamed.gather(0, ranked)
    chosen, least = _settle(costs, (bits, unnamed), ranked, price, before, older is not None)
    modes, sources, split = _OUTCOMES[chosen].unbind(-1)
    kind = to_blocks(2 * split + (modes >= MOVED) + 4 * (sources == OLDER))[..., None]
    given = torch.where(
        kind >= 4, to_blocks(own), torch.where(kind >= 2, parts, to_blocks(vectors))
    )
    return modes, sources, split, given * (kind % 2), least


def _settle(
    costs: Tensor,
    bits: tuple[Tensor, Tensor],
    ranked: Tensor,
    price: Tensor,
    before: Tensor | None,
    older: bool,
) -> tuple[Tensor, Tensor]:
    """Choose among the finalists, where naming one costs less beside others like it.

    Args:
        costs: what they leave to code, error and levels `[n, h, w]`.
        bits: of naming them, those of mode and source guessed, and without those `[n, h, w]`.
        ranked: numbers of the finalists `[n, h, w]`.
        price: squared error that one bit must save `[h, w]`.
        before: modes of the frame before `[h, w]`, if they are known.
        older: there is another source than the last frame.

    Returns:
        Numbers of the choice, and what it costs, `[h, w]` each.
    """
    first = (costs + price * bits[0]).argmin(0, keepdim=True)
    chosen, least = ranked.gather(0, first)[0].contiguous(), torch.empty_like(price)
    known = torch.full_like(chosen, -1) if before is None else before
    settling.settle(
        to_array(costs + price * bits[1]),
        to_array(ranked),
        _OUTCOMES.numpy(),
        to_array(price),
        to_array(known),
        _SHARES,
        older,
        chosen.numpy(),
        least.numpy(),
    )
    return chosen, least


def _source_bits(older: bool) -> Tensor:
    """Guess the bits of the sources of all ways `[k]`; 0 for those that are not tried, too."""
    return SOURCE_BITS * ((_OUTCOMES[:, 1] != LAST) & older)


def level_costs(rests: Tensor, square: Tensor) -> Tensor:
    """What predictions cost, error and levels: `[n, h, w]`, squared error.

    Args:
        rests: what they leave of every cube, blocks of decorrelated colours `[n, h, w, 12 * 64]`.
        square: of the quantiser steps `[h, w]`.
    """
    coefficients = rests.view(-1, BLOCK**2) @ kronecker().T
    costs = rests.new_empty(rests.shape[:3])
    given = coefficients.view(len(rests), square.numel(), -1)
    transform.level_costs(given.numpy(), to_array(square.flatten()), costs.flatten(1).numpy())
    return costs


def mode_bits(before: Tensor | None, shape: Sequence[int]) -> Tensor:
    """Estimate the bits of modes: `[NUM_MODES, h, w]`.

    The mode that a cube had before has `LASTING` of the probability, the rest is shared as often as
    each mode came in the frame before.

    Args:
        before: modes of the frame before int64 `[h, w]`.
        shape: h and w.
    """
    if before is None:
        return -torch.log2(torch.tensor(USUAL))[:, None, None].expand(NUM_MODES, *shape)
    count = torch.bincount(before.flatten(), minlength=NUM_MODES)
    count = count + settling.FEW * torch.tensor(USUAL)
    share = (1 - LASTING) * (count / count.sum())[:, None, None]
    lasting = LASTING * (before == torch.arange(NUM_MODES)[:, None, None])
    return -torch.log2(share + lasting)


def _bits(vectors: Tensor, parts: Tensor, own: Tensor, older: bool, modes: Tensor) -> Tensor:
    """Bits of all ways, see `choice.rank`: `[2 WAYS + 1, h, w]`, infinite where not tried.

    Args:
        vectors: of cubes `[h, w, 2]`.
        parts: of blocks `[2h, 2w, 2]`.
        own: of cubes in the frame before the reference `[h, w, 2]`.
        older: there is such a frame.
        modes: bits of modes `[NUM_MODES, h, w]`.
    """
    near = torch.zeros(vectors.shape[:2])
    far = 0.5 * vector_cost(vectors.float())
    more = vector_cost(parts.float(), to_blocks(vectors).float())
    farther = far + SPLIT_BITS + more.unflatten(1, (-1, 2)).unflatten(0, (-1, 2)).sum((1, 3))
    apart = (parts != to_blocks(vectors)).any(-1).unflatten(1, (-1, 2)).unflatten(0, (-1, 2))
    far = far.where(vectors.any(-1), torch.inf)
    farther = farther.where(apart.any(3).any(1), torch.inf)
    alone = 0.5 * vector_cost(own.float())
    every = [near, near, near, far, far, farther, farther, alone.where(own.any(-1), torch.inf)]
    other = [
        0.0 if source == LAST else SOURCE_BITS if older else torch.inf for source in _KINDS[:, 1]
    ]
    ways = torch.stack(every) + torch.tensor(other)[:, None, None]
    named = modes[_OUTCOMES[:, 0]]
    named[:-1] += ways.repeat_interleave(2, 0)
    return named


def search_parts(
    target: Tensor,
    reference: Reference,
    vectors: Tensor,
    tried: Tensor,
    price: Tensor,
    diagonal: bool,
) -> Tensor:
    """Search a vector for every block of some cubes, near those of the cubes around.

    Args:
        target: the true frame `[3, H, W]`.
        reference: the frame before.
        vectors: of the cubes int64 `[h, w, 2]`.
        tried: which cubes, bool `[h, w]`; the others keep their vector.
        price: squared error that one bit must save `[h, w]`.
        diagonal: try all eight neighbours of a vector; without, four.

    Returns:
        int64 `[2h, 2w, 2]`.
    """
    found = torch.empty(2 * len(vectors), 2 * vectors.shape[1], 2, dtype=torch.long)
    scene = scene_of(target, reference)
    given = to_array(price), to_array(vectors), to_array(tried)
    search_blocks(scene, *given, diagonal, found.numpy())
    return found
