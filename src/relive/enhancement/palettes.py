"""Cubes of few colours: pixel art, text and flat surfaces, kept exactly.

```
 true frame ─► colours of every cube ─► few? ─► cheaper than a prediction and its levels? ─► palette
```

Shapes: H W padded pixels, h w cube grid, P most colours, S pixels of a side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Set
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream.detail import COLOURS, MAX_COLOURS
from relive.config import CUBE_PX
from relive.enhancement.frame import to_array
from relive.kernels.palettes import find

TILE_BITS = 6
"""Of a cube that is like another."""


@dataclass(frozen=True)
class Palettes:
    """Palettes of a frame, as `GopDetail` has them.

    Attributes:
        sizes: uint8 `[h, w]`, 0 where a cube has none.
        colours: uint8 `[h, w, P, 3]`.
        indices: uint8 `[h, w, S, S]`.
    """

    sizes: NDArray[np.uint8]
    colours: NDArray[np.uint8]
    indices: NDArray[np.uint8]

    @property
    def where(self) -> Tensor:
        """Cubes that have one, bool `[h, w]`."""
        return torch.from_numpy(self.sizes > 0)

    def only(self, chosen: Tensor) -> Palettes:
        """Those of some cubes, bool `[h, w]`."""
        keep = chosen.numpy() & (self.sizes > 0)
        return Palettes(
            self.sizes * keep,
            self.colours * keep[..., None, None],
            self.indices * keep[..., None, None],
        )

    def paint(self, picture: Tensor) -> Tensor:
        """Put the cubes into a picture `[3, H, W]`, levels of 255."""
        if not self.sizes.any():
            return picture
        y, x = np.nonzero(self.sizes)
        every = np.arange(len(y))[:, None, None]
        pixels = torch.from_numpy(self.colours[y, x][every, self.indices[y, x]])  # [n, S, S, 3]
        painted = picture.contiguous().clone()
        cubes = painted.unflatten(2, (-1, CUBE_PX)).unflatten(1, (-1, CUBE_PX))
        cubes[:, y, :, x] = pixels.permute(0, 3, 1, 2).float()
        return painted

    def contents(self) -> list[tuple[int, int, bytes]]:
        """Row, column and content of every cube that has one."""
        return [
            (y, x, self.colours[y, x].tobytes() + self.indices[y, x].tobytes())
            for y, x in np.argwhere(self.sizes).tolist()
        ]


def find_palettes(target: Tensor, tiles: Set[bytes]) -> tuple[Palettes, Tensor]:
    """Find the cubes of few colours of a frame.

    Args:
        target: the true frame `[3, H, W]`.
        tiles: contents that the GOP has already, see `Palettes.contents`.

    Returns:
        The palettes, and the bits that each would cost `[h, w]`, infinite where there is none.
        Cubes that are alike share the bits of the first.
    """
    found, own = list_palettes(target)
    bits = own.numpy()
    alike = defaultdict(list)
    for y, x, key in found.contents():
        alike[key].append((y, x))
    for key, places in alike.items():
        first = TILE_BITS if key in tiles else bits[places[0]]
        share = (first + TILE_BITS * (len(places) - 1)) / len(places)
        for place in places:
            bits[place] = share
    return found, own


def list_palettes(target: Tensor) -> tuple[Palettes, Tensor]:
    """As `find_palettes`, with the bits that each cube would cost if it were the only one.

    Args:
        target: the true frame `[3, H, W]`.
    """
    h, w = target.shape[1] // CUBE_PX, target.shape[2] // CUBE_PX
    sizes, bits = np.zeros((h, w), np.uint8), np.zeros((h, w), np.float32)
    colours = np.zeros((h, w, MAX_COLOURS, COLOURS), np.uint8)
    indices = np.zeros((h, w, CUBE_PX, CUBE_PX), np.uint8)
    find(to_array(target), sizes, colours, indices, bits)
    return Palettes(sizes, colours, indices), torch.from_numpy(bits)
