"""Settings of a training run, read from TOML; unknown keys are refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from relive.errors import InputError


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(_Frozen):
    """One part of the run: how long, on what crops, and how far the gradient reaches."""

    name: str
    minutes: float = Field(gt=0)
    batch: int = Field(ge=1, description="chains side by side")
    crop: tuple[int, int] = Field(description="width and height in pixels")
    chain: int = Field(ge=1, description="steps of a GOP")
    span: int = Field(ge=1, description="steps with gradient in one update")
    quantize: bool = True


class TrainSettings(_Frozen):
    """A run: data, phases and the optimiser."""

    data: Path
    valid: Path
    out: Path
    cache: Path = Path("runs/cache")
    seed: int = 0
    threads: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_updates: int = Field(default=200, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    clip: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.998, gt=0, lt=1)
    mse_weight: float = Field(default=100.0, gt=0)
    commitment_weight: float = Field(default=0.05, ge=0)
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

    @property
    def minutes(self) -> float:
        """Length of the whole run."""
        return sum(p.minutes for p in self.phase)


def read_settings(path: Path) -> TrainSettings:
    """Read a run's TOML file.

    Raises:
        InputError: The file is missing, is not TOML, or a key is unknown or wrong.
    """
    try:
        return TrainSettings(**tomllib.loads(path.read_text()))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}") from error
