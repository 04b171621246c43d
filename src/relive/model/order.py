"""Decoding by importance: windows in which a region sees itself and more important ones only.

Shapes: G groups of s queries and k keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from relive.model.regions import comes_later
from relive.model.token_windows import HIDDEN, Windows


@dataclass(frozen=True)
class OrderedWindows:
    """Windows of which less important regions are hidden (specification, "Hierarchical decoding").

    As in every block nothing flows from a region to a more important one, one pass gives the
    features of decoding the regions one after the other with the earlier ones as context. The
    convolutions of the head then see a few pixels across the borders of regions.

    Attributes:
        windows: who would meet without the order.
        regions: region of every token, int64 `[B, h, w]`.
    """

    windows: Windows
    regions: Tensor

    @property
    def width(self) -> int:
        """Columns of the whole token grid."""
        return self.windows.width

    def queries(self, tokens: Tensor) -> Tensor:
        """As without the order."""
        return self.windows.queries(tokens)

    def keys(self, groups: Tensor) -> Tensor:
        """As without the order."""
        return self.windows.keys(groups)

    def join(self, groups: Tensor) -> Tensor:
        """As without the order."""
        return self.windows.join(groups)

    def places(self) -> tuple[Tensor, Tensor]:
        """As without the order."""
        return self.windows.places()

    def bias(self, table: Tensor) -> Tensor:
        """Hide what comes later, too: `[G, heads, s, k]`."""
        regions = self.queries(self.regions[..., None])
        later = comes_later(regions[..., 0], self.keys(regions)[..., 0])
        return self.windows.bias(table) + later.to(table)[:, None] * HIDDEN
