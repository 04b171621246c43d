"""Losses beside reconstruction and commitment, each computed only where its weight is not zero.

Shapes: B batch, h w cube grid, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from relive.model.decoder import Decoded
from relive.model.hst_mae import HSTMAE
from relive.model.motion import source_cubes
from relive.model.multiview import MultiView
from relive.model.regions import consistency
from relive.train.batch import Batch, Sight


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
        """Cubes that show the same place in this step and the one before have like latents."""
        warped, (h, w) = sight.warped, sight.choice.shape[1:]
        source = source_cubes(batch.motion, sight.choice, h, w, warped.inverse_depth, warped.flow)
        source = torch.where(batch.is_delta[:, None, None] > 0, source, -1)
        now, before = sight.context.regions, sight.carry.regions
        return self.multiview(latents, sight.carry.latents, source, now, before, self.chance)


def _consistency(
    model: HSTMAE, sight: Sight, latents: Tensor, depths: Tensor, decoded: Decoded
) -> Tensor:
    """All regions at once give what region after region gives."""
    with torch.no_grad():
        ordered = model.decoder.ordered_features(latents, depths, sight.context, sight.pyramid)
    return consistency(decoded.features, ordered, sight.context.regions)
