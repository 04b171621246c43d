"""How the picture scrolls with the state: learned from the recording itself.

Where a game is seen from above, the place of the actor moves the whole picture: 32 pixels a tile
in Crafter. Nobody declares that; two present frames show it, and what they show is believed where
it holds for most of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relive.restore.looks import mean_over
from relive.restore.sources import Frame, Mask
from relive.session import StateSchema

MAX_PAIRS = 48
MIN_PAIRS = 4
AGREE_PX, AGREEING = 1.5, 0.6
ROUNDS = 20
ROLES = ("actor.x", "actor.y")
Step = tuple[int, int]
OVERLAY_PX = 2  # around a pixel that is asked whether it stands still


@dataclass(frozen=True)
class Scroll:
    """How the picture of a recording moves.

    Attributes:
        matrix: pixels = move of the place @ matrix, `[2, 2]`.
        overlay: what stands still meanwhile (a status bar), bool `[H, W]`.
    """

    matrix: NDArray[np.float64]
    overlay: Mask


def places(schema: StateSchema, states: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Columns of the state that tell where the actor is `[n, 2]`; None if it does not say."""
    columns = [schema.index(role) for role in ROLES]
    if None in columns:
        return None
    return states[:, [c for c in columns if c is not None]].astype(np.float64)


def learn_scroll(moves: NDArray[np.float64], read: Callable[[int], Frame]) -> Scroll | None:
    """Learn how the picture moves with the place.

    Args:
        moves: change of the place from frame to frame after it, `[n, 2]`.
        read: fetches a frame, by its row.

    Returns:
        The scroll; None where pictures and places say different things.
    """
    moving = np.flatnonzero(np.abs(moves).sum(1) > 0)
    if len(moving) < MIN_PAIRS:
        return None
    some = moving[np.unique(np.linspace(0, len(moving) - 1, MAX_PAIRS).round().astype(int))]
    told = [_compare(read(i), read(i + 1)) for i in some]
    seen = np.array([step for step, _ in told], np.float64)
    matrix = _fit(moves[some], seen)
    fits = np.abs(moves[some] @ matrix - seen).max(1) < AGREE_PX
    if fits.mean() < AGREEING or np.abs(matrix).max() <= AGREE_PX:
        return None
    return Scroll(matrix, _overlay([told[n] for n in np.flatnonzero(fits)]))


def _compare(one: Frame, two: Frame) -> tuple[Step, NDArray[np.float16]]:
    """How far one picture moves to become another, and how much worse that fits than in place.

    Returns:
        Columns and rows; difference of the mean errors of a pixel, levels `[H, W]`, 0 where the
        picture moved in from outside.
    """
    right, down = step = displacement(one, two)
    worse = np.zeros(one.shape[:2], np.float16)
    here, there = _overlap(down, one.shape[0]), _overlap(right, one.shape[1])
    moved = np.roll(one, (down, right), (0, 1))
    in_place, on_the_way = (np.abs(two.astype(np.int16) - was).mean(-1) for was in (one, moved))
    worse[here, there] = (on_the_way - in_place)[here, there]
    return step, worse


def _overlay(told: Sequence[tuple[Step, NDArray[np.float16]]]) -> Mask:
    """What stands still: in most directions it is more alike in place than on the way.

    Not in the sum of all: what comes out from under an overlay is like neither.
    """
    ways: dict[tuple[int, int], NDArray[np.float32]] = {}
    for (right, down), worse in told:
        way = int(np.sign(right)), int(np.sign(down))
        ways[way] = ways.get(way, np.float32(0)) + worse.astype(np.float32)
    return np.asarray(sum(np.sign(mean_over(one, OVERLAY_PX)) for one in ways.values()) > 0)


def _overlap(shift: int, size: int) -> slice:
    """Where something that moved by `shift` is still in the picture."""
    return slice(max(0, shift), max(0, size + min(0, shift)))


def _fit(moves: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least absolute deviations, by least squares that are weighted again and again.

    All moves count alike: a new episode is a long one, and none that the picture follows.
    """
    length = np.abs(moves).sum(1, keepdims=True)
    length /= np.median(length)
    moves, seen = moves / length, seen / length
    weights = np.ones((len(moves), 1))
    for _ in range(ROUNDS):
        matrix = np.linalg.lstsq(weights * moves, weights * seen, rcond=None)[0]
        misfit = np.abs(moves @ matrix - seen).max(1, keepdims=True)
        weights = 1 / np.sqrt(np.maximum(misfit, 0.1))
    return np.asarray(matrix, np.float64)


def displacement(one: Frame, two: Frame) -> Step:
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
