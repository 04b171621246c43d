"""Moments of replays by state, by place and by picture, or by all of them together.

```
 --where ──► frames ─┐
 --near  ──► frames ─┼─ and ──► frames ──merged──► ranges of time, the best first
 --like  ──► ranked ─┘
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from relive.catalog import Catalog, add, find_replays
from relive.errors import InputError
from relive.search.hits import Hits, Range, ranges
from relive.search.picture import Like, alike
from relive.search.place import ANGLE_DEG, WITHIN, Place, near
from relive.search.where import matching

if TYPE_CHECKING:
    from relive.codec import Bundle

GAP_S = 1.0
MAX_ALIKE = 4096
"""Most keyframes that a search by picture merges into ranges."""


@dataclass(frozen=True)
class Query:
    """What to look for; everything that is given must hold.

    Attributes:
        where: SQL condition on states and on what is known of the file.
        place: where the camera stood.
        within: how far from there, in the units of the game.
        angle_deg: how far the view may be turned from there.
        like: a picture; what is most like it comes first, and `limit` says how much of that.
        gap_s: ranges of a file that lie no further apart are one.
        limit: most ranges to return.
    """

    where: str | None = None
    place: Place | None = None
    within: float = WITHIN
    angle_deg: float = ANGLE_DEG
    like: Like | None = None
    gap_s: float = GAP_S
    limit: int = 20


@dataclass(frozen=True)
class Found:
    """A range of a replay.

    Attributes:
        path: of the replay.
        game: of the replay.
        frames: from the first that was found to the last; by picture alone, whole GOPs.
        start_s: time of the first, from the start of the replay.
        end_s: time of the last.
        best_frame: the keyframe that is most alike, or where more than a picture is asked for, the
            first frame of its GOP that meets the rest; without a picture the nearest frame.
        best_s: its time.
        distance: of its codes from the picture; else from the place, in units of the game; else 0.
    """

    path: Path
    game: str
    frames: range
    start_s: float
    end_s: float
    best_frame: int
    best_s: float
    distance: float


@contextmanager
def opened(
    target: Path, bundle: Bundle | None = None, note: Callable[[str], None] | None = None
) -> Iterator[Catalog]:
    """Open what is to be searched: a catalogue, or for once a replay or a folder.

    Args:
        target: `.relive`, a folder, or a catalogue.
        bundle: model, for a search by picture in what is not a catalogue.
        note: told of every replay that is damaged or broken, unless it is a catalogue that is
            searched.

    Raises:
        InputError: There is nothing to search.
    """
    if not target.exists():
        raise InputError(f"{target}: there is no such replay, folder or catalogue")
    if target.is_file() and target.suffix != ".relive":
        with Catalog.open(target) as catalog:
            catalog.lock_down()
            yield catalog
        return
    with Catalog.in_memory() as catalog:
        if not any(True for _ in find_replays([target])):
            raise InputError(f"{target}: no replay in it")
        problems = [
            problem if problem.startswith(path) else f"{path}: {problem}"
            for path, problem in add(catalog, [target], bundle).problems.items()
        ]
        if problems and not _readable(catalog):
            raise InputError(problems[0])
        if note:
            for problem in problems:
                note(problem)
        catalog.lock_down()
        yield catalog


def _readable(catalog: Catalog) -> bool:
    return bool(catalog.rows("SELECT 1 FROM files WHERE condition <> 'broken'"))


def find(catalog: Catalog, query: Query) -> tuple[list[Found], int]:
    """Find ranges of time; nothing is decoded.

    Returns:
        The best ranges, and how many there are in all; of pictures, among the `limit` keyframes
        that are most alike.

    Raises:
        InputError: Nothing is asked for, or it cannot be searched for.
    """
    frames = _frames(catalog, query)
    if query.like is not None:
        hits = _ranked(alike(catalog, query.like), frames, query.limit)
    elif frames is not None:
        hits = frames
    else:
        raise InputError("nothing to search for: give --where, --like, --near or --place")
    found = ranges(hits, query.gap_s)
    rows = {row[0]: row[1:] for row in catalog.rows("SELECT file, path, game FROM files")}
    return [_found(r, *rows[r.file]) for r in found[: query.limit]], len(found)


def _found(found: Range, path: str, game: str) -> Found:
    values: dict[str, Any] = {k: v for k, v in vars(found).items() if k not in ("file", "cost")}
    return Found(path=Path(path), game=game, distance=found.cost, **values)


def _frames(catalog: Catalog, query: Query) -> Hits | None:
    """Frames that state and place leave; None where neither is asked for."""
    left = matching(catalog, query.where) if query.where is not None else None
    if query.place is not None:
        nearby = near(catalog, query.place, query.within, query.angle_deg)
        left = nearby if left is None else nearby.also_in(left)
    return left


def _ranked(keyframes: Hits, frames: Hits | None, limit: int) -> Hits:
    """The GOPs whose keyframes are most alike; with frames, only what they have of these."""
    if frames is not None:
        keyframes = _with_frames(keyframes, frames)
    order = np.argsort(keyframes.cost, kind="stable")[: min(limit, MAX_ALIKE)]
    return Hits.join([keyframes.at(order)])


def _with_frames(keyframes: Hits, frames: Hits) -> Hits:
    """GOPs with a frame of `frames`, each from the first of these to the last."""
    place = np.searchsorted(keyframes.keys, frames.keys, side="right") - 1
    inside = place >= 0
    before = keyframes.at(place[inside])
    there = frames.at(inside)
    inside[inside] = (before.file == there.file) & (there.frame <= before.last)
    there = frames.at(inside)
    gops, first, count = np.unique(place[inside], return_index=True, return_counts=True)
    last = first + count - 1
    return Hits(
        there.file[first],
        there.frame[first],
        there.time_s[first],
        keyframes.cost[gops],
        there.last[last],
        there.end_s[last],
    )
