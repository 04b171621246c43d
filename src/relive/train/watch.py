"""What is seen of a run: a line every few updates, measurements on held-out sessions, checkpoints.

Shapes: B batch.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from relive.train.monitor import Monitor
from relive.train.objective import Outcome
from relive.train.settings import LOSSES
from relive.train.setup import Run
from relive.train.validate import validate

LOG_EVERY = 20  # updates
LOG_SECONDS = 15.0  # but a slow run says something sooner
Report = Callable[[float, str], None]  # share done, one line of text


class Watch:
    """Looks after a run between its updates; a context manager.

    Args:
        run: what is looked after.
        report: told the share done and a line.
        resumed: whether the run goes on from a checkpoint.
    """

    def __init__(self, run: Run, report: Report | None, resumed: bool) -> None:
        self.run, self.report = run, report
        self.monitor = Monitor(run.out, run.settings.tensorboard) if run.processes.first else None
        self.sums: defaultdict[str, Tensor | float] = defaultdict(float)
        self.updates, self.skipped = 0, run.progress.skipped
        self.saved = self.measured = self.lined = run.progress.seconds
        self.epoch, self.epoch_saved = math.inf, run.progress.update
        if self.monitor and resumed:
            self.monitor.truncate_after(run.progress.update)
            self.event("resumed", f"{run.processes.share.processes} processes")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.monitor:
            self.monitor.close()

    def event(self, event: str, detail: str) -> None:
        """Note that something happened."""
        if self.monitor:
            self.monitor.line(
                {"update": self.run.progress.update, "event": event, "detail": detail}
            )

    def begin_phase(self, epoch_updates: float) -> None:
        """Note where a phase begins, and how long an epoch is in it."""
        self.epoch = epoch_updates
        self.event("phase", self.run.phase.name)

    def after(self, outcomes: Sequence[Outcome], waited: float, finite: bool) -> None:
        """Do what is due after an update; all processes take part.

        Args:
            outcomes: what its forward passes gave.
            waited: seconds that it waited for data.
            finite: whether its gradient was finite.
        """
        run, settings, seconds = self.run, self.run.settings, self.run.progress.seconds
        self._add(outcomes, waited)
        if not finite:
            self.event("non-finite", f"the gradient of update {run.progress.update} is left out")
        if run.progress.update % LOG_EVERY == 0 or seconds - self.lined > LOG_SECONDS:
            self._line()
        if seconds - self.measured > settings.valid_minutes * 60:
            self.measured = seconds
            self.measure()
        epochs = (run.progress.update - self.epoch_saved) / self.epoch
        if seconds - self.saved > settings.checkpoint_minutes * 60 or (
            epochs >= settings.checkpoint_epochs
        ):
            self.saved, self.epoch_saved = seconds, run.progress.update
            run.save()

    def measure(self) -> None:
        """Measure the averaged weights on held-out sessions; keep the best."""
        run, best = self.run, 0.0
        if self.monitor:
            found = validate(run.average, run.quantizer, run.valid)
            where = {
                "update": run.progress.update,
                "minutes": round(run.progress.seconds / 60, 2),
            }
            self.monitor.line({**where, "valid": found.curves})
            self.monitor.line({**where, "split": "valid", "rd": found.points})
            self.monitor.pictures(run.progress.update, found.pictures)
            best = found.mean_db
        (best,) = run.processes.agree([best])
        if all(run.progress.started) and best > run.progress.best_db:
            run.progress.best_db = best
            run.save(best=True)
            self.event("checkpoint", f"the best so far, {best:.2f} dB")

    def _add(self, outcomes: Sequence[Outcome], waited: float) -> None:
        """Add up on the device: nothing waits for it."""
        count = len(outcomes)
        for done in outcomes:
            for name, value in done.losses.items():
                self.sums[name] += value / count
            self.sums["loss"] += done.loss.detach() / count
            self.sums["bits"] += done.bits / count
            self.sums["deltas"] += done.is_delta.sum()
            self.sums["keys"] += (1 - done.is_delta).sum()
            self.sums["mse_delta"] += (done.mse * done.is_delta).sum()
            self.sums["mse_key"] += (done.mse * (1 - done.is_delta)).sum()
            self.sums["hidden"] += done.masked.float().mean() / count
        self.sums["waited"] += waited
        self.updates += 1

    def _line(self) -> None:
        run, device = self.run, self.run.processes.device
        tensors = {
            n: torch.as_tensor(v, dtype=torch.float64, device=device) for n, v in self.sums.items()
        }
        means = run.processes.mean(tensors)
        count, self.updates = max(1, self.updates), 0
        self.sums = defaultdict(float)
        took, self.lined = run.progress.seconds - self.lined, run.progress.seconds
        line: dict[str, object] = {
            "update": run.progress.update,
            "minutes": round(run.progress.seconds / 60, 3),
            "phase": run.phase.name,
            "loss": means["loss"] / count,
            "psnr_keyframe_db": _psnr(means["mse_key"], means["keys"]),
            "psnr_delta_db": _psnr(means["mse_delta"], means["deltas"]),
            "bits_per_cube": means["bits"] / count,
            **{name: means[name] / count for name in LOSSES if name in means},
            "weights": run.weighting.weights(),
            "learning_rate": run.schedule.learning_rate(run.progress),
            "skipped": run.progress.skipped - self.skipped,
            "updates_per_s": count / max(took, 1e-9),
            "loader_wait_share": means["waited"] / max(took, 1e-9),
            "mask_ratio": means["hidden"] / count,
        }
        self.skipped = run.progress.skipped
        if self.monitor:
            self.monitor.line(line)
        if self.report and run.processes.first:
            self.report(run.schedule.share(run.progress), _text(line))


def _text(line: dict[str, object]) -> str:
    key, delta = (_db(line[name]) for name in ("psnr_keyframe_db", "psnr_delta_db"))
    return (
        f"{line['phase']}: update {line['update']}, loss {line['loss']:.4f}, keyframes {key}, "
        f"deltas {delta}, {line['bits_per_cube']:.1f} bits a cube"
    )


def _db(value: object) -> str:
    return f"{value:.2f} dB" if isinstance(value, float) else "none"


def _psnr(squares: float, count: float) -> float | None:
    return round(-10 * math.log10(squares / count), 3) if count and squares else None
