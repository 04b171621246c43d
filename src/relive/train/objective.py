"""One update as a module: everything from what was read to the losses, so that DDP can wrap it.

```
 Rows of `span` steps ─► Batch ─► run_step (or pretrain_step) ─► losses
                           ▲             │
                           └── Left ◄────┘  … and what is left, without gradient
```

Shapes: B batch, h w cube grid, D latent width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relive.model.hst_mae import HSTMAE
from relive.model.warp import Pinhole
from relive.quantizer.rvq import ResidualVQ
from relive.train.batch import Batch, Left, Rows, to_batch
from relive.train.chain import Arithmetic, run_step
from relive.train.chance import Chance
from relive.train.losses import PIXEL_SCALE, Losses, bits_of
from relive.train.pretrain import pretrain_step
from relive.train.settings import Masking, Phase


@dataclass(frozen=True)
class Request:
    """What one forward pass shall do.

    Attributes:
        rows: what was read, step by step.
        camera: of the sessions, or None.
        left: what the last update left.
        chances: one for each step.
        phase: the part of the run.
        quantize: whether the codebooks stand.
        mask_share: share of the steps with hidden cubes.
        weights: of the losses, by name.
        scores: for learned masks: where a mask begins, cubes of the highest score are hidden; one
            for each step `[B, h, w]`, or None.
        ratio: of hidden cubes, in masked pretraining.
    """

    rows: Sequence[Rows]
    camera: Pinhole | None
    left: Left
    chances: Sequence[Chance]
    phase: Phase
    quantize: bool
    mask_share: float
    weights: dict[str, float]
    scores: Sequence[Tensor] | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What one forward pass gave.

    Attributes:
        loss: weighted, scalar, with gradient; mean of the steps.
        losses: not weighted, without gradient.
        left: for the next update, without gradient.
        mse: of every row and step `[span, B]`.
        is_delta: `[span, B]`.
        bits: of a cube, by how often codes are used; mean of the steps.
        remainders: of the last step, normalised `[B, h, w, D]`.
        masked: hidden in the last step `[B, h, w]`.
        errors: in masked pretraining, of hidden and decoded cubes, NaN elsewhere; last step
            `[B, h, w]`.
    """

    loss: Tensor
    losses: dict[str, Tensor]
    left: Left
    mse: Tensor
    is_delta: Tensor
    bits: Tensor
    remainders: Tensor
    masked: Tensor
    errors: Tensor | None = None


@dataclass(frozen=True)
class _Step:
    """What one step adds."""

    losses: dict[str, Tensor]
    left: Left
    mse: Tensor
    bits: Tensor
    remainders: Tensor
    masked: Tensor
    errors: Tensor | None = None


class Objective(nn.Module):
    """The networks, the codebooks and the losses; its forward pass is one update's.

    Args:
        model: the networks.
        quantizer: the codebooks.
        losses: what a step is judged by.
        arithmetic: numbers of the networks.
    """

    def __init__(
        self, model: HSTMAE, quantizer: ResidualVQ, losses: Losses, arithmetic: Arithmetic
    ) -> None:
        super().__init__()
        self.model, self.quantizer, self.losses = model, quantizer, losses
        self.arithmetic = arithmetic

    def forward(self, request: Request) -> Outcome:
        """Run every step, each from what the one before left."""
        left, device = request.left, request.left.masked.device
        steps, deltas = [], []
        for number, rows in enumerate(request.rows):
            batch = to_batch(rows, request.camera, device)
            masking = request.phase.masking
            if masking is None:
                step = self._code(request, number, batch, left)
            else:
                step = self._pretrain(request, number, batch, left, masking)
            left = step.left
            steps.append(step)
            deltas.append(batch.is_delta)
        weights, span = request.weights, len(steps)
        pieces = [weights[n] * v / span for step in steps for n, v in step.losses.items()]
        names = steps[0].losses
        means = {n: torch.stack([s.losses[n].detach() for s in steps]).mean() for n in names}
        return Outcome(
            torch.stack([piece.float() for piece in pieces]).sum(),
            means,
            left.map(Tensor.detach),
            torch.stack([step.mse for step in steps]),
            torch.stack(deltas),
            torch.stack([step.bits for step in steps]).mean(),
            steps[-1].remainders,
            steps[-1].masked,
            steps[-1].errors,
        )

    def _code(self, request: Request, number: int, batch: Batch, left: Left) -> _Step:
        chance = request.chances[number]
        done = run_step(
            self.model,
            self.quantizer,
            batch,
            left,
            chance,
            quantize=request.quantize,
            mask_share=request.mask_share,
            context_noise=request.phase.context_noise,
            enhanced=request.phase.enhanced,
            arithmetic=self.arithmetic,
        )
        losses = self.losses(self.model, self.quantizer, done, chance, request.weights)
        with torch.no_grad():
            mse = (done.decoded.frames - batch.frames).square().mean((1, 2, 3, 4))
            bits = bits_of(self.quantizer, done)[1] if request.quantize else mse.new_zeros(())
        return _Step(losses, done.left, mse, bits, done.remainders.detach(), done.masked)

    def _pretrain(
        self, request: Request, number: int, batch: Batch, left: Left, masking: Masking
    ) -> _Step:
        done = pretrain_step(
            self.model,
            batch,
            left,
            request.chances[number],
            masking,
            score=None if request.scores is None else request.scores[number],
            ratio=request.ratio,
            arithmetic=self.arithmetic,
        )
        losses = {"reconstruction": PIXEL_SCALE * done.mse.mean()}
        nothing = done.mse.new_zeros(())
        return _Step(
            losses,
            done.left,
            done.mse.detach(),
            nothing,
            done.remainders,
            done.masked,
            done.errors,
        )
