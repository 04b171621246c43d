"""What an ablation consists of: the configuration, its variants, and one plan for each run.

    configs/ablation.toml ─► [train] + [variant.x] + seed ─► RunPlan ─► runs/ablation/<digest>/x-0

Every variant trains with the same updates, on the same data in the same order; only what its table
names differs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from relive.errors import InputError
from relive.train.settings import TrainSettings, check_settings, read_toml

BASELINE = "full"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Evaluation(_Frozen):
    """How a trained run is measured on held-out sessions."""

    gops: int = Field(default=1, ge=1, description="of each session")
    steps: int = Field(default=16, ge=2, description="of a GOP")
    depths: tuple[int, ...] = Field(default=(1, 2, 3, 4, 6), min_length=2)
    count_sessions: int = Field(default=12, ge=1, description="training sessions for frequencies")
    count_steps: int = Field(default=4, ge=2)
    state_variants: tuple[str, ...] = (BASELINE,)
    revisit_variants: tuple[str, ...] = ()
    revisit_windows: int = Field(default=4, ge=1, description="GOPs with a return in them")
    revisit_steps: int = Field(default=64, ge=4, description="the longest such GOP")
    revisit_depths: tuple[int, ...] = Field(default=(2, 4, 6), min_length=2)
    revisit_first: int = Field(default=4, ge=1, description="steps after the return that count")


class Variant(_Frozen):
    """What one variant changes."""

    about: str = ""
    mechanisms: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)


class AblationConfig(_Frozen):
    """The file: a short schedule, how to measure, and the variants."""

    rate_bpp: float = Field(default=0.05, gt=0, description="bits per pixel of the comparison")
    train: dict[str, Any]
    evaluate: Evaluation = Evaluation()
    variant: dict[str, Variant] = Field(min_length=1)


@dataclass(frozen=True)
class RunPlan:
    """One training and what is measured of it.

    Attributes:
        variant: its name.
        seed: of weights and data order.
        folder: where all of it is kept.
        settings: of the training; `out` is `folder / "train"`.
        evaluation: of the trained model.
    """

    variant: str
    seed: int
    folder: Path
    settings: TrainSettings
    evaluation: Evaluation

    @property
    def with_states(self) -> bool:
        """Whether the model is also measured with shuffled and with no states."""
        return self.variant in self.evaluation.state_variants

    @property
    def with_revisits(self) -> bool:
        """Whether the returns to a place are measured."""
        return self.variant in self.evaluation.revisit_variants

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "variant": self.variant,
            "seed": self.seed,
            "settings": self.settings.model_dump(mode="json"),
            "evaluation": self.evaluation.model_dump(mode="json"),
        }

    def write(self) -> Path:
        """Write `plan.json` into the folder of the run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "plan.json"
        path.write_text(json.dumps(self.to_dict(), indent=1))
        return path

    @classmethod
    def read(cls, folder: Path) -> RunPlan:
        """Read what `write` wrote."""
        values = json.loads((folder / "plan.json").read_text())
        return cls(
            values["variant"],
            values["seed"],
            folder,
            check_settings(_tuples(values["settings"]), str(folder)),
            Evaluation(**values["evaluation"]),
        )


def _tuples(settings: dict[str, Any]) -> dict[str, Any]:
    """A phase in minutes has no updates in JSON, and the other way round."""
    phases = [{k: v for k, v in p.items() if v is not None} for p in settings["phase"]]
    return {**settings, "phase": phases}


def read_config(path: Path) -> AblationConfig:
    """Read the configuration.

    Raises:
        InputError: It is missing, not TOML, or a key is unknown or wrong.
    """
    try:
        config = AblationConfig(**read_toml(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}") from error
    for name in config.variant:
        if not _NAME.fullmatch(name):
            raise InputError(f"{path}: variant {name!r}: use letters, digits, - and _ only")
    return config


def choose_variants(config: AblationConfig, wanted: Sequence[str] | None) -> list[str]:
    """Names of the variants to run, the baseline first.

    Raises:
        InputError: There is no such variant.
    """
    names = list(config.variant) if wanted is None else list(wanted)
    unknown = [name for name in names if name not in config.variant]
    if unknown:
        raise InputError(f"no variant {unknown[0]!r}; there are {', '.join(config.variant)}")
    return sorted(names, key=lambda name: name != BASELINE)


def digest(config: AblationConfig, train: Path) -> str:
    """Name what all runs share: the schedule and the sessions. A new variant changes nothing."""
    sessions = sorted(p.parent.name for p in train.rglob("frames.npy"))
    sessions += sorted(p.name for p in train.rglob("*.mcap"))
    text = json.dumps([config.train, str(train.resolve()), sessions], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def plan_run(
    config: AblationConfig, name: str, seed: int, folders: tuple[Path, Path], root: Path
) -> RunPlan:
    """Settings of one run.

    Args:
        config: the configuration.
        name: of the variant.
        seed: of weights and data order.
        folders: of training sessions and of held-out ones.
        root: where the runs lie.
    """
    variant, (train, valid) = config.variant[name], folders
    folder = root / f"{name}-{seed}"
    mechanisms = {**config.train.get("mechanisms", {}), **variant.mechanisms}
    own = {"data": train, "valid": valid, "out": folder / "train", "seed": seed}
    values = {**config.train, **variant.settings, **own, "mechanisms": mechanisms}
    settings = check_settings(values, f"variant {name}")
    return RunPlan(name, seed, folder, settings, config.evaluate)


def plan_runs(
    config: AblationConfig,
    names: Sequence[str],
    seeds: Sequence[int],
    folders: tuple[Path, Path],
    root: Path,
) -> list[RunPlan]:
    """All runs, seed by seed: what is there when the time runs out is whole for some seeds."""
    home = root / digest(config, folders[0])
    return [plan_run(config, name, seed, folders, home) for seed in seeds for name in names]
