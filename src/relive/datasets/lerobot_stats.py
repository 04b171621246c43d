"""What LeRobot wants to know of every feature, to normalise it: extent, mean, spread, quantiles.

Quantiles of the whole dataset are the mean of those of its episodes, weighted by their frames, as
`aggregate_feature_stats` of lerobot has it; everything else is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Stats = dict[str, NDArray[Any]]
_QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
_NAMES = tuple(f"q{round(100 * q):02d}" for q in _QUANTILES)
_SAMPLES, _SIDE_PX = 100, 150  # pictures of an episode that are looked at, and how closely


def stats_of(rows: NDArray[Any]) -> Stats:
    """Look at the rows of an episode.

    Args:
        rows: `[n, W]`.

    Returns:
        `min`, `max`, `mean`, `std` and quantiles, float64 `[W]`; `count`, int64 `[1]`.
    """
    values = rows.astype(np.float64)
    quantiles = np.quantile(values, _QUANTILES, axis=0)
    return {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0),
        "std": values.std(0),
        "count": np.array([len(values)]),
        **dict(zip(_NAMES, quantiles, strict=True)),
    }


def merged(parts: Sequence[Stats]) -> Stats:
    """Put the looks at several episodes together."""
    counts = np.array([int(part["count"][0]) for part in parts])

    def mean(name: str) -> NDArray[np.float64]:
        return np.average(np.stack([part[name] for part in parts]), axis=0, weights=counts)

    middle = mean("mean")
    spread = [part["std"] ** 2 + (part["mean"] - middle) ** 2 for part in parts]
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": middle,
        "std": np.sqrt(np.average(np.stack(spread), axis=0, weights=counts)),
        "count": np.array([counts.sum()]),
        **{name: mean(name) for name in _NAMES},
    }


class PictureStats:
    """Looks at some pictures of an episode while they pass: by channel, 0 to 1.

    Args:
        num_frames: of the episode.
    """

    def __init__(self, num_frames: int) -> None:
        count = min(num_frames, max(_SAMPLES, int(num_frames**0.75)))
        self._wanted = set(np.linspace(0, num_frames - 1, count).round().astype(int).tolist())
        self._seen: list[NDArray[np.uint8]] = []

    def look(self, number: int, frame: NDArray[np.uint8]) -> None:
        """Look at a picture, uint8 `[H, W, 3]`, if it is one of those."""
        if number in self._wanted:
            step = max(1, max(frame.shape) // _SIDE_PX)
            self._seen.append(frame[::step, ::step].copy())

    def stats(self) -> Stats:
        """What was seen, `[3, 1, 1]`; `count` is of pictures."""
        found = stats_of(np.stack(self._seen).reshape(-1, 3))
        scaled = {name: (value / 255).reshape(3, 1, 1) for name, value in found.items()
                  if name != "count"}  # fmt: skip
        return {**scaled, "count": np.array([len(self._seen)])}


def plain(stats: Iterable[tuple[str, Stats]]) -> dict[str, dict[str, Any]]:
    """Stats of features as lists, fit for JSON and for Parquet."""
    return {key: {name: a.tolist() for name, a in found.items()} for key, found in stats}
