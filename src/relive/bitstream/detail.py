"""What the enhancement layer says about a GOP: modes, vectors and levels, all integers.

Shapes: F frames (two for every step), h w cube grid; blocks of 8x8 pixels, four to a cube.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from relive.bitstream.gop_codes import check_grid
from relive.config import CUBE_PX
from relive.errors import FormatError

BLOCK = 8
COLOURS = 3
NUM_STEPS = 64
"""Quantiser steps that a frame may name: 2^(i / 6), in levels of 255."""
OFFSET_UNIT = 2
"""Of a cube's offset, in numbers of steps."""
MAX_OFFSET = 6
NUM_STRENGTHS = 4
"""Of the deblocking that a frame may name; 0 is none."""
BASE, WARPED, MEAN, MOVED, MOVED_MEAN = range(5)
"""Where the prediction of a cube comes from: the cube as decoded from its codes; the frame before,
warped by the motion hypothesis; the mean of both; and the two latter with a vector on top."""
NUM_MODES = 5
LAST, OLDER, BOTH = range(3)
"""Which frame before is warped: the last one, the one before that, or the mean of both."""
NUM_SOURCES = 3
MAX_VECTOR = 255
"""Of a component, in quarters of a pixel."""
MAX_GAIN, MAX_SHIFT = 127, 255
"""Of a weight, in 128ths and in levels of 255."""
ESCAPE = 15
"""Levels from here on are coded with raw bits."""
MAX_LEVEL = ESCAPE + 4095
MAX_COLOURS = 16
"""Of a palette."""
MAX_PULL = 7
"""Of a frame, to the colours of its game; 0 is none."""
MAX_MIXED = 224
NO_TINT = (0, 0, 0, 0)
"""Of these colours: how much is mixed in, in 256ths, and its red, green and blue."""
BANDS = (0, 1, 2, 3, 4, 5, 5, 6, 6, 6, 7, 7, 7, 7, 7)
"""Band of a coefficient by the sum of its row and column."""
NUM_BANDS = 8


