"""The colours of a view: which surface a pixel lies on, by vote, and how much of each look.

A small network that was taught on training sessions weighs the looks; it cannot paint. Every pixel
is a mean of pixels that were recorded.

Shapes: K surfaces, F features, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from relive.restore.blend import RADII
from relive.restore.looks import mean_over
from relive.view.render import Looks

Floats = NDArray[np.float32]
WEIGHTS = Path(__file__).parents[1] / "weights" / "view.safetensors"
NUM_FEATURES = 14
WIDTH = 24
UNSEEN_SCORE = -1e4
RAY_RAD, ZOOM = 0.6, 1.0  # a look worsens by e with this angle, and log of zoom
SAME_SHARE, SAME_PACES = 0.1, 160.0  # depths that count as one: a tenth, or one of so many paces
LEVELS = 20.0  # a difference of so many levels counts as one
MOST_APART = 3.0
LATE_S = 5.0


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


@dataclass(frozen=True)
class Vote:
    """Which depth the surfaces agree on.

    Attributes:
        worth: of every look, 0 to 1; 0 where it is unseen `[K, H, W]`.
        share: of the worth of all looks that agree with this one in depth `[K, H, W]`.
        same: how near its depth is to that of the leading one, 0 to 1 `[K, H, W]`.
        lead: the best look at the depth that most speaks for `[H, W]`.
        apart: difference to the colour of the leading one, in `LEVELS` `[K, H, W]`.
    """

    worth: Floats
    share: Floats
    same: Floats
    lead: NDArray[np.int64]
    apart: Floats


def vote(looks: Looks, pace: float) -> Vote:
    """Ask every look which others agree with its depth."""
    near, seen = looks.near, looks.near >= 0
    worth = looks.trust * np.exp(-looks.rays / RAY_RAD - np.abs(np.log(looks.zoom)) / ZOOM)
    worth = (worth + 1e-4) * seen
    slack = SAME_SHARE * near + 1 / (SAME_PACES * pace)
    same = np.abs(near[:, None] - near[None]) <= slack[:, None]  # [K, K, H, W]
    votes = (same * worth[None]).sum(1) * seen
    best = votes.argmax(0)[None]
    member = np.take_along_axis(same, best[:, None], 0)[0] & seen
    lead = np.where(member, worth, 0).argmax(0)
    colour = np.take_along_axis(looks.colours, lead[None, ..., None], 0)
    apart = (np.abs(looks.colours - colour).mean(-1) / LEVELS).clip(0, MOST_APART)
    leading = np.take_along_axis(near, lead[None], 0)
    agree = np.exp(-np.abs(near - leading) / np.maximum(slack, 1e-9)) * seen
    share = votes / worth.sum(0).clip(1e-9)
    worth, share, agree, apart = (p.astype(np.float32) for p in (worth, share, agree, apart))
    return Vote(worth, share, agree, lead, apart)


def features(looks: Looks, votes: Vote, late_s: Sequence[float]) -> Floats:
    """What the network sees of each look, `[K, F, H, W]`."""
    seen = (looks.near >= 0).astype(np.float32)
    count = len(seen)
    nearest = looks.near.max(0).clip(1e-9)
    out = np.zeros((count, NUM_FEATURES, *seen.shape[1:]), np.float32)
    for k in range(count):
        out[k, 0] = looks.trust[k]
        out[k, 1] = np.exp(-looks.rays[k] / RAY_RAD) * seen[k]
        out[k, 2] = np.abs(np.log(looks.zoom[k])).clip(0, 2) / 2
        out[k, 3] = seen[k]
        out[k, 4] = votes.share[k]
        out[k, 5] = votes.apart[k] * seen[k]
        out[k, 6], out[k, 7] = (mean_over(out[k, 5], radius) for radius in RADII)
        out[k, 8] = mean_over(looks.trust[k], RADII[0])
        out[k, 9] = seen.mean(0)
        out[k, 10] = min(1.0, late_s[k] / LATE_S)
        out[k, 11] = votes.lead == k
        out[k, 12] = votes.same[k]
        out[k, 13] = looks.near[k] / nearest * seen[k]
    return out


@lru_cache(maxsize=1)
def load_net() -> BlendNet:
    """Load the network of the package."""
    net = BlendNet(NUM_FEATURES)
    net.load_state_dict(load_file(WEIGHTS))
    return net.eval()


@torch.inference_mode()
def blend(looks: Looks, late_s: Sequence[float], pace: float) -> tuple[Floats, Floats]:
    """Weigh the looks.

    Args:
        looks: what every surface shows of the view.
        late_s: seconds between each of them and the moment that is looked at.
        pace: world units of a step of the camera.

    Returns:
        Colours `[H, W, 3]`, and how sure they are, 0 to 1 `[H, W]`: the trust in the depth of what
        is shown, less where looks differ, and 0 where nobody saw the place.
    """
    votes = vote(looks, pace)
    seen = torch.from_numpy(looks.near >= 0)
    given = torch.from_numpy(features(looks, votes, late_s))[None]
    weights = load_net()(given, seen[None])[0]
    colours = torch.from_numpy(looks.colours)
    mixed = (weights[..., None] * colours).sum(0)
    apart = (weights * (colours - mixed).abs().mean(-1)).sum(0)
    trust = (weights * torch.from_numpy(looks.trust)).sum(0)
    sure = trust.clamp(0.01, 1) * (-apart / (2 * LEVELS)).exp() * seen.any(0)
    return mixed.numpy(), sure.numpy()
