"""The four sizes of HST-MAE: one set of classes, four configurations (reading.md, rows 5, 10, 11).

`base` and `large` have the widths of the specification. Depths and the MLP widths of each stage
are chosen so that parameters and FLOPs are those of the specification too: at stride 4 a block
costs 16 times what it costs at the cubes, so the early stages get one block with a narrow MLP.
"""

from __future__ import annotations

from dataclasses import replace

from relive.config import Mechanisms, ModelConfig, QuantizerConfig

WHOLE = Mechanisms(
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
    memory_slots=8,
    recurrent_dim=32,
)
"""Every mechanism of the specification; the regions are decoded in parallel."""

SPECIFIED_WIDTHS = (768, 1024, 1280, 1408)

BASE = ModelConfig(
    name="base",
    embed_dims=SPECIFIED_WIDTHS,
    depths=(1, 1, 2, 1),
    num_heads=(12, 16, 20, 22),
    mlp_ratios=(1.75, 3.0, 3.0, 3.75),
    mlp_ratio=3.5,
    cross_dim=256,
    fuse_dim=128,
    context_dims=(64, 128, 256),
    decoder_dim=1024,
    decoder_heads=16,
    state_dim=768,
    state_depth=4,
    state_heads=8,
    state_mlp_ratio=1.0,
    frame_tokens=2,
    quantizer=QuantizerConfig(codebook_dim=256),
    mechanisms=WHOLE,
)

SIZES: dict[str, ModelConfig] = {
    "tiny": ModelConfig(name="tiny"),
    "small": ModelConfig(
        name="small",
        embed_dims=(96, 160, 256, 320),
        depths=(2, 2, 4, 2),
        num_heads=(3, 5, 8, 10),
        context_dims=(64, 96, 192),
        decoder_dim=256,
        decoder_heads=8,
        state_dim=192,
        state_depth=3,
        state_heads=6,
        frame_tokens=2,
        quantizer=QuantizerConfig(codebook_dim=48),
        mechanisms=WHOLE,
    ),
    "base": BASE,
    "large": replace(
        BASE,
        name="large",
        depths=(2, 2, 8, 4),
        mlp_ratios=(4.0, 4.0, 4.0, 4.0),
        mlp_ratio=3.0,
        context_dims=(96, 192, 384),
        decoder_dim=1408,
        decoder_heads=22,
    ),
}
