"""Settings of a training run, read from TOML; unknown keys are refused."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from relive.config import Mechanisms, ModelConfig
from relive.errors import InputError

WEIGHTS = {
    "reconstruction": 1.0,
    "spatial": 0.0,
    "temporal": 0.0,
    "state": 0.0,
    "commitment": 0.05,
    "rate": 0.0,
    "multiview": 0.0,
    "photometric": 0.1,
    "consistency": 0.0,
}
"""Weights of the losses where a run names none.

The specification has 0.3, 0.2 and 0.1 for spatial, temporal and state; measured in short trainings
they did not pay (docs/training.md), so a run has to ask for them.
"""
LOSSES = tuple(WEIGHTS)
CURRICULUM_EPOCHS = 1200.0
"""Of masked pretraining by curriculum that names no length: 400 a third (specification)."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Masking(_Frozen):
    """Masked pretraining: what the encoder does not see, and what the decoder does not make."""

    kind: Literal["tube", "region", "camera"] = "tube"
    curriculum: bool = Field(
        default=False, description="learned masks, easy to hard, 85 to 95 %, in place of the ratio"
    )
    ratio: float = Field(default=0.9, gt=0, lt=1, description="of hidden cubes; tube and camera")
    decoder: float | None = Field(default=0.5, description="not decoded: 0.25, 0.5 or 0.75")

    @field_validator("decoder")
    @classmethod
    def _known_cell(cls, value: float | None) -> float | None:
        if value not in (None, 0.25, 0.5, 0.75):
            raise ValueError("the running cell hides 0.25, 0.5 or 0.75")
        return value

    @model_validator(mode="after")
    def _learned_where_masks_begin(self) -> Masking:
        if self.curriculum and self.kind == "region":
            raise ValueError("a curriculum goes with tube or camera masks; region has its ratios")
        return self


class Augment(_Frozen):
    """What clips go through before they are seen; the defaults leave them alone."""

    mirror: float = Field(default=0.0, ge=0, le=1, description="share of clips; the state follows")
    colour: bool = Field(default=False, description="jitter, the same over a clip")
    stride: Literal["auto", 1, 2, 3, 4] = Field(
        default=1, description="frames from one to the next; auto: 2 at 30 frames/s, 4 at 60"
    )


