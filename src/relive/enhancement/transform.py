"""The transform of the enhancement layer: decorrelated colours, then a DCT of 8x8 pixels.

Both are orthonormal, so a squared error of coefficients is the squared error of RGB values, and
one quantiser step for all coefficients is the best one for PSNR in RGB.

Shapes: H W pixels, both multiples of 8; `...` any leading dimensions.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

BLOCK_PX = 8
# Grey, red against blue, green against both: near the principal components of what is left of games
_COLOURS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))
INTER_ROUNDING = 0.3  # below 0.5: near zero a coefficient costs more bits than it saves error


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def colours() -> Tensor:
    """Orthonormal rows: RGB to grey and two differences, `[3, 3]`."""
    rows = torch.tensor(_COLOURS, dtype=torch.float64, device="cpu")
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True)
    return unit.float()


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def dct_matrix() -> Tensor:
    """Orthonormal DCT-II, `[8, 8]`: coefficient by sample."""
    k, i = torch.meshgrid(
        *[torch.arange(BLOCK_PX, dtype=torch.float64, device="cpu")] * 2, indexing="ij"
    )
    matrix = math.sqrt(2 / BLOCK_PX) * torch.cos(math.pi * (2 * i + 1) * k / (2 * BLOCK_PX))
    matrix[0] /= math.sqrt(2)
    return matrix.float()


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def kronecker() -> Tensor:
    """The DCT of a whole block, `[64, 64]`: coefficient by pixel, row by row."""
    return torch.kron(dct_matrix(), dct_matrix())


def forward(pictures: Tensor) -> Tensor:
    """RGB pictures `[..., 3, H, W]` to coefficients `[..., 3, H/8, W/8, 8, 8]`."""
    return dct(torch.einsum("ij,...jhw->...ihw", colours().to(pictures.device), pictures))


def dct(planes: Tensor) -> Tensor:
    """Planes `[..., H, W]` to DCT coefficients of their blocks `[..., H/8, W/8, 8, 8]`."""
    blocks = planes.unflatten(-1, (-1, BLOCK_PX)).unflatten(-3, (-1, BLOCK_PX)).transpose(-2, -3)
    flat = blocks.flatten(-2) @ kronecker().to(planes.device).T
    coefficients: Tensor = flat.unflatten(-1, (BLOCK_PX, BLOCK_PX))
    return coefficients


def inverse(coefficients: Tensor) -> Tensor:
    """Coefficients `[..., 3, H/8, W/8, 8, 8]` to RGB pictures `[..., 3, H, W]`."""
    pixels = coefficients.flatten(-2) @ kronecker().to(coefficients.device)
    blocks = pixels.unflatten(-1, (BLOCK_PX, BLOCK_PX))
    mixed = blocks.transpose(-2, -3).flatten(-2).flatten(-3, -2)
    return torch.einsum("ji,...jhw->...ihw", colours().to(coefficients.device), mixed)


def quantise(coefficients: Tensor, step: Tensor | float) -> Tensor:
    """Levels of coefficients, whole numbers as float: towards zero by less than half a step.

    Args:
        coefficients: any shape.
        step: of the quantiser, broadcastable.
    """
    size = coefficients / step
    return size.sign() * (size.abs() + INTER_ROUNDING).floor()


def requantised(pictures: Tensor, target: Tensor, step: Tensor | float) -> Tensor:
    """What an enhancement layer with this step makes of decoded pictures.

    Args:
        pictures: decoded, `[..., 3, H, W]`.
        target: the true ones.
        step: of the quantiser, in the units of the pictures, broadcastable to
            `[..., 3, H/8, W/8, 8, 8]`.
    """
    levels = quantise(forward(target - pictures), step)
    return pictures + inverse(levels * step)
