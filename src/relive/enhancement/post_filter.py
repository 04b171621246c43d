"""The post-filter of the enhancement layer: what a small network can tell of quantisation noise.

It sees a frame as the levels left it, its prediction and a guide, on a halved grid, and adds to
what is shown. The guide is the frame drawn to the colours of its game (`game_colours.py`), or its
base picture where the model knows no such colours. The next frame is predicted from the frame
without it: applied again and again to what was filtered before, it blurs (measured: 1.5 dB lost in
64 frames).

Shapes: B batch, H W pixels, both even. Pictures are 0..255.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from relive.enhancement.frame import enlarge, to_array
from relive.kernels import filtering as kernels
from relive.model.parts import start_at_zero

WIDTH = 16
SCALE = 8.0  # of what it adds, levels
CROP, BATCH, RATE = 64, 16, 2e-3
MIN_SIDE = CROP


class PostFilter(nn.Module):
    """Three convolutions on 2x2 pixels at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Conv2d(3 * 12 + 1, WIDTH, 3, padding=1)
        self.mix = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.write = nn.Conv2d(WIDTH, 12, 3, padding=1)
        start_at_zero(self.write)

    def forward(self, shown: Tensor, prediction: Tensor, guide: Tensor, step: Tensor) -> Tensor:
        """Filter frames.

        Args:
            shown: prediction and levels `[B, 3, H, W]`.
            prediction: `[B, 3, H, W]`.
            guide: `[B, 3, H, W]`.
            step: of the quantiser `[B, H/2, W/2]`.

        Returns:
            `[B, 3, H, W]`, neither rounded nor clamped.
        """
        size = F.interpolate(_size(step)[:, None], scale_factor=2)
        seen = torch.cat([shown - 128, prediction - 128, guide - 128, size], 1)
        return shown + SCALE * F.pixel_shuffle(self._change(seen), 2)

    def _change(self, seen: Tensor) -> Tensor:
        """Change of 2x2 pixels at a time `[B, 12, H/2, W/2]` in `SCALE`, of `[B, 10, H, W]`."""
        seen = seen.contiguous(memory_format=torch.channels_last)  # twice as fast on CPUs
        x = F.relu(F.conv2d(seen, self._read(), self.read.bias, stride=2, padding=2))
        x = x + F.relu(self.mix(x))
        changed: Tensor = self.write(x)
        return changed

    def _read(self) -> Tensor:
        """Weight of the first convolution for whole pictures `[WIDTH, 10, 6, 6]`.

        The same map as that of 3x3 on 2x2 pixels at a time, of (shown - 128) / 128, (shown -
        prediction) / 32, (shown - guide) / 32 and the step.
        """
        pixels, step = self.read.weight.split((36, 1), 1)
        whole = pixels.unflatten(1, (3, 3, 2, 2)).permute(0, 1, 2, 5, 3, 6, 4)
        level, added, gained = whole.flatten(3, 4).flatten(4, 5).unbind(1)  # [WIDTH, 3, 6, 6]
        once = step.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
        parts = [level / 128 + added / 32 + gained / 32, -added / 32, -gained / 32, once]
        return torch.cat(parts, 1).contiguous(memory_format=torch.channels_last)

    def apply_to(self, shown: Tensor, prediction: Tensor, guide: Tensor, steps: Tensor) -> Tensor:
        """Filter one frame `[3, H, W]`, given steps of cubes `[h, w]`, to whole numbers."""
        height, width = shown.shape[1:]
        size = _size(enlarge(steps, (height // 2, width // 2)))
        seen = torch.empty(height, width, 10)
        arrays = [to_array(part) for part in (shown, prediction, guide, size)]
        kernels.lay_out(arrays[0], arrays[1], arrays[2], arrays[3], seen.numpy())
        change = self._change(seen.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        filtered = torch.empty_like(shown)
        kernels.add(to_array(shown), to_array(change), np.float32(SCALE), filtered.numpy())
        return filtered


def _size(step: Tensor) -> Tensor:
    """The step of a quantiser as the filter takes it."""
    return torch.log2(step) / 6 - 0.8


@dataclass(frozen=True)
class FilterSample:
    """A frame to learn from, uint8 `[3, H, W]` each, and quantiser steps `[H/2, W/2]`."""

    shown: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    guide: NDArray[np.uint8]
    target: NDArray[np.uint8]
    step: NDArray[np.float32]


def fit_filter(samples: Sequence[FilterSample], updates: int, seed: int = 0) -> PostFilter | None:
    """Train a filter on crops of frames, by squared error.

    Errors count by the quantiser step, so that fine ones are learned too.

    Args:
        samples: of every step that will be used; those smaller than a crop are left out.
        updates: how long.
        seed: of weights and crops.

    Returns:
        The filter, or None where there is nothing to learn from.
    """
    samples = [s for s in samples if min(s.shown.shape[1:]) >= MIN_SIDE]
    if not samples or not updates:
        return None
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        network = PostFilter()
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        for update in range(updates):
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1.01 - update / updates)
            *pictures, target, step = _crops(samples, rng)
            error = F.avg_pool2d((network(*pictures, step) - target).square().mean(1), 2)
            loss = (error / (step.square() + 16)).mean() * 100
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval().requires_grad_(False)


def _crops(samples: Sequence[FilterSample], rng: np.random.Generator) -> list[Tensor]:
    """Draw crops: pictures `[B, 3, CROP, CROP]` four times, steps `[B, CROP/2, CROP/2]`."""
    rows = []
    chosen = [samples[index] for index in rng.integers(0, len(samples), BATCH)]
    for sample in chosen:
        height, width = sample.shown.shape[1:]
        y, x = (2 * int(rng.integers(0, (side - CROP) // 2 + 1)) for side in (height, width))
        parts = (sample.shown, sample.prediction, sample.guide, sample.target)
        rows.append([part[:, y : y + CROP, x : x + CROP] for part in parts])
        rows[-1].append(sample.step[y // 2 : (y + CROP) // 2, x // 2 : (x + CROP) // 2])
    return [torch.from_numpy(np.stack(part)).float() for part in zip(*rows, strict=True)]


__all__ = ["FilterSample", "PostFilter", "fit_filter"]
