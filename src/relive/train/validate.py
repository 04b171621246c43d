"""Validation: whole frames of sessions never trained on, a GOP each, at fixed depths."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from relive.config import CUBE_PX
from relive.cubes.clips import Crop
from relive.cubes.store import SessionStore
from relive.model.hst_mae import HSTMAE
from relive.quantizer.rvq import ResidualVQ
from relive.train.chain import Chain, look, to_8_bits, to_tensors

Curve = dict[str, list[float]]


@torch.inference_mode()
def chain_mse(
    model: HSTMAE, quantizer: ResidualVQ, store: SessionStore, start: int, steps: int, depth: int
) -> list[float]:
    """Mean squared error of every step of one GOP with every cube at `depth`."""
    names = tuple(s.name for s in model.config.state_inputs)
    height, width = (side // CUBE_PX * CUBE_PX for side in store.frames.shape[1:3])
    crop = Crop(store, start, 0, 0, width, height)
    h, w = height // CUBE_PX, width // CUBE_PX
    carry = model.start(1, height, width)
    depths = torch.full((1, h, w), depth)
    errors = []
    for index in range(steps):
        batch = to_tensors([Chain(crop, index, steps, 1.0)], names)
        sight = look(model, batch, carry, carry.pictures[:, 1])
        context, pyramid = sight.context, sight.pyramid
        remainder = model.encoder(batch.frames, context, pyramid)
        prediction = model.prediction(context, pyramid)
        kind = int(index > 0)
        codes = quantizer.encode(remainder.flatten(0, 2), kind)
        latents = prediction + quantizer.decode(codes, depths.flatten(), kind).view_as(prediction)
        decoded = model.decoder(latents, depths, context, pyramid)
        frames = to_8_bits(decoded.frames)
        carry = model.remember(context, decoded, latents, frames, depths)
        errors.append(float(F.mse_loss(frames, batch.frames)))
    return errors


def validate(
    model: HSTMAE,
    quantizer: ResidualVQ,
    stores: list[SessionStore],
    depths: tuple[int, ...] = (3, 6),
) -> Curve:
    """PSNR in dB of every step of a GOP of 16, mean MSE over the sessions, for each depth."""
    was_training = quantizer.training
    model.eval()
    quantizer.eval()
    curves = {}
    for depth in depths:
        rows = [
            chain_mse(model, quantizer, store, max(0, min(60, len(store.frames) - 34)), 16, depth)
            for store in stores
        ]
        means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        curves[f"depth {depth}"] = [round(-10 * math.log10(max(m, 1e-9)), 2) for m in means]
    model.train()
    quantizer.train(was_training)
    return curves