@dataclass(frozen=True)
class GopDetail:
    """The enhancement layer of one GOP.

    Attributes:
        steps: uint8 `[F]`: number of the quantiser step of a frame.
        weights: int16 `[F, 3, 2]`: of the frame before, for each of red, green and blue its gain
            less 1, in 128ths, and its shift, in levels of 255; 0 in frame 0.
        offsets: int8 `[F, h, w]`, in units of `OFFSET_UNIT`: how much coarser the step of a cube is
            than that of its frame. A cube without levels has that of the frame before, 0 in frame
            0.
        modes: uint8 `[F, h, w]`; in frame 0 `BASE`, or `MOVED` for a copy from elsewhere in it.
        sources: uint8 `[F, h, w]`; `LAST` where the mode is `BASE`, and throughout frames 0 and 1.
        split: uint8 `[F, h, w]`: 1 where the four blocks of a cube have vectors of their own.
        vectors: int16 `[F, 2h, 2w, 2]` of blocks, column then row, quarters of a pixel; 0 unless
            the mode has one; whole pixels in frame 0.
        levels: int16 `[F, 3, 2h, 2w, 8, 8]`, quantised DCT coefficients.
        strengths: uint8 `[F]`: of the deblocking of a frame.
        palettes: uint8 `[F, h, w]`: colours of a cube that is nothing but a palette and indices; 0
            of all others. Its mode is `BASE`, and it has no levels.
        colours: uint8 `[F, h, w, 16, 3]`: of such a cube, rising as numbers 0xRRGGBB, then zeros.
        indices: uint8 `[F, h, w, 16, 16]`: of the colours of its pixels.
        unfiltered: uint8 `[F]`: 1 where a frame is shown without the post-filter.
        pulls: uint8 `[F]`: how strongly a frame is drawn to the colours of its game.
        tints: uint8 `[F, 4]`: what is mixed into these colours; that of the frame before where
            nothing is drawn, and at most 224 256ths.
    """

    steps: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.int16]
    offsets: npt.NDArray[np.int8]
    modes: npt.NDArray[np.uint8]
    sources: npt.NDArray[np.uint8]
    split: npt.NDArray[np.uint8]
    vectors: npt.NDArray[np.int16]
    levels: npt.NDArray[np.int16]
    strengths: npt.NDArray[np.uint8]
    palettes: npt.NDArray[np.uint8]
    colours: npt.NDArray[np.uint8]
    indices: npt.NDArray[np.uint8]
    unfiltered: npt.NDArray[np.uint8]
    pulls: npt.NDArray[np.uint8]
    tints: npt.NDArray[np.uint8]

    @classmethod
    def empty(cls, frames: int, h: int, w: int) -> GopDetail:
        """Return a layer that adds nothing."""
        kinds = _kinds(frames, h, w)
        return cls(**{name: np.zeros(shape, kind) for name, (kind, shape) in kinds.items()})

    @property
    def has_palettes(self) -> bool:
        """Whether a packet of profile 2 cannot say this."""
        return bool(self.palettes.any() or self.unfiltered.any() or self.has_pulls)

    @property
    def has_pulls(self) -> bool:
        """Whether a packet of profile 3 cannot say this."""
        return bool(self.pulls.any() or self.tints.any())

    def part(self, step: int) -> GopDetail:
        """The two frames of a step, as a view."""
        two = slice(2 * step, 2 * step + 2)
        return GopDetail(*(array[two] for array in vars(self).values()))

    def check(self, number: int = 0, before: npt.NDArray[np.int8] | int = 0) -> None:
        """Raise `FormatError` where a shape, a type or a value is outside its range.

        Args:
            number: of the first frame in its GOP.
            before: offsets of the frame before that, int8 `[h, w]`; 0 at the first of a GOP.
        """
        if self.modes.ndim != 3:
            raise FormatError(f"modes must have 3 axes (frames, h, w), not {self.modes.ndim}")
        frames, h, w = self.modes.shape
        check_grid(-(-frames // 2), h, w)
        for name, (kind, shape) in _kinds(frames, h, w).items():
            array = getattr(self, name)
            if array.dtype != kind or array.shape != shape:
                raise FormatError(
                    f"{name} must be {np.dtype(kind)} of shape {shape}, "
                    f"not {array.dtype} of shape {array.shape}"
                )
        for name, top in (
            ("steps", NUM_STEPS - 1),
            ("offsets", MAX_OFFSET),
            ("weights", MAX_SHIFT),
            ("modes", NUM_MODES - 1),
            ("sources", NUM_SOURCES - 1),
            ("split", 1),
            ("vectors", MAX_VECTOR),
            ("strengths", NUM_STRENGTHS - 1),
            ("palettes", MAX_COLOURS),
            ("colours", 255),
            ("indices", MAX_COLOURS - 1),
            ("unfiltered", 1),
            ("pulls", MAX_PULL),
            ("tints", 255),
        ):
            array = getattr(self, name)
            if array.size and max(int(array.max()), -int(array.min())) > top:
                raise FormatError(f"{name} of the enhancement layer exceed {top}")
        coded, greatest = _scanned(self.levels)
        if greatest > MAX_LEVEL:
            raise FormatError(f"levels of the enhancement layer exceed {MAX_LEVEL}")
        if int(self.tints[:, 0].max(initial=0)) > MAX_MIXED:
            raise FormatError(f"a tint mixes in more than {MAX_MIXED} of 256")
        first = number == 0
        if self.weights[:first].any() or int(np.abs(self.weights[..., 0]).max()) > MAX_GAIN:
            raise FormatError(f"weights of the first frame must be 0, gains at most {MAX_GAIN}")
        if not np.isin(self.modes[:first], (BASE, MOVED)).all() or self.split[:first].any():
            raise FormatError(f"cubes of the first frame of a GOP have mode 0 or {MOVED}, unsplit")
        if self.sources[: max(0, 2 - number)].any() or self.sources[self.modes == BASE].any():
            raise FormatError("sources of frames 0 and 1, and where the mode has none, must be 0")
        still = self.modes < MOVED
        parts = self.vectors.reshape(frames, h, 2, w, 2, 2).swapaxes(2, 3)  # [F, h, w, 2, 2, 2]
        if parts[still].any() or self.split[still].any():
            raise FormatError("vectors and split where the mode has no vector must be 0")
        if (parts != parts[:, :, :, :1, :1])[self.split == 0].any():
            raise FormatError("blocks of a cube that is not split must have the same vector")
        if self.palettes.any():
            self._check_palettes(coded)
        for some, offsets in zip(coded, self.offsets, strict=True):
            if not (some | (offsets == before)).all():
                raise FormatError(
                    "offsets of cubes without levels must be those of the frame before"
                )
            before = offsets

    def _check_palettes(self, coded: npt.NDArray[np.bool_]) -> None:
        """Raise `FormatError` where a cube with a palette has more, or other colours."""
        flat = self.palettes > 0
        if self.modes[flat].any() or coded[flat].any():
            raise FormatError(f"cubes with a palette have mode {BASE} and no levels")
        sizes = self.palettes[flat][:, None]
        packed = self.colours[flat].astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
        used = np.arange(MAX_COLOURS) < sizes
        risen = np.diff(packed) > 0
        if self.colours[~flat].any() or packed[~used].any() or not risen[used[:, 1:]].all():
            raise FormatError("colours of a palette must rise, and be 0 where there are none")
        if self.indices[~flat].any() or (self.indices[flat] >= sizes[..., None]).any():
            raise FormatError("an index exceeds the colours of its palette")


def _kinds(frames: int, h: int, w: int) -> dict[str, tuple[npt.DTypeLike, tuple[int, ...]]]:
    """Type and shape of every array of a layer, by name."""
    grid = frames, h, w
    return {
        "steps": (np.uint8, (frames,)),
        "weights": (np.int16, (frames, COLOURS, 2)),
        "offsets": (np.int8, grid),
        "modes": (np.uint8, grid),
        "sources": (np.uint8, grid),
        "split": (np.uint8, grid),
        "vectors": (np.int16, (frames, 2 * h, 2 * w, 2)),
        "levels": (np.int16, (frames, COLOURS, 2 * h, 2 * w, BLOCK, BLOCK)),
        "strengths": (np.uint8, (frames,)),
        "palettes": (np.uint8, grid),
        "colours": (np.uint8, (*grid, MAX_COLOURS, COLOURS)),
        "indices": (np.uint8, (*grid, CUBE_PX, CUBE_PX)),
        "unfiltered": (np.uint8, (frames,)),
        "pulls": (np.uint8, (frames,)),
        "tints": (np.uint8, (frames, 4)),
    }


def has_levels(levels: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    """Which cubes have levels: `[3, 2h, 2w, 8, 8]` of a frame to `[h, w]`."""
    coded: npt.NDArray[np.bool_] = _scanned(levels[None])[0][0]
    return coded


def _scanned(levels: npt.NDArray[np.int16]) -> tuple[npt.NDArray[np.bool_], int]:
    """Which cubes have levels, bool `[F, h, w]`, and the greatest size of a level."""
    from relive.bitstream.level_kernel import scan_levels  # as array_kernel in context_model

    frames, colours, height, width, *_ = levels.shape
    coded = np.zeros((frames, height // 2, width // 2), np.bool_)
    return coded, scan_levels(levels.reshape(frames, colours, height, width, -1), coded)


def cube_steps(step: int, offsets: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """Numbers of the steps of cubes, given that of their frame."""
    return np.clip(step + OFFSET_UNIT * offsets.astype(np.int64), 0, NUM_STEPS - 1)


def step_size(number: int) -> float:
    """Quantiser step of a number, in levels of 255."""
    return float(2.0 ** (number / 6))


def step_number(size: float) -> int:
    """Number of the step nearest to a size."""
    return int(np.clip(np.rint(6 * np.log2(size)), 0, NUM_STEPS - 1))


_DIAGONAL = np.add.outer(np.arange(BLOCK), np.arange(BLOCK)).reshape(-1)
BAND_OF: npt.NDArray[np.int64] = np.array(BANDS)[_DIAGONAL]
"""Band of every coefficient `[64]`."""
BAND_MEMBERS = tuple(np.flatnonzero(band == BAND_OF) for band in range(NUM_BANDS))
