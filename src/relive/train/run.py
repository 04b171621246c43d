"""The training run, top to bottom: walk the phases, change the weights, write checkpoints.

```
 open_run ─► for every phase: load ─► update ─► update ─► … ─► save
                                        │
                read ─► objective (forward, DDP) ─► backward ─► step ─► average, codebooks, masker
```

The clock ends a phase, so that a laptop and a server both finish when they said they would; or a
number of updates does, and then a run that is killed and resumed gives the bits of one that was
never killed.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor

from relive.model.warp import Pinhole
from relive.train.batch import Left, pinhole
from relive.train.chain import start
from relive.train.chance import Chance
from relive.train.codebooks import tend
from relive.train.curriculum import Curriculum, draw_scores, masking_loss
from relive.train.loader import Updates, Work, epoch_updates, load
from relive.train.objective import Outcome, Request
from relive.train.optimise import follow
from relive.train.settings import TrainSettings
from relive.train.setup import Run, Unpacking, Weights, open_run, weighting_of
from relive.train.watch import Watch

Report = Callable[[float, str], None]  # share done, one line of text
Fit = Callable[[Path], None]  # makes the run's newest checkpoint a whole model
CURRICULUM = Curriculum()
MASKER_RATE = 1e-3


class Stop:
    """Whether somebody asked the run to end: Ctrl-C, SIGTERM of a scheduler."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, _signal: int, _frame: FrameType | None) -> None:
        """End after this update; asked again, at once."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def stopping() -> Iterator[Stop]:
    """Let signals end the run between two updates, so that a checkpoint is whole."""
    stop = Stop()
    names = (signal.SIGINT, signal.SIGTERM)
    try:
        before = [signal.signal(name, stop.ask) for name in names]
    except ValueError:  # not the main thread: nobody can signal here
        yield stop
        return
    try:
        yield stop
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)


def train(
    config: Path | TrainSettings,
    resume: Path | None = None,
    report: Report | None = None,
    *,
    begin: Weights | None = None,
    fit: Fit | None = None,
    unpacking: Unpacking | None = None,
) -> Path:
    """Train a model as a TOML file says.

    Args:
        config: the settings, or the file that holds them.
        resume: folder of an earlier run to go on with.
        report: told the share done and a line.
        begin: networks and codebooks to start from.
        fit: for phases that fit the probability model: called with the folder of the run.
        unpacking: told frames done and in all, session by session.

    Returns:
        Folder of the run, see `relive.train.checkpoint`.

    Raises:
        KeyboardInterrupt: It was asked to end; what was done is in a checkpoint.
        ReliveError: The disk is full; the last checkpoint is whole.
    """
    run = open_run(config, resume, begin, unpacking)
    with stopping() as stop, Watch(run, report, resumed=resume is not None) as watch:
        if begin and resume is None:
            watch.measure()  # what it can do before it learns
        while run.progress.phase < len(run.settings.phase):
            if run.phase.probability:
                fit_probability(run, fit)
            else:
                walk_phase(run, watch, stop)
            run.progress.phase += 1
            run.progress.phase_update, run.progress.phase_seconds = 0, 0.0
            run.lefts = {}
            run.weighting = weighting_of(run.settings, run.phase)
        run.save()  # measuring takes a while, and what was learned is safe
        watch.measure()
        watch.event("finished", f"{run.progress.update} updates")
    return run.out


def fit_probability(run: Run, fit: Fit | None) -> None:
    """Let the probability model learn from what the networks send now."""
    run.save()
    if fit is not None and run.processes.first:
        fit(run.out)
    run.processes.wait()


def walk_phase(run: Run, watch: Watch, stop: Stop) -> None:
    """Go through the updates of a phase, from where the run stands.

    Raises:
        KeyboardInterrupt: The run was asked to end; it is saved.
    """
    settings, progress, phase = run.settings, run.progress, run.phase
    reads = Updates(run.stores, run.names, settings, progress.phase, run.processes.share)
    on_gpu = run.processes.device.type == "cuda"
    first = progress.phase_update * phase.accumulate
    works = load(reads, first, settings.workers, pin=on_gpu)
    watch.begin_phase(epoch_updates(phase, run.stores, run.processes.share.processes))
    while not run.schedule.ended(progress):
        began, cpu_began = time.monotonic(), time.process_time()
        batch = [next(works) for _ in range(phase.accumulate)]
        waited = time.monotonic() - began
        outcomes, finite = update(run, reads, batch)
        progress.update += 1
        progress.phase_update += 1
        cpu = time.process_time() - cpu_began
        asked = _pass_time(run, time.monotonic() - began, cpu, stop)
        if asked:  # a scheduler does not wait long: nothing is measured before
            run.save()
            raise KeyboardInterrupt(f"checkpoint written; go on with --resume {run.out}")
        watch.after(outcomes, waited, finite)


def _pass_time(run: Run, seconds: float, cpu_seconds: float, stop: Stop) -> bool:
    """Let all processes have the same time, and tell whether any was asked to end."""
    seconds, asked = run.processes.agree([seconds, float(stop.asked)])
    run.progress.seconds += seconds
    run.progress.phase_seconds += seconds
    run.progress.cpu_seconds += cpu_seconds
    return asked > 0


def update(run: Run, reads: Updates, works: list[Work]) -> tuple[list[Outcome], bool]:
    """Change the weights once.

    Args:
        run: what is changed.
        reads: where the work comes from.
        works: what was read; their gradients add up.

    Returns:
        What the forward passes gave, and whether the gradient was finite.
    """
    weights, outcomes, before = run.weighting.weights(), [], dict(run.lefts)
    for number, work in enumerate(works):
        request = make_request(run, reads, work, weights)
        with run.processes.accumulating(run.objective, last=number == len(works) - 1):
            outcome: Outcome = run.objective(request)
            run.stepper.backward(outcome.loss / len(works))
        run.lefts[work.stream] = outcome.left
        outcomes.append(outcome)
    teach_masker(run, request, outcomes[-1])
    finite = run.stepper.step(run.schedule.learning_rate(run.progress))
    run.progress.skipped += not finite
    if not finite:
        run.lefts = before  # what it left may be no numbers either
    done = run.progress.update
    keep = min(run.settings.ema, (1 + done) / (10 + done))
    follow(run.average.parameters(), run.model.parameters(), keep)
    share = run.schedule.share(run.progress)
    tend(run.quantizer, run.pool, outcomes[-1], run.processes, run.settings, run.progress, share)
    if run.settings.dynamic_weights:
        run.weighting.observe(run.processes.mean(outcomes[-1].losses))
    return outcomes, finite


def make_request(run: Run, reads: Updates, work: Work, weights: dict[str, float]) -> Request:
    """Put together what a forward pass needs."""
    phase, device = run.phase, run.processes.device
    slots = run.processes.share.slots(phase.batch)
    run.quantizer.train(not phase.freeze_codebooks)
    chances = [
        Chance(
            (run.settings.seed, run.progress.phase, work.stream, work.first + step), slots, device
        )
        for step in range(len(work.steps))
    ]
    camera = pinhole(reads.samplers[work.stream].stores[0])
    request = Request(
        work.steps,
        camera,
        _left(run, work, camera),
        chances,
        phase,
        phase.quantize and all(run.progress.started),
        run.settings.mask_share,
        weights,
    )
    return request if phase.masking is None else with_masks(run, request)


def _left(run: Run, work: Work, camera: Pinhole | None) -> Left:
    """What the last update of the same stream left."""
    if work.first and work.stream in run.lefts:
        return run.lefts[work.stream]
    b, _, height, width, _ = work.steps[0].frames.shape
    left = start(run.model, b, height, width)
    # banks start as views of what is learned, which changes in place
    return left.map(lambda part: part.detach().to(run.processes.device, copy=True))


def with_masks(run: Run, request: Request) -> Request:
    """Add which cubes are to be hidden: learned scores, and how many."""
    masking, share = request.phase.masking, run.schedule.phase_share(run.progress)
    if masking is None or not masking.curriculum:
        return request
    ratio = CURRICULUM.ratio(share)
    if not CURRICULUM.difficulty(share):
        return replace(request, ratio=ratio)
    with torch.no_grad():
        logits = [run.masker(_frames(request, step)) for step in range(len(request.rows))]
    drawn = zip(logits, request.chances, strict=True)
    return replace(request, ratio=ratio, scores=[draw_scores(x, c.rows) for x, c in drawn])


def _frames(request: Request, step: int) -> Tensor:
    frames = request.rows[step].frames.to(request.left.masked.device)
    return frames.permute(0, 1, 4, 2, 3).float() / 255


def teach_masker(run: Run, request: Request, outcome: Outcome) -> None:
    """Let the masking module learn from the errors of the last step, every eighth update.

    A tube keeps the mask of an earlier step. That is no matter: what is learned is which of the
    cubes that were hidden in these frames have errors above the others'.
    """
    masking, share = request.phase.masking, run.schedule.phase_share(run.progress)
    if masking is None or not masking.curriculum or outcome.errors is None:
        return
    difficulty = CURRICULUM.difficulty(share)
    if not difficulty or not CURRICULUM.updates_module(run.progress.update):
        return
    logits = run.masker(_frames(request, -1))
    loss = masking_loss(logits, outcome.masked, outcome.errors, difficulty)
    run.masker_stepper.backward(loss)
    for parameter in run.masker.parameters():
        if parameter.grad is not None:
            run.processes.sum(parameter.grad)
            parameter.grad /= run.processes.share.processes
    run.masker_stepper.step(MASKER_RATE)
