"""Checkpoints: one safetensors file holds everything that a run needs to go on as if never stopped.

```
 RUN/checkpoints/00001200.safetensors   weights, averages, codebooks, optimisers, what chains left
 RUN/checkpoints/best.safetensors       the one with the highest validation PSNR
 RUN/checkpoint.json                    the newest, how far it is, configuration of the model
```

Written under another name and renamed, the JSON last; so a kill, or a full disk, leaves the last
whole one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from relive.config import ModelConfig
from relive.errors import InputError, ReliveError
from relive.model.hst_mae import HSTMAE
from relive.quantizer.rvq import ResidualVQ
from relive.train.schedule import Progress

POINTER = "checkpoint.json"
BEST = "best"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it was read.

    Attributes:
        tensors: by name.
        progress: how far the run was.
        config: of the model.
        extra: plain JSON values that the run keeps beside its tensors.
    """

    tensors: dict[str, Tensor]
    progress: Progress
    config: ModelConfig
    extra: dict[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """Tensors of one module, by their names in it."""
        prefix = f"{name}."
        return {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser as tensors by name."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": torch.as_tensor(value)
        for index, values in state.items()
        for key, value in values.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def module_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Parameters and buffers of several modules, by module and name."""
    return {
        f"{name}.{key}": value
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }


def save(
    run: Path,
    tensors: Mapping[str, Tensor],
    progress: Progress,
    config: dict[str, Any],
    extra: Mapping[str, Any],
    *,
    keep: int = 3,
    best: bool = False,
) -> Path:
    """Write a checkpoint and remove the oldest ones.

    Args:
        run: folder of the run.
        tensors: what to keep.
        progress: how far the run is.
        config: of the model.
        extra: plain JSON values.
        keep: how many of the newest stay.
        best: keep it beside them as the best.

    Raises:
        ReliveError: The disk is full; the checkpoints before are whole.
    """
    folder = run / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    plain = {"progress": asdict(progress), "config": config, "extra": dict(extra)}
    path = folder / f"{progress.update:08d}.safetensors"
    contents = {name: value.detach().contiguous().cpu() for name, value in tensors.items()}
    try:
        _write(path, contents, {"relive": json.dumps(plain)})
        if best:
            _link(path, folder / f"{BEST}.safetensors")
        pointer = {"file": path.name, "progress": asdict(progress), "config": config}
        _replace_text(run / POINTER, json.dumps(pointer, indent=1))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise ReliveError(
            f"no space left for a checkpoint in {folder}; the last whole one is kept: free some "
            f"space and go on with --resume {run}"
        ) from error
    others = [other for other in numbered(run) if other != path]  # one may be of a later update
    for old in others[: max(0, len(others) + 1 - keep)]:
        old.unlink()
    return path


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    part = path.with_suffix(".part")
    try:
        save_file(tensors, part, metadata=metadata)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    except SafetensorError as error:
        text = str(error)
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if f"os error {number}" in text:
                raise OSError(number, os.strerror(number), str(path)) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def _link(path: Path, name: Path) -> None:
    """Give a file a second name; where the file system cannot, copy it."""
    part = name.with_suffix(".part")
    part.unlink(missing_ok=True)
    try:
        part.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, part)
    part.replace(name)


def _replace_text(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    try:
        part.write_text(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def numbered(run: Path) -> list[Path]:
    """Checkpoints of a run, oldest first, without the best."""
    return sorted(p for p in (run / "checkpoints").glob("*.safetensors") if p.stem.isdigit())


def read(run: Path, name: str | None = None) -> Checkpoint:
    """Read the newest whole checkpoint of a run; a damaged one is passed over.

    Args:
        run: its folder.
        name: another one: `BEST`.

    Raises:
        InputError: There is none.
    """
    paths = numbered(run)[::-1] if name is None else [run / "checkpoints" / f"{name}.safetensors"]
    reason = "it has no checkpoint"
    for path in paths:
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            reason = f"{path.name}: {str(error).splitlines()[0]}"
    raise InputError(f"cannot go on from {run}: {reason}")


def _read(path: Path) -> Checkpoint:
    with safe_open(path, "pt") as file:
        plain = json.loads(file.metadata()["relive"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  as in bundle.py
    plain["progress"]["started"] = tuple(plain["progress"]["started"])
    config = ModelConfig.from_dict(plain["config"])
    return Checkpoint(tensors, Progress(**plain["progress"]), config, plain["extra"])


def load_module(module: nn.Module, tensors: dict[str, Tensor], run: Path) -> None:
    """Load a module's part of a checkpoint.

    Raises:
        InputError: The checkpoint is of another model.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:  # a page long
        raise InputError(
            f"cannot go on from {run}: its weights do not fit the model that this version builds; "
            "train anew"
        ) from error


def load_averaged(run: Path, name: str | None = None) -> tuple[HSTMAE, ResidualVQ]:
    """Load the averaged weights and the codebooks of a run, in evaluation mode.

    Args:
        run: its folder.
        name: of the checkpoint; the newest by default.

    Raises:
        InputError: The run has no checkpoint, or it is of another model.
    """
    kept = read(run, name)
    model, quantizer = HSTMAE(kept.config), ResidualVQ(kept.config.quantizer)
    load_module(model, kept.part("average"), run)
    load_module(quantizer, kept.part("quantizer"), run)
    return model.eval(), quantizer.eval()


def read_progress(run: Path) -> dict[str, Any]:
    """How far the newest checkpoint of a run is, as plain values.

    Raises:
        InputError: There is no checkpoint.
    """
    try:
        values: dict[str, Any] = json.loads((run / POINTER).read_text())["progress"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{run} has no checkpoint: {error}") from error
    return values
