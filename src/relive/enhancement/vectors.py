"""Search of the vectors of the enhancement layer, on grey pictures, cube by cube.

```
 halved pictures ─► every whole displacement near by ─► finer and finer ─► vectors
                     phase correlation of what is left ─► finer and finer ─► where they cost less
```

Shapes: H W padded pixels, h w cube grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream.detail import MAX_VECTOR
from relive.config import CUBE_PX
from relive.enhancement.frame import VECTOR_UNITS, Reference, to_array
from relive.kernels import greys, vector_costs
from relive.kernels import vectors as kernels
from relive.model.warp import sample

COARSE = 2
FAR = 24  # vectors that are offered to all cubes that a search around them did not help
FARTHEST = MAX_VECTOR // (COARSE * VECTOR_UNITS)
FAR_BITS = 24  # that the vector of such a cube costs, with its error


@dataclass(frozen=True)
class VectorSearch:
    """How far and how finely to search.

    Attributes:
        reach: of the search of every cube, pixels of the halved picture.
        diagonal: try all eight neighbours of the vector of a cube; without, four.
        diagonal_parts: the same for its blocks.
        far: vectors from afar that a cube tries at most, those that explain it best on halved
            pictures.
        finalists: ways to predict a cube, the best by squared error, whose levels are counted.
        least_bits: that the error of a cube must cost for vectors of its blocks, or one in the
            frame before the reference, to be tried.
    """

    reach: int = 8
    diagonal: bool = True
    diagonal_parts: bool = True
    far: int = FAR
    finalists: int = 4
    least_bits: float = 16


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
    tried: Tensor | None = None,
) -> Tensor:
    """Search the vector of every cube: int64 `[h, w, 2]`, quarters of a pixel.

    Args:
        target: the true frame `[3, H, W]`.
        reference: the frame before.
        price: squared error that one bit must save `[h, w]`.
        how: how far and how finely.
        begin: vectors to begin with `[h, w, k, 2]`; without, they are searched first.
        tried: which cubes, bool `[h, w]`, the others get 0; all without it.
    """
    scene = scene_of(target, reference)
    small, there = halved(scene.goal.reshape(scene.size)), _searched(reference).still
    if begin is None:
        begin = coarse_vectors(small, there, price, how.reach, far=False)[:, :, None]
    found, costs = torch.zeros_like(begin[:, :, 0]), torch.zeros_like(price)
    if tried is None:
        tried = torch.ones_like(price, dtype=torch.bool)
    bits, begins = to_array(price), to_array(begin.clamp(-MAX_VECTOR, MAX_VECTOR))
    results = found.numpy(), costs.numpy()
    kernels.search_cubes(scene, bits, begins, tried.numpy(), how.diagonal, *results)
    poor = costs > FAR_BITS * price
    if poor.any():
        far = np.array(far_vectors(small, there, poor)).reshape(-1, 2)
        if len(far):
            offered = np.empty((*poor.shape, min(how.far, len(far)), 2), np.int64)
            padded = F.pad(there[None, None], (FARTHEST,) * 4, mode="replicate")[0, 0]
            kernels.offer_far(
                to_array(small), to_array(padded), FARTHEST, far, poor.numpy(), offered
            )
            offered *= COARSE * VECTOR_UNITS
            kernels.search_far(scene, bits, offered, poor.numpy(), how.diagonal, *results)
    return found


def grey_of(picture: Tensor) -> Tensor:
    """Mean of the three colours of `[3, H, W]`."""
    grey = picture.new_empty(picture.shape[1:])
    greys.grey(to_array(picture).ravel(), grey.numpy().ravel())
    return grey


def halved(grey: NDArray[np.float32]) -> Tensor:
    """Means of two by two pixels around 0: `[H, W]` to `[H/2, W/2]`."""
    small = np.empty([side // COARSE for side in grey.shape], np.float32)
    vector_costs.halve(grey, small)
    return torch.from_numpy(small)


@dataclass(frozen=True)
class _Searched:
    """A frame before, as searches see it.

    Attributes:
        quarters: what a scene knows of it.
        still: the frame where the frame at hand lies in it, halved, around 0 `[H/2, W/2]`.
    """

    quarters: vector_costs.Quarters
    still: Tensor


def _searched(reference: Reference) -> _Searched:
    """What is searched, made once for a reference."""
    known = reference.notes.get(_Searched)
    if known is None:
        known = reference.notes[_Searched] = _prepare(reference)
    return known


def _prepare(reference: Reference) -> _Searched:
    grey = grey_of(reference.picture)
    height, width = grey.shape
    fine = np.empty((4 * height - 3, 4 * width - 3), np.float32)
    vector_costs.enlarge(grey.numpy(), fine)
    x, y = to_array(reference.x).ravel(), to_array(reference.y).ravel()
    columns, rows, places = np.empty((3, height * width), np.int32)
    vector_costs.nearest(x, y, (height, width), columns, rows, places)
    still = sample(grey[None, None], reference.x[None], reference.y[None])[0, 0]
    quarters = vector_costs.Quarters(
        grey.numpy().ravel(), fine.ravel(), x, y, columns, rows, places
    )
    return _Searched(quarters, halved(still.numpy()))


def scene_of(target: Tensor, reference: Reference) -> vector_costs.Scene:
    """What a search of vectors sees: the true frame `[3, H, W]`, and the frame before.

    Raises:
        ValueError: They differ in size.
    """
    if target.shape != reference.picture.shape:
        raise ValueError(f"a frame of {target.shape}, the one before of {reference.picture.shape}")
    height, width = target.shape[1:]
    goal = grey_of(target).numpy().ravel()
    return vector_costs.Scene(goal, _searched(reference).quarters, (height, width))


def coarse_vectors(
    small: Tensor, there: Tensor, price: Tensor, reach: int, *, far: bool = True
) -> Tensor:
    """Search every cube of a halved picture in another one.

    Args:
        small: the true frame, halved, around 0 `[H/2, W/2]`.
        there: where to search, the same way.
        price: squared error of the whole picture that one bit must save `[h, w]`.
        reach: see `VectorSearch`.
        far: try `far_vectors`, too.

    Returns:
        int64 `[h, w, 2]`, quarters of a pixel of the whole picture.
    """
    margin, weight = max(reach, FARTHEST), 3 * COARSE**2
    padded = F.pad(there[None, None], (margin,) * 4, mode="replicate")[0, 0]
    inner = slice(margin - reach, reach - margin or None)
    errors = near_errors(small, padded[inner, inner], reach)
    vectors, bits = _near(reach)
    poor = weight * errors.amin(-1) > FAR_BITS * price if far else torch.zeros(1)
    found = far_vectors(small, there, poor) if poor.any() else []
    if found:
        size, (height, width) = CUBE_PX // COARSE, small.shape
        seen = torch.stack([padded[margin + y :, margin + x :][:height, :width] for x, y in found])
        other = F.avg_pool2d((seen - small).square_()[None], size)[0] * size**2
        errors = torch.cat([errors, other.permute(1, 2, 0)], -1)
        vectors = torch.cat([vectors, torch.tensor(found) * (COARSE * VECTOR_UNITS)])
        bits = vector_cost(vectors.float())
    best = torch.zeros(price.shape, dtype=torch.long)
    kernels.cheapest(
        to_array(errors), to_array(bits), to_array(price), np.float32(weight), best.numpy()
    )
    return vectors[best]


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _near(reach: int) -> tuple[Tensor, Tensor]:
    """All whole displacements of a halved picture within reach, row by row, and their bits."""
    near = [(x, y) for y, x in product(range(-reach, reach + 1), repeat=2)]
    vectors = torch.tensor(near) * (COARSE * VECTOR_UNITS)
    return vectors, vector_cost(vectors.float())


def near_errors(small: Tensor, padded: Tensor, reach: int) -> Tensor:
    """Squared errors of all displacements within reach, row by row `[h, w, n]`.

    |a − b|² = |a|² − 2 a·b + |b|², where a·b is a convolution of what lies around a cube with it.

    Args:
        small: the true frame, halved, around 0 `[H/2, W/2]`.
        padded: the frame before, and as much as the reach around it.
        reach: see `VectorSearch`.
    """
    size = CUBE_PX // COARSE
    h, w = (side // size for side in small.shape)
    around = padded.unfold(0, size + 2 * reach, size).unfold(1, size + 2 * reach, size)
    cubes = small.unfold(0, size, size).unfold(1, size, size).reshape(-1, 1, size, size)
    cross = F.conv2d(around.flatten(0, 1)[None], cubes, groups=h * w)[0]
    columns = F.avg_pool2d(padded.square()[None, None], (size, 1), 1)
    squares = F.avg_pool2d(columns, (1, size), 1)[0, 0] * size**2
    many = 2 * reach + 1
    there = squares.unfold(0, many, size).unfold(1, many, size).flatten(0, 1)
    own = cubes.square().sum((1, 2, 3))[:, None, None]
    return (own - 2 * cross + there).flatten(1).view(h, w, -1)


def far_vectors(small: Tensor, there: Tensor, poor: Tensor) -> list[tuple[int, int]]:
    """Displacements that explain most of some cubes, columns and rows, best first, at most `FAR`.

    Phase correlation: the peaks of the inverse transform of the normalised cross spectrum. Finds
    what a search around every cube does not reach: scrolling maps, and tiles that are drawn again.

    Args:
        small: the true frame, halved, around 0 `[H/2, W/2]`.
        there: where to search, the same way.
        poor: which cubes are to be explained `[h, w]`.
    """
    height, width = small.shape
    size = CUBE_PX // COARSE
    wanted = small.unflatten(0, (-1, size)).unflatten(2, (-1, size))  # [h, s, w, s]
    wanted = (wanted - wanted.mean((1, 3), keepdim=True)) * poor[:, None, :, None]
    spectra = [torch.fft.rfft2(p) for p in (there - there.mean(), wanted.view_as(small))]
    cross = spectra[0] * spectra[1].conj()
    peaks = torch.fft.irfft2(cross / (cross.abs() + 1e-3), s=small.shape)
    places = peaks.flatten().topk(min(4 * FAR, peaks.numel())).indices.numpy()
    dy = (places // width + height // 2) % height - height // 2
    dx = (places % width + width // 2) % width - width // 2
    near = np.maximum(np.abs(dy), np.abs(dx)) <= FARTHEST
    return list(zip(dx[near][:FAR].tolist(), dy[near][:FAR].tolist(), strict=True))
