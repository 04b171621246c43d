"""The training run, top to bottom: open sessions, walk the phases, write checkpoints.

The clock ends a phase, so that a laptop and a server both finish when they said they would; or a
number of updates does, so that a run can be repeated whatever else the machine is doing.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from relive.config import ModelConfig, StateInput
from relive.cubes.states import model_states
from relive.cubes.store import SessionStore, open_folder
from relive.errors import InputError
from relive.model.hst_mae import HSTMAE
from relive.quantizer.rvq import ResidualVQ
from relive.train import checkpoint
from relive.train.batch import Batch
from relive.train.chain import (
    Chain,
    StepResult,
    advance,
    detach,
    new_chain,
    run_step,
    to_tensors,
)
from relive.train.checkpoint import Progress
from relive.train.losses import Auxiliary
from relive.train.pretrain import pretrain_step
from relive.train.settings import Phase, TrainSettings, read_settings
from relive.train.validate import validate

Report = Callable[[float, str], None]  # share done, one line of text
LOG_EVERY = 20  # updates


def state_inputs(stores: list[SessionStore], names: tuple[str, ...]) -> tuple[StateInput, ...]:
    """Measure mean and scale of every field that the model will read."""
    rows = []
    roles = {f.name: f.role for store in stores for f in store.schema.fields}
    angles = {f.name for store in stores for f in store.schema.fields if f.kind == "angle"}
    for store in stores:
        for first in range(1, len(store.states) - 2, 16):
            values, known = model_states(store.schema, store.states[first - 1 : first + 2], names)
            rows.append(np.where(known > 0, values[1:], np.nan))
    table = np.concatenate(rows) if rows else np.zeros((1, len(names)))
    inputs = []
    for column, name in zip(table.T, names, strict=True):
        seen = column[np.isfinite(column)]
        mean, scale = (float(seen.mean()), float(seen.std())) if len(seen) else (0.0, 1.0)
        kind = "angle" if name in angles else "linear"
        mean, scale = round(mean, 4), round(max(scale, 1e-2), 4)
        inputs.append(StateInput(name, kind, mean, scale, roles.get(name, "other")))
    return tuple(inputs)


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW without weight decay on norms, biases and embeddings (specification)."""
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decay, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.95))


def learning_rate(settings: TrainSettings, update: int, share: float) -> float:
    """Linear warm-up, then cosine over the share of the run that is done."""
    warm = min(1.0, (update + 1) / max(1, settings.warmup_updates))
    return settings.learning_rate * warm * max(0.01, 0.5 * (1 + math.cos(math.pi * min(share, 1))))


def done(settings: TrainSettings, progress: Progress) -> float:
    """How far the run is, in what paces it: updates or seconds."""
    return progress.update if settings.by_updates else progress.seconds


def phase_at(settings: TrainSettings, progress: Progress) -> Phase:
    """The phase that the run stands in."""
    end = 0.0
    for phase in settings.phase:
        end += phase.length
        if done(settings, progress) < end:
            return phase
    return settings.phase[-1]


def check_alike(stores: list[SessionStore]) -> None:
    """Refuse sessions of different sizes or cameras: a batch has one of each.

    Raises:
        InputError: Two sessions differ.
    """
    first = stores[0]
    for store in stores[1:]:
        same_size = store.frames.shape[1:] == first.frames.shape[1:]
        if not same_size or store.schema.camera != first.schema.camera:
            raise InputError(
                f"sessions {first.name} and {store.name} differ in size or camera; "
                "train on one kind at a time"
            )


class _Remainders:
    """The latest normalised remainders of each kind, for the start and restarts of codebooks."""

    def __init__(self, size: int = 16384) -> None:
        self.size = size
        self.kept: dict[int, Tensor] = {}

    def add(self, result: StepResult, is_delta: Tensor) -> None:
        """Keep what was seen by the encoder; hidden cubes are zero and teach nothing."""
        for kind in (0, 1):
            rows = is_delta.long() == kind
            fresh = result.remainders[rows][~result.masked[rows]]
            old = self.kept.get(kind, fresh[:0])
            self.kept[kind] = torch.cat([old, fresh])[-self.size :]

    def ready(self, kind: int) -> bool:
        return len(self.kept.get(kind, ())) >= 4096


