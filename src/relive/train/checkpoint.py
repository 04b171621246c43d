"""Checkpoints: one safetensors file with weights, averages and optimiser, and a JSON beside it.

Written under another name and renamed, so that a kill leaves the last whole one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from relive.config import ModelConfig
from relive.errors import InputError


@dataclass
class Progress:
    """How far a run has come."""

    update: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    started: tuple[bool, bool] = (False, False)  # codebooks of keyframes, of deltas


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{key}": value
        for index, values in state.items()
        for key, value in values.items()
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def save(
    folder: Path,
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    config: dict[str, Any],
) -> None:
    """Write `checkpoint.safetensors` and `checkpoint.json` into `folder`."""
    tensors = {
        f"{name}.{key}": value.contiguous()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    tensors |= _optimizer_tensors(optimizer)
    description = {"progress": json.dumps(asdict(progress)), "config": json.dumps(config)}
    part = folder / "checkpoint.safetensors.part"
    save_file(tensors, part, metadata=description)
    part.rename(folder / "checkpoint.safetensors")
    text = folder / "checkpoint.json.part"
    text.write_text(json.dumps({"progress": asdict(progress), "config": config}, indent=1))
    text.rename(folder / "checkpoint.json")


def read_config(folder: Path) -> ModelConfig:
    """Read the model configuration of a run.

    Raises:
        InputError: There is no checkpoint.
    """
    try:
        return ModelConfig.from_dict(json.loads((folder / "checkpoint.json").read_text())["config"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"cannot resume from {folder}: {error}") from error


def load(folder: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> Progress:
    """Load what `save` wrote.

    Raises:
        InputError: There is no checkpoint, or it is of another model.
    """
    try:
        with safe_open(folder / "checkpoint.safetensors", "pt") as file:
            values = json.loads(file.metadata()["progress"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        for name, module in modules.items():
            prefix = f"{name}."
            module.load_state_dict(
                {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            )
        _load_optimizer(optimizer, tensors)
        values["started"] = tuple(values["started"])
        return Progress(**values)
    except RuntimeError as error:  # of load_state_dict, a page long
        raise InputError(
            f"cannot resume from {folder}: its weights do not fit the model that this version "
            "builds; train anew"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(f"cannot resume from {folder}: {str(error).splitlines()[0]}") from error
