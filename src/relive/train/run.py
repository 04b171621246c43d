"""The training run, top to bottom: open sessions, walk the phases, write checkpoints.

The clock, not a number of updates, ends a phase: a laptop and a server both finish when they
said they would.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from relive.config import ModelConfig, StateInput
from relive.cubes.states import model_states
from relive.cubes.store import SessionStore, open_folder
from relive.model.hst_mae import HSTMAE
from relive.quantizer.rvq import ResidualVQ
from relive.train import checkpoint
from relive.train.chain import Chain, advance, detach, new_chain, run_step, to_tensors
from relive.train.checkpoint import Progress
from relive.train.settings import Phase, TrainSettings, read_settings
from relive.train.validate import validate

Report = Callable[[float, str], None]  # share done, one line of text
_ANGLES = ("pitch", "yaw", "roll")


def state_inputs(stores: list[SessionStore], names: tuple[str, ...]) -> tuple[StateInput, ...]:
    """Measure mean and scale of every field that the model will read."""
    rows = []
    for store in stores:
        for first in range(1, len(store.states) - 2, 16):
            values, known = model_states(store.schema, store.states[first - 1 : first + 2], names)
            rows.append(np.where(known > 0, values[1:], np.nan))
    table = np.concatenate(rows) if rows else np.zeros((1, len(names)))
    inputs = []
    for column, name in zip(table.T, names, strict=True):
        seen = column[np.isfinite(column)]
        mean, scale = (float(seen.mean()), float(seen.std())) if len(seen) else (0.0, 1.0)
        kind = "angle" if name in _ANGLES else "linear"
        inputs.append(StateInput(name, kind, round(mean, 4), round(max(scale, 1e-2), 4)))
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


def phase_at(settings: TrainSettings, seconds: float) -> Phase:
    """The phase that the clock stands in."""
    end = 0.0
    for phase in settings.phase:
        end += phase.minutes * 60
        if seconds < end:
            return phase
    return settings.phase[-1]


class _Remainders:
    """The latest normalised remainders of each kind, for the start and restarts of codebooks."""

    def __init__(self, size: int = 16384) -> None:
        self.size = size
        self.kept: dict[int, Tensor] = {}

    def add(self, vectors: Tensor, is_delta: Tensor) -> None:
        for kind in (0, 1):
            fresh = vectors[is_delta.long() == kind].flatten(0, -2)
            old = self.kept.get(kind, fresh[:0])
            self.kept[kind] = torch.cat([old, fresh])[-self.size :]

    def ready(self, kind: int) -> bool:
        return len(self.kept.get(kind, ())) >= 4096


def train(config: Path, resume: Path | None = None, report: Report | None = None) -> Path:
    """Train a model as a TOML file says.

    Args:
        config: the settings.
        resume: folder of an earlier run to go on with.
        report: told the share done and a line.

    Returns:
        Folder of the run, with `checkpoint.safetensors`, `log.jsonl`.
    """
    settings = read_settings(config)
    torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)
    out = resume or settings.out
    out.mkdir(parents=True, exist_ok=True)
    stores = open_folder(settings.data, settings.cache)
    valid = open_folder(settings.valid, settings.cache)
    if resume:
        saved = json.loads((out / "checkpoint.json").read_text())["config"]
        model_config = ModelConfig.from_dict(saved)
    else:
        model_config = ModelConfig(state_inputs=state_inputs(stores, settings.state_names))
    torch.manual_seed(settings.seed)
    model, quantizer = HSTMAE(model_config), ResidualVQ(model_config.quantizer)
    average = copy.deepcopy(model)
    modules: dict[str, nn.Module] = {"model": model, "average": average, "quantizer": quantizer}
    optimizer = make_optimizer(model, settings)
    progress = checkpoint.load(out, modules, optimizer) if resume else Progress()

    rng = np.random.default_rng([settings.seed, progress.update])
    chance = torch.Generator().manual_seed(settings.seed + progress.update)
    remainders, chains = _Remainders(), list[Chain]()
    phase: Phase | None = None
    total = settings.minutes * 60
    last_save = last_valid = progress.seconds
    sums = {"mse_key": 0.0, "mse_delta": 0.0, "commitment": 0.0, "keys": 0.0, "deltas": 0.0}
    log = (out / "log.jsonl").open("a")

    while progress.seconds < total:
        began, cpu_began = time.monotonic(), time.process_time()
        current = phase_at(settings, progress.seconds)
        if current is not phase:
            phase = current
            chains = [new_chain(stores, phase.chain, phase.crop, rng) for _ in range(phase.batch)]
        share = progress.seconds / total
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, progress.update, share)
        detach(chains)
        loss = torch.zeros(())
        for _ in range(phase.span):
            batch = to_tensors(chains, settings.state_names)
            ready = phase.quantize and all(progress.started)
            result = run_step(model, quantizer, chains, batch, rng, ready)
            loss = loss + settings.mse_weight * result.mse.mean() / phase.span
            loss = loss + settings.commitment_weight * result.commitment / phase.span
            chains = advance(chains, result, stores, phase.chain, phase.crop, rng)
            remainders.add(result.remainders, batch.is_delta)
            deltas = float(batch.is_delta.sum())
            sums["deltas"] += deltas
            sums["keys"] += len(batch.is_delta) - deltas
            sums["mse_delta"] += float((result.mse.detach() * batch.is_delta).sum())
            sums["mse_key"] += float((result.mse.detach() * (1 - batch.is_delta)).sum())
            sums["commitment"] += float(result.commitment.detach())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        if bool(torch.isfinite(norm)):
            optimizer.step()
        with torch.no_grad():
            keep = min(settings.ema, (1 + progress.update) / (10 + progress.update))
            for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                slow.lerp_(fast, 1 - keep)
        if phase.quantize and not all(progress.started):
            started = list(progress.started)
            for kind in (0, 1):
                if not started[kind] and remainders.ready(kind):
                    quantizer.start(remainders.kept[kind], kind, chance)
                    started[kind] = True
            progress.started = (started[0], started[1])
        elif progress.update % settings.restart_every == 0 and share < settings.restart_until:
            for kind in (0, 1):
                if progress.started[kind]:
                    quantizer.restart(remainders.kept.get(kind, torch.zeros(0)), kind, chance)
        progress.update += 1
        progress.seconds += time.monotonic() - began
        progress.cpu_seconds += time.process_time() - cpu_began

        if progress.update % 20 == 0:
            line = {
                "update": progress.update,
                "minutes": round(progress.seconds / 60, 2),
                "phase": phase.name,
                "psnr_keyframe_db": _psnr(sums["mse_key"], sums["keys"]),
                "psnr_delta_db": _psnr(sums["mse_delta"], sums["deltas"]),
                "commitment": round(sums["commitment"] / 20 / phase.span, 4),
                "gradient_norm": round(float(norm), 3),
            }
            sums = dict.fromkeys(sums, 0.0)
            log.write(json.dumps(line) + "\n")
            log.flush()
            if report:
                report(share, f"key {line['psnr_keyframe_db']} delta {line['psnr_delta_db']} dB")
        if progress.seconds - last_save > settings.checkpoint_minutes * 60:
            checkpoint.save(out, modules, optimizer, progress, model_config.to_dict())
            last_save = progress.seconds
        if progress.seconds - last_valid > settings.valid_minutes * 60:
            last_valid = progress.seconds
            measured = validate(average, quantizer, valid)
            minutes = round(progress.seconds / 60, 2)
            log.write(json.dumps({"minutes": minutes, "valid": measured}) + "\n")
            log.flush()
    checkpoint.save(out, modules, optimizer, progress, model_config.to_dict())
    log.close()
    return out


def _psnr(squares: float, count: float) -> float | None:
    return round(-10 * math.log10(squares / count), 2) if count and squares else None
