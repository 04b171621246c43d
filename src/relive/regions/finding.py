"""Regions of a session, found: words from a first look, then step after step.

```
 first minute ─► looks ─► words ─► mean cues ─► kinds ─┐
 step after step ─► look ─► nearest word ──────────────┴─► region of every block
                      └─ far from all words for a while ─► new words, a new region if need be
```

Shapes: h w blocks, H W pixels, n frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from relive.codec import Bundle, load_bundle
from relive.errors import InputError
from relive.regions.kinds import (
    FIRST_FREE,
    GROUND,
    HELD,
    HUD,
    OBJECTS,
    OVERLAY_MOVES,
    WALLS,
    Cues,
    regions_by_look,
    regions_by_motion,
)
from relive.regions.looking import STEP_FRAMES, Look, Watcher
from relive.regions.words import Array, Features, kmeans, means, nearest
from relive.session import Region, RegionSchema, Session

Progress = Callable[[int, int], None]

LEARN_S = 60.0
"""Of the session, looked at before regions are told."""
LEARN_STEPS = 120
NUM_WORDS = 160
FAR = 1.15
"""Of the distance that 999 of 1000 blocks of the first look keep to their word, or to the
components of the latents: beyond is new."""
NEW_SHARE = 0.04
"""Of the blocks of a step that must be new, for NEW_STEPS steps on end."""
NEW_STEPS, NEW_WORDS = 4, 12
JOIN_STEPS = 16
"""What is new so shortly after other new words joins their region."""
MAX_REGIONS = 32


@dataclass(frozen=True)
class Opened:
    """A region that came up after the first look."""

    region: Region
    frame: int


@dataclass(frozen=True)
class Found:
    """Regions of a session.

    Attributes:
        schema: their names; ids from 1 up.
        blocks: region of every block of 8×8 pixels of every step of two frames, `[steps, h, w]`.
        opened: regions that came up after the first look.
        size: width and height of the frames in pixels.
    """

    schema: RegionSchema
    blocks: NDArray[np.uint8]
    opened: tuple[Opened, ...]
    size: tuple[int, int]

    def maps(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Region of every pixel of frames start to stop, uint8 `[n, H, W]`.

        A block is enlarged with soft edges; a pixel belongs to what is strongest there.

        Raises:
            InputError: The range is not inside the session.
        """
        if not 0 <= start <= stop <= STEP_FRAMES * len(self.blocks):
            raise InputError(f"frames {start} to {stop} are not inside what was looked at")
        maps = [self._map(frame // STEP_FRAMES) for frame in range(start, stop)]
        return np.stack(maps) if maps else np.zeros((0, *self.size[::-1]), np.uint8)

    def _map(self, step: int) -> NDArray[np.uint8]:
        ids, places = np.unique(self.blocks[step], return_inverse=True)
        one_hot = F.one_hot(torch.from_numpy(places.reshape(self.blocks.shape[1:]))).float()
        soft = F.interpolate(one_hot.permute(2, 0, 1)[None], scale_factor=8.0, mode="bilinear")
        width, height = self.size
        best = soft[0, :, :height, :width].argmax(0).numpy()
        return np.asarray(ids[best], np.uint8)


@dataclass
class _Finder:
    """Words and their regions; both may grow. `far`: distances to words and to components."""

    features: Features
    words: Array
    regions: NDArray[np.uint8]
    far: tuple[float, float]
    has_camera: bool
    schema: dict[int, Region]
    pool: list[tuple[Array, Look, NDArray[np.bool_]]] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)
    grown_at: int = 0

    def label(self, look: Look, step: int) -> NDArray[np.uint8]:
        """Tell the region of every block of a step; new words may come up."""
        features = self.features.of(look)
        found, away = nearest(features, self.words)
        new = (away > self.far[0]) | (self.features.outside(look) > self.far[1])
        if new.mean() >= NEW_SHARE:
            self.pool.append((features, look, new))
        else:
            self.pool.clear()
        if len(self.pool) >= NEW_STEPS:
            self._grow(step, self.regions[found[~new]])
            found, _ = nearest(features, self.words)
        return self.regions[found].reshape(look.moves.shape)

    def _grow(self, step: int, beside: NDArray[np.uint8]) -> None:
        """Make words of what was new for a while; `beside`: regions of what is not new."""
        rows = np.concatenate([features[new] for features, _, new in self.pool])
        words = kmeans(rows, NEW_WORDS, np.random.default_rng(step))
        looks = [look for _, look, _ in self.pool]
        new = np.concatenate([new for *_, new in self.pool])
        regions = self._regions_of(words, rows, looks, new)
        if (regions == 0).any():
            first = STEP_FRAMES * (step - NEW_STEPS + 1)
            regions[regions == 0] = self._joined(
                beside, new.size // len(looks), step
            ) or self._open(first)
        self.grown_at = step
        self.words = np.vstack([self.words, words])
        self.regions = np.concatenate([self.regions, regions])
        self.pool.clear()

    def _regions_of(
        self, words: Array, rows: Array, looks: list[Look], new: NDArray[np.bool_]
    ) -> NDArray[np.uint8]:
        """Regions of new words by their cues; 0 where no cue speaks."""
        regions = np.zeros(len(words), np.uint8)
        if not self.has_camera or not any(look.moving for look in looks):
            return regions
        found, _ = nearest(rows, words)
        cues = _cues(found, looks, self.features, len(words), new)
        told = cues.moves >= OVERLAY_MOVES
        known = regions_by_motion(cues)
        return np.where(told & np.isin(known, list(self.schema)), known, regions)

    def _joined(self, beside: NDArray[np.uint8], blocks: int, step: int) -> int:
        """The region that opened last, where the step shows it or words came up lately; else 0."""
        if not self.opened:
            return 0
        last = self.opened[-1].region.id
        lately = step - self.grown_at <= JOIN_STEPS
        return last if lately or (beside == last).sum() >= NEW_SHARE * blocks else 0

    def _open(self, frame: int) -> int:
        """Open a region; when there are too many, the last one takes what is new."""
        number = max(FIRST_FREE - 1, *self.schema) + 1
        if len(self.schema) >= MAX_REGIONS:
            return number - 1
        region = Region(number, f"new {len(self.opened) + 1}", "complex", 3)
        self.schema[number] = region
        self.opened.append(Opened(region, max(0, frame)))
        return number


def _cues(
    found: NDArray[np.int64],
    looks: list[Look],
    features: Features,
    count: int,
    chosen: NDArray[np.bool_] | None = None,
) -> Cues:
    """Mean cues of words over blocks in whose step the picture moved; 0 of what never did."""
    moving = np.concatenate([np.full(look.moves.size, look.moving) for look in looks])
    columns = [
        np.concatenate([getattr(look, name).ravel() for look in looks])
        for name in ("moves", "lies", "own")
    ]
    columns.append(np.tile(features.held.ravel(), len(looks)))
    if chosen is not None:
        moving, columns = moving[chosen], [column[chosen] for column in columns]
    moves, lies, own, held = (means(found[moving], c[moving], count) for c in columns)
    return Cues(moves, lies, own, held, np.bincount(found, minlength=count))


def _start(looks: list[Look], watcher: Watcher) -> _Finder:
    """Find words and regions in a first look."""
    features = Features.fit(looks, watcher.horizon)
    rows = np.concatenate([features.of(look) for look in looks])
    words = kmeans(rows, NUM_WORDS, np.random.default_rng(0))
    found, away = nearest(rows, words)
    cues = _cues(found, looks, features, len(words))
    has_camera = watcher.coder.camera is not None
    regions = regions_by_motion(cues) if has_camera else regions_by_look(cues, words)
    schema = _schema(np.unique(regions[cues.count > 0]))
    outside = np.concatenate([features.outside(look) for look in looks])
    far = (FAR * float(np.quantile(away, 0.999)), FAR * float(np.quantile(outside, 0.999)))
    return _Finder(features, words, regions, far, has_camera, schema)


def _schema(ids: NDArray[np.uint8]) -> dict[int, Region]:
    known = {region.id: region for region in (HUD, HELD, OBJECTS, WALLS, GROUND)}
    return {
        int(i): known.get(int(i), Region(int(i), f"region {int(i) - FIRST_FREE + 1}", "complex", 3))
        for i in ids
    }


def discover(
    session: Session,
    *,
    model: Bundle | Path | str | None = None,
    learn_s: float = LEARN_S,
    progress: Progress | None = None,
) -> Found:
    """Find the regions of a session: overlays, objects, ground, walls, or what looks alike.

    Args:
        session: an open session; a camera in its schema tells ground from walls.
        model: whose encoder looks; None for the bundled one.
        learn_s: seconds of the session that are looked at before regions are told; what comes up
            later may open a region.
        progress: told steps done and steps in all.

    Raises:
        InputError: `learn_s` is not over 0.
    """
    if not learn_s > 0:
        raise InputError(f"learn_s is {learn_s}, not over 0 seconds")
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    watcher = Watcher(session, bundle)
    last = session.index_at(int(session.times_ns[0] + learn_s * 1e9)) // STEP_FRAMES + 1
    count = min(LEARN_STEPS, last)
    learned = np.unique(np.linspace(min(1, last - 1), last - 1, count).round().astype(int))
    total = watcher.num_steps

    def look(step: int, done: int) -> Look:
        if progress:
            progress(done, total)
        return watcher.look(step)

    looks = {int(step): look(int(step), n) for n, step in enumerate(learned)}
    finder = _start(list(looks.values()), watcher)
    blocks = []
    for step in range(total):
        seen = looks.pop(step) if step in looks else look(step, len(looks) + step)
        blocks.append(finder.label(seen, step))
    if progress:
        progress(total, total)
    schema = RegionSchema(tuple(finder.schema[i] for i in sorted(finder.schema)))
    size = (session.width, session.height)
    return Found(schema, np.stack(blocks), tuple(finder.opened), size)
