"""Which cubes of a picture have few colours, and what an index of each pixel would cost.

Shapes: H W pixels, h w cube grid, P most colours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relive.bitstream.detail import MAX_COLOURS
from relive.compiled import compiled
from relive.config import CUBE_PX
from relive.kernels.pictures import Floats

COLOUR_BITS = 9  # some are known, some are new
FLAT_BITS = 6  # to say so, and how many colours
ALIKE_BITS, OTHER_BITS = 0.25, 1.0
"""Of an index that is that beside it, and of another, beside the logarithm of their number."""


@compiled
def find(
    packed: NDArray[np.int32],
    sizes: NDArray[np.uint8],
    colours: NDArray[np.int32],
    indices: NDArray[np.uint8],
    bits: Floats,
) -> None:
    """Find the palettes of a picture.

    Args:
        packed: colours 0xRRGGBB `[H, W]`.
        sizes: takes how many colours a cube has, 0 where there are too many `[h, w]`.
        colours: takes them, rising `[h, w, P]`.
        indices: takes those of the pixels `[h, w, S, S]`.
        bits: takes what that would cost, estimated `[h, w]`.
    """
    h, w = sizes.shape
    seen = np.empty(MAX_COLOURS, np.int32)
    for i in range(h):
        for j in range(w):
            count = 0
            for k in range(CUBE_PX * CUBE_PX):
                colour = packed[i * CUBE_PX + k // CUBE_PX, j * CUBE_PX + k % CUBE_PX]
                n = 0
                while n < count and seen[n] != colour:
                    n += 1
                if n == count:
                    count += 1
                    if count > MAX_COLOURS:
                        break
                    seen[n] = colour
            if count > MAX_COLOURS:
                sizes[i, j], bits[i, j] = 0, np.inf
                continue
            rising = np.sort(seen[:count])
            colours[i, j, :count] = rising
            sizes[i, j] = count
            cost = np.float32(FLAT_BITS + COLOUR_BITS * count)
            other = np.float32(OTHER_BITS + np.log2(np.float32(count)))
            for y in range(CUBE_PX):
                for x in range(CUBE_PX):
                    row, column = i * CUBE_PX + y, j * CUBE_PX + x
                    colour = packed[row, column]
                    indices[i, j, y, x] = np.searchsorted(rising, colour)
                    left = x > 0 and packed[row, column - 1] == colour
                    above = y > 0 and packed[row - 1, column] == colour
                    if count > 1:
                        cost += np.float32(ALIKE_BITS) if left or above else other
            bits[i, j] = cost
