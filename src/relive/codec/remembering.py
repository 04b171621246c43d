"""What a session shows again and again: cubes of few colours, for the memory of its replay.

```
 some frames of GOPs all over the session ─► cubes of at most 16 colours ─► what would each GOP
   save that knew them? ─► those that save more than they cost ─► packet in the header
```

Only frames are looked at, nothing is encoded first: GOPs go to the file as they come.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream import MAX_TILES, encode_memory, step_size
from relive.codec.step import Geometry
from relive.config import CUBE_PX
from relive.enhancement.copies import costs_alone
from relive.enhancement.palettes import list_palettes
from relive.enhancement.search import LAMBDA
from relive.session import Session

SAMPLES = 32
"""GOPs that are looked at, spread over the session."""
LOOKS = ((0, 1.0), (1 / 4, 0.7), (1 / 2, 0.7), (3 / 4, 0.7))
"""Which of their frames, and what is counted of what knowing a cube would save there: later frames
have most of their cubes from the ones before."""
MOST_SEEN = 1 << 14
"""Cubes that are thought of at a time; beyond them half is forgotten, that which saves least."""
NUMBER_BITS = 4
"""Of a cube that the memory has."""
TEXT_SHARE = 5 / 4
"""The header is text: base 85."""

Place = tuple[int, int]


@dataclass
class _Seen:
    """A cube that was seen.

    Attributes:
        colours: uint8 `[n, 3]`.
        indices: uint8 `[S, S]`.
        bits: that it costs where nobody knows it.
        saved: bits that knowing it saves, in all sampled GOPs.
        places: where it was seen, and how often.
    """

    colours: NDArray[np.uint8]
    indices: NDArray[np.uint8]
    bits: float
    saved: float = 0.0
    places: Counter[Place] = field(default_factory=Counter)

    @property
    def place(self) -> Place:
        """Where it was seen most often."""
        return self.places.most_common(1)[0][0]


def remember(
    session: Session, geometry: Geometry, interval: int, step: int, most: float = math.inf
) -> bytes:
    """Choose the cubes that a session should code once.

    Args:
        session: to be encoded.
        geometry: of its frames.
        interval: frames of a GOP.
        step: number of the quantiser step: what a cube costs otherwise depends on it.
        most: bytes that the memory may take, about.

    Returns:
        The packet of the memory; empty where none pays.
    """
    count = -(-session.num_frames // interval)
    chosen = np.unique(np.linspace(0, count - 1, min(count, SAMPLES)).round().astype(int))
    seen: dict[bytes, _Seen] = {}
    for gop in chosen.tolist():
        saved: dict[bytes, float] = {}
        for place, counted in LOOKS:
            frame = int((gop + place) * interval)
            if frame < session.num_frames and session.present[frame]:
                pixels = geometry.pad(session.frames(frame, frame + 1))[0]
                target = torch.from_numpy(pixels).permute(2, 0, 1).float()
                for key, bits in _look(target, step, seen).items():
                    saved[key] = max(saved.get(key, 0.0), counted * bits)
        for key, bits in saved.items():
            seen[key].saved += bits
        if len(seen) > MOST_SEEN:
            kept_keys = sorted(seen, key=lambda key: -seen[key].saved)[: MOST_SEEN // 2]
            seen = {key: seen[key] for key in kept_keys}
    share = count / max(1, len(chosen))
    gains = {key: share * cube.saved - TEXT_SHARE * cube.bits for key, cube in seen.items()}
    paying = sorted((key for key in gains if gains[key] > 0), key=lambda key: -gains[key])
    taken = np.cumsum([TEXT_SHARE * seen[key].bits / 8 for key in paying]) <= most
    kept = _in_order([seen[key] for key in paying[: min(MAX_TILES, int(taken.sum()))]])
    return encode_memory([(cube.colours, cube.indices) for cube in kept])


def _look(target: Tensor, step: int, seen: dict[bytes, _Seen]) -> dict[bytes, float]:
    """Look at a frame `[3, H, W]`, 0..255; return the bits that knowing each cube would save."""
    found, own = list_palettes(target)
    price = torch.full(own.shape, LAMBDA * step_size(step) ** 2)
    mean = F.avg_pool2d(target[None], CUBE_PX)
    base = F.interpolate(mean, scale_factor=CUBE_PX)[0]
    otherwise = costs_alone(target, base, price) / price
    bits = (torch.minimum(own, otherwise) - NUMBER_BITS).clamp(min=0).numpy()
    saved: dict[bytes, float] = {}
    for y, x, key in found.contents():
        if key not in seen:
            size = int(found.sizes[y, x])
            indices = found.indices[y, x].copy()
            seen[key] = _Seen(found.colours[y, x, :size].copy(), indices, float(own[y, x]))
        seen[key].places[y, x] += 1
        saved.setdefault(key, float(bits[y, x]))  # the second of its kind costs a number anyhow
    return saved


def _in_order(cubes: list[_Seen]) -> list[_Seen]:
    """As a picture shows them: in a GOP, one mostly follows the other."""
    by_place = defaultdict(list)
    for cube in cubes:
        by_place[cube.place].append(cube)
    first, others = [], []
    for place in sorted(by_place):
        ranked = sorted(by_place[place], key=lambda cube: -cube.places[cube.place])
        first.append(ranked[0])
        others += ranked[1:]
    return first + others
