"""Regions of the picture: which cubes belong together, and what attention makes of it.

Specification, "Region-Aware Attention", "Hierarchical region processing" and "Hierarchical
decoding". The specification wants regions segmented beforehand; here both sides derive them from
what they have anyway: the camera's view (what lies outside is an overlay) and the motion
hypothesis of the cube (fixed to the screen, near, middle, far). They cost no bits.

*Region by region.* In a ranked pass a token sees its own region and more important ones, in every
layer; nothing flows from a later region to an earlier one. So one masked pass gives the features
that decoding region after region would give, with the earlier ones as context, and without its
latency (`relive.model.order`). `RegionHierarchy` keeps to the same order. The parallel variant
leaves the mask out and is held to the ordered features by `consistency`.

Shapes: B batch, h w cube grid, N cubes, D width, R regions, G groups of tokens that attend to each
other (windows), s queries and k keys of a group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.config import CUBE_PX
from relive.model.motion import NUM_MOTION, Motion, inverse_depths
from relive.model.parts import start_at_zero
from relive.model.token_windows import HIDDEN
from relive.model.warp import Pinhole

EMBEDDING_DIM = 256  # specification, "Region embeddings"


@dataclass(frozen=True)
class RegionKind:
    """One kind: complexity sets its mask ratio, higher importance is decoded earlier."""

    name: str
    complexity: Literal["simple", "complex", "critical"]
    importance: int


# Ids are places in this tuple. Importance: first what is read (overlay), then what is always in
# sight (fixed), then by what an error costs: what is near is large and moves most, what is far is
# small and still. Unknown is last: it may read all others, and claims no precedence it has not.
REGIONS: tuple[RegionKind, ...] = (
    RegionKind("unknown", "complex", 0),
    RegionKind("overlay", "critical", 5),
    RegionKind("fixed", "complex", 4),
    RegionKind("near", "complex", 3),
    RegionKind("middle", "complex", 2),
    RegionKind("far", "simple", 1),
)
UNKNOWN, OVERLAY, FIXED, NEAR, MIDDLE, FAR = range(len(REGIONS))

_LEVELS = NUM_MOTION - 2  # hypotheses with a depth, from near to far by equal factors
_BY_DEPTH = (FIXED, FAR, *(NEAR + level * 3 // _LEVELS for level in range(_LEVELS)))
_BY_DISPLACEMENT = (FIXED, *(MIDDLE for _ in range(NUM_MOTION - 1)))


def decoding_order() -> tuple[int, ...]:
    """Ids of all regions, the most important first."""
    return tuple(sorted(range(len(REGIONS)), key=lambda i: -REGIONS[i].importance))


_RANK = tuple(decoding_order().index(i) for i in range(len(REGIONS)))


def ranks(regions: Tensor) -> Tensor:
    """Place in the decoding order, 0 first, of every id: int64 of the same shape."""
    return torch.tensor(_RANK, device=regions.device)[regions]


def comes_later(regions_q: Tensor, regions_k: Tensor) -> Tensor:
    """Whether a key's region is decoded after the query's: `[G, s]`, `[G, k]` to `[G, s, k]`."""
    return ranks(regions_k)[:, None, :] > ranks(regions_q)[:, :, None]


def cube_regions(motion: Motion, choice: Tensor | None, h: int, w: int) -> Tensor:
    """Region of every cube, from what both sides know before the step's codes.

    With a camera the depth levels are cut in three equal factors (20 to 78, 306 and 1200 world
    units). A camera that stands still makes all hypotheses alike; then the search says "copy" and
    cubes count as fixed.

    Args:
        motion: what is known of the camera.
        choice: hypotheses int64 `[B, h, w]`; None where there are none (keyframe).
        h: rows of the cube grid.
        w: columns of the cube grid.

    Returns:
        Ids of `REGIONS`, int64 `[B, h, w]`.
    """
    known = motion.known.bool()[:, None, None] & (motion.camera is not None)
    if choice is None:
        regions = torch.full((len(known), h, w), UNKNOWN, device=known.device)
    else:
        tables = torch.tensor((_BY_DISPLACEMENT, _BY_DEPTH), device=known.device)
        regions = tables[known.long(), choice]
    if motion.camera is None:
        return regions
    overlay = known & ~_in_view(motion.camera, motion.origin_px, h, w)
    return torch.where(overlay, OVERLAY, regions)


def depth_regions(motion: Motion, inverse_depth: Tensor) -> Tensor:
    """Region of every cube by a learned depth; as `cube_regions`, where no hypotheses are sent.

    Args:
        motion: what is known of the camera.
        inverse_depth: one over world units `[B, h, w]`; 0 for what is fixed to the screen.

    Returns:
        Ids of `REGIONS`, int64 `[B, h, w]`; without a camera `UNKNOWN`.
    """
    levels = inverse_depths().to(inverse_depth.device)[2:]
    edges = levels[[_LEVELS // 3, 2 * _LEVELS // 3]]
    beyond = (inverse_depth[..., None] <= edges).sum(-1)  # 0 near, 1 middle, 2 far
    by_depth = torch.where(inverse_depth > 0, NEAR + beyond, FIXED)
    h, w = inverse_depth.shape[1:]
    known = motion.known.bool()[:, None, None] & (motion.camera is not None)
    regions = torch.where(known, by_depth, UNKNOWN)
    overlay = cube_regions(motion, None, h, w) == OVERLAY
    return torch.where(overlay, OVERLAY, regions)


def _in_view(camera: Pinhole, origin_px: Tensor, h: int, w: int) -> Tensor:
    """Whether the centre of a cube lies in the camera's part of the frame, bool `[B, h, w]`."""
    rows = torch.arange(h, device=origin_px.device) * CUBE_PX + CUBE_PX / 2
    columns = torch.arange(w, device=origin_px.device) * CUBE_PX + CUBE_PX / 2
    y, x = origin_px[:, 1, None] + rows, origin_px[:, 0, None] + columns
    in_rows = (y >= camera.top_px) & (y < camera.bottom_px)
    in_columns = (x >= camera.left_px) & (x < camera.right_px)
    return in_rows[:, :, None] & in_columns[:, None, :]


