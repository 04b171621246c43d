"""What is measured of a trained run: quality over bits, other states, returns, seconds.

Shapes: D depths, side by side.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from relive.bench.ablation_chain import (
    Curves,
    Frequencies,
    count_frequencies,
    measure_chain,
    run_chain,
    whole_frames,
)
from relive.bench.ablation_plan import RunPlan
from relive.bench.ablation_revisit import Window, find_windows
from relive.config import CUBE_FRAMES
from relive.cubes.store import SessionStore, open_folder
from relive.errors import InputError
from relive.model.hst_mae import HSTMAE
from relive.quantizer.rvq import ResidualVQ
from relive.session import StateSchema
from relive.train import checkpoint

SHUFFLE_SEED = 2
TIMED_STEPS = 6
Row = dict[str, Any]


def evaluate(plan: RunPlan) -> Row:
    """Measure a trained run on the held-out sessions."""
    settings, began = plan.settings, time.monotonic()
    torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)
    model, quantizer = checkpoint.load_averaged(settings.out)
    held_out = open_folder(settings.valid or settings.data, settings.cache)
    counted = _of_size(open_folder(settings.data, settings.cache), held_out[0])
    every = max(1, len(counted) // plan.evaluation.count_sessions)
    counted = counted[::every][: plan.evaluation.count_sessions]
    run = _Measured(plan, model, quantizer, counted, held_out)
    row: Row = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "encode_step_seconds": _seconds_per_step(model, quantizer, held_out[0]),
        "sessions": run.sessions("true"),
    }
    if plan.with_states:
        row["states"] = {kind: run.sessions(kind) for kind in ("none", "shuffled")}
    if plan.with_revisits:
        row["revisits"] = run.revisits()
    return {**row, "evaluation_seconds": round(time.monotonic() - began, 1)}


def _of_size(stores: Sequence[SessionStore], like: SessionStore) -> list[SessionStore]:
    """Those whose pictures have the size of another's: they share a batch.

    Raises:
        InputError: There is none.
    """
    same = [s for s in stores if s.frames.shape[1:] == like.frames.shape[1:]]
    if not same:
        raise InputError(f"no training session has frames of the size of {like.name}")
    return same


def alter_states(store: SessionStore, kind: str) -> SessionStore:
    """The same frames with the true states, with states shuffled in time, or with none."""
    if kind == "none":
        return replace(store, schema=StateSchema(), states=np.zeros((len(store.states), 0), "f4"))
    if kind == "shuffled":
        order = np.random.default_rng(SHUFFLE_SEED).permutation(len(store.states))
        return replace(store, states=store.states[order])
    return store


class _Measured:
    """A trained model with the sessions that it is counted and measured on."""

    def __init__(
        self,
        plan: RunPlan,
        model: HSTMAE,
        quantizer: ResidualVQ,
        counted: Sequence[SessionStore],
        held_out: Sequence[SessionStore],
    ) -> None:
        self.how, self.model, self.quantizer = plan.evaluation, model, quantizer
        self.counted, self.held_out = counted, held_out

    def frequencies(self, kind: str) -> Frequencies:
        """Count with the same kind of states that will be measured: a coder fit for them."""
        stores = [alter_states(store, kind) for store in self.counted]
        how = self.how
        return count_frequencies(self.model, self.quantizer, stores, how.depths, how.count_steps)

    def sessions(self, kind: str) -> list[Row]:
        """One curve for each held-out session."""
        frequencies, how, rows = self.frequencies(kind), self.how, []
        for store in self.held_out:
            altered, curves = alter_states(store, kind), []
            steps = min(how.steps, len(store.frames) // CUBE_FRAMES)
            for start in gop_starts(len(store.frames), how.gops, steps):
                curves.append(self._measure(frequencies, altered, start, how.depths, steps))
            rows.append({"session": store.name, "points": _points(curves)})
        return rows

    def _measure(
        self,
        frequencies: Frequencies,
        store: SessionStore,
        start: int,
        depths: tuple[int, ...],
        steps: int,
    ) -> Curves:
        crop = whole_frames(store, start)
        return measure_chain(self.model, self.quantizer, frequencies, crop, depths, steps)

    def revisits(self) -> Row:
        """The first steps after every return, and beside them all other deltas of those GOPs."""
        how, frequencies = self.how, self.frequencies("true")
        windows = find_windows(
            self.held_out, how.revisit_steps, how.revisit_first, how.revisit_windows
        )
        back, other = list[Curves](), list[Curves]()
        for window in windows:
            curves = self._measure(
                frequencies, window.store, window.start, how.revisit_depths, window.steps
            )
            first = _first_steps(window, how.revisit_first)
            back.append(_rows(curves, first))
            other.append(_rows(curves, ~first & (torch.arange(window.steps) > 0)))
        return {
            "moments": sum(len(window.returns) for window in windows),
            "windows": [_describe(window) for window in windows],
            "first_steps": _points(back) if back else [],
            "other_steps": _points(other) if other else [],
        }


def gop_starts(frames: int, gops: int, steps: int) -> list[int]:
    """First frames of GOPs spread evenly over a session, even numbers."""
    room = max(0, frames - CUBE_FRAMES * steps)
    return [int(room * (i + 0.5) / gops) // CUBE_FRAMES * CUBE_FRAMES for i in range(gops)]


def _first_steps(window: Window, count: int) -> torch.Tensor:
    steps = torch.zeros(window.steps, dtype=torch.bool)
    for back in window.returns:
        steps[back : back + count] = True
    return steps


def _rows(curves: Curves, chosen: torch.Tensor) -> Curves:
    parts = (curves.mse[chosen], curves.bpp[chosen], curves.motion_bpp[chosen])
    return Curves(curves.depths, *parts)


def _points(curves: Sequence[Curves]) -> list[Row]:
    """Mean over all steps of all chains at each depth."""
    means = [
        torch.cat([getattr(c, name) for c in curves]).mean(0).tolist()
        for name in ("mse", "bpp", "motion_bpp")
    ]
    rows = zip(curves[0].depths, *means, strict=True)
    return [{"depth": d, "mse": m, "bpp": b, "motion_bpp": v} for d, m, b, v in rows]


def _describe(window: Window) -> Row:
    return {
        "session": window.store.name,
        "start": window.start,
        "steps": window.steps,
        "returns": list(window.returns),
    }


def _seconds_per_step(model: HSTMAE, quantizer: ResidualVQ, store: SessionStore) -> float:
    """CPU seconds of an encode step (search, context, networks) of one whole frame pair."""
    crops, depth = [whole_frames(store, 0)], torch.tensor([quantizer.config.num_quantizers])
    run_chain(model, quantizer, crops, depth, 2)
    began = time.process_time()
    run_chain(model, quantizer, crops, depth, TIMED_STEPS)
    return (time.process_time() - began) / TIMED_STEPS
