"""Losses beside reconstruction and commitment, each computed only where its weight is not zero.

Shapes: B batch, h w cube grid, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from relive.model.decoder import Decoded
from relive.model.hst_mae import HSTMAE
from relive.model.multiview import MultiView, shared_places
from relive.model.regions import consistency
from relive.train.batch import Batch, Sight, View


class Auxiliary(nn.Module):
    """Multi-view contrast, photometric loss of the learned warp, consistency of parallel decoding.

    Args:
        latent_dim: width of the latents.
        weights: loss name to weight; what is zero is not computed.
        seed: of the choice of pairs.
    """

    def __init__(self, latent_dim: int, weights: Mapping[str, float], seed: int = 0) -> None:
        super().__init__()
        self.multiview = MultiView(latent_dim)
        self.chance = torch.Generator().manual_seed(seed)
        names = ("multiview", "photometric", "consistency")
        self.chosen = tuple(name for name in names if weights.get(name, 0) > 0)

    def forward(
        self,
        model: HSTMAE,
        batch: Batch,
        sight: Sight,
        latents: Tensor,
        depths: Tensor,
        decoded: Decoded,
    ) -> dict[str, Tensor]:
        """Compute the losses, scalars, not weighted.

        Args:
            model: the networks.
            batch: the step.
            sight: what both sides knew of it.
            latents: dequantised `[B, h, w, D]`.
            depths: of every cube `[B, h, w]`.
            decoded: what came out.
        """
        every: dict[str, Callable[[], Tensor]] = {
            "multiview": lambda: self._multiview(batch, sight, latents),
            "photometric": lambda: model.warper.loss(sight.warped, batch.frames),
            "consistency": lambda: _consistency(model, sight, latents, depths, decoded),
        }
        return {name: every[name]() for name in self.chosen}

    def _multiview(self, batch: Batch, sight: Sight, latents: Tensor) -> Tensor:
        """Cubes that show a place which an earlier view of the session showed have like latents."""
        rows = [i for i, view in enumerate(batch.views) if view and comparable(batch, i)]
        if not rows or batch.motion.camera is None:
            return latents.sum() * 0
        earlier = [view for view in (batch.views[i] for i in rows) if view]
        before = View(*(torch.cat(parts) for parts in zip(*map(_parts, earlier), strict=True)))
        source = shared_places(
            batch.motion.camera,
            before.pose,
            batch.poses[rows],
            before.inverse_depth,
            sight.warped.inverse_depth[rows],
            batch.motion.origin_px[rows],
        )
        regions = sight.context.regions[rows]
        return self.multiview(
            latents[rows], before.latents, source, regions, before.regions, self.chance
        )


def comparable(batch: Batch, row: int) -> bool:
    """Whether a step knows its camera, and the depth of what it sees."""
    return bool(batch.is_delta[row] > 0) and bool(batch.motion.known[row] > 0)


def _parts(view: View) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return view.latents, view.regions, view.pose, view.inverse_depth


def _consistency(
    model: HSTMAE, sight: Sight, latents: Tensor, depths: Tensor, decoded: Decoded
) -> Tensor:
    """All regions at once give what region after region gives."""
    with torch.no_grad():
        ordered = model.decoder.ordered_features(latents, depths, sight.context, sight.pyramid)
    return consistency(decoded.features, ordered, sight.context.regions)
