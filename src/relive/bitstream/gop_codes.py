"""What one GOP says about its cubes: depths, motion hypotheses and codes, all integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from relive.errors import FormatError

MAX_STEPS = 1024
MAX_CUBES = 1 << 22
"""Most cubes (steps x h x w) one packet may hold."""
MAX_QUANTIZERS = 32
MAX_CODEBOOK = 1 << 15
MAX_MOTION = 256


@dataclass(frozen=True)
class GopCodes:
    """The integers of one GOP on a cube grid of `h` x `w`; step 0 is the keyframe.

    Attributes:
        depths: uint8 `[steps, h, w]`, 0 … num_quantizers: how many codes the cube carries.
        motion: uint8 `[steps, 2, h, w]`, the motion hypothesis of the cube for each frame of the
            pair; zero throughout step 0.
        codes: int16 `[steps, num_quantizers, h, w]`, codebook indices; zero at and beyond the
            cube's depth.
    """

    depths: npt.NDArray[np.uint8]
    motion: npt.NDArray[np.uint8]
    codes: npt.NDArray[np.int16]

    @property
    def num_quantizers(self) -> int:
        """Number of quantiser stages K."""
        return int(self.codes.shape[1])

    @property
    def used(self) -> npt.NDArray[np.bool_]:
        """Where a code is sent, bool `[steps, K, h, w]`: stage below the depth of the cube."""
        stages = np.arange(self.num_quantizers, dtype=np.uint8)[None, :, None, None]
        return np.asarray(stages < self.depths[:, None])

    @classmethod
    def empty(cls, steps: int, num_quantizers: int, h: int, w: int) -> GopCodes:
        """Return a GOP of zeros."""
        return cls(
            np.zeros((steps, h, w), np.uint8),
            np.zeros((steps, 2, h, w), np.uint8),
            np.zeros((steps, num_quantizers, h, w), np.int16),
        )

    def part(self, step: int) -> GopCodes:
        """One step, as a view."""
        one = slice(step, step + 1)
        return GopCodes(self.depths[one], self.motion[one], self.codes[one])

    @classmethod
    def join(cls, parts: Sequence[GopCodes]) -> GopCodes:
        """Put steps together again."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def check(
        self, num_quantizers: int, codebook_size: int, num_motion: int, *, delta: bool = False
    ) -> None:
        """Raise `FormatError` where a shape, a type or a value is outside its range.

        With `delta` the first step is one, and may move.
        """
        steps, h, w = check_grid(*_grid_shape(self.depths))
        _check_array("depths", self.depths, np.uint8, (steps, h, w), num_quantizers)
        _check_array("motion", self.motion, np.uint8, (steps, 2, h, w), num_motion - 1)
        shape = (steps, num_quantizers, h, w)
        _check_array("codes", self.codes, np.int16, shape, codebook_size - 1)
        if not delta and self.motion[0].any():
            raise FormatError("motion of the keyframe step must be 0 everywhere")
        if self.codes[~self.used].any():
            raise FormatError("codes at or beyond the depth of their cube must be 0")


def check_grid(steps: int, h: int, w: int) -> tuple[int, int, int]:
    """Return the grid if it is within the limits, else raise `FormatError`."""
    if min(steps, h, w) < 1 or steps > MAX_STEPS or steps * h * w > MAX_CUBES:
        raise FormatError(
            f"a GOP of {steps} steps of {h} x {w} cubes is out of range: "
            f"1 to {MAX_STEPS} steps, 1 to {MAX_CUBES} cubes"
        )
    return steps, h, w


def _grid_shape(depths: npt.NDArray[np.uint8]) -> tuple[int, int, int]:
    if depths.ndim != 3:
        raise FormatError(f"depths must have 3 axes (steps, h, w), not {depths.ndim}")
    return depths.shape[0], depths.shape[1], depths.shape[2]


def _check_array(
    name: str,
    array: npt.NDArray[np.uint8] | npt.NDArray[np.int16],
    dtype: type[np.uint8] | type[np.int16],
    shape: tuple[int, ...],
    highest: int,
) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise FormatError(
            f"{name} must be {dtype.__name__} of shape {shape}, "
            f"not {array.dtype} of shape {array.shape}"
        )
    if int(array.min()) < 0 or int(array.max()) > highest:
        raise FormatError(
            f"{name} must lie in 0 … {highest}, not {int(array.min())} … {int(array.max())}"
        )
