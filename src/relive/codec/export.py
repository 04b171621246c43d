"""From a training run to a model that ships: averaged weights, tables counted on real GOPs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream import DetailTables, Tables
from relive.codec.bundle import Bundle, load_bundle, save_bundle
from relive.codec.encoder import CodedGop, GopTrack, encode_gop, step_rows, try_step
from relive.codec.rate import QUALITIES, fit_sensitivity, measure_step
from relive.codec.step import Geometry, StepCoder
from relive.codec.workers import NUM_WORKERS, workers
from relive.cubes.store import SessionStore
from relive.enhancement.search import fit_costs
from relive.model.context import Carry
from relive.model.hst_mae import HSTMAE
from relive.model.motion import NUM_MOTION
from relive.quantizer.rvq import ResidualVQ

Progress = Callable[[int, int], None]
Frames = NDArray[np.uint8]
GOP_FRAMES = 32
FIT_QUALITIES = (1, 3, 5, 6, 7, 8)


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
def measure_sensitivity(bundle: Bundle, stores: list[SessionStore]) -> Tensor:
    """Fit G of `codec.rate` on a few steps of every session: `[keyframe/delta, D, D]`."""
    measured: tuple[list[Tensor], list[Tensor]] = ([], [])
    fitted: list[Tensor] = []
    for coder, frames, track in _windows(bundle, stores, 1):
        carry: Carry | None = None
        padded = coder.geometry.pad(frames)
        for index in range(3):
            trial = try_step(coder, carry, padded, track, step_rows(index, len(frames)))
            if index != 1:
                rows = measure_step(coder, trial.step, trial.target, trial.remainder, trial.codes)
                measured[trial.step.kind].append(rows)
            depths = torch.full(trial.codes.shape[:2], trial.codes.shape[-1])
            _, carry = coder.finish(trial.step, trial.codes, depths)
        fitted = [fit_sensitivity(coder, torch.cat(rows)) for rows in measured]
    return torch.stack(fitted)


def sample_gops(bundle: Bundle, stores: list[SessionStore], per_store: int) -> Iterator[CodedGop]:
    """Encode GOPs spread over the sessions, at changing quality."""

    def encode(turn: int, coder: StepCoder, frames: Frames, track: GopTrack) -> CodedGop:
        with torch.inference_mode():
            quality = FIT_QUALITIES[turn % len(FIT_QUALITIES)]
            return encode_gop(coder, frames, track, QUALITIES[quality - 1])

    waiting: deque[Future[CodedGop]] = deque()
    for turn, window in enumerate(_windows(bundle, stores, per_store)):
        waiting.append(workers().submit(encode, turn, *window))
        if len(waiting) > NUM_WORKERS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


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
        sensitivity = measure_sensitivity(load_bundle(draft), stores)
        save_bundle(draft, model, quantizer, sensitivity=sensitivity)
        bundle = load_bundle(draft)
        total = len(stores) * per_store
        gops = []
        for gop in sample_gops(bundle, stores, per_store):
            gops.append(gop)
            if progress:
                progress(len(gops), total)
        sizes = (model.config.quantizer.num_quantizers, model.config.quantizer.codebook_size)
        tables = Tables.fit([gop.codes for gop in gops], *sizes, NUM_MOTION)
        layers = [(gop.detail, gop.codes) for gop in gops if gop.detail is not None]
        detail, costs = DetailTables.fit(layers), fit_costs(detail for detail, _ in layers)
        save_bundle(out, model, quantizer, tables, sensitivity, detail, costs)
    finally:
        draft.unlink(missing_ok=True)
    return load_bundle(out)
