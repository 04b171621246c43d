"""State encoder: what the game says of a step, as a few tokens (specification, state vectors).

A token for each frame of the pair and one for the frame before. Values enter normalised, with
sinusoidal
features; angles as sine and cosine; the change since the frame before beside the value; real time
between.
A model matches fields by name, so a session with another schema, or none, is legal: what is
missing is
marked missing. The absolute position of the camera is left out: it says nothing on another map.

Shapes: B batch, S fields that the model knows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from relive.config import StateInput

NUM_FRAMES = 3  # the frame before and the two of the step
FREQUENCIES = (0.5, 1.0, 2.0)
FEATURES = 2 + 2 * len(FREQUENCIES) + 1  # value, change, sinusoids, presence


def state_features(inputs: tuple[StateInput, ...], values: Tensor, known: Tensor) -> Tensor:
    """Turn raw fields into features.

    Args:
        inputs: the fields that the model knows.
        values: raw values of the three frames `[B, 3, S]`; angles in radians.
        known: 1 where the session has the field `[B, S]`.

    Returns:
        `[B, 3, S * FEATURES]`.
    """
    mean = values.new_tensor([s.mean for s in inputs])
    scale = values.new_tensor([s.scale for s in inputs])
    angle = torch.tensor([s.kind == "angle" for s in inputs])
    change = values - values[:, :1]
    wrapped = torch.remainder(change + math.pi, 2 * math.pi) - math.pi
    change = torch.where(angle, wrapped * 4, change / scale)
    level = torch.where(angle, values, (values - mean) / scale).clamp(-8, 8)
    waves = [
        wave(level * torch.where(angle, 2 * f, f))
        for f in FREQUENCIES
        for wave in (torch.sin, torch.cos)
    ]
    plain = torch.where(angle, torch.zeros_like(level), level)
    here = known[:, None].expand_as(level)
    stacked = torch.stack([plain, change.clamp(-8, 8), *waves, torch.ones_like(level)], -1)
    return (stacked * here[..., None]).flatten(2)


class StateEncoder(nn.Module):
    """Project, add time, run a small transformer, normalise."""

    def __init__(
        self, inputs: tuple[StateInput, ...], dim: int, depth: int, num_heads: int
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.project = nn.Linear(max(1, len(inputs) * FEATURES), dim)
        self.time = nn.Linear(2, dim)
        self.position = nn.Parameter(torch.randn(NUM_FRAMES, dim) * 0.02)
        self.absent = nn.Parameter(torch.randn(NUM_FRAMES, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(
            dim,
            num_heads,
            4 * dim,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)

    def forward(self, values: Tensor, known: Tensor, seconds: Tensor) -> Tensor:
        """Encode the state of a step.

        Args:
            values: `[B, 3, S]` raw values of the frame before and of the pair; angles in radians.
            known: `[B, S]`, 1 where the session has the field; all zero means no state.
            seconds: time since the frame before `[B, 3]`.

        Returns:
            Tokens `[B, 3, D]`.
        """
        any_known = known.any(-1)[:, None, None] if self.inputs else torch.zeros(len(known), 1, 1)
        tokens = self.absent.expand(len(known), -1, -1)
        if self.inputs:
            features = self.project(state_features(self.inputs, values, known))
            time = torch.stack([seconds * 10, torch.log1p(seconds * 100)], -1)
            tokens = torch.where(any_known > 0, features + self.time(time), tokens)
        encoded: Tensor = self.norm(self.blocks(tokens + self.position))
        return encoded
