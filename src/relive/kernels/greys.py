"""Grey pictures, blurred and halved, and squared errors of cubes.

Sums go as torch's do, so that the results are the same to the last bit.

Shapes: H W pixels, h w cubes of S pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relive.compiled import compiled, inner
from relive.kernels.pictures import HALF, ONE, QUARTER, Floats

ZERO, THREE, MIDDLE = np.float32(0), np.float32(3), np.float32(128)
THIRD = np.float32(1 / 3)


@compiled
def grey(picture: Floats, out: Floats) -> None:
    """Mean of the three colours of a picture, flat `[3 * n]` to `[n]`, times a third."""
    count = out.size
    for k in range(count):
        red, green, blue = np.uint64(k), np.uint64(k + count), np.uint64(k + 2 * count)
        out[red] = (picture[red] + picture[green] + picture[blue]) * THIRD


@inner
def _row_of(picture: Floats, i: int, row: Floats) -> None:
    """Row i of `[3, H, W]` in grey."""
    red, green, blue = picture[0, i], picture[1, i], picture[2, i]
    for j in range(row.size):
        k = np.uint64(j)
        row[k] = (red[k] + green[k] + blue[k]) / THREE


@compiled
def blur(picture: Floats, out: Floats) -> None:
    """Means of two by two pixels in grey, at every corner of a pixel; inside the picture alone.

    Args:
        picture: `[3, H, W]`.
        out: takes the result `[H + 1, W + 1]`.
    """
    height, width = picture.shape[1:]
    rooms = np.empty((2, width), np.float32)
    for i in range(height + 1):
        upper, lower = rooms[(i + 1) % 2], rooms[i % 2]
        if i < height:
            _row_of(picture, i, lower)
        here = out[i]
        if i == 0:
            upper = lower
        elif i == height:
            lower = upper
        if 0 < i < height:
            here[0] = (upper[0] + lower[0]) * HALF
            for j in range(1, width):
                k, before = np.uint64(j), np.uint64(j - 1)
                here[k] = (upper[before] + upper[k] + lower[before] + lower[k]) * QUARTER
            here[width] = (upper[width - 1] + lower[width - 1]) * HALF
        else:
            here[0], here[width] = upper[0], upper[width - 1]
            for j in range(1, width):
                here[j] = (upper[j - 1] + upper[j]) * HALF


@compiled
def halve(picture: Floats, out: Floats) -> None:
    """Means of two by two pixels in grey: `[3, H, W]` to `[H/2, W/2]`."""
    rooms = np.empty((2, picture.shape[2]), np.float32)
    upper, lower = rooms[0], rooms[1]
    for i in range(out.shape[0]):
        _row_of(picture, 2 * i, upper)
        _row_of(picture, 2 * i + 1, lower)
        for j in range(out.shape[1]):
            total = upper[2 * j] + upper[2 * j + 1] + lower[2 * j] + lower[2 * j + 1]
            out[i, j] = total * QUARTER


@compiled
def halve_frames(frames: NDArray[np.uint8], out: Floats) -> None:
    """Means of two by two pixels in grey around 0: uint8 `[n, H, W, 3]` to `[n, H/2, W/2]`."""
    row = np.empty((2, frames.shape[2]), np.float32)
    for n in range(len(out)):
        for i in range(out.shape[1]):
            for line in range(2):
                for j in range(frames.shape[2]):
                    red, green, blue = frames[n, 2 * i + line, j]
                    total = np.int32(red) + np.int32(green) + np.int32(blue)
                    row[line, j] = np.float32(total) / THREE - MIDDLE
            for j in range(out.shape[2]):
                k = 2 * j
                total = row[0, k] + row[0, k + 1] + row[1, k] + row[1, k + 1]
                out[n, i, j] = total * QUARTER


@compiled
def cube_errors(a: Floats, b: Floats, out: Floats) -> None:
    """Squared errors of cubes, summed over colours: `[3, H, W]` twice to `[h, w]`."""
    side, width = a.shape[1] // out.shape[0], a.shape[2]
    row = np.empty(width, np.float32)
    for i in range(a.shape[1]):
        for j in range(width):
            k = np.uint64(j)
            red, green, blue = (
                a[0, i, k] - b[0, i, k],
                a[1, i, k] - b[1, i, k],
                a[2, i, k] - b[2, i, k],
            )
            row[k] = red * red + green * green + blue * blue
        _add_row(row, i % side == 0, out[i // side], side)


@compiled
def pair_errors(a: Floats, b: Floats, out: Floats) -> None:
    """Squared errors of cubes, mean of colours, both frames added: `[2, 3, H, W]` to `[h, w]`.

    What is beyond 0..1 in `a` counts as these.
    """
    side, width = a.shape[2] // out.shape[0], a.shape[3]
    row = np.empty(width, np.float32)
    for i in range(a.shape[2]):
        for frame in range(2):
            for j in range(width):
                k, total = np.uint64(j), ZERO
                for plane in range(3):
                    seen = a[frame, plane, i, k]
                    seen = ZERO if seen < ZERO else seen
                    seen = ONE if seen > ONE else seen
                    error = seen - b[frame, plane, i, k]
                    total += error * error
                row[k] = row[k] + total / THREE if frame else total / THREE
        _add_row(row, i % side == 0, out[i // side], side)


@inner
def _add_row(row: Floats, first: bool, sums: Floats, side: int) -> None:
    """Add a row of pixels to the sums of the cubes that it crosses, pixel by pixel."""
    for cube in range(sums.size):
        total = ZERO if first else sums[cube]
        for j in range(cube * side, (cube + 1) * side):
            total += row[np.uint64(j)]
        sums[cube] = total
