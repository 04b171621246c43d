"""From a training run to a model that ships: averaged weights, tables counted on real GOPs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream import DetailTables, Tables
from relive.codec.bundle import Bundle, load_bundle, save_bundle
from relive.codec.gop import CodedGop, encode_gop, start_step, step_rows, try_codes
from relive.codec.rate import CODES_ALONE, QUALITIES, fit_factors, measure_step
from relive.codec.step import Geometry, StepCoder
from relive.codec.track import GopTrack
from relive.codec.workers import NUM_WORKERS, workers
from relive.cubes.store import SessionStore
from relive.enhancement.game_colours import GameColours
from relive.enhancement.post_filter import FilterSample, PostFilter, fit_filter
from relive.enhancement.search import LevelCosts, fit_costs
from relive.model.context import Carry
from relive.model.hst_mae import HSTMAE
from relive.model.motion import NUM_MOTION
from relive.quantizer.rvq import ResidualVQ

Progress = Callable[[int, int], None]
Frames = NDArray[np.uint8]
GOP_FRAMES = 32
COLOUR_PICTURES = 16  # of every session, to learn the colours of its game
FIT_QUALITIES = (0, 2, 3, 4, 5, 6, 7, 8, 9)
FILTER_QUALITIES = (3, 4, 5, 6, 7, 8, 9)
FILTER_EVERY = 4  # frames of a GOP that the post-filter learns from
FILTER_UPDATES = 10000
FILTER_UPDATES_A_FRAME = 30


def _windows(
    bundle: Bundle, stores: list[SessionStore], per_store: int
) -> Iterator[tuple[StepCoder, NDArray[np.uint8], GopTrack]]:
    """GOPs spread over the sessions."""
    for store in stores:
        height, width = store.frames.shape[1:3]
        coder = StepCoder(bundle, store.schema, Geometry(width, height))
        last = max(0, len(store.frames) - GOP_FRAMES)
        for start in np.linspace(0, last, per_store).astype(int).tolist():
            rows = slice(start, start + GOP_FRAMES)
            frames = np.asarray(store.frames[rows])
            everything = np.ones(len(frames), np.bool_)
            yield coder, frames, GopTrack(store.times_ns[rows], store.states[rows], everything, b"")


@torch.inference_mode()
def measure_factors(bundle: Bundle, stores: list[SessionStore]) -> Tensor:
    """Fit the factors of G on a few steps of every session: `[keyframe/delta, 2]`."""
    measured: tuple[list[Tensor], list[Tensor]] = ([], [])
    fitted: list[Tensor] = []
    for coder, frames, track in _windows(bundle, stores, 1):
        carry: Carry | None = None
        padded = coder.geometry.pad(frames)
        for index in range(3):
            start = start_step(coder, carry, padded, track, step_rows(index, len(frames)))
            trial = try_codes(coder, carry, start)
            if index != 1:
                rows = measure_step(coder, trial.step, start.target, trial.remainder, trial.codes)
                measured[trial.step.kind].append(rows)
            depths = torch.full(trial.codes.shape[:2], trial.codes.shape[-1])
            carry = coder.finish(trial.step, trial.codes, depths)
        fitted = [fit_factors(torch.cat(rows)) for rows in measured]
    return torch.stack(fitted)


def _pictures(stores: list[SessionStore]) -> Iterator[Frames]:
    """Pictures spread over the sessions."""
    for store in stores:
        for row in np.linspace(0, len(store.frames) - 1, COLOUR_PICTURES).astype(int).tolist():
            yield np.asarray(store.frames[row])


Watch = Callable[[int, int, FilterSample], None]


def sample_gops(
    bundle: Bundle,
    stores: list[SessionStore],
    per_store: int,
    qualities: tuple[int, ...] = FIT_QUALITIES,
    watch: Watch | None = None,
) -> Iterator[CodedGop]:
    """Encode GOPs spread over the sessions, at changing quality.

    Args:
        bundle: the model.
        stores: the sessions.
        per_store: GOPs of each.
        qualities: taken in turn.
        watch: told the number of the GOP, the number of the frame in it, and what a post-filter
            can learn from it; from many threads.
    """

    def encode(turn: int, coder: StepCoder, frames: Frames, track: GopTrack) -> CodedGop:
        with torch.inference_mode():
            quality = qualities[turn % len(qualities)]
            setting = QUALITIES[quality - 1] if quality else CODES_ALONE
            told = watch and partial(watch, turn)
            return encode_gop(coder, frames, track, setting, watch=told)

    waiting: deque[Future[CodedGop]] = deque()
    for turn, window in enumerate(_windows(bundle, stores, per_store)):
        waiting.append(workers().submit(encode, turn, *window))
        if len(waiting) > NUM_WORKERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _learn_layer(
    bundle: Bundle, stores: list[SessionStore], told: Callable[[], None]
) -> tuple[PostFilter | None, LevelCosts]:
    """Encode without filter, and learn from that the filter and the costs of levels."""
    seen: dict[tuple[int, int], FilterSample] = {}

    def watch(turn: int, row: int, sample: FilterSample) -> None:
        if row % FILTER_EVERY == FILTER_EVERY // 2:
            seen[turn, row] = sample

    layers = []
    for gop in sample_gops(bundle, stores, 1, FILTER_QUALITIES, watch):
        told()
        if gop.detail is not None:
            layers.append(gop.detail)
    samples = [seen[key] for key in sorted(seen)]
    updates = min(FILTER_UPDATES, FILTER_UPDATES_A_FRAME * len(samples))
    return fit_filter(samples, updates), fit_costs(layers)


def export_model(
    weights: tuple[HSTMAE, ResidualVQ],
    stores: list[SessionStore],
    out: Path,
    *,
    per_store: int = 1,
    progress: Progress | None = None,
) -> Bundle:
    """Write trained networks as one model file and return it loaded.

    Args:
        weights: averaged networks and codebooks of a run, in evaluation mode.
        stores: training sessions to count codes on.
        out: `.safetensors` to write.
        per_store: GOPs of each session.
        progress: told GOPs done and in all.
    """
    model, quantizer = weights
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    draft = out.with_name(out.stem + ".draft.safetensors")
    save_bundle(draft, model, quantizer)
    try:
        factors = measure_factors(load_bundle(draft), stores)
        save_bundle(draft, model, quantizer, factors=factors)
        total, done = len(stores) * (per_store + 1), 0

        def told() -> None:
            nonlocal done
            done += 1
            if progress:
                progress(done, total)

        colours = GameColours.learn(_pictures(stores))
        save_bundle(draft, model, quantizer, factors=factors, colours=colours)
        post_filter, costs = _learn_layer(load_bundle(draft), stores, told)
        looks = (post_filter, colours)
        save_bundle(draft, model, quantizer, None, factors, None, costs, *looks)
        gops = []
        for gop in sample_gops(load_bundle(draft), stores, per_store):
            gops.append(gop)
            told()
        sizes = (model.config.quantizer.num_quantizers, model.config.quantizer.codebook_size)
        tables = Tables.fit([gop.codes for gop in gops], *sizes, NUM_MOTION)
        detail = DetailTables.fit((g.detail, g.codes) for g in gops if g.detail is not None)
        save_bundle(out, model, quantizer, tables, factors, detail, costs, *looks)
    finally:
        draft.unlink(missing_ok=True)
    return load_bundle(out)
