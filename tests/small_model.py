"""A model of the real classes, small and untrained, for tests of everything around it."""

from dataclasses import replace
from pathlib import Path

import torch

from relive.codec import save_bundle
from relive.config import Mechanisms, ModelConfig, QuantizerConfig, StateInput
from relive.model.hst_mae import HSTMAE
from relive.quantizer.rvq import ResidualVQ

SMALL = ModelConfig(
    name="small-test",
    embed_dims=(8, 16, 24, 32),
    depths=(1, 1, 2, 1),
    num_heads=(1, 2, 2, 2),
    window_size=4,
    context_dims=(8, 8, 16),
    decoder_dim=16,
    decoder_depth=2,
    decoder_heads=2,
    state_dim=16,
    state_depth=1,
    state_heads=2,
    state_inputs=(StateInput("health", "linear", 50, 50), StateInput("@turn", "linear", 0, 0.1)),
    quantizer=QuantizerConfig(num_quantizers=3, codebook_size=16, codebook_dim=8),
)

WHOLE_SMALL = replace(
    SMALL,
    name="whole-test",
    frame_tokens=2,
    cross_dim=16,
    fuse_dim=8,
    state_inputs=(*SMALL.state_inputs, StateInput("kills", "counter", 0, 5, "score")),
    mechanisms=Mechanisms(
        intervals=True,
        informed=True,
        early_fusion=True,
        state_stages=(1, 2, 3, 4),
        two_way=True,
        late_fusion=True,
        modulation=True,
        region_embedding=True,
        proximity=True,
        cross_links=0.25,
        hierarchy=True,
        memory_slots=3,
        recurrent_dim=6,
    ),
)
"""Every mechanism at once, at the same small widths."""


def shake(model: HSTMAE) -> HSTMAE:
    """Move every weight off its start, so that nothing hides behind a zero."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def small_weights(config: ModelConfig = SMALL, seed: int = 0) -> tuple[HSTMAE, ResidualVQ]:
    """A small model and codebooks that were started on chance."""
    torch.manual_seed(seed)
    model, quantizer = shake(HSTMAE(config)), ResidualVQ(config.quantizer)
    chance = torch.Generator().manual_seed(seed)
    for kind in (0, 1):
        quantizer.start(torch.randn(500, 8, generator=chance), kind, chance)
    return model, quantizer


def write_small_model(path: Path, seed: int = 0, config: ModelConfig = SMALL) -> Path:
    """Write a small model whose codebooks were started on chance."""
    model, quantizer = small_weights(config, seed)
    save_bundle(path, model, quantizer, factors=torch.tensor([[0.0, 0.3 + seed]] * 2))
    return path
