"""Which tokens meet in attention: windows of a whole grid, or runs of scattered tokens.

Shapes: B batch, h w token grid, D width, n tokens, G groups of s queries that see k keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

FEW_WINDOWS = 5  # so many windows of scattered tokens attend as one: less to copy, less memory
HIDDEN = -1e4  # added to attention logits; finite, so that a row that sees nothing stays a number


class Windows(Protocol):
    """Tokens in groups that attend to each other."""

    @property
    def width(self) -> int:
        """Columns of the whole token grid."""

    def queries(self, tokens: Tensor) -> Tensor:
        """Group tokens as queries: `[B, ., ., D]` to `[G, s, D]`."""

    def keys(self, groups: Tensor) -> Tensor:
        """What every group sees, of groups that `queries` made: `[G, s, D]` to `[G, k, D]`."""

    def join(self, groups: Tensor) -> Tensor:
        """Inverse of `queries`: `[G, s, D]` to `[B, ., ., D]`."""

    def bias(self, table: Tensor) -> Tensor:
        """Look up relative positions, hide other windows: `[T, heads]` to `[G or 1, heads, s, k]`.

        Args:
            table: bias of every offset, row by row, T = (2 * size - 1)^2.
        """

    def places(self) -> tuple[Tensor, Tensor]:
        """Place (row * columns + column) of queries and keys, int64 `[G or n, s]`, `[., k]`."""


def split_windows(x: Tensor, size: int) -> Tensor:
    """Cut `[B, h, w, D]` (h and w multiples of size) into windows `[B*n, size*size, D]`."""
    b, h, w, d = x.shape
    x = x.view(b, h // size, size, w // size, size, d).transpose(2, 3)
    return x.reshape(-1, size * size, d)


def join_windows(windows: Tensor, size: int, h: int, w: int) -> Tensor:
    """Inverse of `split_windows`: `[B*n, size*size, D]` to `[B, h, w, D]`."""
    d = windows.shape[-1]
    x = windows.view(-1, h // size, w // size, size, size, d).transpose(2, 3)
    return x.reshape(-1, h, w, d)


def window_mask(
    h: int, w: int, size: int, shift: int, device: torch.device | None = None
) -> Tensor | None:
    """Which tokens of a window must not see each other: padding, and neighbours by roll only.

    Args:
        h: rows of the grid before padding.
        w: columns of the grid before padding.
        size: window size in tokens.
        shift: shift of the windows in tokens; 0 for none.
        device: where the mask is made.

    Returns:
        Additive mask float32 `[n, 1, s, s]`, or None where every token may see every other.
    """
    padded_h, padded_w = -h % size + h, -w % size + w
    if not shift and (padded_h, padded_w) == (h, w):
        return None
    if torch.compiler.is_compiling():
        return _window_mask(h, w, size, shift, device)
    return _kept_window_mask(h, w, size, shift, device)


def _window_mask(h: int, w: int, size: int, shift: int, device: torch.device | None) -> Tensor:
    rows = (torch.arange(h, device=device) < shift).long()
    columns = (torch.arange(w, device=device) < shift).long()
    label = (rows[:, None] * 2 + columns).float()
    label = F.pad(label, (0, -w % size, 0, -h % size), value=-1.0)
    label = torch.roll(label, (-shift, -shift), (0, 1))
    windows = split_windows(label[None, :, :, None], size)[..., 0]  # [n, s]
    apart = windows[:, None, :] != windows[:, :, None]
    return apart.float().mul(HIDDEN)[:, None]


_kept_window_mask = lru_cache(maxsize=64)(torch.inference_mode(False)(_window_mask))


def relative_index(size: int, device: torch.device | None = None) -> Tensor:
    """Index of the relative position bias for every pair of tokens, int64 `[s, s]`."""
    if torch.compiler.is_compiling():
        return _relative_index(size, device)
    return _kept_relative_index(size, device)


def _relative_index(size: int, device: torch.device | None) -> Tensor:
    place = torch.arange(size, device=device)
    offset = place[:, None] - place[None, :] + size - 1
    pairs = offset[:, None, :, None] * (2 * size - 1) + offset[None, :, None, :]
    return pairs.reshape(size * size, size * size)


_kept_relative_index = lru_cache(maxsize=16)(torch.inference_mode(False)(_relative_index))


@dataclass(frozen=True)
class GridWindows:
    """Windows of a whole grid of h x w tokens (Swin Transformer, arXiv 2103.14030)."""

    h: int
    w: int
    size: int
    shift: int
    batch: int
    device: torch.device

    @property
    def width(self) -> int:
        """Columns of the grid."""
        return self.w

    def queries(self, tokens: Tensor) -> Tensor:
        """Pad, shift and cut."""
        tokens = F.pad(tokens, (0, 0, 0, -self.w % self.size, 0, -self.h % self.size))
        if self.shift:
            tokens = torch.roll(tokens, (-self.shift, -self.shift), (1, 2))
        return split_windows(tokens, self.size)

    def keys(self, groups: Tensor) -> Tensor:
        """A window sees itself."""
        return groups

    def join(self, groups: Tensor) -> Tensor:
        """Put the windows back."""
        h, w = -self.h % self.size + self.h, -self.w % self.size + self.w
        grid = join_windows(groups, self.size, h, w)
        if self.shift:
            grid = torch.roll(grid, (self.shift, self.shift), (1, 2))
        return grid[:, : self.h, : self.w]

    def bias(self, table: Tensor) -> Tensor:
        """The same for every window but for what the shift brought together."""
        bias = table[relative_index(self.size, table.device)].permute(2, 0, 1)[None]
        mask = window_mask(self.h, self.w, self.size, self.shift, self.device)
        return bias if mask is None else (bias + mask.to(bias)).repeat(self.batch, 1, 1, 1)

    def places(self) -> tuple[Tensor, Tensor]:
        """Places of the tokens of every window, the same in each picture of the batch."""
        grid = torch.arange(self.h * self.w, device=self.device).view(1, self.h, self.w, 1)
        windows = self.queries(grid)[..., 0].repeat(self.batch, 1)
        return windows, windows


@dataclass(frozen=True)
class RunWindows:
    """Windows of scattered tokens: sorted by window, in runs that see the runs beside them.

    A window holds at most `run` tokens and they lie side by side, so all of a token's window is in
    its own run or in one of the two beside it.

    Attributes:
        rows: row of every token in the whole grid `[B, n]`.
        columns: its column `[B, n]`.
        order: tokens sorted by window `[B, n]`.
        window: window of the sorted tokens `[B, n]`.
        size: window size in tokens.
        width: columns of the whole grid.
    """

    rows: Tensor
    columns: Tensor
    order: Tensor
    window: Tensor
    size: int
    width: int
    shape: tuple[int, int]  # rows and columns of the strip, in tokens

    @property
    def run(self) -> int:
        """Tokens of a run; few tokens are one run, which is cheaper than runs that see three."""
        count = self.order.shape[1]
        return self.size**2 if count > FEW_WINDOWS * self.size**2 else count

    def _runs(self, tokens: Tensor, value: float = 0) -> Tensor:
        """Sorted tokens `[B, n, D]` to runs `[B, c, run, D]`."""
        return F.pad(tokens, (0, 0, 0, -tokens.shape[1] % self.run), value=value).unflatten(
            1, (-1, self.run)
        )

    def _sorted(self, tokens: Tensor) -> Tensor:
        """Sort by window. Scattered, not gathered: for its gradient a gather keeps what it read."""
        index = self.order.argsort(1)[..., None].expand_as(tokens)
        return torch.empty_like(tokens).scatter(1, index, tokens)

    def _beside(self, runs: Tensor, value: float = 0) -> Tensor:
        """Runs `[B, c, run, D]` with those beside them `[B, c, 3 * run, D]`; a single one alone."""
        if runs.shape[1] == 1:
            return runs
        ends = F.pad(runs, (0, 0, 0, 0, 1, 1), value=value)
        return torch.cat([ends[:, :-2], ends[:, 1:-1], ends[:, 2:]], 2)

    def queries(self, tokens: Tensor) -> Tensor:
        """Sort by window and cut into runs."""
        return self._runs(self._sorted(tokens.flatten(1, 2))).flatten(0, 1)

    def keys(self, groups: Tensor) -> Tensor:
        """A run sees itself and the runs beside it."""
        return self._beside(groups.unflatten(0, (len(self.order), -1))).flatten(0, 1)

    def join(self, groups: Tensor) -> Tensor:
        """Put the tokens back into the order of the strip."""
        count = self.order.shape[1]
        tokens = groups.unflatten(0, (len(self.order), -1)).flatten(1, 2)[:, :count]
        index = self.order[..., None].expand_as(tokens)
        return torch.empty_like(tokens).scatter(1, index, tokens).unflatten(1, self.shape)

    def _pairs(self, values: Tensor, outside: float) -> tuple[Tensor, Tensor]:
        """A number of every sorted token `[B, n]` for queries `[G, s]` and keys `[G, k]`."""
        runs = self._runs(values[..., None].float(), outside)
        beside = self._beside(runs, outside - 1)
        return runs.flatten(0, 1)[..., 0], beside.flatten(0, 1)[..., 0]

    def bias(self, table: Tensor) -> Tensor:
        """Relative positions inside a window; everything else is hidden."""
        reach = self.size - 1
        index = torch.zeros((), device=table.device)
        for values, stride in ((self.rows, 2 * self.size - 1), (self.columns, 1)):
            query, key = self._pairs(values.gather(1, self.order), 0)
            offset = (query[:, :, None] - key[:, None, :]).clamp(-reach, reach) + reach
            index = index + offset * stride
        query, key = self._pairs(self.window, -2)
        hidden = (query[:, :, None] != key[:, None, :]).to(table) * HIDDEN
        found = F.embedding(index.long(), table)  # [G, s, k, heads]
        return found.permute(0, 3, 1, 2) + hidden[:, None]

    def places(self) -> tuple[Tensor, Tensor]:
        """Places of the tokens of every run and of what it sees."""
        place = self.rows.gather(1, self.order) * self.width + self.columns.gather(1, self.order)
        query, key = self._pairs(place, 0)
        return query.long(), key.long()