def membership(regions: Tensor, num_regions: int) -> Tensor:
    """Which region a cube belongs to, as 0 and 1: ids `[B, h, w]` to float32 `[B, N, R]`.

    Sums over regions are products with it: their order is fixed on a GPU too, unlike a scatter's.
    """
    ids = torch.arange(num_regions, device=regions.device)
    return (regions.flatten(1)[..., None] == ids).float()


class RegionEmbedding(nn.Module):
    """A learned 256-wide vector of every region, projected and added (specification)."""

    def __init__(self, num_regions: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_regions, EMBEDDING_DIM)
        self.project = nn.Linear(EMBEDDING_DIM, dim, bias=False)
        start_at_zero(self.project)

    def forward(self, x: Tensor, regions: Tensor) -> Tensor:
        """Map `[B, h, w, D]` to `[B, h, w, D]`; the projection runs once per region."""
        return x + F.embedding(regions, self.project(self.embedding.weight))


class Proximity(nn.Module):
    """λ·exp(−d²/σ²) with a learned λ and σ per head (specification, "Intra-region processing").

    A bias is no branch that adds to tokens, so it need not start at zero: λ starts at 0.1, changes
    a weight by 10 % at most, and lets σ learn from the first step (σ's gradient is a multiple of
    λ). σ starts at 1 to 8 cubes over the heads, so that heads differ.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.full((num_heads,), 0.1))
        self.log_sigma = nn.Parameter(torch.linspace(0, math.log(8), num_heads))

    def forward(self, own: Tensor, squared: Tensor) -> Tensor:
        """Bias `[G, heads, s, k]` from `own` (1 in a region, else 0) and squared distances."""
        # a power of two: on CPUs torch's exp2 is four times as fast as its exp
        rate = -math.log2(math.e) * torch.exp(-2 * self.log_sigma)[:, None, None]
        return self.strength[:, None, None] * own * torch.exp2(squared * rate)


class Flat(nn.Module):
    """No bias by distance: stands in the place of `Proximity`."""

    def forward(self, own: Tensor, squared: Tensor) -> Tensor:
        """Zeros float32 `[G, 1, s, k]`, the same for all heads."""
        return torch.zeros_like(squared)


# 2^16 divided by the plastic number and by its square (Roberts' R2 sequence)
_STRIDE_Y, _STRIDE_X, _CYCLE = 49471, 37345, 1 << 16


class CrossLinks(nn.Module):
    """Keep a share of the links between regions (specification, "Cross-region connections").

    A place has a number modulo 2^16 that grows by fixed strides with row and column; two places are
    linked if the sum of their numbers falls below the share. Seen from any place this is the
    two-dimensional low-discrepancy R2 sequence: at 25 % every 2×3 cubes hold a link and every 8×8
    hold 14 to 17, where a random draw leaves holes. Integers only: the same on every machine.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share of cross links is {share}, not over 0 and up to 1")
        self.below = round(share * _CYCLE)

    def forward(self, place_q: Tensor, place_k: Tensor, columns: int) -> Tensor:
        """Which links between `[G, s]` and `[G, k]` are not kept: bool `[G, s, k]`."""
        q, k = self._number(place_q, columns), self._number(place_k, columns)
        return (q[:, :, None] + k[:, None, :]) & (_CYCLE - 1) >= self.below

    def _number(self, place: Tensor, columns: int) -> Tensor:
        return place // columns * _STRIDE_Y + place % columns * _STRIDE_X


