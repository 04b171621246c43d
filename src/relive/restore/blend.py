"""How much of each candidate: a small network that was taught on training sessions.

It sees how well the sides of an explanation agree, and weighs; it cannot paint. Every pixel of
the result is a mean of pixels that were recorded.

Shapes: K candidates, F features, H W pixels.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from relive.restore.candidates import Candidates, mean_over, misfit
from relive.restore.sources import Gap

NUM_FEATURES = 14
WIDTH = 24
WEIGHTS = Path(__file__).parents[1] / "weights" / "restore.safetensors"
LEVELS = 20.0  # a misfit of so many levels counts as one
FARTHEST_S = 0.3
RADII = (2, 6)
UNSEEN_SCORE = -1e4

Floats = NDArray[np.float32]


class BlendNet(nn.Module):
    """Scores every candidate by itself; the softmax over them weighs."""

    def __init__(self, num_features: int = NUM_FEATURES) -> None:
        super().__init__()
        self.see = nn.Conv2d(num_features, WIDTH, 3, padding=1)
        self.mix = nn.Conv2d(WIDTH, WIDTH, 1)
        self.score = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def forward(self, features: Tensor, seen: Tensor | None = None) -> Tensor:
        """Weights `[B, K, H, W]` of candidates with features `[B, K, F, H, W]`.

        Candidates that are not `seen`, bool `[B, K, H, W]`, weigh nothing where others are.
        """
        hidden = F.gelu(self.mix(F.gelu(self.see(features.flatten(0, 1)))))
        scores: Tensor = self.score(hidden)
        scores = scores.view(*features.shape[:2], *features.shape[3:])
        if seen is not None:
            scores = scores.masked_fill(~seen, UNSEEN_SCORE)
        return scores.softmax(1)


@lru_cache(maxsize=1)
def load_blend() -> BlendNet:
    """Load the network of the package."""
    net = BlendNet()
    net.load_state_dict(load_file(WEIGHTS))
    return net.eval()


def features(gap: Gap, candidates: Candidates) -> Floats:
    """What the network sees of each candidate, `[K, F, H, W]`."""
    colours, seen = candidates.colours, candidates.seen
    count, known = len(seen), gap.target.known
    pairs = [[(colours[k + side], seen[k + side]) for side in (0, 1)] for k in range(0, count, 2)]
    fits = np.stack([[misfit(gap, pair, radius) for radius in RADII] for pair in pairs]) / LEVELS
    centre = colours.mean(0)
    shares = gap.shares
    spans_s = [abs(gap.target.time_ns - source.time_ns) / 1e9 for source in (gap.before, gap.after)]
    told = mean_over(known.astype(np.float32), RADII[1])
    out = np.zeros((count, NUM_FEATURES, *known.shape), np.float32)
    for k in range(count):
        out[k, 0:2] = fits[k // 2]
        out[k, 2:4] = fits[k // 2] - fits.min(0)
        out[k, 4], out[k, 5] = seen[k], seen[k ^ 1]
        out[k, 6] = 1 - shares[k % 2]
        out[k, 7] = min(1.0, spans_s[k % 2] / FARTHEST_S)
        out[k, 8] = np.abs(colours[k] - centre).mean(-1) / LEVELS
        out[k, 9 + candidates.kinds[k]] = 1
        out[k, 13] = told
    return out


@torch.inference_mode()
def blend(gap: Gap, candidates: Candidates) -> tuple[Floats, Floats]:
    """Weigh the candidates.

    Returns:
        Colours `[H, W, 3]`, and how sure they are, 0..1 `[H, W]`: it falls with what the weighed
        candidates differ by, and is 0 where no source shows the place.
    """
    seen = torch.from_numpy(candidates.seen)
    given = torch.from_numpy(features(gap, candidates))[None]
    weights = load_blend()(given)[0]
    colours = torch.from_numpy(candidates.colours)
    mixed = (weights[..., None] * colours).sum(0)
    apart = (weights * (colours - mixed).abs().mean(-1)).sum(0)
    fit = (weights * given[0, :, 1]).sum(0) * LEVELS
    sure = (-(apart + fit / 2) / LEVELS).exp() * seen.any(0)
    return mixed.numpy(), sure.numpy()
