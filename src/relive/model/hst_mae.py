"""HST-MAE: hierarchical spatial-temporal masked autoencoder, with explicit context in and out.

```
 carry: last pair ──warp──► reference ─┐
        latents, recurrent, banks ─────┼─► Context ─► Pyramid ──┬──────────────┐
 state ──► state encoder ──► tokens ───┤                        ▼              ▼
 regions ──────────────────────────────┘                     Encoder        Decoder ─► frames
 frames ─────────────────────────────────────────────────────►  │ remainder    ▲  │
                                                                └─► quantiser ─┤  └─► remember
                                                                  + prediction ┘
```
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from relive.config import CUBE_PX, ModelConfig
from relive.model.adapters import add_adapters
from relive.model.context import Carry, Context, ContextPyramid, Pyramid
from relive.model.decoder import Decoded, Decoder
from relive.model.encoder import Encoder
from relive.model.memory import MemoryBanks
from relive.model.parts import PointConv, Same, in_float32, start_at_zero
from relive.model.recurrent import RecurrentCell
from relive.model.regions import REGIONS
from relive.model.state import EncodedState, make_state_encoder
from relive.model.warping import make_warper


class NoMemory(nn.Module):
    """Stands where the memory banks are left out: banks without slots."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.contents: Tensor
        self.register_buffer("contents", torch.zeros(1, 0, latent_dim), persistent=False)

    def start(self, batch: int) -> Tensor:
        """Nothing, `[B, 1, 0, D]`."""
        return self.contents.expand(batch, -1, -1, -1)

    def update(self, banks: Tensor, latents: Tensor, regions: Tensor, sent: Tensor) -> Tensor:
        """Nothing becomes nothing."""
        return banks


class HSTMAE(nn.Module):
    """The networks of the codec; nothing is remembered between calls."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        latent, on = config.quantizer.codebook_dim, config.mechanisms
        self.state = make_state_encoder(config)
        self.warper = make_warper(on.warp)
        self.pyramid = ContextPyramid(config)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.predict = PointConv(config.context_dims[2], latent)
        self.base = nn.Parameter(torch.zeros(2, latent))  # keyframe, delta
        start_at_zero(self.predict)
        self.recurrence = (
            RecurrentCell(config.decoder_dim, on.recurrent_dim) if on.recurrent_dim else Same()
        )
        self.memory = (
            MemoryBanks(len(REGIONS), on.memory_slots, latent)
            if on.memory_slots
            else NoMemory(latent)
        )
        if on.adapter_rank:
            add_adapters(self, on.adapter_rank)

    def start(self, batch: int, height: int, width: int) -> Carry:
        """What a keyframe of H x W pixels starts from: nothing but what was learned."""
        h, w = height // CUBE_PX, width // CUBE_PX
        make = self.base.new_zeros
        return Carry(
            make(batch, 2, 3, height, width),
            make(batch, h, w, self.config.quantizer.codebook_dim),
            make(batch, h, w, self.config.mechanisms.recurrent_dim),
            self.memory.start(batch),
            make(batch, h, w, dtype=torch.long),
        )

    def context(
        self,
        carry: Carry,
        reference: Tensor,
        valid: Tensor,
        is_delta: Tensor,
        state: EncodedState,
        regions: Tensor,
    ) -> tuple[Context, Pyramid]:
        """Put together what both sides know; keyframes of the batch are emptied.

        Args:
            carry: from the step before.
            reference: warped previous reconstruction `[B, 2, 3, H, W]`, 0..1.
            valid: `[B, 2, 1, H, W]`.
            is_delta: 1 for a delta, 0 for a keyframe `[B]`.
            state: from `state`.
            regions: of every cube, int64 `[B, h, w]`.
        """
        with in_float32(reference):
            context = self._context(carry, reference, valid, is_delta, state, regions)
            return context, self.pyramid(context)

    def _context(
        self,
        carry: Carry,
        reference: Tensor,
        valid: Tensor,
        is_delta: Tensor,
        state: EncodedState,
        regions: Tensor,
    ) -> Context:
        delta = is_delta[:, None, None, None]
        return Context(
            torch.where(delta[..., None] > 0, reference, 0.5),
            valid * delta[..., None],
            torch.where(delta > 0, carry.latents, 0),
            is_delta,
            state.tokens.float(),
            state.situation.float(),
            regions,
            torch.where(delta > 0, carry.recurrent, 0),
            torch.where(delta > 0, carry.banks, self.memory.start(len(is_delta))),
        )

    def empty_context(
        self, height: int, width: int, state: EncodedState, regions: Tensor
    ) -> tuple[Context, Pyramid]:
        """Context of a keyframe for pictures of H x W pixels."""
        carry = self.start(len(regions), height, width)
        grey = torch.full_like(carry.pictures, 0.5)
        none = torch.zeros_like(grey[:, :, :1])
        with in_float32(grey):
            context = self._context(carry, grey, none, none[:, 0, 0, 0, 0], state, regions)
            return context, self.pyramid.empty(context)

    def prediction(self, context: Context, pyramid: Pyramid) -> Tensor:
        """What both sides expect of the latents before any code, `[B, h, w, D]`."""
        with in_float32(pyramid.s16):
            predicted = self.predict(pyramid.s16).permute(0, 2, 3, 1)
        return predicted + self.base[context.is_delta.long()][:, None, None]

    def remember(
        self, context: Context, decoded: Decoded, latents: Tensor, pictures: Tensor, depths: Tensor
    ) -> Carry:
        """Hand on what the next step starts from; decoded data only.

        Args:
            context: of this step.
            decoded: what the decoder made, all cubes.
            latents: dequantised latents `[B, h, w, D]`.
            pictures: the frames as shown, rounded to 8 bits `[B, 2, 3, H, W]`.
            depths: of every cube `[B, h, w]`; 0 = not sent.
        """
        recurrent = self.recurrence(context.recurrent, decoded.features)
        banks = self.memory.update(context.banks, latents, context.regions, depths > 0)
        return Carry(pictures, latents, recurrent, banks, context.regions)
