"""Everything that a run works on, opened: sessions, networks, optimiser, the last checkpoint."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from relive.config import ModelConfig
from relive.cubes.corpus import Corpus, open_corpus
from relive.cubes.store import SessionStore
from relive.errors import InputError
from relive.model.hst_mae import HSTMAE
from relive.model.sizes import SIZES
from relive.quantizer.rvq import ResidualVQ
from relive.train import checkpoint
from relive.train.adapt import with_fields
from relive.train.batch import Left
from relive.train.chain import Arithmetic
from relive.train.codebooks import Pool
from relive.train.curriculum import MaskingModule
from relive.train.inputs import state_inputs
from relive.train.losses import Losses
from relive.train.objective import Objective
from relive.train.optimise import Stepper, make_optimizer, pick_dtype, recomputes
from relive.train.processes import Processes, join
from relive.train.schedule import Progress, Schedule
from relive.train.settings import Phase, TrainSettings, read_settings
from relive.train.weighting import DynamicWeights

Unpacking = Callable[[int, int], None]
Weights = tuple[HSTMAE, ResidualVQ]  # to begin with
HELD_OUT = 5  # every fifth session validates, where no folder of others is named


@dataclass
class Run:
    """Everything that a run works on."""

    settings: TrainSettings
    out: Path
    stores: list[SessionStore]
    valid: list[SessionStore]
    processes: Processes
    schedule: Schedule
    model: HSTMAE
    average: HSTMAE
    quantizer: ResidualVQ
    losses: Losses
    objective: nn.Module  # all three, wrapped by DDP where there are many processes
    masker: MaskingModule
    stepper: Stepper
    masker_stepper: Stepper
    weighting: DynamicWeights
    arithmetic: Arithmetic
    progress: Progress = field(default_factory=Progress)
    lefts: dict[int, Left] = field(default_factory=dict)  # by stream
    pool: Pool = field(default_factory=Pool)

    @property
    def phase(self) -> Phase:
        """The phase that the run stands in; at its end the last one."""
        return self.settings.phase[min(self.progress.phase, len(self.settings.phase) - 1)]

    @property
    def names(self) -> tuple[str, ...]:
        """State fields that the model reads."""
        return tuple(s.name for s in self.model.config.state_inputs)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint holds beside the optimisers."""
        return {
            "model": self.model,
            "average": self.average,
            "quantizer": self.quantizer,
            "losses": self.losses,
            "masker": self.masker,
        }

    def save(self, best: bool = False) -> None:
        """Write a checkpoint; all processes take part."""
        tensors = checkpoint.module_tensors(self.modules)
        for name, stepper in (
            ("optimizer", self.stepper),
            ("masker_optimizer", self.masker_stepper),
        ):
            state = checkpoint.optimizer_tensors(stepper.optimizer)
            tensors |= {f"{name}.{key}": value for key, value in state.items()}
        for stream, left in self.lefts.items():
            tensors |= {
                f"left.{stream}.{name}": self.processes.gather(part)
                for name, part in left.tensors().items()
            }
        tensors |= {f"pool.{kind}": vectors for kind, vectors in self.pool.kept.items()}
        if self.processes.first:
            checkpoint.save(
                self.out,
                tensors,
                self.progress,
                self.model.config.to_dict(),
                {
                    "weighting": self.weighting.state_dict(),
                    "scaler": self.stepper.scaler.state_dict(),
                },
                keep=self.settings.keep_checkpoints,
                best=best,
            )
        self.processes.wait()

    def restore(self, kept: checkpoint.Checkpoint) -> None:
        """Go on from a checkpoint.

        Raises:
            InputError: It is of another model, or of another number of chains.
        """
        for name, module in self.modules.items():
            checkpoint.load_module(module, kept.part(name), self.out)
        checkpoint.load_optimizer(self.stepper.optimizer, kept.part("optimizer"))
        checkpoint.load_optimizer(self.masker_stepper.optimizer, kept.part("masker_optimizer"))
        self.progress = kept.progress
        self.weighting = weighting_of(self.settings, self.phase)
        self.weighting.load_state_dict(kept.extra["weighting"])
        if kept.extra["scaler"] and self.stepper.scaler.is_enabled():
            self.stepper.scaler.load_state_dict(kept.extra["scaler"])
        self.pool.kept = {int(kind): vectors for kind, vectors in kept.part("pool").items()}
        parts: dict[int, dict[str, Tensor]] = {}
        for name, value in kept.part("left").items():
            stream, _, part = name.partition(".")
            parts.setdefault(int(stream), {})[part] = value
        self.lefts = {stream: self._own_rows(part) for stream, part in parts.items()}

    def _own_rows(self, parts: dict[str, Tensor]) -> Left:
        batch, processes = self.phase.batch, self.processes
        held, wanted = len(parts["masked"]), batch * processes.share.processes
        if held != wanted:
            raise InputError(
                f"cannot go on from {self.out}: it has {held} chains side by side, and the "
                f"settings ask for {wanted} (batch {batch}, {processes.share.processes} processes)"
            )
        slots = processes.share.slots(batch)
        return Left.of({name: part[slots].to(processes.device) for name, part in parts.items()})


def weighting_of(settings: TrainSettings, phase: Phase) -> DynamicWeights:
    """Weights of the losses in a phase, fixed or following how fast each loss falls."""
    weights = {
        name: weight
        for name, weight in settings.loss_weights(phase).items()
        if phase.masking is None or name == "reconstruction"
    }
    return DynamicWeights(weights, fixed=not settings.dynamic_weights)


