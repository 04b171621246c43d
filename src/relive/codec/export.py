"""From a training run to a model that ships: averaged weights, and tables counted on real GOPs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from relive.bitstream import GopCodes, Tables
from relive.codec.bundle import Bundle, load_bundle, save_bundle
from relive.codec.encoder import GopTrack, encode_gop
from relive.codec.step import Geometry, StepCoder
from relive.config import ModelConfig
from relive.cubes.store import SessionStore
from relive.errors import InputError
from relive.model.hst_mae import HSTMAE
from relive.model.motion import NUM_MOTION
from relive.quantizer.rvq import ResidualVQ

Progress = Callable[[int, int], None]
GOP_FRAMES = 32
FIT_QUALITIES = (2, 4, 5, 6, 8)


def load_run(run: Path) -> tuple[HSTMAE, ResidualVQ]:
    """Load the averaged weights of a run.

    Raises:
        InputError: The run has no checkpoint.
    """
    try:
        config = ModelConfig.from_dict(json.loads((run / "checkpoint.json").read_text())["config"])
        tensors = load_file(run / "checkpoint.safetensors")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"{run} has no whole checkpoint: {error}") from error
    model, quantizer = HSTMAE(config), ResidualVQ(config.quantizer)
    for name, module in (("average.", model), ("quantizer.", quantizer)):
        module.load_state_dict(
            {k[len(name) :]: v for k, v in tensors.items() if k.startswith(name)}
        )
    return model.eval(), quantizer.eval()


def sample_gops(bundle: Bundle, stores: list[SessionStore], per_store: int) -> Iterator[GopCodes]:
    """Encode GOPs spread over the sessions, at changing quality."""
    torch.set_flush_denormal(True)
    turn = 0
    for store in stores:
        height, width = store.frames.shape[1:3]
        coder = StepCoder(bundle, store.schema, Geometry(width, height))
        starts = np.linspace(0, max(0, len(store.frames) - GOP_FRAMES), per_store).astype(int)
        for start in starts:
            rows = slice(int(start), int(start) + GOP_FRAMES)
            frames = np.asarray(store.frames[rows])
            everything = np.ones(len(frames), np.bool_)
            track = GopTrack(store.times_ns[rows], store.states[rows], everything, b"")
            quality = FIT_QUALITIES[turn % len(FIT_QUALITIES)]
            with torch.inference_mode():
                yield encode_gop(coder, frames, track, quality)[0]
            turn += 1


def export_model(
    run: Path,
    stores: list[SessionStore],
    out: Path,
    *,
    per_store: int = 2,
    progress: Progress | None = None,
) -> Bundle:
    """Write a run as one model file and return it loaded.

    Args:
        run: folder of the training run.
        stores: training sessions to count codes on.
        out: `.safetensors` to write.
        per_store: GOPs of each session.
        progress: told GOPs done and in all.
    """
    model, quantizer = load_run(run)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(out.stem + ".draft.safetensors")
    save_bundle(draft, model, quantizer)
    try:
        bundle = load_bundle(draft)
        total = len(stores) * per_store
        gops = []
        for gop in sample_gops(bundle, stores, per_store):
            gops.append(gop)
            if progress:
                progress(len(gops), total)
        sizes = (model.config.quantizer.num_quantizers, model.config.quantizer.codebook_size)
        save_bundle(out, model, quantizer, Tables.fit(gops, *sizes, NUM_MOTION))
    finally:
        draft.unlink(missing_ok=True)
    return load_bundle(out)
