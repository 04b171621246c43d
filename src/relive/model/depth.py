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

from relive.model.motion import FARTHEST, NEAREST, Motion, pixel_centres, screen_positions, view
from relive.model.parts import start_at_zero
from relive.model.warp import camera_positions, sample

STRIDE = 8
NUM_DEPTHS = 16
NUM_CUES = 16
SWEEP_STEP = 4  # pixels between the places where the last two frames are compared
START_DEPTH, START_SPREAD = 200.0, 0.6  # of the prior: world units, and a factor of e^0.6
START_SHARPNESS = 300.0  # weight of a mean absolute difference against the prior
_LINE = (-12, -6, -3, -1, 0, 1, 3, 6, 12)
DISPLACEMENTS = tuple(
    (x, y) for y in _LINE for x in _LINE
)  # displacements a frame, in steps of 2 pixels
START_FLOW_PX = 10.0  # spread of the prior
SHIFT_UNITS = 32.0  # world units a frame that count as one
SSIM_SHARE = 0.25  # of the photometric loss; the rest is absolute difference
SMOOTHNESS = 0.02
START_GATE = -4.0  # before the sigmoid: two percent copy


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

    Every place has a probability for each of `NUM_DEPTHS` depths, and the depth is their mean
    (GC-Net, arXiv 1703.04309): a learned prior, what the parallax of the last two frames says, and
    what the network makes of both and of the picture.
    """

    depths: Tensor

    def __init__(self, dims: tuple[int, int] = (32, 64)) -> None:
        super().__init__()
        self.stem = _stem(NUM_CUES, dims)
        self.join = nn.Conv2d(dims[1] + NUM_DEPTHS + 1, dims[1], 1)
        self.trunk = nn.Sequential(*(DilatedBlock(dims[1], d) for d in (1, 2, 4, 1)))
        self.head = _head(dims[1], NUM_DEPTHS + 1)
        depths = log_inverse_depths()
        self.register_buffer("depths", depths, persistent=False)
        self.prior = nn.Parameter(-((depths + math.log(START_DEPTH)) / START_SPREAD).square() / 2)
        self.sharpness = nn.Parameter(torch.tensor(math.log(START_SHARPNESS)))
        self.gate = nn.Parameter(torch.tensor(START_GATE))

    def forward(self, x: Tensor, misfit: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Predict from pictures at half resolution and from the parallax at stride 8.

        Args:
            x: cues `[B, NUM_CUES, H/2, W/2]`, H and W multiples of 8.
            misfit: of the last two frames for every depth `[B, NUM_DEPTHS, H/8, W/8]`; 0 where
                nothing is known.
            seen: share of what both of them saw `[B, 1, H/8, W/8]`.

        Returns:
            Log inverse depth (log of 1 / world units) and gate (0 the scene, 1 the screen), both
            float32 `[B, 1, H/8, W/8]`.
        """
        joined = self.join(torch.cat([self.stem(x), 20 * misfit, seen], 1))
        logits, gate = self.head(F.gelu(self.trunk(joined))).float().split((NUM_DEPTHS, 1), 1)
        said = self.prior[:, None, None] - self.sharpness.exp() * misfit
        share = (logits + said).softmax(1)
        depth = (share * self.depths[:, None, None]).sum(1, keepdim=True)
        return depth, (gate + self.gate).sigmoid()


def log_inverse_depths() -> Tensor:
    """Depths that are tried, far to near `[NUM_DEPTHS]`; the bounds of the motion hypotheses."""
    return torch.linspace(math.log(1 / FARTHEST), math.log(1 / NEAREST), NUM_DEPTHS)


