"""Which cubes are computed, and how their tokens fall into windows.

A masked encoder that is really sparse gathers the visible cubes into a *strip*: a picture one cube
wide, the cubes one below the other. Whatever works on single tokens, or on the tokens inside one
cube (linear layers, norms, patch embedding, patch merging), works on a strip as on a whole picture.
Only attention must know where a cube came from: `Strip.windows` sorts the tokens by their window
and lets every run of them see the runs beside it, which holds whole windows at a cost that is
linear in the visible tokens (compare group window attention, arXiv 2205.13515).

```
 whole picture   ■ □ ■ □        strip  ■
                 □ □ ■ □   ──►         ■    (each ■ holds side x side tokens)
                                       ■
```

Shapes: B batch, h w cube grid, N visible cubes, D width, n tokens, G groups of s queries that see k
keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from relive.model.masks import check_counts, visible_indices
from relive.model.token_windows import GridWindows, RunWindows, Windows


class Layout(Protocol):
    """The cubes that are computed."""

    def cut(self, picture: Tensor, side: int) -> Tensor:
        """Take the cubes, `side` pixels each way, out of `[B, C, H, W]`: `[B, C, ., .]`."""

    def paste(self, cubes: Tensor, fill: Tensor) -> Tensor:
        """Put cubes back, `fill` `[D]` elsewhere: `[B, ., ., D]` to `[B, h, w, D]`."""

    def apart(self, picture: Tensor, side: int) -> Tensor:
        """Part cubes that are no neighbours, for convolutions: `[B, C, ...]` to `[., C, ., .]`."""

    def together(self, picture: Tensor, side: int) -> Tensor:
        """Inverse of `apart`."""

    def windows(
        self, side: int, size: int, shift: int, batch: int, device: torch.device
    ) -> Windows:
        """Group the tokens, `side` x `side` of a cube, into windows of `size` x `size`."""


@dataclass(frozen=True)
class Everything:
    """Every cube of the grid of h x w is computed."""

    h: int
    w: int

    def cut(self, picture: Tensor, side: int) -> Tensor:
        """The whole picture."""
        return picture

    def paste(self, cubes: Tensor, fill: Tensor) -> Tensor:
        """They are all there."""
        return cubes

    def apart(self, picture: Tensor, side: int) -> Tensor:
        """Neighbours stay neighbours."""
        return picture

    def together(self, picture: Tensor, side: int) -> Tensor:
        """Neighbours stayed neighbours."""
        return picture

    def windows(
        self, side: int, size: int, shift: int, batch: int, device: torch.device
    ) -> Windows:
        """Windows of the whole grid."""
        return GridWindows(self.h * side, self.w * side, size, shift, batch, device)


@dataclass(frozen=True)
class Strip:
    """Only the visible cubes are computed.

    Attributes:
        h: rows of the whole cube grid.
        w: its columns.
        index: visible cubes in row-major order, int64 `[B, N]`.
    """

    h: int
    w: int
    index: Tensor

    def _tokens(self, side: int) -> tuple[Tensor, Tensor]:
        """Row and column in the whole grid of every token of the strip `[B, N * side * side]`."""
        inside = torch.arange(side, device=self.index.device)
        rows = (self.index // self.w * side)[:, :, None] + inside
        columns = (self.index % self.w * side)[:, :, None] + inside
        full = (*rows.shape, side)
        return rows[..., None].expand(full).flatten(1), columns[:, :, None].expand(full).flatten(1)

    def cut(self, picture: Tensor, side: int) -> Tensor:
        """Gather the visible cubes: `[B, C, h*side, w*side]` to `[B, C, N*side, side]`."""
        rows, columns = self._tokens(side)
        index = (rows * (self.w * side) + columns)[:, None].expand(-1, picture.shape[1], -1)
        return picture.flatten(2).gather(2, index).unflatten(2, (-1, side))

    def paste(self, cubes: Tensor, fill: Tensor) -> Tensor:
        """Scatter `[B, N, 1, D]` into `[B, h, w, D]`."""
        cubes = cubes.flatten(1, 2)
        b, _, d = cubes.shape
        grid = fill.to(cubes).expand(b, self.h * self.w, d)
        return grid.scatter(1, self.index[..., None].expand_as(cubes), cubes).view(
            b, self.h, self.w, d
        )

    def apart(self, picture: Tensor, side: int) -> Tensor:
        """`[B, C, N*side, side]` to `[B*N, C, side, side]`."""
        return picture.unflatten(2, (-1, side)).transpose(1, 2).flatten(0, 1)

    def together(self, picture: Tensor, side: int) -> Tensor:
        """`[B*N, C, side, side]` to `[B, C, N*side, side]`."""
        return picture.unflatten(0, (len(self.index), -1)).transpose(1, 2).flatten(2, 3)

    def windows(
        self, side: int, size: int, shift: int, batch: int, device: torch.device
    ) -> Windows:
        """Sort the tokens of the visible cubes into windows."""
        rows, columns = self._tokens(side)
        across = -(-self.w * side // size) + 1
        # a shifted grid of windows begins `shift` tokens late; what lies before is window -1
        down = torch.div(rows - shift, size, rounding_mode="floor") + 1
        right = torch.div(columns - shift, size, rounding_mode="floor") + 1
        window = down * (across + 1) + right
        order = window.argsort(dim=1, stable=True)
        shape = (self.index.shape[1] * side, side)
        return RunWindows(rows, columns, order, window.gather(1, order), size, self.w * side, shape)


def visible(masked: Tensor) -> Strip:
    """Compute only what a mask leaves visible.

    Args:
        masked: True = hidden `[B, h, w]`.

    Raises:
        ValueError: The rows of the batch differ in their number of visible cubes, or see none.
    """
    count = check_counts(masked)
    if not count:
        raise ValueError("a mask hides every cube; at least one must be visible")
    _, h, w = masked.shape
    return Strip(h, w, visible_indices(masked, count))
