"""How much of each candidate: a small network that was taught on training sessions.

It sees how well the sides of an explanation agree, how far its pixels are to be believed and what
the other candidates say, and weighs. Every pixel of the result is a mean of pixels that were
recorded and, where part of the frame is known, of a painting from what is known around.

Shapes: K candidates, F features, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from relive.restore import kernels
from relive.restore.candidates import (
    FLOW,
    KINDS,
    LANDED,
    PAINTED,
    Candidates,
    Explanation,
    Part,
    cut,
)
from relive.restore.looks import mean_over, misfit
from relive.restore.network import LEVELS, MOST, FillNet
from relive.restore.sources import Gap

NUM_FEATURES = 20 + len(KINDS)
WEIGHTS = Path(__file__).parents[1] / "weights" / "restore.safetensors"
FARTHEST_S = 0.3
RADII = (2, 6)
AROUND = 12
LARGEST = 2.9  # that a feature may be
WHOLE_PX = 1 << 17  # a picture of so many pixels is blended as a whole, a larger one in parts
PART_PX, MARGIN_PX = 256, 32  # of a side; what is around it is looked at, too

Floats = NDArray[np.float32]


@lru_cache(maxsize=1)
def load_network() -> FillNet:
    """Load the network of the package."""
    net = FillNet(NUM_FEATURES)
    net.load_state_dict(load_file(WEIGHTS))
    return net.eval()


def features(gap: Gap, candidates: Candidates) -> Floats:
    """What the network sees of each candidate, `[K, F, H, W]`."""
    colours, seen = candidates.colours, candidates.seen
    found, known = candidates.explanations, gap.target.known
    fits = np.stack([_fits(one) for one in found]) / LEVELS
    least = fits[[one.kind != PAINTED for one in found]].min(0)
    out = np.zeros((len(seen), NUM_FEATURES, *known.shape), np.float32)
    out[:, 17] = mean_over(known.astype(np.float32), RADII[1])
    out[:, 18] = gap.target.guessed
    out[:, 19] = _fit_around(gap, colours)
    for k, here in enumerate(out):
        one = found[k // 2]
        here[0:2] = fits[k // 2]
        here[2:4] = fits[k // 2] - least
        here[4], here[5] = seen[k], seen[k ^ 1]
        here[6] = 1 - one.gap.shares[k % 2]
        here[7] = min(1.0, one.spans_s[k % 2] / FARTHEST_S)
        if one.trial is not None:
            here[19] = one.trial[k % 2] / LEVELS
        _say_landing(one, k % 2, here[8:12])
        here[20 + one.kind] = 1
    _say_others(candidates, out[:, 12:17])
    return np.clip(out, -LARGEST, LARGEST, out)


def _fits(one: Explanation) -> Floats:
    """How well an explanation fits, levels `[2, H, W]`: around a pixel, and wider."""
    if one.trial is not None:  # that a painting agrees with what it was painted from says nothing
        return np.asarray(one.trial.mean(0)[None].repeat(2, 0), np.float32)
    return np.stack([misfit(one.gap, one.looks, radius) for radius in RADII])


def _say_landing(one: Explanation, side: int, out: Floats) -> None:
    """How far pixels that were followed are to be believed, and whether they are this side's."""
    if one.landed is None:
        return
    out[0] = one.landed.errors / LEVELS
    out[1] = mean_over(one.landed.errors, RADII[0]) / LEVELS
    out[2] = one.landed.fell
    out[3] = 1.0 if side == one.own else -1.0


def _say_others(candidates: Candidates, out: Floats) -> None:
    """How far a candidate is from others that are seen: mean, median, and those of two kinds.

    Of those that other frames show: a painting is compared with them, and has no say.
    """
    colours, seen = candidates.colours, candidates.seen
    kinds = np.array([one.kind for one in candidates.explanations]).repeat(2)
    shown = kinds != PAINTED
    out[:, 0] = _apart(colours, _mean_of(colours[shown], seen[shown]))
    out[:, 1] = _apart(colours, _median_of(colours[shown], seen[shown]))
    for place, kind in ((2, LANDED), (3, FLOW)):
        some = kinds == kind
        if some.any():
            told = np.asarray(seen[some].any(0))[None]
            out[:, place] = _apart(colours, _mean_of(colours[some], seen[some])) * told
    pairs = colours.reshape(-1, 2, *colours.shape[1:])
    seen_pairs = seen.reshape(-1, 2, *seen.shape[1:])
    both = np.stack([_mean_of(*pair) for pair in zip(pairs, seen_pairs, strict=True)])
    median = _median_of(both[shown[::2]], np.asarray(seen_pairs.any(1))[shown[::2]])
    out[:, 4] = _apart(both, median).repeat(2, 0)


