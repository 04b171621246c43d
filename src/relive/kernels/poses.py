"""Where pixels lie in another picture, given the poses of the camera."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from relive.compiled import compiled
from relive.kernels.pictures import ONE, Floats

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
