"""Multi-view consistency: cubes that show one place have latents that match.

Specification, section "Multi-view consistency". Positives are found by pose and region: the pose
says which cube of another view shows the same place, and both must lie in the same region.

Shapes: B batch, h w cube grid, D latent width, P pairs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.config import CUBE_PX
from relive.model.regions import FIXED, OVERLAY, UNKNOWN
from relive.model.warp import Pinhole, camera_positions, relative_pose

SHARPEST = 100.0  # one over the lowest temperature; the highest is 1
MAX_PAIRS = 512


def positives(source: Tensor, regions_now: Tensor, regions_before: Tensor) -> tuple[Tensor, Tensor]:
    """Find the pairs of cubes that show the same place.

    Args:
        source: for every cube now, the cube before (row * w + column) that shows the same place,
            int64 `[B, h, w]`; below 0 where there is none.
        regions_now: region ids int64 `[B, h, w]`; unknown counts as equal to any place.
        regions_before: the same of the view before.

    Returns:
        Index of the cube now and of the cube before, over all B * h * w cubes, int64 `[P]` each.
    """
    source, now = source.flatten(1), regions_now.flatten(1)  # [B, h*w]
    cube = source.clamp_min(0)
    before = regions_before.flatten(1).gather(1, cube)
    alike = (now == before) | (now == UNKNOWN) | (before == UNKNOWN)
    index_now = ((source >= 0) & alike & _place(now) & _place(before)).flatten().nonzero()[:, 0]
    first = torch.arange(len(source), device=source.device)[:, None] * source.shape[1]
    return index_now, (cube + first).flatten()[index_now]


def _place(regions: Tensor) -> Tensor:
    """Whether a cube shows a place: what is fixed to the screen does not."""
    return (regions != OVERLAY) & (regions != FIXED)


def same_place(
    camera: Pinhole,
    pose_a: Tensor,
    pose_b: Tensor,
    inverse_depth_b: Tensor,
    origin_px: Tensor | None = None,
) -> Tensor:
    """Find the cube of view a that shows what each cube of view b shows.

    The two views may be any two frames of a session. What hides the place in view a is not known
    here; `shared_places` is for views far apart.

    Args:
        camera: the pinhole camera of both views.
        pose_a: x, y, z, yaw, pitch, roll in world units and radians `[B, 6]`, float64.
        pose_b: the same of view b.
        inverse_depth_b: one over the distance along the view of b at the cubes' centres
            `[B, h, w]`; 0 is infinitely far.
        origin_px: column and row of the top left corner of both crops in the whole frame `[B, 2]`;
            None for whole frames.

    Returns:
        Index (row * w + column) of the cube of a, int64 `[B, h, w]`; -1 where the place is behind
        its camera, outside its picture or crop, or where either cube is in the overlay.
    """
    b, h, w = inverse_depth_b.shape
    origin = pose_b.new_zeros(b, 2) if origin_px is None else origin_px
    origin = origin.to(inverse_depth_b)
    xs, ys = _centres(origin[:, 0], w), _centres(origin[:, 1], h)
    turn, shift = (part.to(inverse_depth_b) for part in relative_pose(pose_a, pose_b))
    nearness = inverse_depth_b[:, None]
    x, y = (p[:, 0] for p in camera_positions(camera, turn, shift, nearness, xs, ys))
    column = ((x - origin[:, :1, None]) / CUBE_PX).floor()
    row = ((y - origin[:, 1:, None]) / CUBE_PX).floor()
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    seen = _in_view(camera, x, y) & _in_front(camera, turn, shift, inverse_depth_b, xs, ys)
    cube = row.clamp(0, h - 1).long() * w + column.clamp(0, w - 1).long()
    scene = _in_view(camera, xs[:, None, :], ys[:, :, None])  # [B, h, w], the same for both views
    scene_a = scene.flatten(1).gather(1, cube.flatten(1)).view_as(cube)
    return torch.where(inside & seen & scene & scene_a, cube, -1)


def _centres(origin: Tensor, count: int) -> Tensor:
    """Centres of cubes in pixels of the whole frame `[B, count]`."""
    return origin[:, None] + (torch.arange(count, device=origin.device) + 0.5) * CUBE_PX


def _in_view(camera: Pinhole, x: Tensor, y: Tensor) -> Tensor:
    inside_x = (x >= camera.left_px) & (x < camera.right_px)
    return inside_x & (y >= camera.top_px) & (y < camera.bottom_px)


def _in_front(
    camera: Pinhole, turn: Tensor, shift: Tensor, inverse_depth: Tensor, xs: Tensor, ys: Tensor
) -> Tensor:
    """Whether the place is in front of the reference camera `[B, h, w]`."""
    right = ((xs - camera.centre_x_px) / camera.focal_x_px)[:, None, :]
    up = (-(ys - camera.centre_y_px) / camera.focal_y_px)[:, :, None]
    along = turn[:, 2, :, None, None]  # third row: forward of the reference
    ray = along[:, 0] * right + along[:, 1] * up + along[:, 2]
    return ray + shift[:, 2, None, None] * inverse_depth > 1e-3


def shared_places(
    camera: Pinhole,
    pose_a: Tensor,
    pose_b: Tensor,
    inverse_depth_a: Tensor,
    inverse_depth_b: Tensor,
    origin_px: Tensor | None = None,
) -> Tensor:
    """Find the places that both views see: `same_place` from b to a that holds from a to b as well.

    Views that are some steps apart see different things along one ray: a wall, or what stands
    before it. Such a match does not hold in both directions and is dropped.

    Returns:
        Index of the cube of a for the cubes of b, int64 `[B, h, w]`; -1 where there is none.
    """
    a_of_b = same_place(camera, pose_a, pose_b, inverse_depth_b, origin_px)
    return mutual(a_of_b, same_place(camera, pose_b, pose_a, inverse_depth_a, origin_px))


def mutual(a_of_b: Tensor, b_of_a: Tensor) -> Tensor:
    """Keep the matches whose way back ends at most one cube from where it began.

    Args:
        a_of_b: `same_place` for the cubes of b, int64 `[B, h, w]`.
        b_of_a: `same_place` for the cubes of a.

    Returns:
        `a_of_b` with -1 for all others.
    """
    h, w = a_of_b.shape[1:]
    back = b_of_a.flatten(1).gather(1, a_of_b.flatten(1).clamp_min(0)).view_as(a_of_b)
    rows = torch.arange(h, device=back.device)[:, None]
    columns = torch.arange(w, device=back.device)
    near = ((back // w - rows).abs() <= 1) & ((back % w - columns).abs() <= 1)
    return torch.where((a_of_b >= 0) & (back >= 0) & near, a_of_b, -1)


class MultiView(nn.Module):
    """Contrastive loss between two views (InfoNCE, arXiv 1807.03748), in both directions.

    Latents are compared after a projection head (SimCLR, arXiv 2002.05709), so that they keep what
    the picture needs and the comparison does not. The temperature is learned within 0.01..1.
    """

    def __init__(self, latent_dim: int, dim: int = 64, max_pairs: int = MAX_PAIRS) -> None:
        super().__init__()
        self.max_pairs = max_pairs
        self.project = nn.Sequential(
            nn.Linear(latent_dim, dim), nn.GELU(), nn.Linear(dim, dim, bias=False)
        )
        self.sharpness = nn.Parameter(torch.zeros(()))  # temperature 0.1

    @property
    def temperature(self) -> Tensor:
        """What cosines are divided by, 0.01..1, scalar."""
        return SHARPEST ** -torch.sigmoid(self.sharpness)

    def forward(
        self,
        latents_now: Tensor,
        latents_before: Tensor,
        source: Tensor,
        regions_now: Tensor,
        regions_before: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Compare the cubes of two views of one place.

        Args:
            latents_now: `[B, h, w, D]`.
            latents_before: latents of the other view `[B, h, w, D]`.
            source: cube of the other view that shows the same place, see `positives`.
            regions_now: region ids int64 `[B, h, w]`.
            regions_before: the same of the other view.
            generator: source of chance; draws `max_pairs` where there are more.

        Returns:
            Mean loss of a pair in nats, float32 scalar; zero where no place is seen twice.
        """
        now, before = positives(source, regions_now, regions_before)
        keep = _draw(len(now), self.max_pairs, generator).to(now.device)
        now, before = now[keep], before[keep]
        same = before[:, None] == before
        query = self._project(latents_now.flatten(0, 2)[now])
        key = self._project(latents_before.flatten(0, 2)[before])
        with torch.autocast(query.device.type, enabled=False):
            return info_nce(query @ key.T / self.temperature, same)

    def _project(self, latents: Tensor) -> Tensor:
        """Directions `[P, dim]`, float32."""
        return F.normalize(self.project(latents).float(), dim=-1)


def _draw(count: int, most: int, generator: torch.Generator) -> Tensor:
    """Draw at most `most` of `count` indices without repetition."""
    return torch.randperm(count, generator=generator, device=generator.device)[:most]


def info_nce(logits: Tensor, same: Tensor) -> Tensor:
    """Tell the partner of every row, and of every column, from those of the other pairs.

    Args:
        logits: similarity of the first of pair i to the second of pair j, float32 `[P, P]`.
        same: whether pairs i and j show the same cube, bool `[P, P]`; such are no negatives.

    Returns:
        Mean cross-entropy of both directions in nats, scalar; zero where P is zero.
    """
    pair = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(same & ~pair, -torch.inf)
    wrong = (logits.logsumexp(1) + logits.logsumexp(0)) / 2 - logits.diagonal()
    return wrong.sum() / max(len(logits), 1)
