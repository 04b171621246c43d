"""What decoder masking saves in a training step: time and peak activation memory.

```
 frames, mask ─► state, context, encoder (visible cubes) ─► latents ─┐
 decoder mask ───────────────────────────────────────────────────────┴─► decoder ─► loss ─► back
```

Dual masking of VideoMAE V2 (arXiv 2303.16727): the loss lies on the cubes that the encoder did not
see and the decoder decodes. The quantiser is left out, as in masked pretraining; so is the
optimiser's step, which no mask changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from relive.bench.speed_device import Case, Setting, race
from relive.bench.speed_memory import HOW, peak_bytes
from relive.bench.speed_networks import Networks, Step, size_config
from relive.bench.speed_plan import DECODER_RATIOS, SPECIFICATION, TRAINING_RATIOS, Plan
from relive.bench.speed_throughput import decoder_layout, with_ratios
from relive.config import ModelConfig
from relive.model.context import Context, Pyramid
from relive.model.layout import Everything, Layout
from relive.train.pretrain import hidden_loss

WHAT = {
    "decoder": "forward and backward of the decoder and the loss; the gradient of the latents is "
    "computed, that of the context is not; state, context and encoder ran before and are not "
    "counted",
    "step": "masked pretraining of a pair with nothing before it, as VideoMAE V2 has it: forward "
    "and backward of state, masked encoder, prediction, decoder and loss",
    "checkpointed_step": "the same; the encoder's activations are computed again for its gradient "
    "instead of kept (arXiv 1604.06174)",
    "loss": "mean squared error over the cubes that are hidden from the encoder and decoded",
    "memory": "peak of what the block allocates; parameters, their gradients (allocated before) "
    "and inputs are not counted; under autocast the cast copies of the weights are",
    "left_out": "quantiser, optimiser step",
}


def measure_training(
    setting: Setting, plan: Plan, size: str, config: ModelConfig | None = None
) -> dict[str, Any]:
    """Measure training steps with and without decoder masking, by encoder mask ratio.

    Args:
        setting: where.
        plan: amounts.
        size: name of the size.
        config: of the model, where it is not that of the size.
    """
    networks = Networks(config or size_config(size), setting)
    for parameter in networks.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with setting.running():
        step = networks.step(plan.train_batch, plan.side, plan.side)
        by_ratio = {
            str(ratio): {
                "decoder": _race(setting, plan, _decoder_cases(networks, step, ratio)),
                "step": _race(setting, plan, _step_cases(networks, step, ratio, networks.encode)),
                "checkpointed_step": _race(
                    setting, plan, _step_cases(networks, step, ratio, _checkpointed(networks))
                ),
            }
            for ratio in TRAINING_RATIOS
        }
    return {
        "size": size,
        "pixels": [plan.side, plan.side],
        "batch": plan.train_batch,
        "encoder_mask": by_ratio,
        "what": {**WHAT, "counted": HOW[setting.device]},
        "specification": SPECIFICATION["decoder_masking_50"],
    }


Encode = Callable[[Step, tuple[Context, Pyramid], Layout | None], Tensor]


def _checkpointed(networks: Networks) -> Encode:
    """Encode, and keep nothing but what went in."""

    def encode(step: Step, context: tuple[Context, Pyramid], seen: Layout | None) -> Tensor:
        encoded: Tensor = checkpoint(networks.encode, step, context, seen, use_reentrant=False)
        return encoded

    return encode


def _keyframe(networks: Networks, step: Step) -> tuple[Context, Pyramid]:
    """Encode the state; there is no step before."""
    state = networks.model.state(step.values, step.known, step.seconds)
    height, width = step.frames.shape[-2:]
    return networks.model.empty_context(height, width, state, step.regions)


def _backward(
    networks: Networks,
    step: Step,
    context: tuple[Context, Pyramid],
    latents: Tensor,
    masked: Tensor,
    layout: Layout | None,
) -> None:
    """Decode, compare, go back."""
    depths = torch.where(masked, 0, step.depths)
    decoded = networks.decoder(latents, depths, *context, layout)
    everything = Everything(*step.grid)
    hidden_loss(decoded, step.frames, masked, layout or everything).mean().backward()


def _step_cases(networks: Networks, step: Step, ratio: float, encode: Encode) -> dict[str, Case]:
    masked, seen = networks.mask(step, ratio), networks.layout(step, ratio)

    def case(layout: Layout | None) -> Case:
        def run() -> None:
            torch.clear_autocast_cache()  # its cast weights belong to the graph of one step
            context = _keyframe(networks, step)
            latents = networks.model.prediction(*context) + encode(step, context, seen)
            _backward(networks, step, context, latents, masked, layout)

        return run

    return {str(d): case(decoder_layout(step, d)) for d in DECODER_RATIOS}


def _decoder_cases(networks: Networks, step: Step, ratio: float) -> dict[str, Case]:
    masked, seen = networks.mask(step, ratio), networks.layout(step, ratio)
    with torch.no_grad():
        context = _keyframe(networks, step)
        latents = networks.model.prediction(*context) + networks.encode(step, context, seen)

    def case(layout: Layout | None) -> Case:
        def run() -> None:
            torch.clear_autocast_cache()
            leaf = latents.detach().requires_grad_()
            _backward(networks, step, context, leaf, masked, layout)

        return run

    return {str(d): case(decoder_layout(step, d)) for d in DECODER_RATIOS}


def _race(setting: Setting, plan: Plan, cases: dict[str, Case]) -> dict[str, dict[str, Any]]:
    """Peak memory of every case, then their times in turn."""
    held = {name: peak_bytes(setting, case) for name, case in cases.items()}
    times = race(setting, cases, plan.repeats, plan.limit_s)
    rows = {name: {**times[name].to_dict(), "peak_bytes": held[name]} for name in cases}
    with_ratios(rows)
    return rows
