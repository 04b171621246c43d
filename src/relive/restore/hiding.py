"""Parts of frames that the caller declares hidden: rectangles and masks."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relive.errors import InputError
from relive.restore.sources import Mask

_FORM = re.compile(r"(\d+),(\d+),(\d+),(\d+)(?:@([\d.]*)-([\d.]*))?")
MASK_NAME = "hidden"


@dataclass(frozen=True)
class Hidden:
    """A rectangle that is hidden for a while.

    Attributes:
        left: first column, pixels.
        top: first row.
        width: columns.
        height: rows.
        start_s: seconds from the first frame.
        end_s: not included; infinite for the end.
    """

    left: int
    top: int
    width: int
    height: int
    start_s: float = 0.0
    end_s: float = math.inf

    @classmethod
    def parse(cls, text: str) -> Hidden:
        """Read `x,y,w,h` or `x,y,w,h@start-end`, pixels and seconds.

        Raises:
            InputError: It has another form.
        """
        found = _FORM.fullmatch(text.strip())
        try:
            if found is None:
                raise ValueError
            *box, start, end = found.groups()
            left, top, width, height = (int(number) for number in box)
            span = float(start or 0), float(end or math.inf)
        except ValueError:
            raise InputError(f"--hide {text!r} is not x,y,w,h or x,y,w,h@start-end") from None
        if not width or not height or span[0] >= span[1]:
            raise InputError(f"--hide {text!r} is empty")
        return cls(left, top, width, height, *span)


def hidden_masks(
    rectangles: list[Hidden],
    mask: Path | None,
    times_ns: NDArray[np.int64],
    shape: tuple[int, int],
) -> dict[int, Mask]:
    """Lay rectangles and a mask file over the frames: bool `[H, W]` by frame number.

    Raises:
        InputError: A rectangle lies outside the picture, or the file does not fit.
    """
    masks: dict[int, Mask] = {}
    since_s = (times_ns - times_ns[0]) / 1e9
    for one in rectangles:
        if one.left + one.width > shape[1] or one.top + one.height > shape[0]:
            raise InputError(
                f"--hide {one.left},{one.top},{one.width},{one.height} does not lie in a frame of "
                f"{shape[1]}x{shape[0]}"
            )
        covered = np.flatnonzero((since_s >= one.start_s) & (since_s < one.end_s))
        if not len(covered):
            raise InputError(f"--hide: no frame lies from {one.start_s:g} s to {one.end_s:g} s")
        for index in covered.tolist():
            part = masks.setdefault(index, np.zeros(shape, np.bool_))
            part[one.top : one.top + one.height, one.left : one.left + one.width] = True
    if mask is not None:
        for index, part in enumerate(_read_mask(mask, len(times_ns), shape)):
            if part.any():
                masks[index] = masks[index] | part if index in masks else part
    return masks


def _read_mask(path: Path, count: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Read `hidden` of an `.npz`: bool `[T, H, W]`, or `[H, W]` for all frames; True is hidden."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{MASK_NAME}.npy") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (KeyError, ValueError, EOFError, zlib.error, zipfile.BadZipFile):
        raise InputError(f"{path} is no .npz file with an array {MASK_NAME!r}") from None
    if values.dtype != np.bool_ or values.shape not in ((count, *shape), shape):
        raise InputError(
            f"{path}: {MASK_NAME!r} is {values.dtype} {list(values.shape)}, not bool "
            f"{[count, *shape]} or {list(shape)}"
        )
    return np.asarray(np.broadcast_to(values, (count, *shape)))
