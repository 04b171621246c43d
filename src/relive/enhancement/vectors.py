"""Search of the vectors of the enhancement layer, on grey pictures, cube by cube.

```
 halved pictures ─► every whole displacement near by, and of the whole picture ─► finer and finer
                                                    neighbours, their median, 0 ─► vector of a cube
```

Shapes: H W padded pixels, h w cube grid, N = h·w cubes of P pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from relive.bitstream.detail import MAX_VECTOR
from relive.config import CUBE_PX
from relive.enhancement.frame import VECTOR_UNITS, Reference

COARSE = 2
FAR = 4  # displacements of the whole picture that are tried beyond the range


@dataclass(frozen=True)
class VectorSearch:
    """How far and how finely to search.

    Attributes:
        reach: of the search of every cube, pixels of the halved picture.
        units: distances of the neighbours that are tried one after the other, quarters of a pixel.
        diagonal: try all eight neighbours; without, two to the sides and then two above and below.
        spacing: every how manyth pixel of a row counts for the neighbours.
        rounds: how often; from the second on vectors of the cubes beside are tried, too.
    """

    reach: int = 8
    units: tuple[int, ...] = (4, 2, 1)
    diagonal: bool = True
    spacing: int = 1
    rounds: int = 1


WIDE = VectorSearch()


def vector_cost(vectors: Tensor, expected: Tensor | float = 0) -> Tensor:
    """Estimate the bits of vectors `[..., 2]`."""
    return (1 + 2 * torch.log2(1 + (vectors - expected).abs())).sum(-1)


def _shifted(vectors: Tensor, dy: int, dx: int) -> Tensor:
    """The vector of the cube `dy` up and `dx` to the left, 0 outside."""
    h, w = vectors.shape[:2]
    padded = F.pad(vectors, (0, 0, max(dx, 0), max(-dx, 0), max(dy, 0), 0))
    column = max(-dx, 0)
    return padded[:h, column : column + w]


def _expected(vectors: Tensor) -> Tensor:
    """Median of the vectors to the left, above, and above to the right."""
    near = [_shifted(vectors, 0, 1), _shifted(vectors, 1, 0), _shifted(vectors, 1, -1)]
    return torch.stack(near).median(0).values


def cut_cubes(pictures: Tensor) -> Tensor:
    """Pictures `[..., H, W]` to their cubes, pixels row by row `[..., h, w, P]`."""
    rows = pictures.unflatten(-1, (-1, CUBE_PX)).unflatten(-3, (-1, CUBE_PX))
    cubes: Tensor = rows.transpose(-2, -3).flatten(-2)
    return cubes


class _Errors:
    """Squared errors of vectors, over all colours.

    Args:
        goal: the true frame in grey `[H, W]`.
        grey: the frame before `[H, W]`.
        reference: where the pixels lie in it.
        spacing: every how manyth pixel of a row counts.
    """

    def __init__(self, goal: Tensor, grey: Tensor, reference: Reference, spacing: int = 1) -> None:
        self._goal, self._grey = cut_cubes(goal)[..., ::spacing].contiguous(), grey[None, None]
        height, width = grey.shape
        places = (reference.x * (2 / width) - 1, reference.y * (2 / height) - 1)
        self._grid = torch.stack([cut_cubes(p)[..., ::spacing].clamp(-1.5, 1.5) for p in places])
        self._weight = 3 * spacing
        self._unit = 2 / width / VECTOR_UNITS, 2 / height / VECTOR_UNITS

    def seen(self, vectors: Tensor) -> Tensor:
        """What cubes see of the frame before with vectors `[h, w, 2]`: `[h, w, P]`."""
        moves = torch.stack([vectors[..., axis] * unit for axis, unit in enumerate(self._unit)])
        grid = (self._grid + moves[..., None]).flatten(1, 2)  # [2, N, P]: adds whole rows
        return F.grid_sample(
            self._grey, grid.permute(1, 2, 0)[None], padding_mode="border", align_corners=False
        ).view_as(self._goal)

    def of(self, vectors: Tensor) -> Tensor:
        """Errors of vectors `[h, w, 2]`: `[h, w]`."""
        return self._weight * (self.seen(vectors) - self._goal).square_().sum(-1)


class _Best:
    """The cheapest vector of every cube so far, and its squared error."""

    def __init__(self, vectors: Tensor, errors: Tensor, price: Tensor, expected: Tensor) -> None:
        self.vectors, self.errors = vectors, errors
        self._price, self._expected = price, expected
        self._cost = self._cost_of(vectors, errors)

    def _cost_of(self, vectors: Tensor, errors: Tensor) -> Tensor:
        return errors + self._price * vector_cost(vectors, self._expected)

    def offer(self, vectors: Tensor, errors: Tensor) -> None:
        """Take vectors `[h, w, 2]` where they cost less."""
        cost = self._cost_of(vectors, errors)
        better = cost < self._cost
        self.vectors = torch.where(better[..., None], vectors, self.vectors)
        self.errors = torch.where(better, errors, self.errors)
        self._cost = torch.minimum(cost, self._cost)


def search_vectors(
    target: Tensor,
    reference: Reference,
    price: Tensor,
    how: VectorSearch = WIDE,
) -> Tensor:
    """Search the vector of every cube: int64 `[h, w, 2]`, quarters of a pixel.

    Args:
        target: the true frame `[3, H, W]`.
        reference: the frame before.
        price: squared error that one bit must save `[h, w]`.
        how: how far and how finely.
    """
    goal, grey = target.mean(0), reference.picture.mean(0)
    errors = _Errors(goal, grey, reference)
    h, w = (side // CUBE_PX for side in goal.shape)
    nothing = goal.new_zeros(h, w, 2)
    still = errors.seen(nothing)
    found = _coarse(goal, join_cubes(still), price, how.reach)
    some = errors if how.spacing == 1 else _Errors(goal, grey, reference, how.spacing)
    for turn in range(how.rounds):
        found, found_errors = _refine(found, some, price, how, beside=turn > 0)
    if how.spacing > 1:
        found_errors = errors.of(found)
    zero_errors = 3 * (still - cut_cubes(goal)).square().sum(-1)
    best = _Best(nothing, zero_errors, price, nothing)
    best.offer(found, found_errors)
    chosen, expected = best.vectors, _expected(best.vectors)
    best = _Best(chosen, best.errors, price, expected)
    best.offer(found, found_errors)
    for tried in (expected, _shifted(chosen, 0, 1), _shifted(chosen, 1, 0)):
        best.offer(tried, errors.of(tried))
    best.offer(nothing, zero_errors)
    return best.vectors.round().long().clamp(-MAX_VECTOR, MAX_VECTOR)


def _refine(
    found: Tensor, errors: _Errors, price: Tensor, how: VectorSearch, beside: bool
) -> tuple[Tensor, Tensor]:
    """Try what lies around vectors `[h, w, 2]`: better ones and their errors `[h, w]`.

    Args:
        found: where to begin.
        errors: of vectors.
        price: of a bit `[h, w]`.
        how: units and directions.
        beside: try the vectors of the cubes beside first.
    """
    found_errors = errors.of(found)
    if beside:
        best = _Best(found, found_errors, price, _expected(found))
        for axis, step in product((0, 1), (-1, 1)):
            tried = found.roll(step, axis)
            best.offer(tried, errors.of(tried))
        found, found_errors = best.vectors, best.errors
    for unit in how.units:
        every = [d for d in product((-unit, 0, unit), repeat=2) if any(d)]
        sides = [[(0, -unit), (0, unit)], [(-unit, 0), (unit, 0)]]
        for directions in [every] if how.diagonal else sides:
            best = _Best(found, found_errors, price, _expected(found))
            for dy, dx in directions:
                tried = found + found.new_tensor([dx, dy])
                best.offer(tried, errors.of(tried))
            found, found_errors = best.vectors, best.errors
    return found, found_errors


def join_cubes(cubes: Tensor) -> Tensor:
    """Undo `cut_cubes`: `[..., h, w, P]` to `[..., H, W]`."""
    rows = cubes.unflatten(-1, (CUBE_PX, CUBE_PX)).transpose(-3, -2)
    pictures: Tensor = rows.flatten(-2).flatten(-3, -2)
    return pictures


def _coarse(goal: Tensor, warped: Tensor, price: Tensor, reach: int) -> Tensor:
    """Whole steps of two pixels, on halved pictures: float `[h, w, 2]`.

    Args:
        goal: the true frame `[H, W]`.
        warped: the frame before, without vectors `[H, W]`.
        price: of a bit `[h, w]`.
        reach: see `VectorSearch`.
    """
    small, there = (F.avg_pool2d(p[None, None] - 128, COARSE)[0, 0] for p in (goal, warped))
    return coarse_vectors(small, there, price, reach)


def coarse_vectors(small: Tensor, there: Tensor, price: Tensor, reach: int) -> Tensor:
    """Search every cube of a halved picture in another one, and all cubes together further.

    Args:
        small: the true frame, halved, around 0 `[H/2, W/2]`.
        there: where to search, the same way.
        price: squared error of the whole picture that one bit must save `[h, w]`.
        reach: see `VectorSearch`.

    Returns:
        float `[h, w, 2]`, quarters of a pixel of the whole picture.
    """
    margin = MAX_VECTOR // (COARSE * VECTOR_UNITS)
    padded = F.pad(there[None, None], (margin,) * 4, mode="replicate")[0, 0]
    near = list(product(range(-reach, reach + 1), repeat=2))
    far = _far(small, there, reach, margin)
    errors = near_errors(small, padded, reach, margin)
    if far:
        size, (height, width) = CUBE_PX // COARSE, small.shape
        seen = torch.stack([padded[margin + y :, margin + x :][:height, :width] for y, x in far])
        other = F.avg_pool2d((seen - small).square()[None], size)[0] * size**2
        errors = torch.cat([errors, other.permute(1, 2, 0)], -1)
    vectors = small.new_tensor([(x, y) for y, x in (*near, *far)]) * (COARSE * VECTOR_UNITS)
    cost = 3 * COARSE**2 * errors + price[..., None] * vector_cost(vectors)
    return vectors[cost.argmin(-1)]


def near_errors(small: Tensor, padded: Tensor, reach: int, margin: int) -> Tensor:
    """Squared errors of all displacements within reach, row by row `[h, w, n]`.

    |a − b|² = |a|² − 2 a·b + |b|², where a·b is a convolution of what lies around a cube with it.

    Args:
        small: the true frame, halved, around 0 `[H/2, W/2]`.
        padded: the frame before with a margin.
        reach: see `VectorSearch`.
        margin: at least `reach`.
    """
    size = CUBE_PX // COARSE
    h, w = (side // size for side in small.shape)
    inner = padded[margin - reach :, margin - reach :]
    inner = inner[: h * size + 2 * reach, : w * size + 2 * reach]
    around = inner.unfold(0, size + 2 * reach, size).unfold(1, size + 2 * reach, size)
    cubes = small.unfold(0, size, size).unfold(1, size, size).reshape(-1, 1, size, size)
    cross = F.conv2d(around.flatten(0, 1)[None], cubes, groups=h * w)[0]
    squares = F.avg_pool2d(inner.square()[None, None], size, 1)[0, 0] * size**2
    many = 2 * reach + 1
    there = squares.unfold(0, many, size).unfold(1, many, size).flatten(0, 1)
    own = cubes.square().sum((1, 2, 3))[:, None, None]
    return (own - 2 * cross + there).flatten(1).view(h, w, -1)


def _far(goal: Tensor, there: Tensor, reach: int, limit: int) -> list[tuple[int, int]]:
    """Displacements beyond reach that explain most of a picture: rows and columns, best first.

    Phase correlation: the peaks of the inverse transform of the normalised cross spectrum. Finds
    scrolling maps, where every cube moves alike and further than a search could look.

    Args:
        goal: `[H, W]`.
        there: the picture before `[H, W]`.
        reach: see `VectorSearch`.
        limit: of a displacement.
    """
    height, width = goal.shape
    spectra = [torch.fft.rfft2(p - p.mean()) for p in (there, goal)]
    cross = spectra[0] * spectra[1].conj()
    peaks = torch.fft.irfft2(cross / (cross.abs() + 1e-3), s=goal.shape)
    found = []
    for place in peaks.flatten().topk(min(4 * FAR, peaks.numel())).indices.tolist():
        dy, dx = (place // width + height // 2) % height - height // 2, place % width
        dx = (dx + width // 2) % width - width // 2
        if reach < max(abs(dy), abs(dx)) <= limit:
            found.append((dy, dx))
    return found[:FAR]
