"""The losses of a step, each computed only where its weight is not zero.

```
 L = reconstruction + 0.3 spatial + 0.2 temporal + 0.1 state     (specification, "Loss function")
   + commitment + rate + multiview + photometric + consistency   (design, section 6)
```

Pixel losses are squared errors of values 0..1 times `PIXEL_SCALE`, so that all are near one.

Shapes: B batch, h w cube grid, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from relive.config import ModelConfig
from relive.model.hst_mae import HSTMAE
from relive.model.multiview import MultiView, shared_places
from relive.model.regions import consistency
from relive.quantizer.rvq import ResidualVQ
from relive.train.batch import Batch
from relive.train.chain import Decoding
from relive.train.chance import Chance
from relive.train.consistency import StateAlignment, rate, spatial_consistency, temporal_coherence

PIXEL_SCALE = 100.0


class Losses(nn.Module):
    """Everything a step is judged by, and the small networks that only judging needs.

    Args:
        config: of the model.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.multiview = MultiView(config.quantizer.codebook_dim)
        self.state = StateAlignment(config.state_inputs)

    def forward(
        self,
        model: HSTMAE,
        quantizer: ResidualVQ,
        done: Decoding,
        chance: Chance,
        weights: Mapping[str, float],
    ) -> dict[str, Tensor]:
        """Compute losses, scalars, not weighted.

        Args:
            model: the networks.
            quantizer: the codebooks.
            done: the step.
            chance: of the choice of pairs.
            weights: name of a loss to its weight; what is zero is not computed.
        """
        batch, frames = done.batch, done.decoded.frames
        before = done.sight.carry.pictures[:, 1]
        every: dict[str, Callable[[], Tensor]] = {
            "reconstruction": lambda: PIXEL_SCALE * (frames - batch.frames).square().mean(),
            "spatial": lambda: (
                PIXEL_SCALE * spatial_consistency(frames, batch.frames, done.sight.context.regions)
            ),
            "temporal": lambda: (
                PIXEL_SCALE
                * temporal_coherence(
                    frames, batch.frames, before, batch.before_crop, batch.is_delta
                )
            ),
            "state": lambda: self.state(frames, before.detach(), batch.states, batch.known),
            "commitment": lambda: done.commitment,
            "rate": lambda: bits_of(quantizer, done)[0],
            "multiview": lambda: self._multiview(done, chance),
            "photometric": lambda: model.warper.loss(done.sight.warped, batch.frames),
            "consistency": lambda: _consistency(model, done),
        }
        return {name: compute() for name, compute in every.items() if weights.get(name, 0) > 0}

    def _multiview(self, done: Decoding, chance: Chance) -> Tensor:
        """Cubes that show a place which an earlier view of the session showed have like latents."""
        batch, sight, latents, held = done.batch, done.sight, done.latents, done.held
        rows = (held.held & comparable(batch)).nonzero()[:, 0]
        if not len(rows) or batch.motion.camera is None:
            return latents.sum() * 0
        source = shared_places(
            batch.motion.camera,
            held.pose[rows],
            batch.poses[rows],
            held.inverse_depth[rows],
            sight.warped.inverse_depth[rows],
            batch.motion.origin_px[rows],
        )
        return self.multiview(
            latents[rows],
            held.latents[rows],
            source,
            sight.context.regions[rows],
            held.regions[rows],
            chance.rows[int(rows[0])],
        )


def bits_of(quantizer: ResidualVQ, done: Decoding) -> tuple[Tensor, Tensor]:
    """Bits of a cube that the encoder saw: expected, with gradient, and actual."""
    seen = ~done.masked
    kinds = done.batch.is_delta.long()[:, None, None].expand_as(done.depths)
    return rate(quantizer, done.remainders[seen], done.depths[seen], kinds[seen])


def comparable(batch: Batch) -> Tensor:
    """Which steps know their camera, and the depth of what they see `[B]`."""
    return (batch.is_delta > 0) & (batch.motion.known > 0)


def _consistency(model: HSTMAE, done: Decoding) -> Tensor:
    """All regions at once give what region after region gives."""
    context, pyramid = done.sight.context, done.sight.pyramid
    with torch.no_grad():
        ordered = model.decoder.ordered_features(done.latents, done.depths, context, pyramid)
    return consistency(done.decoded.features, ordered, context.regions)
