"""How long the encoder searches: the speed presets."""

from __future__ import annotations

from dataclasses import dataclass

from relive.enhancement.vectors import VectorSearch
from relive.errors import InputError

DEFAULT_PRESET = "medium"
SETTLED = 9.6  # mean `cube_error` of a reference that codes do not pay for


@dataclass(frozen=True)
class Effort:
    """What a preset searches.

    Attributes:
        vectors: search of vectors.
        look_ahead: plan quantiser steps by what later frames are predicted from; without, the same
            for all cubes of a frame.
        older: predict from the frame before the reference, too.
        skip_error: a delta gets no codes where its warped reference is wrong, in the mean over its
            cubes, by a lower `cube_error`. What is new in it is left to the enhancement layer, and
            the encoder network does not run. 0: every delta is encoded.
        light: a delta without codes runs no network at all, and its base picture is the warped
            reference (`ReplayHeader.light`).
    """

    vectors: VectorSearch
    look_ahead: bool = True
    older: bool = True
    skip_error: float = 0.0
    light: bool = False


PRESETS: dict[str, Effort] = {
    "fast": Effort(
        VectorSearch(
            diagonal=False,
            diagonal_parts=False,
            far=8,
            finalists=2,
            least_bits=64,
        ),
        skip_error=SETTLED,
        light=True,
    ),
    "medium": Effort(VectorSearch(diagonal=False), skip_error=SETTLED),
    "slow": Effort(VectorSearch(reach=12), skip_error=SETTLED),
}


def effort_of(preset: str) -> Effort:
    """Effort of a preset.

    Raises:
        InputError: There is no such preset.
    """
    if preset not in PRESETS:
        raise InputError(f"preset {preset!r} is none of {', '.join(PRESETS)}")
    return PRESETS[preset]
