"""State encoder: what the game says of a step, as a few tokens (specification, state vectors).

A token for each frame of the pair and one for the frame before. Values enter normalised, with
sinusoidal features; angles as sine and cosine; the change since the frame before beside the value;
real time between. A model matches fields by name, so a session with another schema, or none, is
legal: what is missing is marked missing. The absolute position of the camera is left out: it says
nothing on another map.

Shapes: B batch, S fields that the model knows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relive.config import ModelConfig, StateInput
from relive.model.parts import PointLinear, Same, start_at_zero

NUM_FRAMES = 3  # the frame before and the two of the step
FREQUENCIES = (0.5, 1.0, 2.0)
FEATURES = 2 + 2 * len(FREQUENCIES) + 1  # value, change, sinusoids, presence
SITUATION_ROLES = ("score", "level", "mode")  # what modulates the decoder


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
    angle = torch.tensor([s.kind == "angle" for s in inputs], device=values.device)
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


@dataclass(frozen=True)
class EncodedState:
    """The state of a step: tokens `[B, S, D]`; score, level and mode `[B, D]`."""

    tokens: Tensor
    situation: Tensor


class Intervals(nn.Module):
    """Real time between the frames, added to the tokens of each (specification, "Temporal")."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.frame_tokens = config.frame_tokens
        self.project = nn.Linear(2, config.state_dim)

    def forward(self, tokens: Tensor, seconds: Tensor) -> Tensor:
        """Add `seconds` `[B, 3]` since the frame before to `tokens` `[B, S, D]`."""
        return tokens + time_features(self.project, seconds, self.frame_tokens)


def time_features(project: nn.Module, seconds: Tensor, frame_tokens: int) -> Tensor:
    """Project times `[B, 3]`, linear and logarithmic, for every token: `[B, S, D]`."""
    time = torch.stack([seconds * 10, torch.log1p(seconds * 100)], -1)
    projected: Tensor = project(time)
    return projected.repeat_interleave(frame_tokens, 1)


class AbsentState(nn.Module):
    """Stands where the state is left out: learned tokens, whatever the game says."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        num_tokens = NUM_FRAMES * config.frame_tokens
        self.absent = nn.Parameter(torch.randn(num_tokens, config.state_dim) * 0.02)
        self.intervals = Intervals(config) if config.mechanisms.intervals else Same()

    def forward(self, values: Tensor, known: Tensor, seconds: Tensor) -> EncodedState:
        """Return the same tokens for every step, but for the time."""
        tokens = self.intervals(self.absent.expand(len(values), -1, -1), seconds)
        return EncodedState(tokens, torch.zeros_like(tokens[:, 0]))


class NoSituation(nn.Module):
    """Stands where score, level and mode modulate nothing, or the model knows none."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, features: Tensor) -> Tensor:
        """Return zeros `[B, D]`."""
        return features.new_zeros(len(features), self.dim)


class Situation(nn.Module):
    """Encode the fields of the roles score, level and mode of the step's last frame."""

    columns: Tensor

    def __init__(self, inputs: tuple[StateInput, ...], dim: int) -> None:
        super().__init__()
        chosen = [i for i, s in enumerate(inputs) if s.role in SITUATION_ROLES]
        self.register_buffer("columns", torch.tensor(chosen), persistent=False)
        self.project = nn.Linear(len(chosen) * FEATURES, dim)

    def forward(self, features: Tensor) -> Tensor:
        """Map features `[B, 3, S * FEATURES]` to `[B, D]`."""
        fields = features[:, -1].unflatten(-1, (-1, FEATURES))
        return torch.tanh(self.project(fields[:, self.columns].flatten(1)))


def make_situation(config: ModelConfig) -> nn.Module:
    """Encode score, level and mode where they modulate the decoder and the model knows one."""
    known = any(s.role in SITUATION_ROLES for s in config.state_inputs)
    if config.mechanisms.modulation and known:
        return Situation(config.state_inputs, config.state_dim)
    return NoSituation(config.state_dim)


def make_state_encoder(config: ModelConfig) -> nn.Module:
    """Read the state, or stand in for it."""
    if config.mechanisms.state:
        return StateEncoder(config)
    return AbsentState(config)


class StateEncoder(nn.Module):
    """Project, add time, run a small transformer, normalise (specification, "State encoding").

    Every reader of the tokens has its own output projection to its width.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.inputs, dim = config.state_inputs, config.state_dim
        self.frame_tokens = config.frame_tokens
        num_tokens = NUM_FRAMES * self.frame_tokens
        self.project = nn.Linear(max(1, len(self.inputs) * FEATURES), dim * self.frame_tokens)
        self.time = nn.Linear(2, dim)  # of frames whose state is known
        self.intervals = Intervals(config) if config.mechanisms.intervals else Same()
        self.position = nn.Parameter(torch.randn(num_tokens, dim) * 0.02)
        self.absent = nn.Parameter(torch.randn(num_tokens, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(
            dim,
            config.state_heads,
            int(config.state_mlp_ratio * dim),
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(layer, config.state_depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        self.situation = make_situation(config)

    def forward(self, values: Tensor, known: Tensor, seconds: Tensor) -> EncodedState:
        """Encode the state of a step.

        Args:
            values: `[B, 3, S]` raw values of the frame before and of the pair; angles in radians.
            known: `[B, S]`, 1 where the session has the field; all zero means no state.
            seconds: time since the frame before `[B, 3]`.
        """
        tokens = self.absent.expand(len(known), -1, -1)
        features = values.new_zeros(len(known), NUM_FRAMES, 1)
        if self.inputs:
            features = state_features(self.inputs, values, known)
            timed = time_features(self.time, seconds, self.frame_tokens)
            shaped = self.project(features).unflatten(-1, (self.frame_tokens, -1)).flatten(1, 2)
            tokens = torch.where(known.any(-1)[:, None, None], shaped + timed, tokens)
        tokens = self.intervals(tokens, seconds)
        encoded: Tensor = self.norm(self.blocks(tokens + self.position))
        return EncodedState(encoded, self.situation(features))


class Modulation(nn.Module):
    """Score, level and mode scale and shift features (FiLM, arXiv 1709.07871)."""

    def __init__(self, dim: int, state_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(state_dim, 2 * dim)
        start_at_zero(self.project)

    def forward(self, x: Tensor, situation: Tensor) -> Tensor:
        """Modulate `[B, h, w, D]` by `[B, D_state]`."""
        scale, shift = self.project(situation)[:, None, None].chunk(2, -1)
        return x * (1 + scale) + shift


class LateFusion(nn.Module):
    """Visual and state branch meet in the prediction, by a gate (specification, "Late fusion")."""

    def __init__(self, dim: int, state_dim: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(state_dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.gate = PointLinear(dim, dim)
        start_at_zero(self.branch[2])

    def forward(self, x: Tensor, state_tokens: Tensor) -> Tensor:
        """Add the state's branch to `[B, h, w, D]`."""
        said = self.branch(state_tokens.mean(1))[:, None, None]
        return x + torch.sigmoid(self.gate(x)) * said