def open_data(settings: TrainSettings, unpacking: Unpacking | None = None) -> tuple[Corpus, Corpus]:
    """Open the sessions to learn from and the held-out ones; split by session, never by frame."""
    corpus = open_corpus(settings.data, settings.cache, unpacking)
    if settings.valid is not None:
        return corpus, open_corpus(settings.valid, settings.cache, unpacking)
    held = set(range(HELD_OUT - 1, len(corpus.stores), HELD_OUT)) or {len(corpus.stores) - 1}
    if len(corpus.stores) == 1:
        raise InputError(
            f"{settings.data} has one session; training needs another one to validate on "
            "(record more, or name a folder with --valid)"
        )
    kept = [store for i, store in enumerate(corpus.stores) if i not in held]
    return replace(corpus, stores=kept), Corpus([corpus.stores[i] for i in sorted(held)], [])


def model_config(settings: TrainSettings, stores: Sequence[SessionStore]) -> ModelConfig:
    """The size that the settings name, its mechanisms switched, its inputs measured.

    Raises:
        InputError: There is no such size.
    """
    if settings.model not in SIZES:
        raise InputError(f"no model size {settings.model!r}; there are {', '.join(SIZES)}")
    inputs = state_inputs(stores, settings.state_names)
    return replace(settings.with_mechanisms(SIZES[settings.model]), state_inputs=inputs)


def open_run(
    config: Path | TrainSettings,
    resume: Path | None = None,
    begin: Weights | None = None,
    unpacking: Unpacking | None = None,
) -> Run:
    """Read the settings, open the sessions, build the networks, load what there is.

    Args:
        config: the settings, or the file that holds them.
        resume: folder of an earlier run to go on with.
        begin: weights to start from; without them the networks start anew.
        unpacking: told frames done and in all, session by session.

    Raises:
        InputError: There is a run already, or none to go on with; a setting or a session is wrong.
    """
    settings = config if isinstance(config, TrainSettings) else read_settings(config)
    torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)
    processes, out = join(settings.device), resume or settings.out
    if not resume and (out / checkpoint.POINTER).exists():
        raise InputError(f"{out} holds a run; go on with --resume {out}, or name another out")
    kept = checkpoint.read(out) if resume else None
    if not processes.first:
        processes.wait()  # the first one unpacks
    corpus, held_out = open_data(settings, unpacking)
    manifest = {"train": corpus.to_manifest(), "valid": held_out.to_manifest()}
    if resume:
        _check_same_sessions(out, manifest)
    if processes.first:
        processes.wait()
        out.mkdir(parents=True, exist_ok=True)
        (out / "manifest.json").write_text(json.dumps(manifest, indent=1))
        (out / "settings.json").write_text(settings.model_dump_json(indent=1))
    if begin:
        begin = with_fields(begin, corpus.stores) if settings.learn_fields else begin
        # a model file holds no sums, and codewords are sums over counts as soon as they learn
        begin[1].sums.copy_(begin[1].codebooks * begin[1].counts[..., None])
    torch.manual_seed(settings.seed)
    if kept is not None:
        built = kept.config
    else:
        built = begin[0].config if begin else model_config(settings, corpus.stores)
    model, quantizer = begin or (HSTMAE(built), ResidualVQ(built.quantizer))
    run = _assemble(settings, out, corpus.stores, held_out.stores, processes, model, quantizer)
    if kept is not None:
        run.restore(kept)
    elif begin:
        run.progress.started = (True, True)
    return run


def _check_same_sessions(out: Path, manifest: dict[str, Any]) -> None:
    """Refuse to go on with other sessions: what an update reads follows from their list.

    Raises:
        InputError: Sessions came or went since the run began.
    """
    path = out / "manifest.json"
    try:
        before = json.loads(path.read_text())["train"]
        then, now = ([_plain_name(n) for n in m["sessions"]] for m in (before, manifest["train"]))
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot go on from {out}: {path.name} cannot be read: {error}") from error
    if then == now and before.get("frames") == manifest["train"]["frames"]:
        return
    gone, new = sorted(set(then) - set(now)), sorted(set(now) - set(then))
    named = [f"{word} {row[0]}" for word, row in (("without", gone), ("with", new)) if row]
    difference = ", ".join(named) or f"{manifest['train']['frames']} frames"
    raise InputError(
        f"cannot go on from {out}: it learns from {before.get('frames')} frames of {len(then)} "
        f"sessions, and there are {len(now)} now ({difference}); put them back, or start a run "
        f"from its model"
    )


def _plain_name(store: str) -> str:
    """Name of a session without the mark of its file in the cache, which changes when it moves."""
    return re.sub(r"-[0-9a-f]{12}$", "", store)


def _assemble(
    settings: TrainSettings,
    out: Path,
    stores: list[SessionStore],
    valid: list[SessionStore],
    processes: Processes,
    model: HSTMAE,
    quantizer: ResidualVQ,
) -> Run:
    """Build what learns, on the device of this process."""
    device = processes.device
    dtype = pick_dtype(settings.precision, device)
    losses, masker = Losses(model.config), MaskingModule()
    arithmetic = Arithmetic(dtype, recomputes(settings))
    objective = Objective(model, quantizer, losses, arithmetic)
    quantizer.reduce = processes.sum
    average = copy.deepcopy(model).to(device)
    wrapped, masker = processes.wrap(objective), masker.to(device)
    optimizer = make_optimizer(objective, 1e-3, settings.weight_decay)
    return Run(
        settings,
        out,
        stores,
        valid,
        processes,
        Schedule.of(settings, stores, processes.share.processes),
        model,
        average,
        quantizer,
        losses,
        wrapped,
        masker,
        Stepper(optimizer, settings.clip, device, dtype),
        Stepper(make_optimizer(masker, 1e-3, 0.0), settings.clip, device, None),
        weighting_of(settings, settings.phase[0]),
        arithmetic,
    )
