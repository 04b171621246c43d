"""Where the pixels of a recorded frame land in the frame that is looked for.

A search at the target asks which places of both sides agree, and the plain wall beside a torch
agrees with itself. Here every recorded pixel asks where it went, so that what is small or bright
cannot vanish (forward warping with a winner, as in Softmax Splatting, arXiv:2003.05534, without
the learning).

Shapes: H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relive.compiled import compiled
from relive.restore.filling import fill_in
from relive.restore.kernels import HALF, NEAREST, UNSEEN, Eye

UNBELIEVABLE = np.float32(60)  # levels; nothing is known of the place
SPREAD = np.float32(4)  # levels that a pixel of distance from the goal costs

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Landed:
    """What fell into the target.

    Attributes:
        values: what the pixels carried, filled smoothly where none fell `[H, W, C]`.
        errors: how little each is to be believed, levels `[H, W]`.
        fell: bool `[H, W]`; False where no pixel fell.
    """

    values: Floats
    errors: Floats
    fell: NDArray[np.bool_]


def drop(moves: Floats, errors: Floats, values: Floats) -> Landed:
    """Let pixels fall; see `land` for the arguments."""
    best = np.full(errors.shape, np.inf, np.float32)
    out = np.zeros_like(values)
    land(moves, errors, np.ascontiguousarray(values), SPREAD, best, out)
    fell = np.isfinite(best)
    return Landed(fill_in(out, fell), np.where(fell, best, UNBELIEVABLE), fell)


@compiled
def carry(eye: Eye, near: Floats, moves: Floats, carried: Floats) -> None:
    """Move pixels of known inverse depth to another camera.

    Args:
        eye: this camera as seen from the other one.
        near: inverse depths here `[H, W]`.
        moves: takes columns and rows that a pixel moves `[H, W, 2]`.
        carried: takes the inverse depths there `[H, W]`; -1 behind the camera.
    """
    turn, shift = eye.turn, eye.shift
    for i in range(near.shape[0]):
        up = -(np.float32(i) + HALF - eye.centre[1]) / eye.focal[1]
        for j in range(near.shape[1]):
            right = (np.float32(j) + HALF - eye.centre[0]) / eye.focal[0]
            n = near[i, j]
            a = turn[0, 0] * right + turn[0, 1] * up + turn[0, 2] + shift[0] * n
            b = turn[1, 0] * right + turn[1, 1] * up + turn[1, 2] + shift[1] * n
            c = turn[2, 0] * right + turn[2, 1] * up + turn[2, 2] + shift[2] * n
            carried[i, j] = UNSEEN
            if c > NEAREST:
                moves[i, j, 0] = a / c * eye.focal[0] + eye.centre[0] - (np.float32(j) + HALF)
                moves[i, j, 1] = -b / c * eye.focal[1] + eye.centre[1] - (np.float32(i) + HALF)
                carried[i, j] = n / c


@compiled
def land(
    moves: Floats, errors: Floats, values: Floats, spread: np.float32, best: Floats, out: Floats
) -> None:
    """Drop pixels on the four around their goal; of all that fall on one, the surest stays.

    Args:
        moves: columns and rows that a pixel moves `[H, W, 2]`.
        errors: how little a pixel is to be believed, levels `[H, W]`; those below 0 do not fall.
        values: what they carry `[H, W, C]`.
        spread: levels that a pixel of distance from the goal costs.
        best: errors of what lies there `[H, W]`, infinite at first.
        out: takes what lies there `[H, W, C]`.
    """
    height, width = errors.shape
    for i in range(height):
        for j in range(width):
            if errors[i, j] < 0:
                continue
            x, y = np.float32(j) + moves[i, j, 0], np.float32(i) + moves[i, j, 1]
            left, top = np.int64(np.floor(x)), np.int64(np.floor(y))
            for step in range(4):
                row, column = top + step // 2, left + step % 2
                if 0 <= row < height and 0 <= column < width:
                    off = abs(np.float32(column) - x) + abs(np.float32(row) - y)
                    cost = errors[i, j] + spread * off
                    if cost < best[row, column]:
                        best[row, column] = cost
                        out[row, column] = values[i, j]
