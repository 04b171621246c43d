"""Depth and flow, learned without labels from how well the previous picture then fits.

Both networks read decoded data only, so that both sides of the codec compute the same; what they
give costs no bits. They are fully convolutional and work on crops.

Shapes: B batch, H W pixels, D width. Maps have stride 8.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.model.windows import start_at_zero

STRIDE = 8
NEAREST, FARTHEST, START_DEPTH = 20.0, 1200.0, 200.0  # world units
MAX_FLOW_PX = 24.0  # a frame
SSIM_SHARE = 0.25  # of the photometric loss; the rest is absolute difference
SMOOTHNESS = 0.02
START_GATE = -4.0  # before the sigmoid: two percent copy
REACH = 3  # cells of stride 8 that the flow looks around for a match: 24 pixels


class DilatedBlock(nn.Module):
    """x + conv1x1(gelu(conv3x3(gelu(x)))), the 3x3 dilated: sees far at little cost."""

    def __init__(self, dim: int, dilation: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(dim, dim, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, D, h, w]` to `[B, D, h, w]`."""
        return x + self.mix(F.gelu(self.spread(F.gelu(x))))


def _stem(channels: int, dims: tuple[int, int]) -> nn.Sequential:
    """From half resolution to stride 8."""
    return nn.Sequential(
        nn.Conv2d(channels, dims[0], 5, stride=2, padding=2),
        nn.GELU(),
        nn.Conv2d(dims[0], dims[1], 3, stride=2, padding=1),
    )


def _head(dim: int, channels: int) -> nn.Conv2d:
    head = nn.Conv2d(dim, channels, 3, padding=1)
    start_at_zero(head)
    return head


class DepthNet(nn.Module):
    """Inverse depth of every place, and whether it moves with the screen (weapon, crosshair).

    After Monodepth2 (arXiv 1806.01260), at a hundredth of its size: one picture gives the depth;
    its bounds are those of the motion hypotheses.
    """

    def __init__(self, channels: int, dims: tuple[int, int] = (32, 64)) -> None:
        super().__init__()
        self.stem = _stem(channels, dims)
        self.trunk = nn.Sequential(*(DilatedBlock(dims[1], d) for d in (1, 2, 4, 1)))
        self.head = _head(dims[1], 2)
        far, near = math.log(1 / FARTHEST), math.log(1 / NEAREST)
        share = (math.log(1 / START_DEPTH) - far) / (near - far)
        self.start = nn.Parameter(torch.tensor([math.log(share / (1 - share)), START_GATE]))
        self.far, self.span = far, near - far

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Predict from pictures at half resolution.

        Args:
            x: `[B, C, H/2, W/2]`, H and W multiples of 8.

        Returns:
            Log inverse depth (log of 1 / world units) and gate (0 the scene, 1 the screen), both
            float32 `[B, 1, H/8, W/8]`.
        """
        raw = self.head(F.gelu(self.trunk(self.stem(x)))).float()
        depth, gate = (raw + self.start[:, None, None]).sigmoid().split(1, 1)
        return self.far + self.span * depth, gate


class FlowNet(nn.Module):
    """Motion in the picture, pixels a frame, going by what moved between the last two frames.

    Features of both are matched over ±24 pixels (FlowNet, arXiv 1504.06852); the last motion is
    expected to go on.
    """

    def __init__(self, dims: tuple[int, int] = (24, 48)) -> None:
        super().__init__()
        self.stem = _stem(3, dims)
        self.join = nn.Conv2d(2 * dims[1] + (2 * REACH + 1) ** 2, dims[1], 1)
        self.trunk = nn.Sequential(*(DilatedBlock(dims[1], d) for d in (1, 2, 4, 1)))
        self.head = _head(dims[1], 2)

    def forward(self, pictures: Tensor) -> Tensor:
        """Predict the flow of the next pair.

        Args:
            pictures: the last decoded pair `[B, 2, 3, H, W]`, 0..1; H and W multiples of 8.

        Returns:
            Columns and rows a frame that the content moves, float32 `[B, 2, H/8, W/8]`.
        """
        half = F.avg_pool2d(pictures.flatten(0, 1) - 0.5, 2)
        first, second = self.stem(half).unflatten(0, (-1, 2)).unbind(1)
        x = self.join(torch.cat([first, second, match(second, first)], 1))
        return MAX_FLOW_PX * self.head(F.gelu(self.trunk(x))).float().tanh()


def match(target: Tensor, source: Tensor) -> Tensor:
    """Cosine of every place of the target with the places of the source around it.

    Args:
        target: `[B, D, h, w]`.
        source: `[B, D, h, w]`.

    Returns:
        `[B, (2 REACH + 1)^2, h, w]`, -1..1.
    """
    h, w = target.shape[-2:]
    target, source = F.normalize(target.float(), dim=1), F.normalize(source.float(), dim=1)
    padded = F.pad(source, (REACH, REACH, REACH, REACH))
    places = [(i, j) for i in range(2 * REACH + 1) for j in range(2 * REACH + 1)]
    return torch.stack([(target * padded[:, :, i : i + h, j : j + w]).sum(1) for i, j in places], 1)


def spread(x: Tensor, scale: int = STRIDE) -> Tensor:
    """Bilinear enlargement `[B, C, h, w]` to `[B, C, scale * h, scale * w]`."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


def photometric(guess: Tensor, frames: Tensor) -> Tensor:
    """How badly a guess fits, in fine and in coarse: Charbonnier and SSIM, as in Monodepth2.

    The coarse term, on means of 4x4 pixels, has a slope where the fine one is lost in texture.

    Args:
        guess: `[B, 1 or 2, 3, H, W]`.
        frames: `[B, 2, 3, H, W]`.

    Returns:
        `[B, 2, 1, H, W]`.
    """
    guess, frames = guess.expand_as(frames).flatten(0, 1).float(), frames.flatten(0, 1)
    fine = _misfit(guess, frames)
    coarse = _misfit(F.avg_pool2d(guess, 4), F.avg_pool2d(frames, 4))
    return (fine + F.interpolate(coarse, scale_factor=4.0)).unflatten(0, (-1, 2))


def _misfit(guess: Tensor, frames: Tensor) -> Tensor:
    """Misfit of every pixel `[n, 1, H, W]`."""
    charbonnier = ((guess - frames).square() + 1e-4).sqrt() - 1e-2
    both = (1 - SSIM_SHARE) * charbonnier + SSIM_SHARE * (1 - ssim(guess, frames)) / 2
    return both.mean(1, keepdim=True)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity over 3x3 pixels, edges mirrored; both `[n, C, H, W]`, 0..1."""
    a, b = (F.pad(x, (1, 1, 1, 1), mode="reflect") for x in (a, b))

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, 1)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)
    return likeness / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))


def smoothness(maps: Tensor, frame: Tensor) -> Tensor:
    """Slope of the maps, forgiven where the picture has an edge (Monodepth2, equation 3).

    Args:
        maps: `[B, C, H/8, W/8]`; logarithms, so that near and far weigh alike.
        frame: `[B, 3, H, W]`.
    """
    small = F.avg_pool2d(frame, STRIDE)
    total = maps.new_zeros(())
    for axis in (2, 3):
        edge = small.diff(dim=axis).abs().mean(1, keepdim=True)
        total = total + (maps.diff(dim=axis).abs() * (-10 * edge).exp()).mean()
    return SMOOTHNESS * total
