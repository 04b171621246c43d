"""What a word is, by its cues: overlay, ground, wall, object, or one of several looks.

Shapes: M words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relive.regions.words import Array
from relive.session import Region

HUD, HELD, OBJECTS, WALLS, GROUND = (
    Region(1, "hud", "critical", 6),
    Region(2, "held", "complex", 5),
    Region(3, "objects", "complex", 4),
    Region(4, "walls", "simple", 2),
    Region(5, "ground", "simple", 1),
)
"""Kinds that motion tells apart. *held* is an overlay that moves a little, such as a weapon;
*objects* are what the motion of the camera does not explain: sprites, and what moves by itself."""
FIRST_FREE = 6

OVERLAY_MOVES = -0.3
"""Mean of `Look.moves`: what is below stands still while the picture moves."""
ALIKE_MOVES = -1.0
"""The same where no camera is known: a displacement explains less, and repeated tiles fit both."""
HUD_HELD = -1.5
"""Mean of `Look.moves` at a place: below, nothing ever moves there."""
GROUND_LIES = -0.15
"""Mean of `Look.lies` over which a word lies flat: walls are far below 0, flat ground near it."""
OBJECT_OWN = 2.5
"""Standard deviations over the mean of `Look.own`; beyond, the camera leaves a word unexplained."""
NUM_LOOKS = 4
"""Regions of the world where no camera tells ground from walls."""


@dataclass(frozen=True)
class Cues:
    """Means over the blocks of every word, each `[M]`, from steps in which the picture moved.

    Attributes:
        moves: see `Look.moves`.
        lies: see `Look.lies`.
        own: see `Look.own`.
        held: see `Features.held`.
        count: blocks.
    """

    moves: Array
    lies: Array
    own: Array
    held: Array
    count: NDArray[np.int64]


def regions_by_motion(cues: Cues) -> NDArray[np.uint8]:
    """Region of every word where a camera is known: ids of the kinds above, `[M]`."""
    ids = np.where(cues.lies > GROUND_LIES, GROUND.id, WALLS.id)
    ids = np.where(_unexplained(cues), OBJECTS.id, ids)
    return _with_overlays(ids, cues, OVERLAY_MOVES)


def regions_by_look(cues: Cues, words: Array) -> NDArray[np.uint8]:
    """Region of every word where none is: overlays, and groups of words that look alike `[M]`."""
    groups = _merged(words, cues.count, NUM_LOOKS)
    return _with_overlays(groups + FIRST_FREE, cues, ALIKE_MOVES)


def _with_overlays(ids: NDArray[np.int64], cues: Cues, below: float) -> NDArray[np.uint8]:
    overlay = cues.moves < below
    inside = np.where(cues.held < HUD_HELD, HUD.id, HELD.id)
    return np.where(overlay, inside, ids).astype(np.uint8)


def _unexplained(cues: Cues) -> NDArray[np.bool_]:
    """Words of which hypotheses of motion leave more than of the others."""
    weights = cues.count * (cues.moves >= OVERLAY_MOVES)
    if not weights.any():
        return np.zeros(len(cues.own), np.bool_)
    mean = float(np.average(cues.own, weights=weights))
    spread = float(np.sqrt(np.average((cues.own - mean) ** 2, weights=weights)))
    found: NDArray[np.bool_] = cues.own > mean + OBJECT_OWN * max(spread, 1e-6)
    return found


def _merged(words: Array, count: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """Merge words until few groups are left, the cheapest first (Ward, JASA 1963): `[M]`.

    Groups are numbered from the largest.
    """
    groups = [[i] for i in np.flatnonzero(count)]
    centres = words[[g[0] for g in groups]].astype(np.float64)
    weights = count[[g[0] for g in groups]].astype(np.float64)
    while len(groups) > wanted:
        both = weights[:, None] * weights / (weights[:, None] + weights)
        costs = both * ((centres[:, None] - centres) ** 2).sum(-1)
        np.fill_diagonal(costs, np.inf)
        a, b = sorted(int(i) for i in np.unravel_index(costs.argmin(), costs.shape))
        groups[a] += groups.pop(b)
        total = weights[a] + weights[b]
        centres[a] = (centres[a] * weights[a] + centres[b] * weights[b]) / total
        weights[a] = total
        centres, weights = np.delete(centres, b, 0), np.delete(weights, b)
    ids = np.zeros(len(words), np.int64)
    for number, group in enumerate(np.argsort(-weights, kind="stable")):
        ids[groups[group]] = number
    return ids