@dataclass
class Run:
    """Everything that a run works on."""

    settings: TrainSettings
    out: Path
    stores: list[SessionStore]
    valid: list[SessionStore]
    model: HSTMAE
    average: HSTMAE
    quantizer: ResidualVQ
    auxiliary: Auxiliary
    optimizer: torch.optim.AdamW
    progress: Progress
    order: np.random.Generator  # of the data: the same for every model of a seed
    rng: np.random.Generator
    chance: torch.Generator
    remainders: _Remainders
    sums: defaultdict[str, float]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint holds beside the optimiser."""
        return {
            "model": self.model,
            "average": self.average,
            "quantizer": self.quantizer,
            "auxiliary": self.auxiliary,
        }

    @property
    def share(self) -> float:
        """How much of the run is done."""
        return done(self.settings, self.progress) / self.settings.length

    def save(self) -> None:
        """Write a checkpoint."""
        config = self.model.config.to_dict()
        checkpoint.save(self.out, self.modules, self.optimizer, self.progress, config)


def model_config(settings: TrainSettings, stores: list[SessionStore]) -> ModelConfig:
    """The size that the settings name, its mechanisms switched, its inputs measured.

    Raises:
        InputError: There is no such size.
    """
    from relive.model.sizes import SIZES

    if settings.model not in SIZES:
        raise InputError(f"no model size {settings.model!r}; there are {', '.join(SIZES)}")
    inputs = state_inputs(stores, settings.state_names)
    return replace(settings.with_mechanisms(SIZES[settings.model]), state_inputs=inputs)


def open_run(config: Path | TrainSettings, resume: Path | None) -> Run:
    """Read the settings, open the sessions, build the model or load it."""
    settings = config if isinstance(config, TrainSettings) else read_settings(config)
    torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)
    out = resume or settings.out
    stores = open_folder(settings.data, settings.cache)
    valid = open_folder(settings.valid, settings.cache)
    check_alike(stores)
    if not resume and (out / "checkpoint.json").exists():
        raise InputError(f"{out} holds a run; go on with --resume {out}, or name another out")
    built = checkpoint.read_config(out) if resume else model_config(settings, stores)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    model, quantizer = HSTMAE(built), ResidualVQ(built.quantizer)
    latent_dim = built.quantizer.codebook_dim
    auxiliary = Auxiliary(latent_dim, settings.loss_weights, settings.seed)
    average = copy.deepcopy(model)
    optimizer = make_optimizer(nn.ModuleList([model, auxiliary]), settings)
    modules: dict[str, nn.Module] = {
        "model": model,
        "average": average,
        "quantizer": quantizer,
        "auxiliary": auxiliary,
    }
    progress = checkpoint.load(out, modules, optimizer) if resume else Progress()
    return Run(
        settings,
        out,
        stores,
        valid,
        model,
        average,
        quantizer,
        auxiliary,
        optimizer,
        progress,
        np.random.default_rng([settings.seed, progress.update, 1]),
        np.random.default_rng([settings.seed, progress.update]),
        torch.Generator().manual_seed(settings.seed + progress.update),
        _Remainders(),
        defaultdict(float),
    )


def update(run: Run, phase: Phase, chains: list[Chain]) -> list[Chain]:
    """Run `span` steps of every chain with gradient and change the weights once."""
    settings = run.settings
    names = tuple(s.name for s in run.model.config.state_inputs)
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(settings, run.progress.update, run.share)
    detach(chains)
    loss = torch.zeros(())
    for _ in range(phase.span):
        batch = to_tensors(chains, names)
        result = take_step(run, phase, chains, batch)
        loss = loss + settings.mse_weight * result.mse.mean() / phase.span
        for name, value in result.losses.items():
            loss = loss + settings.loss_weights[name] * value / phase.span
            run.sums[name] += float(value.detach()) / phase.span
        chains = advance(
            chains,
            result,
            run.stores,
            phase.chain,
            phase.crop,
            run.order,
            settings.state_dropout,
        )
        run.remainders.add(result, batch.is_delta)
        deltas, mse = batch.is_delta, result.mse.detach()
        run.sums["deltas"] += float(deltas.sum())
        run.sums["keys"] += float((1 - deltas).sum())
        run.sums["mse_delta"] += float((mse * deltas).sum())
        run.sums["mse_key"] += float((mse * (1 - deltas)).sum())
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    learned = [*run.model.parameters(), *run.auxiliary.parameters()]
    norm = nn.utils.clip_grad_norm_(learned, settings.clip)
    if bool(torch.isfinite(norm)):
        run.optimizer.step()
    else:
        run.sums["skipped"] += 1
    follow(run)
    return chains


def take_step(run: Run, phase: Phase, chains: list[Chain], batch: Batch) -> StepResult:
    """Run one step of every chain, as the phase says."""
    if phase.masking is not None:
        return pretrain_step(run.model, chains, batch, run.rng, phase.masking)
    return run_step(
        run.model,
        run.quantizer,
        chains,
        batch,
        run.rng,
        phase.quantize and all(run.progress.started),
        mask_share=run.settings.mask_share,
        auxiliary=run.auxiliary,
    )


def first_chains(run: Run, phase: Phase) -> list[Chain]:
    """Start the chains of a phase; their first lengths differ, so that they do not end together."""
    lengths = [1 + i * phase.chain // phase.batch for i in range(phase.batch)]
    dropout = run.settings.state_dropout
    return [new_chain(run.stores, length, phase.crop, run.order, dropout) for length in lengths]


@torch.no_grad()
def follow(run: Run) -> None:
    """Move the averaged weights towards the new ones."""
    done = run.progress.update
    keep = min(run.settings.ema, (1 + done) / (10 + done))
    for slow, fast in zip(run.average.parameters(), run.model.parameters(), strict=True):
        slow.lerp_(fast, 1 - keep)


def tend_codebooks(run: Run, phase: Phase) -> None:
    """Start the codebooks once there is enough to start from; later revive what is not used."""
    settings, progress, started = run.settings, run.progress, list(run.progress.started)
    if not phase.quantize:
        return
    due = progress.update % settings.restart_every == 0
    restarting = due and run.share < settings.restart_until
    for kind in (0, 1):
        vectors = run.remainders.kept.get(kind)
        if vectors is None:
            continue
        if not started[kind] and run.remainders.ready(kind):
            run.quantizer.start(vectors, kind, run.chance)
            started[kind] = True
        elif started[kind] and restarting:
            run.quantizer.restart(vectors, kind, run.chance)
    progress.started = (started[0], started[1])


def write_line(run: Run, phase: Phase, report: Report | None) -> None:
    """Add what the last updates gave to the log, and forget it."""
    sums = run.sums
    line = {
        "update": run.progress.update,
        "minutes": round(run.progress.seconds / 60, 2),
        "phase": phase.name,
        "psnr_keyframe_db": _psnr(sums["mse_key"], sums["keys"]),
        "psnr_delta_db": _psnr(sums["mse_delta"], sums["deltas"]),
        **{name: round(sums[name] / LOG_EVERY, 4) for name in run.settings.loss_weights},
        "skipped": int(sums["skipped"]),
    }
    run.sums = defaultdict(float)
    _append(run.out, line)
    if report:
        report(run.share, f"key {line['psnr_keyframe_db']} delta {line['psnr_delta_db']} dB")


def train(
    config: Path | TrainSettings, resume: Path | None = None, report: Report | None = None
) -> Path:
    """Train a model as a TOML file says.

    Args:
        config: the settings, or the file that holds them.
        resume: folder of an earlier run to go on with.
        report: told the share done and a line.

    Returns:
        Folder of the run, with `checkpoint.safetensors`, `log.jsonl`.
    """
    run = open_run(config, resume)
    settings, progress = run.settings, run.progress
    phase, chains = None, list[Chain]()
    saved = validated = progress.seconds
    while run.share < 1:
        began, cpu_began = time.monotonic(), time.process_time()
        if phase is not (phase := phase_at(settings, progress)):
            chains = first_chains(run, phase)
        chains = update(run, phase, chains)
        tend_codebooks(run, phase)
        progress.update += 1
        progress.seconds += time.monotonic() - began
        progress.cpu_seconds += time.process_time() - cpu_began
        if progress.update % LOG_EVERY == 0:
            write_line(run, phase, report)
        if progress.seconds - saved > settings.checkpoint_minutes * 60:
            saved = progress.seconds
            run.save()
        if progress.seconds - validated > settings.valid_minutes * 60:
            validated = progress.seconds
            measured = validate(run.average, run.quantizer, run.valid)
            _append(run.out, {"minutes": round(validated / 60, 2), "valid": measured})
    run.save()
    return run.out


def _append(out: Path, line: dict[str, Any]) -> None:
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")


def _psnr(squares: float, count: float) -> float | None:
    return round(-10 * math.log10(squares / count), 2) if count and squares else None
