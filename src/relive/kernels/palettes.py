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
    target: Floats,
    sizes: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    indices: NDArray[np.uint8],
    bits: Floats,
) -> None:
    """Find the palettes of a picture.

    Args:
        target: the picture, whole numbers `[3, H, W]`.
        sizes: takes how many colours a cube has, 0 where there are too many `[h, w]`.
        colours: takes them, rising as numbers 0xRRGGBB `[h, w, P, 3]`.
        indices: takes those of the pixels `[h, w, S, S]`.
        bits: takes what that would cost, estimated `[h, w]`.
    """
    h, w = sizes.shape
    seen, packed = np.empty(MAX_COLOURS, np.int32), np.empty((CUBE_PX, CUBE_PX), np.int32)
    own, ranks = np.empty((CUBE_PX, CUBE_PX), np.uint8), np.empty(MAX_COLOURS, np.uint8)
    for i in range(h):
        for j in range(w):
            count = 0
            for k in range(CUBE_PX * CUBE_PX):
                y, x = k // CUBE_PX, k % CUBE_PX
                row, column = i * CUBE_PX + y, j * CUBE_PX + x
                red, green = np.int32(target[0, row, column]), np.int32(target[1, row, column])
                colour = red << 16 | green << 8 | np.int32(target[2, row, column])
                packed[y, x] = colour
                n = 0
                while n < count and seen[n] != colour:
                    n += 1
                if n == count:
                    count += 1
                    if count > MAX_COLOURS:
                        break
                    seen[n] = colour
                own[y, x] = n
            if count > MAX_COLOURS:
                sizes[i, j], bits[i, j] = 0, np.inf
                continue
            rising = np.sort(seen[:count])
            for n in range(count):
                colours[i, j, n, 0] = rising[n] >> 16
                colours[i, j, n, 1] = rising[n] >> 8 & 255
                colours[i, j, n, 2] = rising[n] & 255
                ranks[n] = np.searchsorted(rising, seen[n])
            sizes[i, j] = count
            cost = np.float32(FLAT_BITS + COLOUR_BITS * count)
            other = np.float32(OTHER_BITS + np.log2(np.float32(count)))
            for y in range(CUBE_PX):
                for x in range(CUBE_PX):
                    colour = packed[y, x]
                    indices[i, j, y, x] = ranks[own[y, x]]
                    left = x > 0 and packed[y, x - 1] == colour
                    above = y > 0 and packed[y - 1, x] == colour
                    if count > 1:
                        cost += np.float32(ALIKE_BITS) if left or above else other
            bits[i, j] = cost