def _mean_of(colours: Floats, seen: NDArray[np.bool_]) -> Floats:
    """Mean over the candidates that are seen `[K, H, W, 3]`, over all where none is."""
    seen = seen | ~seen.any(0)
    total = np.einsum("khwc,khw->hwc", colours, seen.astype(np.float32), optimize=True)
    return np.asarray(total / seen.sum(0, np.float32)[..., None], np.float32)


def _median_of(colours: Floats, seen: NDArray[np.bool_]) -> Floats:
    """Median of the candidates that are seen, the lower of two; of all where none is."""
    seen = seen | ~seen.any(0)
    ranked = np.where(seen[..., None], colours, np.inf)
    ranked.sort(0)
    middle = (seen.sum(0) - 1) // 2
    return np.asarray(np.take_along_axis(ranked, middle[None, ..., None], 0)[0], np.float32)


def _fit_around(gap: Gap, colours: Floats) -> Floats:
    """How far a candidate is from what is known of the target around a pixel, in `LEVELS`."""
    known = gap.target.known.astype(np.float32)
    told = mean_over(known, AROUND)
    if not known.any():
        return np.zeros(colours.shape[:3], np.float32)
    wrong = _apart(colours, gap.target.pixels.astype(np.float32)) * known
    around = np.stack([mean_over(one, AROUND) for one in wrong])
    return np.asarray(around / told.clip(1e-3), np.float32)


def _apart(colours: Floats, other: Floats) -> Floats:
    difference = np.abs(colours - other).mean(-1) / LEVELS
    return np.asarray(difference.clip(0, MOST), np.float32)


def blend(gap: Gap, candidates: Candidates) -> tuple[Floats, Floats]:
    """Weigh the candidates where something is lost, a large picture part by part.

    Returns:
        Colours `[H, W, 3]`, and how sure they are, 0..1 `[H, W]`: it falls with what the weighed
        candidates differ by and with what is painted of it, and is 0 where no source shows the
        place. Parts of a large picture of which all is known are 0.
    """
    known = gap.target.known
    colours, sure = np.zeros((*known.shape, 3), np.float32), np.zeros(known.shape, np.float32)
    for inner, outer in parts(*known.shape):
        if known[inner].all():
            continue
        mixed, certain = _blend_part(cut(gap, outer), candidates.cut(outer))
        own = tuple(
            slice(one.start - around.start, one.stop - around.start)
            for one, around in zip(inner, outer, strict=True)
        )
        colours[inner], sure[inner] = mixed[own], certain[own]
    return colours, sure


def parts(height: int, width: int) -> Iterator[tuple[Part, Part]]:
    """Parts of a picture, and the same with what is around them; memory grows with a part alone."""
    side = (PART_PX, PART_PX) if height * width > WHOLE_PX else (height, width)
    for top in range(0, height, side[0]):
        for left in range(0, width, side[1]):
            rows = slice(top, min(top + side[0], height))
            columns = slice(left, min(left + side[1], width))
            yield (rows, columns), (_wider(rows, height), _wider(columns, width))


def _wider(line: slice, size: int) -> slice:
    return slice(max(0, line.start - MARGIN_PX), min(size, line.stop + MARGIN_PX))


@torch.inference_mode()
def _blend_part(gap: Gap, candidates: Candidates) -> tuple[Floats, Floats]:
    seen = torch.from_numpy(candidates.seen)
    given = torch.from_numpy(features(gap, candidates))
    colours = torch.from_numpy(candidates.colours).permute(0, 3, 1, 2).contiguous()
    own = torch.from_numpy(gap.target.pixels).permute(2, 0, 1).float()
    known = torch.from_numpy(gap.target.known).float()
    mixed, weights = load_network()(given, colours, own, known)
    apart = (weights * (colours - mixed).abs().mean(1)).sum(0)
    fit = (weights * given[:, 1]).sum(0) * LEVELS
    if gap.before.time_ns == gap.after.time_ns:  # that it agrees with itself says nothing
        fit[known == 0] = float(kernels.MAX_MISFIT) / 2
    painted = torch.tensor([one.kind == PAINTED for one in candidates.explanations])
    unpainted = (1 - weights[painted.repeat_interleave(2)].sum(0)).clamp_min(0)
    sure = (-(apart + fit / 2) / LEVELS).exp() * seen.any(0) * unpainted
    return mixed.permute(1, 2, 0).numpy(), sure.numpy()
