"""Frames that were found, and the ranges of time that they make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Hits:
    """Frames of a catalogue, by file and then by frame; a keyframe stands for its GOP.

    Attributes:
        file: int32 `[n]`, number of the file in the catalogue.
        frame: int64 `[n]`.
        time_s: float64 `[n]`, from the first frame of the file.
        cost: float64 `[n]`, what ranks them, the lowest first; 0 where nothing does.
        last: int64 `[n]`, the last frame that this one stands for, mostly itself.
        end_s: float64 `[n]`, its time.
    """

    file: NDArray[np.int32]
    frame: NDArray[np.int64]
    time_s: NDArray[np.float64]
    cost: NDArray[np.float64]
    last: NDArray[np.int64]
    end_s: NDArray[np.float64]

    @classmethod
    def of_frames(cls, columns: dict[str, Any], cost: NDArray[np.float64] | None = None) -> Hits:
        """Hits of single frames, from the columns `file`, `frame` and `time_s`."""
        frame, time_s = columns["frame"].astype(np.int64), columns["time_s"].astype(np.float64)
        cost = np.zeros(len(frame)) if cost is None else cost
        return cls(columns["file"].astype(np.int32), frame, time_s, cost, frame, time_s)

    @classmethod
    def join(cls, parts: list[Hits]) -> Hits:
        """Put hits together, in order."""
        empty = cls.of_frames(dict.fromkeys(("file", "frame", "time_s"), np.zeros(0)))
        parts = [empty, *parts]
        columns: dict[str, Any] = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(cls)
        }
        joined = cls(**columns)
        return joined.at(np.lexsort((joined.frame, joined.file)))

    def at(self, places: NDArray[np.intp] | NDArray[np.bool_]) -> Hits:
        """Some of them."""
        return Hits(*(getattr(self, field.name)[places] for field in fields(self)))

    @property
    def keys(self) -> NDArray[np.int64]:
        """One number for every pair of file and frame, in their order."""
        return (self.file.astype(np.int64) << 40) + self.frame

    def also_in(self, other: Hits) -> Hits:
        """Hits that `other` has, too."""
        return self.at(np.isin(self.keys, other.keys))

    def __len__(self) -> int:
        return len(self.file)


@dataclass(frozen=True)
class Range:
    """Frames of one file that belong together.

    Attributes:
        file: number of the file in the catalogue.
        frames: from the first that was found to the last.
        start_s: time of the first.
        end_s: time of the last.
        best_frame: the one of lowest cost.
        best_s: its time.
        cost: that cost.
    """

    file: int
    frames: range
    start_s: float
    end_s: float
    best_frame: int
    best_s: float
    cost: float


def ranges(hits: Hits, gap_s: float) -> list[Range]:
    """Merge hits of a file that lie no further than `gap_s` apart; the best range first."""
    return sorted(_merged(hits, gap_s), key=lambda r: (r.cost, r.file, r.frames.start))


def _merged(hits: Hits, gap_s: float) -> Iterator[Range]:
    if not len(hits):
        return
    apart = (np.diff(hits.file) != 0) | (hits.time_s[1:] - hits.end_s[:-1] > gap_s)
    bounds = [0, *(np.flatnonzero(apart) + 1).tolist(), len(hits)]
    for low, high in pairwise(bounds):
        best = low + int(np.argmin(hits.cost[low:high]))
        yield Range(
            int(hits.file[low]),
            range(int(hits.frame[low]), int(hits.last[high - 1]) + 1),
            float(hits.time_s[low]),
            float(hits.end_s[high - 1]),
            int(hits.frame[best]),
            float(hits.time_s[best]),
            float(hits.cost[best]),
        )