class Phase(_Frozen):
    """One part of the run: how long, on what crops, and how far the gradient reaches."""

    name: str
    minutes: float | None = Field(default=None, gt=0)
    updates: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0, description="passes over the pixels")
    batch: int = Field(default=1, ge=1, description="chains side by side, in every process")
    crop: tuple[int, int] = Field(default=(224, 224), description="width and height in pixels")
    chain: int | tuple[int, ...] = Field(default=16, description="steps of a GOP; many: in turn")
    span: int = Field(default=1, ge=1, description="steps with gradient in one update")
    accumulate: int = Field(default=1, ge=1, description="batches for one change of the weights")
    quantize: bool = True
    freeze_codebooks: bool = Field(default=False, description="codebooks learn no more")
    context_noise: float = Field(default=0.0, ge=0, le=0.5, description="see chain.disturb")
    enhanced: float = Field(
        default=0.0, ge=0, le=1, description="share of the chains that go on from enhanced pictures"
    )
    masking: Masking | None = Field(default=None, description="masked pretraining")
    augment: Augment = Augment()
    weights: dict[str, float] = Field(default_factory=dict, description="of losses, for this phase")
    probability: bool = Field(
        default=False, description="fit the probability nets of the bitstream; nothing is trained"
    )

    @field_validator("chain")
    @classmethod
    def _some_steps(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        lengths = (value,) if isinstance(value, int) else value
        if not lengths or min(lengths) < 1:
            raise ValueError("a chain has one step or more")
        return value

    @field_validator("weights")
    @classmethod
    def _known_losses(cls, values: dict[str, float]) -> dict[str, float]:
        return check_weights(values)

    @model_validator(mode="before")
    @classmethod
    def _length_of_a_curriculum(cls, values: Any) -> Any:
        """Give a curriculum without a length the specification's epochs."""
        if not isinstance(values, dict) or {"minutes", "updates", "epochs"} & set(values):
            return values
        masking = values.get("masking")
        learned = masking.get("curriculum") if isinstance(masking, dict) else masking
        if isinstance(learned, Masking):
            learned = learned.curriculum
        return {**values, "epochs": CURRICULUM_EPOCHS} if learned is True else values

    @model_validator(mode="after")
    def _one_length(self) -> Phase:
        if self.probability:
            if self.minutes or self.epochs or (self.updates or 1) != 1:
                raise ValueError(f"phase {self.name!r}: a probability phase has no length")
            return self
        if sum(x is not None for x in (self.minutes, self.updates, self.epochs)) != 1:
            raise ValueError(f"phase {self.name!r} needs either minutes or updates or epochs")
        if self.masking and self.quantize:
            raise ValueError(f"phase {self.name!r}: masked pretraining has quantize = false")
        return self

    @property
    def chains(self) -> tuple[int, ...]:
        """Lengths of chains, taken in turn by the rows of a batch."""
        return (self.chain,) if isinstance(self.chain, int) else self.chain


def check_weights(values: dict[str, float]) -> dict[str, float]:
    """Check names and values of weights of losses.

    Raises:
        ValueError: A name is unknown or a weight is negative.
    """
    unknown = sorted(set(values) - set(LOSSES))
    if unknown:
        raise ValueError(f"no such loss: {', '.join(unknown)}; there are {', '.join(LOSSES)}")
    wrong = [name for name, weight in values.items() if not weight >= 0]
    if wrong:
        raise ValueError(f"weight of {wrong[0]} is below zero")
    return values


class TrainSettings(_Frozen):
    """A run: data, model, phases and the optimiser.

    A run is paced by what its phases are given in: minutes, so that a laptop and a server finish
    when they said they would; or updates or epochs, so that a run does not depend on the machine.
    """

    data: Path
    valid: Path | None = Field(default=None, description="without it every fifth session of data")
    out: Path
    cache: Path = Path("runs/cache")
    model: str = Field(default="tiny", description="a name of relive.model.sizes.SIZES")
    start: str | None = Field(default=None, description="weights to begin with: a model, or tiny")
    learn_fields: bool = Field(
        default=False, description="with `start`: state fields of the sessions join the model's"
    )
    mechanisms: dict[str, Any] = Field(default_factory=dict, description="switches")
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=1, ge=1)
    workers: int = Field(default=1, ge=0, description="processes that read; 0: in between")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    recompute: bool | None = Field(
        default=None, description="activation checkpointing; by default for base and large"
    )
    balanced: bool = Field(default=True, description="maps and motions in fair shares")
    learning_rate: float | None = Field(default=None, gt=0, description="at its highest")
    base_learning_rate: float = Field(
        default=1.5e-4, gt=0, description="for 256 pairs of frames an update; scaled linearly"
    )
    warmup_updates: int = Field(default=200, ge=0)
    warmup_epochs: float | None = Field(default=None, ge=0, description="in place of updates")
    decay: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(default=0.05, ge=0)
    clip: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.998, gt=0, lt=1)
    weights: dict[str, float] = Field(
        default_factory=dict, description="of losses, in place of `WEIGHTS`"
    )
    dynamic_weights: bool = Field(default=False, description="see weighting.DynamicWeights")
    state_dropout: float = Field(default=0.15, ge=0, le=1, description="share of the chains")
    mask_share: float = Field(default=0.2, ge=0, le=1, description="steps with hidden cubes")
    restart_every: int = Field(default=50, ge=1)
    restart_until: float = Field(default=0.67, ge=0, le=1, description="share of the run")
    checkpoint_minutes: float = Field(default=3.0, gt=0)
    checkpoint_epochs: float = Field(default=50.0, gt=0)
    keep_checkpoints: int = Field(default=3, ge=1, description="the newest; the best beside them")
    valid_minutes: float = Field(default=10.0, gt=0)
    tensorboard: bool = True
    state_names: tuple[str, ...] = (
        "@forward",
        "@left",
        "@up",
        "@turn",
        "pitch",
        "velocity_z",
        "health",
        "ammo",
        "armor",
        "weapon",
        "kills",
    )
    phase: tuple[Phase, ...] = Field(min_length=1)

    @field_validator("mechanisms")
    @classmethod
    def _known_mechanisms(cls, values: dict[str, Any]) -> dict[str, Any]:
        return check_mechanisms(values)

    @field_validator("weights")
    @classmethod
    def _known_losses(cls, values: dict[str, float]) -> dict[str, float]:
        return check_weights(values)

    @model_validator(mode="after")
    def _one_unit(self) -> TrainSettings:
        trained = [phase for phase in self.phase if not phase.probability]
        if len({phase.minutes is None for phase in trained}) > 1:
            raise ValueError("give every phase in minutes, or none")
        return self

    def loss_weights(self, phase: Phase) -> dict[str, float]:
        """Weight of every loss in a phase, by its name."""
        return {**WEIGHTS, **self.weights, **phase.weights}

    @property
    def by_clock(self) -> bool:
        """Whether the clock paces the run, and not its updates."""
        return any(phase.minutes is not None for phase in self.phase)

    def with_mechanisms(self, base: ModelConfig) -> ModelConfig:
        """A size with this run's mechanisms switched."""
        mechanisms = dataclasses.replace(base.mechanisms, **self.mechanisms)
        return dataclasses.replace(base, mechanisms=mechanisms)


def check_mechanisms(values: dict[str, Any]) -> dict[str, Any]:
    """Check names and types of switches of `Mechanisms`.

    Returns:
        The switches, lists made tuples.

    Raises:
        ValueError: A name is unknown or a value has the wrong type.
    """
    types = get_type_hints(Mechanisms)
    unknown = sorted(set(values) - set(types))
    if unknown:
        raise ValueError(f"no such mechanism: {', '.join(unknown)}; there are {', '.join(types)}")
    return {name: _mechanism(name, types[name], value) for name, value in values.items()}


def _mechanism(name: str, kind: Any, value: Any) -> Any:
    plain = tuple(value) if isinstance(value, list) else value
    try:
        return TypeAdapter(kind).validate_python(plain, strict=True)
    except ValidationError as error:
        raise ValueError(f"mechanism {name} = {value!r}: {error.errors()[0]['msg']}") from error


def check_settings(values: dict[str, Any], source: str) -> TrainSettings:
    """Build settings from plain values.

    Args:
        values: what the TOML of a run holds.
        source: where they come from, for the message.

    Raises:
        InputError: A key is unknown or wrong.
    """
    try:
        return TrainSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{source}: {where or 'settings'}: {_message(first)}") from error


def _message(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ")


def read_settings(path: Path) -> TrainSettings:
    """Read a run's TOML file.

    Raises:
        InputError: The file is missing, is not TOML, or a key is unknown or wrong.
    """
    return check_settings(read_toml(path), str(path))


def read_json(path: Path) -> dict[str, Any]:
    """Read the settings that a run left beside its checkpoints.

    Raises:
        InputError: The file is missing or is not JSON.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    return values


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        InputError: The file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