class RegionBias(nn.Module):
    """What regions add to the attention logits of a group of tokens.

    `proximity`: add `Proximity` within a region. `cross_links`: share of the links between regions
    that are kept, over 0, up to 1.
    """

    def __init__(self, num_heads: int, proximity: bool, cross_links: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.proximity = Proximity(num_heads) if proximity else Flat()
        self.links = CrossLinks(cross_links)

    def forward(
        self, regions_q: Tensor, regions_k: Tensor, place_q: Tensor, place_k: Tensor, columns: int
    ) -> Tensor:
        """Compute the additive bias; a token sees all tokens of its own region.

        Args:
            regions_q: ids of the queries' cubes, int64 `[G, s]`.
            regions_k: ids of the keys' cubes, int64 `[G, k]`.
            place_q: row * columns + column of the queries' cubes in the grid, int64 `[G, s]`.
            place_k: the same of the keys, int64 `[G, k]`.
            columns: columns of the whole cube grid.

        Returns:
            float32 `[G, heads, s, k]`; `HIDDEN` where a query must not see a key.
        """
        own = regions_q[:, :, None] == regions_k[:, None]
        masked = self.links(place_q, place_k, columns)
        squared = _squared_distance(place_q, place_k, columns)
        near = self.proximity(own[:, None].float(), squared[:, None])
        hidden = (masked & ~own)[:, None].float() * HIDDEN
        return (near + hidden).expand(-1, self.num_heads, -1, -1)


def _squared_distance(place_q: Tensor, place_k: Tensor, columns: int) -> Tensor:
    """Squared distances in cubes between `[G, s]` and `[G, k]`, float32 `[G, s, k]`."""
    rows = (place_q // columns).float()[:, :, None] - (place_k // columns).float()[:, None, :]
    across = (place_q % columns).float()[:, :, None] - (place_k % columns).float()[:, None, :]
    return rows.square() + across.square()


class RegionHierarchy(nn.Module):
    """Cubes, regions, game (specification, "three-level hierarchy").

    The cubes of a region are averaged; the regions attend to each other, and a learned token of
    the game attends to them; both come back to the cubes of the region. In a ranked pass a region,
    and the game as this region sees it, know of no less important region.
    """

    later: Tensor

    def __init__(self, dim: int, num_regions: int) -> None:
        super().__init__()
        self.num_regions, inner = num_regions, min(dim, EMBEDDING_DIM)
        self.norm = nn.LayerNorm(dim)
        self.down = nn.Linear(dim, inner)
        self.names = nn.Parameter(torch.randn(num_regions, inner) * 0.02)
        self.game = nn.Parameter(torch.randn(1, inner) * 0.02)
        self.q, self.kv = nn.Linear(inner, inner), nn.Linear(inner, 2 * inner)
        self.back = nn.Sequential(nn.Linear(2 * inner, inner), nn.GELU(), nn.Linear(inner, dim))
        start_at_zero(self.back[2])
        every = torch.arange(num_regions)[None]
        self.register_buffer("later", comes_later(every, every)[0], persistent=False)

    def forward(self, x: Tensor, regions: Tensor, ranked: bool = False) -> Tensor:
        """Map `[B, h, w, D]` to `[B, h, w, D]`."""
        member = membership(regions, self.num_regions)
        count = member.sum(1)  # [B, R]
        # divided before the sum, which could overflow in fp16
        mean = (member / count.clamp(min=1)[:, None]).transpose(1, 2) @ self.norm(x).flatten(1, 2)
        hidden = (count == 0)[:, None, :] | (self.later & ranked)
        read = self.back(self._mix(self.down(mean) + self.names, hidden))  # [B, R, D]
        return x + (member.to(read.dtype) @ read).view(x.shape)

    def _mix(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Let regions `[B, R, D]` and the game look at what is not hidden: `[B, R, 2D]`."""
        b, r, _ = tokens.shape
        both = torch.cat([tokens, self.game.expand(b, r, -1)], 1)  # a game token for every region
        q, (k, v) = self.q(both), self.kv(both[:, : r + 1]).chunk(2, -1)
        masked = F.pad(hidden, (0, 1))  # [B, R, R + 1]
        bias = masked.repeat(1, 2, 1).to(k.dtype) * HIDDEN
        both = both + F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return torch.cat(both.split(r, 1), -1)


def consistency(parallel: Tensor, ordered: Tensor, regions: Tensor) -> Tensor:
    """Consistency loss of the parallel variant (specification, "Future directions").

    Args:
        parallel: features of the pass without the order `[B, h, w, D]`; gets the gradient.
        ordered: features of the pass by importance `[B, h, w, D]`; the target.
        regions: ids int64 `[B, h, w]`.

    Returns:
        Mean squared difference, scalar float32; a small region counts as much as a large one.
    """
    squared = (parallel.float() - ordered.detach().float()).square().mean(-1).flatten(1)
    member = membership(regions, len(REGIONS))
    count = member.sum(1)  # [B, R]
    each = (member * squared[..., None]).sum(1) / count.clamp(min=1)
    return each.sum() / (count > 0).sum()
