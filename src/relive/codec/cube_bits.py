"""Where the bits of a GOP went: an estimate for every cube, out of its integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relive.bitstream import GopCodes, GopDetail
from relive.codec.replay import Replay

Bits = NDArray[np.float32]
_LEVEL_BITS, _MODE_BITS = 2.0, 0.5
_COLOUR_BITS, _INDEX_BITS = 6.0, 64.0  # of a palette, and of all indices of its cube
FRAMES_A_SLICE = 16


def cube_bits(replay: Replay, span: int) -> Bits | None:
    """Spread the bytes of a GOP over its cubes.

    Adaptive coding has no price for a single cube. So each packet is shared out by weight: codes
    by the depth of the cube, the enhancement by the size of its levels
    and palettes. They add up to the packets.

    Args:
        replay: an open replay; with `tiers` 1 the codes alone count.
        span: number of a GOP in `replay.spans`.

    Returns:
        Bits, float32 `[n, h, w]` for the frames of the GOP; None where it is damaged.
    """
    integers = replay.integers(span)
    if integers is None:
        return None
    codes, detail = integers
    first = replay.spans[span].start
    entry = next(gop for gop in replay.gops if gop.first_frame == first)
    bits = _share(_code_weights(codes), 8 * entry.codes_bytes)
    if detail is not None:
        bits = bits + _share(_detail_weights(detail), 8 * entry.detail_bytes)
    return bits[: entry.num_frames]


def _code_weights(codes: GopCodes) -> Bits:
    """Weight of a cube in both frames of its step: 1 for its depth, more for every code."""
    weights = 1.0 + 8.0 * codes.depths.astype(np.float32)
    return np.repeat(weights, 2, axis=0)


def _detail_weights(detail: GopDetail) -> Bits:
    frames, h, w = detail.modes.shape
    weights = np.empty((frames, h, w), np.float32)
    for start in range(0, frames, FRAMES_A_SLICE):
        part = slice(start, start + FRAMES_A_SLICE)
        levels = np.abs(detail.levels[part].astype(np.float32))
        sizes = np.where(levels > 0, _LEVEL_BITS + 2.0 * np.log2(1.0 + levels), 0.0)
        cubes = sizes.reshape(len(levels), 3, h, 2, w, 2, -1).sum((1, 3, 5, 6))
        flat = detail.palettes[part].astype(np.float32)
        palettes = _COLOUR_BITS * flat + _INDEX_BITS * (flat > 1)
        weights[part] = _MODE_BITS + cubes + 6.0 * (detail.modes[part] >= 3) + palettes
    return weights


def _share(weights: Bits, total: float) -> Bits:
    return np.asarray(weights * (total / max(float(weights.sum()), 1e-9)), np.float32)
