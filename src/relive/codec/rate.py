"""Encoder search: how deep to code every cube, by rate and distortion.

Decoding every choice would cost more than everything else. To first order a decoder turns an error
d of a latent into the squared pixel error d' G d; G is measured once for a model, when it is
exported (`measure_factors`). Rate is what a code costs on average.

Shapes: N cubes, h w cube grid, K quantizers, D latent width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream.detail import step_size
from relive.codec.bundle import linear_sensitivity
from relive.codec.step import StepCoder, StepContext
from relive.enhancement.search import pair_error


@dataclass(frozen=True)
class Setting:
    """What the encoder aims at.

    Attributes:
        price: what one bit of a code must save: squared error (0..1, mean of colours) summed over
            the pixels of a cube.
        step: number of the enhancement layer's quantiser step; None: no layer.
    """

    price: float
    step: int | None = None

    @property
    def smoothness(self) -> float:
        """What a motion hypothesis that its neighbour does not have must save, see `Taste`."""
        size = 1.0 if self.step is None else step_size(self.step) / STEP_OF_SMOOTHNESS
        return SMOOTHNESS * max(size**2, LEAST_SMOOTHNESS)

    @property
    def tiers(self) -> int:
        """Tiers of the replay: 1, or 2 with the enhancement layer."""
        return 1 if self.step is None else 2


SMOOTHNESS, STEP_OF_SMOOTHNESS, LEAST_SMOOTHNESS = 4e-4, 228.0, 0.7
"""Bits of hypotheses are worth the more, the coarser the layer, as all bits."""
CODES_PRICE = 6e-2
FROM_STEP, OCTAVE_STEPS, MOST_OCTAVES = 41, 3, 2
"""The price of a code doubles with every 3 numbers of steps from 41 on, twice."""


def price_of(step: int) -> float:
    """Price of a bit of a code beside an enhancement layer; see `Setting`.

    Where the layer is coarse, its bits save more than those of codes at the price of codes alone.
    """
    octaves = min(max((step - FROM_STEP) / OCTAVE_STEPS, 0.0), MOST_OCTAVES)
    return float(CODES_PRICE * 2.0**octaves)


CODES_ALONE = Setting(CODES_PRICE)
QUALITIES = tuple(
    Setting(price_of(step), step) for step in (53, 50, 47, 44, 41, 38, 35, 30, 24, 17)
)
"""Settings of quality 1 to 10."""


def tiers_at(quality: int) -> int:
    """Tiers that are decoded for some quality, 1 to 10: 1 leaves out the enhancement layer."""
    return 1 if quality == 1 else 2


STAGE_BITS = 7.0  # what the nets of the bitstream leave of 9
SKIP_BITS = 1.5


def cube_error(frames: Tensor, target: Tensor) -> Tensor:
    """Squared error of cubes, mean of colours: `[B, 2, 3, H, W]` to `[B, h, w]`."""
    return torch.stack([pair_error(*pair) for pair in zip(frames, target, strict=True)])


def latent_errors(coder: StepCoder, kind: int, remainder: Tensor, codes: Tensor) -> Tensor:
    """What every depth leaves: `[N, D]`, `[N, K]` to `[K + 1, N, D]`."""
    left = [remainder]
    for stage, codebook in enumerate(coder.bundle.quantizer.codebooks[kind]):
        left.append(left[-1] - codebook[codes[:, stage]])
    return torch.stack(left)


def pixel_errors(sensitivity: Tensor, latent: Tensor) -> Tensor:
    """Compute d' G d for latent errors `[K + 1, N, D]`: `[K + 1, N]`."""
    return ((latent @ sensitivity) * latent).sum(-1)


