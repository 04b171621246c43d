"""The network that weighs candidates: it sees them all, near and far, and mixes.

```
 features of every candidate ─► see ─┬─► mean and most over candidates ─► context (U-Net, to 1/16)
                                     └─► with the context ─► score ─► softmax over candidates ─┐
 colours of candidates ────────────────────────────────────────────────────────────► mix ◄─────┘
                        with the context ─► weights of 5×5 pixels around ─► soften ◄─ mix
```

Scores see what all candidates say together, as in Deep Sets (arXiv:1703.06114); their number and
their order do not matter. Where nothing is certain, a pixel may be a mean of those around it, too,
by weights of its own ("Kernel-Predicting Convolutional Networks for Denoising Monte Carlo
Renderings", SIGGRAPH 2017). So every pixel is a mean of pixels of the candidates.

Shapes: K candidates, F features, H W pixels.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 24
CONTEXT = (48, 64, 64, 64)  # channels at a half, a quarter, an eighth and a sixteenth
SOFT = 5  # pixels of a side of what a pixel may be a mean of
SEEN = 4  # the feature that says whether the source shows the place
OWN = 4  # what the network sees of the colours itself
LEVELS = 20.0  # a difference of so many levels counts as one
MOST = 3.0  # a difference counts no more
UNSEEN_SCORE = -1e4
SURE = 4.0  # what the score of a pixel itself has ahead of those around it


class FillNet(nn.Module):
    """Mixes the candidates of one frame.

    Args:
        num_features: of a candidate.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.see = nn.Conv2d(num_features + OWN, WIDTH, 3, padding=1)
        self.mix = nn.Conv2d(WIDTH, WIDTH, 1)
        self.context = _Context(2 * WIDTH + OWN + 1)
        self.again = nn.Conv2d(WIDTH, WIDTH, 1)
        self.score = nn.Conv2d(WIDTH, 1, 3, padding=1)
        self.soften = nn.Conv2d(WIDTH, SOFT**2, 3, padding=1)

    def forward(
        self, features: Tensor, colours: Tensor, own: Tensor, known: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mix the candidates.

        Args:
            features: of every candidate `[K, F, H, W]`.
            colours: of every candidate, levels `[K, 3, H, W]`.
            own: what is known of the frame itself, levels `[3, H, W]`.
            known: where that is, 0 or 1 `[H, W]`.

        Returns:
            Colours `[3, H, W]`, and the weights of the candidates `[K, H, W]`.
        """
        seen = features[:, SEEN] > 0
        some = seen.any(0)
        mean = _mean(colours, seen)
        apart = ((colours - mean) / LEVELS).clamp(-MOST, MOST)
        fine = (colours - F.avg_pool2d(colours, 5, 1, 2, count_include_pad=False)).mean(1)
        fine = (fine / LEVELS).clamp(-MOST, MOST)
        hidden = torch.cat([features, apart, fine[:, None]], 1)
        hidden = F.gelu(self.mix(F.gelu(self.see(hidden))))
        spread = _mean(apart.abs().mean(1, True), seen)
        around = torch.cat([mean / 128 - 1, spread, known[None]])
        most = hidden.masked_fill(~seen[:, None], -1).amax(0)
        context = self.context(torch.cat([_mean(hidden, seen), most, around])[None])
        scores = self.score(F.gelu(self.again(hidden) + context))[:, 0]
        weights = scores.masked_fill(~seen & some, UNSEEN_SCORE).softmax(0)
        mixed = (weights[:, None] * colours).sum(0)
        mixed = torch.where(known > 0, own, mixed)
        return _soften(mixed, some | (known > 0), self.soften(context)[0]), weights


class _Context(nn.Module):
    """What a pixel's surroundings say, by a U-Net (arXiv:1505.04597) of means; at full size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = (channels, *CONTEXT)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(wide))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in pairwise(CONTEXT))
        self.out = nn.Conv2d(CONTEXT[0], WIDTH, 1)
        self.beside = nn.Conv2d(channels, WIDTH, 1)

    def forward(self, given: Tensor) -> Tensor:
        """Features `[1, C, H, W]` to features `[1, WIDTH, H, W]`."""
        levels, now = [], given
        for layer in self.down:
            now = F.gelu(layer(F.avg_pool2d(now, 2, ceil_mode=True)))
            levels.append(now)
        for layer, level in zip(reversed(self.up), reversed(levels[:-1]), strict=True):
            now = level + F.gelu(layer(F.interpolate(now, size=level.shape[2:])))
        wide = F.interpolate(
            self.out(now), size=given.shape[2:], mode="bilinear", align_corners=False
        )
        beside: Tensor = self.beside(given)
        return wide + beside


def _mean(values: Tensor, seen: Tensor) -> Tensor:
    """Mean over the candidates that are seen `[C, H, W]`, of values `[K, C, H, W]`."""
    weights = seen[:, None].to(values.dtype)
    return (values * weights).sum(0) / weights.sum(0).clamp_min(1)


def _soften(mixed: Tensor, there: Tensor, scores: Tensor) -> Tensor:
    """A mean of the pixels around each `[3, H, W]`, of those that are there `[H, W]`."""
    height, width = there.shape
    taps = F.unfold(mixed[None], SOFT, padding=SOFT // 2).view(3, SOFT**2, height, width)
    usable = F.unfold(there[None, None].to(mixed.dtype), SOFT, padding=SOFT // 2)
    missing = usable.view(SOFT**2, height, width) == 0
    ahead = F.one_hot(torch.tensor(SOFT**2 // 2), SOFT**2)[:, None, None] * SURE
    weights = (scores + ahead).masked_fill(missing, UNSEEN_SCORE).softmax(0)
    return (taps * weights).sum(1)