def sweep(
    motion: Motion, picture: Tensor, pictures: Tensor, depths: Tensor
) -> tuple[Tensor, Tensor]:
    """Compare the last two frames, both warped to the new view, for every depth (plane sweep).

    At the right depth they agree (multi-view stereo, as in MVDepthNet, arXiv 1807.08563).

    Args:
        motion: with a camera, and with the pose of the frame before the reference.
        picture: the whole previous frame `[B, 3, H0, W0]`.
        pictures: the last decoded pair `[B, 2, 3, H, W]`.
        depths: log inverse depths `[K]`.

    Returns:
        Mean absolute difference `[B, K, H/8, W/8]` and share seen by both `[B, 1, H/8, W/8]`;
        zeros where the pose of the frame before is not known.
    """
    b, _, _, height, width = pictures.shape
    camera, turn, shift = motion.camera, motion.past_turn, motion.past_shift
    if camera is None or turn is None or shift is None:
        small = picture.new_zeros(b, 1, height // STRIDE, width // STRIDE)
        return small.expand(-1, len(depths), -1, -1), small
    xs, ys = pixel_centres(motion, height, width, SWEEP_STEP)
    near = depths.exp()[None, :, None, None]
    newer = camera_positions(camera, motion.turns[:, 0], motion.shifts[:, 0], near, xs, ys)
    older = camera_positions(camera, turn, shift, near, xs, ys)
    corner = motion.origin_px[:, :, None, None, None].unbind(1)
    a, seen_a = _look(picture, newer, camera.bottom_px)
    crop = older[0] - corner[0], older[1] - corner[1]
    c, seen_c = _look(pictures[:, 0], crop, camera.bottom_px - corner[1])
    seen = seen_a * seen_c
    misfit = (a - c).abs().mean(1) * seen
    misfit, seen = (_settle(x) for x in (misfit, seen))
    mean = misfit.sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp_min(0.1)
    return misfit + mean * (1 - seen), seen.mean(1, keepdim=True)


def _look(
    picture: Tensor, place: tuple[Tensor, Tensor], bottom: int | Tensor
) -> tuple[Tensor, Tensor]:
    """Read a picture at `[B, K, h, w]` positions: `[B, 3, K, h, w]`, and 1 where it has them."""
    (x, y), (height, width) = place, picture.shape[-2:]
    inside = (x > 0) & (x < width) & (y > 0) & (y < height) & (y < bottom)
    # half resolution: neighbours of four pixels hardly alias, at a quarter of the reads
    flat = (p.flatten(1, 2) / 2 for p in (x, y))
    return sample(F.avg_pool2d(picture, 2), *flat).unflatten(2, x.shape[1:3]), inside.float()


def _settle(x: Tensor) -> Tensor:
    """Mean over cells of stride 8 and their neighbours."""
    return F.avg_pool2d(F.avg_pool2d(x, STRIDE // SWEEP_STEP), 3, 1, 1, count_include_pad=False)


def cues(motion: Motion, turned: tuple[Tensor, Tensor], still: Tensor, older: Tensor) -> Tensor:
    """What depth can be told from, at half resolution.

    Args:
        motion: with a camera.
        turned: the previous picture turned into the new view `[B, 3, H, W]` and where it was seen
            `[B, 1, H, W]`.
        still: the previous picture as it was `[B, 3, H, W]`.
        older: the picture before it `[B, 3, H, W]`.

    Returns:
        These, directions, the view, and how the camera goes: `[B, NUM_CUES, H/2, W/2]`.
    """
    camera, (height, width) = motion.camera, still.shape[-2:]
    if camera is None:
        raise ValueError("depth needs a camera")
    half = [F.avg_pool2d(p - 0.5, 2) for p in (*turned, still, older)]
    columns, rows = screen_positions(motion, height, width, 2)
    right = (columns - camera.centre_x_px) / camera.focal_x_px
    up = (camera.centre_y_px - rows) / camera.focal_y_px
    inside = view(motion, height, width, 2).float()
    pace = (motion.shifts[:, 0, :, None, None] / SHIFT_UNITS).clamp(-4, 4)
    pace = pace.expand(-1, -1, height // 2, width // 2)
    return torch.cat([*half, torch.stack([right, up], 1), inside, pace], 1)


class FlowNet(nn.Module):
    """Motion in the picture, pixels a frame: what moved between the last two frames goes on.

    As in `DepthNet` every place has a probability for each displacement, and the flow is their
    mean; the last two frames are compared at all of them.
    """

    displacements: Tensor

    def __init__(self, dims: tuple[int, int] = (24, 48)) -> None:
        super().__init__()
        table = torch.tensor([(2.0 * x, 2.0 * y) for x, y in DISPLACEMENTS])
        self.register_buffer("displacements", table, persistent=False)
        self.stem = _stem(6, dims)
        self.join = nn.Conv2d(dims[1] + len(table), dims[1], 1)
        self.trunk = nn.Sequential(*(DilatedBlock(dims[1], d) for d in (1, 2, 4, 1)))
        self.head = _head(dims[1], len(table))
        self.prior = nn.Parameter(-(table / START_FLOW_PX).square().sum(1) / 2)
        self.sharpness = nn.Parameter(torch.tensor(math.log(START_SHARPNESS)))

    def forward(self, pictures: Tensor) -> Tensor:
        """Predict the flow of the next pair.

        Args:
            pictures: the last decoded pair `[B, 2, 3, H, W]`, 0..1; H and W multiples of 8.

        Returns:
            Columns and rows a frame that content moves, float32 `[B, 2, H/8, W/8]`.
        """
        half = F.avg_pool2d(pictures.flatten(1, 2) - 0.5, 2)
        misfit = match(half[:, 3:], half[:, :3])
        x = self.join(torch.cat([self.stem(half), 20 * misfit], 1))
        logits = self.head(F.gelu(self.trunk(x))).float() + self.prior[:, None, None]
        share = (logits - self.sharpness.exp() * misfit).softmax(1)[:, None]
        return (share * self.displacements.T[:, :, None, None]).sum(2)


def match(newer: Tensor, older: Tensor) -> Tensor:
    """Compare a picture with the one before, displaced; both at half resolution `[B, 3, H/2, W/2]`.

    Returns:
        Mean absolute difference `[B, len(DISPLACEMENTS), H/8, W/8]`.
    """
    h, w = newer.shape[-2:]
    reach = max(x for x, _ in DISPLACEMENTS)
    padded = F.pad(older, (reach, reach, reach, reach), mode="replicate")
    targets = newer[..., ::2, ::2]
    misfit = []
    for x, y in DISPLACEMENTS:
        moved = padded[..., reach - y : reach - y + h : 2, reach - x : reach - x + w : 2]
        misfit.append((targets - moved).abs().mean(1))
    return _settle(torch.stack(misfit, 1))


def spread(x: Tensor, scale: int = STRIDE) -> Tensor:
    """Bilinear enlargement `[B, C, h, w]` to `[B, C, scale * h, scale * w]`."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


def photometric(guess: Tensor, frames: Tensor) -> Tensor:
    """How badly a guess fits: Charbonnier and SSIM, as in Monodepth2 (arXiv 1806.01260).

    Means of 4x4 pixels are compared too: they have a slope where pixels are lost in texture. SSIM
    is of grey values over windows of 6x6 pixels.

    Takes a guess `[B, 1 or 2, 3, H, W]` and frames `[B, 2, 3, H, W]`; returns `[B, 2, 1, H, W]`.
    """
    guess, frames = guess.expand_as(frames).flatten(0, 1).float(), frames.flatten(0, 1).float()
    coarse = _charbonnier(F.avg_pool2d(guess, 4), F.avg_pool2d(frames, 4))
    grey = [F.avg_pool2d(x.mean(1, keepdim=True), 2) for x in (guess, frames)]
    structure = F.interpolate((1 - ssim(*grey)) / 2, scale_factor=2.0)
    difference = _charbonnier(guess, frames) + F.interpolate(coarse, scale_factor=4.0)
    misfit = (1 - SSIM_SHARE) * difference + SSIM_SHARE * structure
    return misfit.unflatten(0, (-1, 2))


def _charbonnier(a: Tensor, b: Tensor) -> Tensor:
    """Absolute difference, smooth at zero, mean of the colours `[n, 1, H, W]`."""
    return ((a - b).square() + 1e-4).sqrt().mean(1, keepdim=True) - 1e-2


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

    Takes maps `[B, C, H/8, W/8]` and a frame `[B, 3, H, W]`.
    """
    small = F.avg_pool2d(frame, STRIDE)
    total = maps.new_zeros(())
    for axis in (2, 3):
        edge = small.diff(dim=axis).abs().mean(1, keepdim=True)
        total = total + (maps.diff(dim=axis).abs() * (-10 * edge).exp()).mean()
    return SMOOTHNESS * total
