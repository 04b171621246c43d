"""Losses beside reconstruction and commitment, each computed only where its weight is not zero.

Shapes: B batch, h w cube grid, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relive.model.context import Carry, Context, Pyramid
from relive.model.decoder import Decoded
from relive.model.hst_mae import HSTMAE
from relive.model.motion import Motion, source_cubes
from relive.model.multiview import MultiView
from relive.model.regions import consistency
from relive.model.warping import Warped


@dataclass(frozen=True)
class TrainingStep:
    """Everything that one step of training went through."""

    model: HSTMAE
    frames: Tensor  # the truth [B, 2, 3, H, W]
    motion: Motion
    choice: Tensor  # [B, h, w]
    warped: Warped
    carry: Carry  # of the step before
    context: Context
    pyramid: Pyramid
    latents: Tensor  # [B, h, w, D]
    depths: Tensor  # [B, h, w]
    decoded: Decoded


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
        every = {
            "multiview": self._multiview,
            "photometric": self._photometric,
            "consistency": self._consistency,
        }
        self.chosen = {name: loss for name, loss in every.items() if weights.get(name, 0) > 0}

    def forward(self, step: TrainingStep) -> dict[str, Tensor]:
        """Compute the losses, scalars, not weighted."""
        return {name: loss(step) for name, loss in self.chosen.items()}

    def _multiview(self, step: TrainingStep) -> Tensor:
        """Cubes that show the same place in this step and the one before have like latents."""
        warped, (h, w) = step.warped, step.choice.shape[1:]
        source = source_cubes(step.motion, step.choice, h, w, warped.inverse_depth, warped.flow)
        source = torch.where(step.context.is_delta[:, None, None] > 0, source, -1)
        now, before = step.context.regions, step.carry.regions
        return self.multiview(step.latents, step.carry.latents, source, now, before, self.chance)

    def _photometric(self, step: TrainingStep) -> Tensor:
        """The warped picture looks like the true one (self-taught depth and flow)."""
        return step.model.warper.loss(step.warped, step.frames)

    def _consistency(self, step: TrainingStep) -> Tensor:
        """All regions at once give what region after region gives."""
        with torch.no_grad():
            ordered = step.model.decoder.ordered_features(
                step.latents, step.depths, step.context, step.pyramid
            )
        return consistency(step.decoded.features, ordered, step.context.regions)
