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

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from relive.bitstream.detail import MAX_VECTOR
from relive.config import CUBE_PX
from relive.enhancement.frame import VECTOR_UNITS, Reference, to_array
from relive.kernels import vectors as kernels
from relive.model.warp import sample

COARSE = 2
FAR = 4  # displacements of the whole picture that are tried beyond the range


@dataclass(frozen=True)
class VectorSearch:
    """How far and how finely to search.

    Attributes:
        reach: of the search of every cube, pixels of the halved picture.
        diagonal: try all eight neighbours; without, two to the sides and then two above and below.
    """

    reach: int = 8
    diagonal: bool = True


WIDE = VectorSearch()


def vector_cost(vectors: Tensor, expected: Tensor | float = 0) -> Tensor:
    """Estimate the bits of vectors `[..., 2]`."""
    return (1 + 2 * torch.log2(1 + (vectors - expected).abs())).sum(-1)


def search_vectors(
    target: Tensor,
    reference: Reference,
    price: Tensor,
    how: VectorSearch = WIDE,
    begin: Tensor | None = None,
) -> Tensor:
    """Search the vector of every cube: int64 `[h, w, 2]`, quarters of a pixel.

    Args:
        target: the true frame `[3, H, W]`.
        reference: the frame before.
        price: squared error that one bit must save `[h, w]`.
        how: how far and how finely.
        begin: vectors to begin with `[h, w, k, 2]`; without, they are searched first.
    """
    scene = scene_of(target, reference)
    if begin is None:
        goal, grey = (torch.from_numpy(part).view(scene.size) for part in (scene.goal, scene.grey))
        still = sample(grey[None, None], reference.x[None], reference.y[None])[0, 0]
        begin = _coarse(goal, still, price, how.reach)[:, :, None]
    found = torch.zeros_like(begin[:, :, 0])
    begins = to_array(begin.clamp(-MAX_VECTOR, MAX_VECTOR))
    kernels.search_cubes(scene, to_array(price), begins, how.diagonal, found.numpy())
    return found


def grey_of(picture: Tensor) -> Tensor:
    """Mean of the three colours of `[3, H, W]`, thrice as fast as `mean`."""
    return (picture[0] + picture[1]).add_(picture[2]).mul_(1 / 3)


def scene_of(target: Tensor, reference: Reference) -> kernels.Scene:
    """What a search of vectors sees: the true frame `[3, H, W]`, and the frame before."""
    goal, grey = grey_of(target).numpy(), grey_of(reference.picture).numpy()
    height, width = grey.shape
    fine = np.empty((4 * height - 3, 4 * width - 3), np.float32)
    kernels.enlarge(grey, fine)
    x, y = to_array(reference.x).ravel(), to_array(reference.y).ravel()
    columns, rows = np.empty((2, height * width), np.int32)
    kernels.nearest(x, y, columns, rows)
    return kernels.Scene(
        goal.ravel(), grey.ravel(), fine.ravel(), x, y, columns, rows, (height, width)
    )


def _coarse(goal: Tensor, warped: Tensor, price: Tensor, reach: int) -> Tensor:
    """Whole steps of two pixels, on halved pictures: int64 `[h, w, 2]`.

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
        int64 `[h, w, 2]`, quarters of a pixel of the whole picture.
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
    vectors = np.array([(x, y) for y, x in (*near, *far)]) * (COARSE * VECTOR_UNITS)
    bits = vector_cost(torch.from_numpy(vectors).float())
    best = torch.empty(price.shape, dtype=torch.long)
    weight = np.float32(3 * COARSE**2)
    kernels.cheapest(to_array(errors), to_array(bits), to_array(price), weight, best.numpy())
    return torch.from_numpy(vectors)[best]


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
    columns = F.avg_pool2d(inner.square()[None, None], (size, 1), 1)
    squares = F.avg_pool2d(columns, (1, size), 1)[0, 0] * size**2
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
