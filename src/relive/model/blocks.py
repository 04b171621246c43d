"""How the transformer blocks of encoder and decoder are put together from a configuration."""

from __future__ import annotations

from torch import nn

from relive.config import ModelConfig
from relive.model.parts import Same
from relive.model.regions import RegionBias
from relive.model.windows import (
    Block,
    CrossAttention,
    JoinedAttention,
    RegionAttention,
    WindowAttention,
)

HEAD_DIM = 64  # of state attention with an inner width of its own


def encoder_stages(config: ModelConfig) -> nn.ModuleList:
    """Four lists of blocks; windows are shifted at every second block of all."""
    stages, before = nn.ModuleList(), 0
    for stage in range(4):
        blocks = [_encoder_block(config, stage, i, before + i) for i in range(config.depths[stage])]
        stages.append(nn.ModuleList(blocks))
        before += len(blocks)
    return stages


def _encoder_block(config: ModelConfig, stage: int, index: int, turn: int) -> Block:
    dim, heads, size = config.embed_dims[stage], config.num_heads[stage], config.window_size
    shape, on = (dim, heads, size, size // 2 * (turn % 2)), config.mechanisms
    if on.early_fusion and turn == 0:
        attention: WindowAttention = JoinedAttention(*shape, config.state_dim)
    elif stage == 2 and (on.proximity or on.cross_links < 1):
        bias = RegionBias(heads, on.proximity, on.cross_links)
        attention = RegionAttention(*shape, bias)
    else:
        attention = WindowAttention(*shape)
    cross: nn.Module = Same()
    if stage + 1 in on.state_stages:
        cross = _cross_attention(config, dim, heads)
    return Block(dim, attention, cross, config.mlp_ratios[stage])


def decoder_blocks(config: ModelConfig) -> nn.ModuleList:
    """Blocks on the cube grid, every one reading the state."""
    return nn.ModuleList(_decoder_block(config, turn) for turn in range(config.decoder_depth))


def _decoder_block(config: ModelConfig, turn: int) -> Block:
    dim, heads, size = config.decoder_dim, config.decoder_heads, config.window_size
    shape, on = (dim, heads, size, size // 2 * (turn % 2)), config.mechanisms
    if on.proximity or on.cross_links < 1:
        bias = RegionBias(heads, on.proximity, on.cross_links)
        attention: WindowAttention = RegionAttention(*shape, bias)
    else:
        attention = WindowAttention(*shape)
    return Block(dim, attention, _cross_attention(config, dim, heads), config.mlp_ratio)


def _cross_attention(config: ModelConfig, dim: int, heads: int) -> CrossAttention:
    if config.cross_dim is None:
        return CrossAttention(dim, config.state_dim, heads)
    heads = max(1, config.cross_dim // HEAD_DIM)
    return CrossAttention(dim, config.state_dim, heads, config.cross_dim)
