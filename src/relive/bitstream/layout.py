"""The shape of every count table, as a function of the model's three sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from relive.bitstream.gop_codes import MAX_CODEBOOK, MAX_MOTION, MAX_QUANTIZERS
from relive.errors import FormatError

STEP_TYPES = 3
"""Depths and motion know three kinds of step: keyframe, first delta, later delta."""
CODE_TYPES = 2
"""Codes know two, because they come from two sets of codebooks: keyframe, delta."""
GROUPS = 3
ROW_TOTAL = 1 << 14
"""Every static row sums to this, less what rounding leaves out; no entry is 0."""
DEFAULT_GAIN = ROW_TOTAL // 128
"""What one coded symbol adds to its count: the static row weighs as much as 128 symbols."""
MAX_GAIN = ROW_TOTAL
MOTION_CONTEXTS = 32
"""Motion hypotheses from here on share one context."""


@dataclass(frozen=True)
class Layout:
    """Sizes of the alphabets and of the context grids.

    Attributes:
        num_quantizers: stages K, 1 … 32.
        codebook_size: entries V of a codebook, 2 … 32768.
        num_motion: motion hypotheses, 1 … 256.
    """

    num_quantizers: int
    codebook_size: int
    num_motion: int

    def __post_init__(self) -> None:
        bounds = (
            ("num_quantizers", self.num_quantizers, 1, MAX_QUANTIZERS),
            ("codebook_size", self.codebook_size, 2, MAX_CODEBOOK),
            ("num_motion", self.num_motion, 1, MAX_MOTION),
        )
        for name, value, low, high in bounds:
            if not low <= value <= high:
                raise FormatError(f"{name} must lie in {low} … {high}, not {value}")

    @property
    def low_ways(self) -> int:
        """Size of the low part of a code: 32 for 512 entries, about sqrt(2 V) in general."""
        ways = 2
        while ways * ways < 2 * self.codebook_size:
            ways *= 2
        return min(ways, self.codebook_size)

    @property
    def high_ways(self) -> int:
        """Size of the high part of a code: 16 for 512 entries."""
        return -(-self.codebook_size // self.low_ways)

    @property
    def depth_ways(self) -> int:
        """Size of the depth alphabet: 0 … K."""
        return self.num_quantizers + 1

    @property
    def motion_contexts(self) -> int:
        """Number of distinct motion contexts."""
        return min(self.num_motion, MOTION_CONTEXTS)

    @property
    def num_nets(self) -> int:
        """Number of code nets: the stages of keyframes, then those of deltas."""
        return CODE_TYPES * self.num_quantizers

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return table name → (context axes …, ways). The order is part of the format."""
        depths = self.depth_ways
        moves = self.motion_contexts
        return {
            "depth": (STEP_TYPES, GROUPS, depths, depths + 1, depths),
            "motion": (2, GROUPS, moves, moves, self.num_motion),
        }

    def flat_shapes(self) -> dict[str, tuple[int, int]]:
        """Return table name → (number of contexts, ways)."""
        return {name: (math.prod(shape[:-1]), shape[-1]) for name, shape in self.shapes().items()}
