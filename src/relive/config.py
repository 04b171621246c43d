"""Every configuration of Relive, frozen and built once.

One layer lies between a file and a class: the JSON beside the weights, or the TOML of a training
run,
is read into these dataclasses, and the dataclasses are handed to the constructors.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from relive.errors import InputError

CUBE_FRAMES = 2
CUBE_PX = 16


@dataclass(frozen=True)
class StateInput:
    """One state field that the model reads: matched to a session by name, normalised linearly."""

    name: str
    kind: str
    mean: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class QuantizerConfig:
    """Residual vector quantiser (design 5.3)."""

    num_quantizers: int = 6
    codebook_size: int = 512
    codebook_dim: int = 32
    decay: float = 0.99


@dataclass(frozen=True)
class ModelConfig:
    """HST-MAE: widths and depths of the four stages (stride 4, 8, 16, 32) and of the decoder."""

    name: str = "tiny"
    embed_dims: tuple[int, int, int, int] = (48, 96, 160, 192)
    depths: tuple[int, int, int, int] = (2, 2, 2, 1)
    num_heads: tuple[int, int, int, int] = (2, 4, 5, 6)
    window_size: int = 8
    mlp_ratio: float = 4.0
    context_dims: tuple[int, int, int] = (64, 96, 160)
    decoder_dim: int = 160
    decoder_depth: int = 4
    decoder_heads: int = 5
    state_dim: int = 128
    state_depth: int = 2
    state_heads: int = 4
    state_inputs: tuple[StateInput, ...] = ()
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Build from plain JSON values.

        Raises:
            InputError: A key is unknown or a value does not fit.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"model configuration has unknown keys: {', '.join(unknown)}")
        plain: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        try:
            plain["state_inputs"] = tuple(StateInput(**s) for s in values.get("state_inputs", ()))
            plain["quantizer"] = QuantizerConfig(**values.get("quantizer", {}))
            return cls(**plain)
        except TypeError as error:
            raise InputError(f"model configuration is wrong: {error}") from error
