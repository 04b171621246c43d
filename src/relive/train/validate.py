"""Validation: whole frames of sessions never trained on, a GOP each, at fixed depths.

Shapes: h w cube grid, K quantizers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from relive.config import CUBE_PX
from relive.cubes.clips import Crop
from relive.cubes.store import SessionStore
from relive.model.hst_mae import HSTMAE
from relive.model.layout import visible
from relive.model.masks import hidden_count, hide_highest
from relive.quantizer.rvq import ResidualVQ
from relive.train.batch import Batch, Sight, read_batch
from relive.train.chain import look, to_8_bits
from relive.train.consistency import rate
from relive.train.pictures import PictureRow

STEPS = 16
DEPTHS = (1, 3, 6)
PICTURED, PICTURE_DEPTH = 5, 3  # step that is drawn, and its depth
HIDDEN = 0.3  # share of its cubes that are not sent


@dataclass(frozen=True)
class Coded:
    """One step of a session as it was coded."""

    batch: Batch
    sight: Sight
    shown: Tensor  # [1, 2, 3, H, W]
    mse: float
    bits: float  # codes of all cubes, by how often the quantiser saw them
    masked: Tensor  # cubes that were not sent [1, h, w]


@dataclass(frozen=True)
class Measured:
    """What validation found.

    Attributes:
        curves: "depth 3" and so on to the PSNR in dB of every step of a GOP.
        points: of a rate-distortion curve: depth, bits per pixel (codes alone), PSNR in dB.
        pictures: one of every session.
    """

    curves: dict[str, list[float]]
    points: list[dict[str, float]]
    pictures: list[PictureRow]

    @property
    def mean_db(self) -> float:
        """Mean of all steps at all depths: what the best checkpoint has most of."""
        return float(np.mean([value for curve in self.curves.values() for value in curve]))


@torch.inference_mode()
def code_chain(
    model: HSTMAE,
    quantizer: ResidualVQ,
    store: SessionStore,
    start: int,
    steps: int,
    depth: int,
    hide_at: int | None = None,
) -> Iterator[Coded]:
    """Code one GOP as the codec does, every cube at one depth.

    Args:
        model: in evaluation mode.
        quantizer: the same.
        store: the session.
        start: first frame.
        steps: of the GOP.
        depth: of every cube.
        hide_at: step in which a share of the cubes is hidden from the encoder and not sent.
    """
    names = tuple(s.name for s in model.config.state_inputs)
    height, width = (side // CUBE_PX * CUBE_PX for side in store.frames.shape[1:3])
    crop, device = Crop(store, start, 0, 0, width, height), model.base.device
    h, w = height // CUBE_PX, width // CUBE_PX
    carry = model.start(1, height, width)
    for index in range(steps):
        batch = read_batch([crop], index, names, device)
        masked = torch.zeros(1, h, w, dtype=torch.bool, device=device)
        if index == hide_at:
            score = torch.rand(1, h, w, generator=torch.Generator().manual_seed(0)).to(device)
            masked = hide_highest(score, hidden_count(h * w, HIDDEN))
        sight = look(model, batch, carry, carry.pictures[:, 1])
        layout = visible(masked) if index == hide_at else None
        remainder = model.encoder(batch.frames, sight.context, sight.pyramid, layout)
        depths = torch.full((1, h, w), depth, device=device).masked_fill(masked, 0)
        kinds = batch.is_delta.long()[:, None, None].expand_as(depths).flatten()
        vectors = remainder.flatten(0, 2)
        codes = quantizer.encode(vectors, int(index > 0))
        prediction = model.prediction(sight.context, sight.pyramid)
        sent = quantizer.decode(codes, depths.flatten(), int(index > 0)).view_as(prediction)
        decoded = model.decoder(prediction + sent, depths, sight.context, sight.pyramid)
        shown = to_8_bits(decoded.frames)
        carry = model.remember(sight.context, decoded, prediction + sent, shown, depths)
        mse = float((shown - batch.frames).square().mean())
        bits = float(rate(quantizer, vectors, depths.flatten(), kinds)[1]) * len(vectors)
        yield Coded(batch, sight, shown, mse, bits, masked)


def validate(
    model: HSTMAE,
    quantizer: ResidualVQ,
    stores: Sequence[SessionStore],
    depths: tuple[int, ...] = DEPTHS,
) -> Measured:
    """Code a GOP of every session at every depth; PSNR from the mean MSE over the sessions."""
    was_training = quantizer.training
    model.eval()
    quantizer.eval()
    curves, points, pictures = {}, [], []
    top = quantizer.config.num_quantizers
    for depth in sorted({min(depth, top) for depth in depths}):
        rows, bits, pixels = [], 0.0, 0
        for store in stores:
            coded = list(code_chain(model, quantizer, store, _first(store), STEPS, depth))
            rows.append([step.mse for step in coded])
            bits += sum(step.bits for step in coded)
            pixels += sum(step.shown[:, :, 0].numel() for step in coded)
        means = np.mean(rows, 0)
        curves[f"depth {depth}"] = [round(_psnr(m), 2) for m in means.tolist()]
        point = {"depth": depth, "bits_per_pixel": round(bits / pixels, 5)}
        points.append({**point, "psnr_db": round(_psnr(float(means.mean())), 3)})
    for store in stores:
        chain = code_chain(
            model, quantizer, store, _first(store), PICTURED, min(PICTURE_DEPTH, top), PICTURED - 1
        )
        *_, last = chain
        pictures.append(_picture(store, last))
    quantizer.train(was_training)
    return Measured(curves, points, pictures)


def _first(store: SessionStore) -> int:
    """Where the GOP of a session begins."""
    return max(0, min(60, len(store.frames) - 2 * STEPS - 2))


def _picture(store: SessionStore, coded: Coded) -> PictureRow:
    """The second frame of a step, and what belongs to it."""

    def pixels(frames: Tensor) -> np.ndarray:
        return (frames[0, 1] * 255).round().byte().permute(1, 2, 0).cpu().numpy()

    depth = coded.sight.warped.inverse_depth[0].float().cpu().numpy()
    return PictureRow(
        name=store.name,
        original=pixels(coded.batch.frames),
        reconstruction=pixels(coded.shown),
        masked=coded.masked[0].cpu().numpy(),
        inverse_depth=depth if coded.batch.motion.camera is not None else None,
        psnr_db=_psnr(coded.mse),
    )


def _psnr(mse: float) -> float:
    return -10 * math.log10(max(mse, 1e-9))
