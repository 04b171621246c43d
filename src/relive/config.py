"""Every configuration of Relive, frozen and built once.

One layer lies between a file and a class: the JSON beside the weights, or the TOML of a training
run, is read into these dataclasses, and the dataclasses are handed to the constructors.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

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
    role: str = "other"


@dataclass(frozen=True)
class QuantizerConfig:
    """Residual vector quantiser (design 5.3)."""

    num_quantizers: int = 6
    codebook_size: int = 512
    codebook_dim: int = 32
    decay: float = 0.99


@dataclass(frozen=True)
class Mechanisms:
    """What a model is put together from; each mechanism can be left out alone.

    The defaults are those of the first bundled model; `SIZES` says what the sizes have.

    Attributes:
        multi_scale: all four stages feed the latents; without it the last two.
        state: the state vector is read; without it learned tokens stand in its place.
        intervals: tokens know the real time between frames also where the state is not known.
        informed: state and memory are read where both sides predict, so that the encoder leaves
            out what they tell; without it only the blocks read them.
        early_fusion: state tokens take part in the attention of the first block.
        state_stages: stages (1 to 4) whose visual tokens read the state.
        two_way: state tokens read the visual tokens after every stage.
        late_fusion: a gated state branch beside the decoder's prediction.
        modulation: score, level and mode scale and shift the decoder's features.
        region_embedding: every cube knows its region by a 256-wide learned embedding.
        proximity: learned attention bias between cubes of a region by their distance.
        cross_links: share of the attention links between regions that are kept.
        hierarchy: cubes read what their region and the whole picture amount to.
        memory_slots: entries of every region's memory bank; 0 for no memory.
        decoding: "parallel", or "importance": a region sees itself and more important ones.
        recurrent_dim: width of the state carried from step to step; 0 for none.
        adapter_rank: rank of the session adapters; 0 for none.
        warp: where the reference comes from: "searched" hypotheses, "learned" depth and flow,
            "rotation" alone, or "copy".
    """

    multi_scale: bool = True
    state: bool = True
    intervals: bool = False
    informed: bool = False
    early_fusion: bool = False
    state_stages: tuple[int, ...] = (3, 4)
    two_way: bool = False
    late_fusion: bool = False
    modulation: bool = False
    region_embedding: bool = False
    proximity: bool = False
    cross_links: float = 1.0
    hierarchy: bool = False
    memory_slots: int = 0
    decoding: Literal["parallel", "importance"] = "parallel"
    recurrent_dim: int = 0
    adapter_rank: int = 0
    warp: Literal["searched", "learned", "rotation", "copy"] = "searched"

    def __post_init__(self) -> None:
        """Refuse what would silently switch nothing.

        Raises:
            InputError: A value is not one of those that there are.
        """
        for name, chosen, allowed in (
            ("decoding", (self.decoding,), ("parallel", "importance")),
            ("warp", (self.warp,), ("searched", "learned", "rotation", "copy")),
            ("state_stages", self.state_stages, (1, 2, 3, 4)),
        ):
            wrong = [value for value in chosen if value not in allowed]
            if wrong:
                raise InputError(f"mechanism {name}: {wrong[0]!r} is none of {allowed}")
        if not 0 < self.cross_links <= 1:
            raise InputError(f"mechanism cross_links: {self.cross_links} is not over 0, up to 1")


@dataclass(frozen=True)
class ModelConfig:
    """HST-MAE: widths and depths of the four stages (stride 4, 8, 16, 32) and of the decoder."""

    name: str = "tiny"
    embed_dims: tuple[int, int, int, int] = (48, 96, 160, 192)
    depths: tuple[int, int, int, int] = (2, 2, 2, 1)
    num_heads: tuple[int, int, int, int] = (2, 4, 5, 6)
    window_size: int = 8
    mlp_ratios: tuple[float, float, float, float] = (4.0, 4.0, 4.0, 4.0)
    mlp_ratio: float = 4.0  # of the decoder
    cross_dim: int | None = None  # inner width of state attention; None: that of what reads
    fuse_dim: int | None = None  # inner width of the multi-scale fusion; None: direct
    context_dims: tuple[int, int, int] = (64, 96, 160)
    decoder_dim: int = 160
    decoder_depth: int = 4
    decoder_heads: int = 5
    state_dim: int = 128
    state_depth: int = 2
    state_heads: int = 4
    state_mlp_ratio: float = 4.0
    frame_tokens: int = 1  # state tokens of every frame
    state_inputs: tuple[StateInput, ...] = ()
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    mechanisms: Mechanisms = field(default_factory=Mechanisms)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Build from plain JSON values.

        Raises:
            InputError: A key is unknown or a value does not fit.
        """
        if not isinstance(values, dict):
            raise InputError(f"model configuration is no table: {str(values)[:40]}")
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"model configuration has unknown keys: {', '.join(unknown)}")
        plain = _with_tuples(values)
        try:
            plain["state_inputs"] = tuple(StateInput(**s) for s in values.get("state_inputs", ()))
            plain["quantizer"] = QuantizerConfig(**values.get("quantizer", {}))
            plain["mechanisms"] = Mechanisms(**_with_tuples(values.get("mechanisms", {})))
            return cls(**plain)
        except (TypeError, AttributeError) as error:
            raise InputError(f"model configuration is wrong: {error}") from error


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON and TOML know lists, the frozen classes tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
