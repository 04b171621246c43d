"""HST-MAE: hierarchical spatial-temporal masked autoencoder, with explicit context in and out.

```
 previous frame ──warp──► reference ─┐
 previous latents ───────────────────┼─► Context ─► Pyramid ──┬──────────────┐
 state ──► StateEncoder ─────────────┘                        ▼              ▼
 frames ──────────────────────────────────────────────► Encoder          Decoder ─► frames
                                                           │ remainder       ▲
                                                           └─► quantiser ─► + prediction
```
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from relive.config import CUBE_PX, ModelConfig
from relive.model.context import Context, ContextPyramid, Pyramid
from relive.model.decoder import Decoder
from relive.model.encoder import Encoder
from relive.model.state import StateEncoder
from relive.model.windows import PointConv, start_at_zero


class HSTMAE(nn.Module):
    """The networks of the codec; nothing is remembered between calls."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        latent = config.quantizer.codebook_dim
        self.state = StateEncoder(
            config.state_inputs, config.state_dim, config.state_depth, config.state_heads
        )
        self.pyramid = ContextPyramid(config.context_dims, latent)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.predict = PointConv(config.context_dims[2], latent)
        self.base = nn.Parameter(torch.zeros(2, latent))  # keyframe, delta
        start_at_zero(self.predict)

    def context(
        self,
        reference: Tensor,
        valid: Tensor,
        latents: Tensor,
        is_delta: Tensor,
        state_tokens: Tensor,
    ) -> tuple[Context, Pyramid]:
        """Put together what both sides know; keyframes of the batch are emptied.

        Args:
            reference: warped previous reconstruction `[B, 2, 3, H, W]`, 0..1.
            valid: `[B, 2, 1, H, W]`.
            latents: dequantised latents of the step before `[B, h, w, D]`.
            is_delta: 1 for a delta, 0 for a keyframe `[B]`.
            state_tokens: from `state` `[B, S, D_state]`.
        """
        delta = is_delta[:, None, None, None]
        context = Context(
            torch.where(delta[..., None] > 0, reference, 0.5),
            valid * delta[..., None],
            latents * delta,
            is_delta,
            state_tokens,
        )
        return context, self.pyramid(context)

    def empty_context(
        self, height: int, width: int, state_tokens: Tensor
    ) -> tuple[Context, Pyramid]:
        """Context of a keyframe for pictures of H x W pixels."""
        b = len(state_tokens)
        h, w = height // CUBE_PX, width // CUBE_PX
        return self.context(
            torch.full((b, 2, 3, height, width), 0.5),
            torch.zeros(b, 2, 1, height, width),
            torch.zeros(b, h, w, self.config.quantizer.codebook_dim),
            torch.zeros(b),
            state_tokens,
        )

    def prediction(self, context: Context, pyramid: Pyramid) -> Tensor:
        """What both sides expect of the latents before any code, `[B, h, w, D]`."""
        predicted = self.predict(pyramid.s16).permute(0, 2, 3, 1).float()
        return predicted + self.base[context.is_delta.long()][:, None, None]