def choose_depths(
    coder: StepCoder, step: StepContext, remainder: Tensor, codes: Tensor, price: float
) -> Tensor:
    """Choose the depth of every cube.

    Args:
        coder: the shared half.
        step: context of the step.
        remainder: latents before quantisation `[1, h, w, D]`.
        codes: full-depth codes `[h, w, K]`.
        price: see `Setting`.

    Returns:
        int64 `[h, w]`.
    """
    h, w, stages = codes.shape
    left = latent_errors(coder, step.kind, remainder.flatten(0, 2), codes.flatten(0, 1))
    distortion = pixel_errors(coder.bundle.sensitivity[step.kind], left)
    bits = torch.arange(stages + 1) * STAGE_BITS
    bits[1:] += SKIP_BITS
    depths: Tensor = (distortion + price * bits[:, None]).argmin(0)
    return depths.view(h, w)


class Left:
    """What is left of the latents of a step while its codes are chosen; see `Remainders`.

    Args:
        coder: the shared half.
        kind: 0 keyframe, 1 delta.
        remainder: latents before quantisation `[N, D]`.
        price: see `Setting`.
    """

    def __init__(self, coder: StepCoder, kind: int, remainder: Tensor, price: float) -> None:
        self._codebooks = coder.bundle.quantizer.codebooks[kind]
        self._left = remainder.clone()
        length = remainder.square().sum().clamp_min(1e-12)
        error = pixel_errors(coder.bundle.sensitivity[kind], remainder).sum() / length
        self._bits = float(error) / price

    def costs(self, stage: int, cubes: NDArray[np.int32]) -> NDArray[np.float32]:
        """What each codeword would leave, in bits `[n, V]`, less what is the same for all.

        By the length of the error: codewords chosen by `pixel_errors` leave what later stages,
        which were learned behind the nearest ones, cannot say (0.3 dB worse).
        """
        words = self._codebooks[stage]
        left = self._left[torch.from_numpy(cubes).long()]
        costs = (words.square().sum(-1) - 2 * left @ words.T) * self._bits
        return np.asarray(costs.numpy())

    def take(self, stage: int, cubes: NDArray[np.int32], codes: NDArray[np.int32]) -> None:
        """Take codewords `[n]` off cubes `[n]`."""
        rows = torch.from_numpy(cubes).long()
        self._left[rows] -= self._codebooks[stage][torch.from_numpy(codes).long()]


def measure_step(
    coder: StepCoder, step: StepContext, target: Tensor, remainder: Tensor, codes: Tensor
) -> Tensor:
    """Compare d' G d with decoded pixels at every depth.

    Returns:
        `[K * N, 3]`: for each depth below the deepest what it costs over the deepest: by the linear
        path, by the length of d, and truly.
    """
    h, w, stages = codes.shape
    left = latent_errors(coder, step.kind, remainder.flatten(0, 2), codes.flatten(0, 1))
    linear = pixel_errors(linear_sensitivity(coder.bundle.model), left)
    length = left.square().sum(-1)
    true = []
    for depth in range(stages + 1):
        depths = torch.full((h, w), depth)
        latents = coder.latents(step, codes, depths)
        decoded = coder.bundle.model.decoder(latents, depths[None], step.context, step.pyramid)
        true.append(cube_error(decoded.frames, target).flatten())
    rows = [torch.stack([x[:-1] - x[-1:]]).flatten() for x in (linear, length, torch.stack(true))]
    return torch.stack(rows, -1)


def fit_factors(rows: Tensor) -> Tensor:
    """Least squares, not negative: the linear path times one factor plus the length times another.

    Args:
        rows: from `measure_step` `[N, 3]`.

    Returns:
        Both factors `[2]`, see `bundle.pixel_sensitivity`.
    """
    x, y = rows[:, :2].double(), rows[:, 2].double()
    both = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
    if bool((both < 0).any()):
        alone = ((x * y[:, None]).sum(0) / x.square().sum(0).clamp_min(1e-12)).clamp_min(0)
        errors = (x * alone - y[:, None]).square().sum(0)
        both = torch.where(torch.arange(2) == errors.argmin(), alone, 0.0)
    factors: Tensor = both.float()
    return factors
