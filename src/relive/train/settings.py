"""Settings of a training run, read from TOML; unknown keys are refused."""

from __future__ import annotations

import dataclasses
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


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Masking(_Frozen):
    """Masked pretraining: what the encoder does not see, and what the decoder does not make."""

    kind: Literal["tube", "region", "camera"] = "tube"
    ratio: float = Field(default=0.9, gt=0, lt=1, description="of hidden cubes; tube and camera")
    decoder: float | None = Field(default=0.5, description="not decoded: 0.25, 0.5 or 0.75")

    @field_validator("decoder")
    @classmethod
    def _known_cell(cls, value: float | None) -> float | None:
        if value not in (None, 0.25, 0.5, 0.75):
            raise ValueError("the running cell hides 0.25, 0.5 or 0.75")
        return value


class Phase(_Frozen):
    """One part of the run: how long, on what crops, and how far the gradient reaches."""

    name: str
    minutes: float | None = Field(default=None, gt=0)
    updates: int | None = Field(default=None, ge=1)
    batch: int = Field(ge=1, description="chains side by side")
    crop: tuple[int, int] = Field(description="width and height in pixels")
    chain: int = Field(ge=1, description="steps of a GOP")
    span: int = Field(ge=1, description="steps with gradient in one update")
    quantize: bool = True
    masking: Masking | None = Field(default=None, description="masked pretraining")

    @model_validator(mode="after")
    def _one_length(self) -> Phase:
        if (self.minutes is None) == (self.updates is None):
            raise ValueError(f"phase {self.name!r} needs either minutes or updates")
        if self.masking and self.quantize:
            raise ValueError(f"phase {self.name!r}: masked pretraining has quantize = false")
        return self

    @property
    def length(self) -> float:
        """Updates, or seconds, whichever the phase is given in."""
        return float(self.updates) if self.updates is not None else (self.minutes or 0.0) * 60


class TrainSettings(_Frozen):
    """A run: data, model, phases and the optimiser.

    A run is paced by what its phases are given in: minutes, so that a laptop and a server finish
    when they said they would; or updates, so that a run does not depend on the machine's load.
    """

    data: Path
    valid: Path
    out: Path
    cache: Path = Path("runs/cache")
    model: str = Field(default="tiny", description="a name of relive.model.sizes.SIZES")
    mechanisms: dict[str, Any] = Field(default_factory=dict, description="switches")
    seed: int = 0
    threads: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_updates: int = Field(default=200, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    clip: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.998, gt=0, lt=1)
    mse_weight: float = Field(default=100.0, gt=0)
    commitment_weight: float = Field(default=0.05, ge=0)
    multiview_weight: float = Field(default=0.0, ge=0, description="views of one place alike")
    photometric_weight: float = Field(default=0.1, ge=0, description="of the learned warp")
    consistency_weight: float = Field(default=0.0, ge=0, description="of parallel decoding")
    state_dropout: float = Field(default=0.15, ge=0, le=1, description="share of the chains")
    mask_share: float = Field(default=0.2, ge=0, le=1, description="steps with hidden cubes")
    restart_every: int = Field(default=50, ge=1)
    restart_until: float = Field(default=0.67, ge=0, le=1, description="share of the run")
    checkpoint_minutes: float = Field(default=3.0, gt=0)
    valid_minutes: float = Field(default=10.0, gt=0)
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

    @model_validator(mode="after")
    def _one_unit(self) -> TrainSettings:
        if len({phase.updates is None for phase in self.phase}) > 1:
            raise ValueError("give every phase in minutes, or every phase in updates")
        return self

    @property
    def loss_weights(self) -> dict[str, float]:
        """Weight of every loss beside reconstruction, by its name."""
        names = ("commitment", "multiview", "photometric", "consistency")
        return {name: getattr(self, f"{name}_weight") for name in names}

    @property
    def by_updates(self) -> bool:
        """Whether updates pace the run, and not the clock."""
        return self.phase[0].updates is not None

    @property
    def length(self) -> float:
        """Length of the whole run, in updates or in seconds."""
        return sum(phase.length for phase in self.phase)

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
