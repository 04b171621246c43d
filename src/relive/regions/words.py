"""Words: what blocks look like, as clusters of their features.

A word is an appearance at a height of the picture. It is seen hundreds of times in a session, so
the mean of a noisy cue over all of its blocks is a good one (`relive.regions.finding`).

Shapes: N blocks, D features, M words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relive.regions.looking import Look

Array = NDArray[np.float32]

COMPONENTS = 10
"""Principal components of the latents that are kept."""
COLOUR_WEIGHT, HEIGHT_WEIGHT, HELD_WEIGHT = 2.0, 4.0, 1.0
ROUNDS, SAMPLE = 15, 20_000
CHUNK = 50_000


@dataclass(frozen=True)
class Features:
    """How blocks are turned into features; fitted to what was seen first.

    Attributes:
        centre: of latents and colours `[D]`.
        project: latents and colours to features `[D, COMPONENTS + 4]`.
        held: how firmly a place of the picture stands still, mean of `Look.moves` `[h, w]`.
        horizon: row of blocks at which the camera looks level.
    """

    centre: Array
    project: Array
    held: Array
    horizon: float

    @classmethod
    def fit(cls, looks: list[Look], horizon: float) -> Features:
        """Fit to what was seen.

        Args:
            looks: of several steps, at least one.
            horizon: see `Features`.
        """
        plain = np.concatenate([_plain(look) for look in looks])
        centre = plain.mean(0)
        plain = plain - centre
        latents = plain[:, :-4]
        _, _, axes = np.linalg.svd(latents[:: max(1, len(latents) // SAMPLE)], full_matrices=False)
        axes = axes[:COMPONENTS]
        scale = max(float((latents @ axes.T).std()), 1e-6)
        project = np.zeros((plain.shape[1], len(axes) + 4), np.float32)
        project[:-4, : len(axes)] = axes.T / scale
        colours = COLOUR_WEIGHT / np.maximum(plain[:, -4:].std(0), 1e-6)
        project[-4:, len(axes) :] = np.diag(colours)
        moving = [look.moves for look in looks if look.moving]
        held = np.mean(moving, 0) if moving else np.zeros_like(looks[0].moves)
        return cls(centre, project, np.asarray(held, np.float32), horizon)

    def of(self, look: Look) -> Array:
        """Features of the blocks of a step, float32 `[N, D]`; the last two are of the place."""
        h, w = look.moves.shape
        rows = (np.arange(h, dtype=np.float32) + 0.5 - self.horizon) / h * HEIGHT_WEIGHT
        place = np.stack([rows.repeat(w), self.held.ravel() * HELD_WEIGHT], 1)
        return np.hstack([(_plain(look) - self.centre) @ self.project, place]).astype(np.float32)

    def outside(self, look: Look) -> Array:
        """What the components leave of the latents of the blocks of a step, `[N]`."""
        rest = (_plain(look) - self.centre)[:, :-4]
        seen = self.project[:-4, :-4]
        axes = seen / np.linalg.norm(seen, axis=0).clip(min=1e-9)
        return np.asarray(np.linalg.norm(rest - rest @ axes @ axes.T, axis=1), np.float32)


def _plain(look: Look) -> Array:
    """Latents and colours of blocks `[N, D]`."""
    both = np.concatenate([look.latents, look.colour], -1)
    return np.asarray(both.reshape(-1, both.shape[-1]))


def nearest(features: Array, words: Array) -> tuple[NDArray[np.int64], Array]:
    """Nearest word of every block, and the distance to it: `[N]`, `[N]`."""
    found, away = [], []
    for rows in (features[i : i + CHUNK] for i in range(0, len(features), CHUNK)):
        squares = (words**2).sum(1) - 2 * rows @ words.T
        best = squares.argmin(1)
        found.append(best)
        away.append(np.take_along_axis(squares, best[:, None], 1)[:, 0] + (rows**2).sum(1))
    return np.concatenate(found), np.sqrt(np.concatenate(away).clip(min=0)).astype(np.float32)


def kmeans(features: Array, count: int, rng: np.random.Generator) -> Array:
    """Cluster by k-means from a k-means++ start (Arthur and Vassilvitskii, SODA 2007).

    Args:
        features: `[N, D]`.
        count: words wanted; fewer come where fewer rows differ.
        rng: of the start and of the rows that are looked at.

    Returns:
        float32 `[M, D]`.
    """
    rows = features[rng.permutation(len(features))[:SAMPLE]]
    words = rows[:1]
    squares = ((rows - words) ** 2).sum(1)
    while len(words) < count and squares.max() > 1e-6:
        pick = rows[rng.choice(len(rows), p=squares / squares.sum(dtype=np.float64))]
        words = np.vstack([words, pick])
        squares = np.minimum(squares, ((rows - pick) ** 2).sum(1))
    for _ in range(ROUNDS):
        found, _ = nearest(rows, words)
        members = np.bincount(found, minlength=len(words))
        sums = np.zeros_like(words)
        np.add.at(sums, found, rows)
        words = np.where(members[:, None] > 0, sums / members.clip(min=1)[:, None], words)
    return words.astype(np.float32)


def means(found: NDArray[np.int64], values: Array, count: int) -> Array:
    """Mean of a cue over the blocks of every word, 0 where it has none: `[M]`."""
    sums = np.bincount(found, values, minlength=count)
    members = np.bincount(found, minlength=count)
    return np.asarray(sums / members.clip(min=1), np.float32)
