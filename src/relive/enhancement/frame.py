"""One frame of the enhancement layer, the part that encoder and decoder do alike.

```
 codes ─► base picture ─(+ what was added to the first frame, warped)─► base ─┐
 frames before ─► warped by the hypothesis of the cube, and vectors ─► moved ─┼─ mode ─► prediction
                                                      levels ─► inverse DCT ──┴──────► + ─► frame
```

Shapes: H W padded pixels, h w cube grid. Pictures are 0..255.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.kernels import frames as kernels
from relive.model.warp import sample

VECTOR_UNITS = 4  # of a vector, in a pixel
GAIN_UNITS = 128  # of a weight's gain, in 1
TIE = 1 / 64


@dataclass(frozen=True)
class Reference:
    """The frame before, and where each pixel of the frame at hand lies in it.

    Attributes:
        picture: `[3, H, W]`, whole numbers.
        added: what the layer added to its prediction, where that is the first frame of the pair
            `[3, H, W]`; else None.
        x: columns `[H, W]`.
        y: rows `[H, W]`.
        older: the same of the frame before that, if it is known and wanted.
        notes: what an encoder has made of it, to make it once.
    """

    picture: Tensor
    added: Tensor | None
    x: Tensor
    y: Tensor
    older: Reference | None = None
    notes: dict[type, Any] = field(default_factory=dict, compare=False, repr=False, init=False)

    def moved(self, vectors: Tensor) -> Tensor:
        """Warp, with a vector for each cube on top.

        Args:
            vectors: column and row, `[n, n', 2]` of a grid of squares that covers the picture.

        Returns:
            `[3, H, W]`.
        """
        dx, dy = (enlarge(part, self.x.shape) / VECTOR_UNITS for part in vectors.unbind(-1))
        return sample(self.picture[None], (self.x + dx)[None], (self.y + dy)[None])[0]

    def before(self, picture: Tensor | None = None) -> kernels.Before:
        """As kernels take it, with a picture other than that of the reference if one is given."""
        picture = self.picture if picture is None else picture
        height, width = self.x.shape
        flat, x, y = (part.flatten().numpy() for part in (picture, self.x, self.y))
        return kernels.Before(flat, x, y, (height, width))

    def weighted(self, weights: Tensor) -> Reference:
        """The same with another light: weights int64 `[3, 2]`, see `weighted`."""
        if not weights.any():
            return self
        return replace(self, picture=weighted(self.picture, weights))

    def carried(self, base: Tensor) -> Tensor:
        """The base picture with what was added to the frame before, warped, `[3, H, W]`."""
        if self.added is None:
            return base
        return base + sample(self.added[None], self.x[None], self.y[None])[0]


def to_array(tensor: Tensor) -> NDArray[Any]:
    """Hand a tensor to a kernel; not copied if it is contiguous."""
    array: NDArray[Any] = tensor.contiguous().numpy()
    return array


def enlarge(grid: Tensor, shape: Sequence[int]) -> Tensor:
    """Repeat the values of squares to pixels: `[n, n']` to `[H, W]`, float32."""
    size = shape[0] // grid.shape[0]
    return grid.float().repeat_interleave(size, 0).repeat_interleave(size, 1)


def weighted(picture: Tensor, weights: Tensor) -> Tensor:
    """Multiply and shift the colours of a picture: `[3, H, W]`, whole numbers in 0..255.

    Args:
        picture: `[3, H, W]`.
        weights: int64 `[3, 2]`: gain less 1 in units of `GAIN_UNITS`, offset in levels of 255.
    """
    gain, offset = weights.float()[..., None, None].unbind(1)
    return whole(picture * (1 + gain / GAIN_UNITS) + offset)


def predict(
    base: Tensor, reference: Reference | None, modes: Tensor, sources: Tensor, vectors: Tensor
) -> Tensor:
    """Predict a frame, `[3, H, W]`, whole numbers in 0..255.

    Beside the last frame the older one is read at twice the vector, alone at the vector; a mean is
    one of whole numbers, halves up.

    Args:
        base: decoded from the codes.
        reference: None for the first frame of a GOP.
        modes: int64 `[h, w]`.
        sources: int64 `[h, w]`.
        vectors: of blocks int64 `[2h, 2w, 2]`, 0 where the mode has none.
    """
    if reference is None:
        return whole(base)
    last, nothing = reference.before(), base.new_empty(0)
    prediction = torch.empty_like(base)
    kernels.predict(
        to_array(base),
        reference.before(nothing if reference.added is None else reference.added),
        last,
        last if reference.older is None else reference.older.before(),
        to_array(modes),
        to_array(sources),
        to_array(vectors),
        prediction.numpy(),
    )
    return prediction


def whole(picture: Tensor) -> Tensor:
    """Round to whole numbers in 0..255, halves up.

    Vectors of quarters of a pixel make many exact sixteenths. Those that are halves must not depend
    on the last bit of a float, which another device computes otherwise.
    """
    return (picture + (0.5 + TIE)).floor().clamp(0, 255)


def reconstruct(prediction: Tensor, levels: Tensor, steps: Tensor) -> Tensor:
    """Add what the levels say: `[3, H, W]`, whole numbers in 0..255.

    Args:
        prediction: from `predict`.
        levels: float32 `[3, H/8, W/8, 8, 8]`.
        steps: of the quantiser, for every cube `[H/16, W/16]`.
    """
    frame = prediction.clone(memory_format=torch.contiguous_format)
    kernels.reconstruct(frame.numpy(), to_array(levels.flatten(-2)), to_array(steps))
    return frame


def to_blocks(cubes: Tensor) -> Tensor:
    """Repeat what cubes have for their blocks: `[h, w, ...]` to `[2h, 2w, ...]`."""
    return cubes.repeat_interleave(2, 0).repeat_interleave(2, 1)
