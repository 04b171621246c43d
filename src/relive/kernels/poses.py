"""Where pixels lie in another picture, given the poses of the camera."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relive.compiled import compiled
from relive.kernels.pictures import HALF, ONE, Floats

ZERO = np.float32(0)
NEAREST = np.float32(1e-3)


class View(NamedTuple):
    """A pinhole camera: focal lengths and centre in pixels, and the part that shows the scene."""

    focal: tuple[np.float32, np.float32]
    centre: tuple[np.float32, np.float32]
    left: int
    top: int
    right: int
    bottom: int


@compiled
def positions(
    view: View,
    columns: Floats,
    rows: Floats,
    turn: Floats,
    shift: Floats,
    depths: Floats,
    choice: NDArray[np.int64],
    x: Floats,
    y: Floats,
) -> None:
    """Turn, shift and project the rays of pixels; see `relive.model.motion.positions`.

    Args:
        view: the camera, the same for both pictures.
        columns: of pixel centres in the whole frame `[W]`.
        rows: the same `[H]`.
        turn: rotation to reference coordinates `[3, 3]`.
        shift: translation to reference coordinates `[3]`.
        depths: one over the distance of every hypothesis; 0 is fixed to the screen.
        choice: hypotheses `[M, H, W]`.
        x: takes columns `[M, H, W]`.
        y: takes rows.
    """
    for i in range(x.shape[1]):
        inside = view.top <= rows[i] < view.bottom
        up = -(rows[i] - view.centre[1]) / view.focal[1]
        for j in range(x.shape[2]):
            shown = inside and view.left <= columns[j] < view.right
            right = (columns[j] - view.centre[0]) / view.focal[0]
            a = turn[0, 0] * right + turn[0, 1] * up + turn[0, 2]
            b = turn[1, 0] * right + turn[1, 1] * up + turn[1, 2]
            c = turn[2, 0] * right + turn[2, 1] * up + turn[2, 2]
            for m in range(x.shape[0]):
                which = choice[m, i, j]
                if shown and which > 0:
                    near = depths[which]
                    over = ONE / max(c + shift[2] * near, NEAREST)
                    x[m, i, j] = (a + shift[0] * near) * view.focal[0] * over + view.centre[0]
                    y[m, i, j] = -(b + shift[1] * near) * view.focal[1] * over + view.centre[1]
                else:
                    x[m, i, j], y[m, i, j] = columns[j], rows[i]


@compiled
def cube_positions(
    view: View,
    origin: Floats,
    turn: Floats,
    shift: Floats,
    depths: Floats,
    choice: NDArray[np.int64],
    x: Floats,
    y: Floats,
) -> None:
    """As `positions`, with one hypothesis for all pixels of a cube, in loops for vector units.

    Args:
        view: as in `positions`, like the next four but `origin`.
        origin: column and row of the first pixel's corner in the whole frame.
        turn: `[3, 3]`.
        shift: `[3]`.
        depths: `[M]`.
        choice: of the cubes `[h, w]`.
        x: takes columns `[H, W]`.
        y: takes rows.
    """
    side, width = x.shape[1] // choice.shape[1], x.shape[1]
    lines = np.empty((3, width), np.float32)
    columns, right, shown = lines[0], lines[1], lines[2]
    for j in range(width):
        columns[j] = origin[0] + (np.float32(j) + HALF)
        right[j] = (columns[j] - view.centre[0]) / view.focal[0]
        shown[j] = ONE if view.left <= columns[j] < view.right else ZERO
    flat_x, flat_y = x.reshape(x.size), y.reshape(y.size)
    for i in range(x.shape[0]):
        row = origin[1] + (np.float32(i) + HALF)
        up = -(row - view.centre[1]) / view.focal[1]
        inside = view.top <= row < view.bottom
        ups = turn[0, 1] * up, turn[1, 1] * up, turn[2, 1] * up
        for cube in range(choice.shape[1]):
            which = choice[i // side, cube]
            near = depths[which]
            start, moved = cube * side, (shift[0] * near, shift[1] * near, shift[2] * near)
            for k in range(side):
                at, to = np.uint64(start + k), np.uint64(i * width + start + k)
                if not inside or which <= 0:
                    flat_x[to], flat_y[to] = columns[at], row
                    continue
                a = turn[0, 0] * right[at] + ups[0] + turn[0, 2]
                b = turn[1, 0] * right[at] + ups[1] + turn[1, 2]
                c = turn[2, 0] * right[at] + ups[2] + turn[2, 2]
                over = ONE / max(c + moved[2], NEAREST)
                column = (a + moved[0]) * view.focal[0] * over + view.centre[0]
                line = -(b + moved[1]) * view.focal[1] * over + view.centre[1]
                flat_x[to] = column if shown[at] > ZERO else columns[at]
                flat_y[to] = line if shown[at] > ZERO else row


@compiled
def add_errors(
    view: View,
    columns: Floats,
    rows: Floats,
    turn: Floats,
    shift: Floats,
    depths: Floats,
    picture: Floats,
    target: Floats,
    late: np.float32,
    side: int,
    errors: Floats,
) -> None:
    """Add the squared error of every hypothesis for every cube, at pixels some steps apart.

    Args:
        view: as in `positions`, like the next five.
        columns: `[W]`.
        rows: `[H]`.
        turn: `[3, 3]`.
        shift: `[3]`.
        depths: `[M]`.
        picture: the other one, in grey `[H', W']`.
        target: the true one at the pixels `[H, W]`.
        late: added to positions in the other picture.
        side: of a cube, in pixels that are looked at; what is left beside whole cubes is not.
        errors: sums, changed `[h, w, M]`.
    """
    height, width = picture.shape
    flat = picture.ravel()
    last = np.float32(width - 1), np.float32(height - 1)
    rooms = np.empty((3, len(depths)), np.float32)
    over, fx, fy = rooms[0], rooms[1], rooms[2]
    place = np.empty(len(depths), np.int32)
    along, down = shift[0] * view.focal[0], -shift[1] * view.focal[1]
    for i in range(side * len(errors)):
        inside = view.top <= rows[i] < view.bottom
        up = -(rows[i] - view.centre[1]) / view.focal[1]
        for j in range(side * errors.shape[1]):
            shown = inside and view.left <= columns[j] < view.right
            right = (columns[j] - view.centre[0]) / view.focal[0]
            a = (turn[0, 0] * right + turn[0, 1] * up + turn[0, 2]) * view.focal[0]
            b = -(turn[1, 0] * right + turn[1, 1] * up + turn[1, 2]) * view.focal[1]
            c = turn[2, 0] * right + turn[2, 1] * up + turn[2, 2]
            # in loops of their own, for vector units; only the last one reads at any place
            for m in range(len(depths)):
                over[m] = ONE / max(c + shift[2] * depths[m], NEAREST)
            for m in range(len(depths)):
                x = (a + along * depths[m]) * over[m] + view.centre[0]
                y = (b + down * depths[m]) * over[m] + view.centre[1]
                if m == 0 or not shown:
                    x, y = columns[j], rows[i]
                x = min(max(ZERO, x + late - HALF), last[0])  # NaN becomes 0
                y = min(max(ZERO, y + late - HALF), last[1])
                column = min(np.int32(x), np.int32(width - 2))
                row = min(np.int32(y), np.int32(height - 2))
                fx[m], fy[m] = x - np.float32(column), y - np.float32(row)
                place[m] = row * np.int32(width) + column
            goal, total = target[i, j], errors[i // side, j // side]
            for m in range(len(depths)):
                p = np.uint64(place[m])
                q = p + np.uint64(width)
                upper, lower = flat[p], flat[q]
                upper += fx[m] * (flat[p + np.uint64(1)] - upper)
                lower += fx[m] * (flat[q + np.uint64(1)] - lower)
                error = upper + fy[m] * (lower - upper) - goal
                total[m] += error * error
