"""How the picture scrolls with the state: learned from the recording itself.

Where a game is seen from above, the place of the actor moves the whole picture: 32 pixels a tile
in Crafter. Nobody declares that; two present frames show it, and what they show is believed where
it holds for most of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from relive.session import StateSchema

Frame = NDArray[np.uint8]
MAX_PAIRS = 48
MIN_PAIRS = 4
AGREE_PX, AGREEING = 1.5, 0.6
ROUNDS = 20
ROLES = ("actor.x", "actor.y")


def places(schema: StateSchema, states: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Columns of the state that tell where the actor is `[n, 2]`; None if it does not say."""
    columns = [schema.index(role) for role in ROLES]
    if None in columns:
        return None
    return states[:, [c for c in columns if c is not None]].astype(np.float64)


def learn_scroll(
    moves: NDArray[np.float64], read: Callable[[int], Frame]
) -> NDArray[np.float64] | None:
    """Learn the pixels that the picture moves for a change of the place.

    Args:
        moves: change of the place from frame to frame after it, `[n, 2]`.
        read: fetches a frame, by its row.

    Returns:
        `[2, 2]`, pixels = move @ matrix; None where pictures and places say different things.
    """
    moving = np.flatnonzero(np.abs(moves).sum(1) > 0)
    if len(moving) < MIN_PAIRS:
        return None
    some = moving[np.unique(np.linspace(0, len(moving) - 1, MAX_PAIRS).round().astype(int))]
    seen = np.array([displacement(read(i), read(i + 1)) for i in some], np.float64)
    matrix = _fit(moves[some], seen)
    fits = np.abs(moves[some] @ matrix - seen).max(1) < AGREE_PX
    return matrix if fits.mean() >= AGREEING and np.abs(matrix).max() > AGREE_PX else None


def _fit(moves: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least absolute deviations, by least squares that are weighted again and again."""
    weights = np.ones((len(moves), 1))
    for _ in range(ROUNDS):
        matrix = np.linalg.lstsq(weights * moves, weights * seen, rcond=None)[0]
        misfit = np.abs(moves @ matrix - seen).max(1, keepdims=True)
        weights = 1 / np.sqrt(np.maximum(misfit, 0.1))
    return np.asarray(matrix, np.float64)


def displacement(one: Frame, two: Frame) -> tuple[int, int]:
    """Whole pixels, columns and rows, that a picture moves to become another; never none.

    Phase correlation of what has changed: an overlay that stands still would win otherwise.
    """
    changed = (one != two).any(-1)
    a, b = (np.fft.rfft2(_edges(frame) * changed) for frame in (one, two))
    cross = b * a.conj()
    peak = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-6), one.shape[:2])
    peak[0, 0] = -np.inf
    row, column = np.unravel_index(int(peak.argmax()), peak.shape)
    height, width = peak.shape
    down, right = (row + height // 2) % height, (column + width // 2) % width
    return int(right) - width // 2, int(down) - height // 2


def _edges(frame: Frame) -> NDArray[np.float64]:
    """Grey differences of neighbours: what is smooth counts little."""
    grey = frame.mean(-1)
    down, right = (
        np.diff(grey, axis=0, append=grey[-1:]),
        np.diff(grey, axis=1, append=grey[:, -1:]),
    )
    return np.asarray(down + right, np.float64)
