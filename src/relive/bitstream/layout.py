"""Sizes of everything that is learned, as a function of the model's three sizes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from relive.bitstream.gop_codes import MAX_CODEBOOK, MAX_MOTION, MAX_QUANTIZERS
from relive.errors import FormatError

MOTION_CONTEXTS = 32
"""Motion hypotheses from here on share one context."""
PLACES = 16
"""Rows and columns of the picture are told apart in sixteenths."""
GROUPS = 3


@dataclass(frozen=True)
class Family:
    """Nets of one shape.

    Attributes:
        count: how many.
        features: rows of each block of features; several features may share a block.
        size: symbols of the alphabet.
        highs: high parts of a symbol; 1 = symbols have no parts.
        lows: low parts of a symbol.
    """

    count: int
    features: tuple[int, ...]
    size: int
    highs: int
    lows: int

    @property
    def starts(self) -> tuple[int, ...]:
        """First row of each block in a table that holds all, and its length last."""
        return (0, *accumulate(self.features))


@dataclass(frozen=True)
class Layout:
    """Sizes of the alphabets.

    Attributes:
        num_quantizers: stages K, 1 … 32.
        codebook_size: entries V of a codebook, 2 … 32768.
        num_motion: motion hypotheses M, 1 … 256.
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
    def motion_contexts(self) -> int:
        """Number of distinct motion contexts."""
        return min(self.num_motion, MOTION_CONTEXTS)

    def families(self) -> dict[str, Family]:
        """Return the nets by what they code; the blocks of features are those of `features.py`."""
        depths, codes, moves = self.num_quantizers + 1, self.codebook_size, self.motion_contexts
        place = (PLACES, PLACES, GROUPS)
        lows = 2
        while lows * lows < 2 * codes:
            lows *= 2
        lows = min(lows, codes)
        return {
            "depth": Family(
                2, (depths + 1, 4 * depths - 3, 2, 2 * depths + 1, *place), depths, 1, depths
            ),
            "motion": Family(
                1,
                (moves, depths, depths + 1, 2, moves, 2 * moves + 1, *place),
                self.num_motion,
                1,
                self.num_motion,
            ),
            "turn": Family(1, (moves, depths, *place), self.num_motion, 1, self.num_motion),
            "codes": Family(
                2 * self.num_quantizers,
                (depths, depths, depths + 1, moves, *(codes + 1,) * 3, 2 * codes + 3, *place),
                codes,
                -(-codes // lows),
                lows,
            ),
        }
