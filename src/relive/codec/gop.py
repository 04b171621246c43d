"""Encode one GOP: integers of the codes and of the enhancement layer, step by step.

```
 frames ─► pad ─► motion, context ─► latents ─► codes, depths ─► picture ─► enhancement ─► next step
```
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream import GopCodes, GopDetail, decode_track, encode_track
from relive.codec.effort import DEFAULT_PRESET, PRESETS, Effort
from relive.codec.layer import Tools, encode_pair, layer_pair
from relive.codec.rate import Setting, choose_depths, cube_error
from relive.codec.step import Geometry, StepCoder, StepContext, StepState, to_picture
from relive.enhancement.look_ahead import look_ahead
from relive.enhancement.post_filter import FilterSample
from relive.model.context import Carry
from relive.session import Session


@dataclass(frozen=True)
class GopTrack:
    """Times, presence and states of a GOP as a decoder will see them, and their packet."""

    times_ns: NDArray[np.int64]
    states: NDArray[np.float32]
    present: NDArray[np.bool_]
    packet: bytes


def step_rows(index: int, count: int) -> NDArray[np.intp]:
    """Frames of the GOP that step `index` is about: the pair before, and the pair.

    A keyframe knows nothing before it; an odd last frame is paired with itself.
    """
    first = 2 * index
    before = (first - 2, first - 1) if index else (first, first)
    return np.array([*before, first, first + 1]).clip(max=count - 1)


@dataclass(frozen=True)
class CodedGop:
    """The integers of a GOP, and what they lost.

    Attributes:
        codes: of the base tier.
        detail: of the enhancement layer, where the setting has one.
        squares: summed squared error over the frames that are present (0..255).
    """

    codes: GopCodes
    detail: GopDetail | None
    squares: float


def encode_gop(
    coder: StepCoder,
    frames: NDArray[np.uint8],
    track: GopTrack,
    setting: Setting,
    depth: int | None = None,
    watch: Callable[[int, FilterSample], None] | None = None,
    effort: Effort = PRESETS[DEFAULT_PRESET],
) -> CodedGop:
    """Encode one GOP.

    Args:
        coder: the shared half of a step.
        frames: uint8 `[n, height, width, 3]`.
        track: of the same frames.
        setting: what to aim at.
        depth: the same depth for every cube, instead of the search.
        watch: see `layer.Tools`.
        effort: how long to search.
    """
    bundle = coder.bundle
    tools = Tools(bundle.level_costs, bundle.post_filter, effort.vectors, watch)
    searched = depth is None and setting.step is not None
    skip_below = effort.skip_bits * setting.price if searched else 0.0
    count, (h, w) = len(frames), coder.geometry.grid
    steps = -(-count // 2)
    gop = GopCodes.empty(steps, coder.bundle.config.quantizer.num_quantizers, h, w)
    detail = None if setting.step is None else GopDetail.empty(2 * steps, h, w)
    padded = coder.geometry.pad(frames)
    plan = None if setting.step is None else look_ahead(padded, 2 * steps, setting.step)
    carry: Carry | None = None
    squares = 0.0
    for index in range(steps):
        rows = step_rows(index, count)
        trial = try_step(coder, carry, padded, track, rows, skip_below)
        if depth is None:
            depths = choose_depths(coder, trial.step, trial.remainder, trial.codes, setting.price)
        else:
            depths = torch.full((h, w), depth)
        sent = torch.where(torch.arange(trial.codes.shape[-1]) < depths[..., None], trial.codes, 0)
        before, (pixels, carry) = carry, coder.finish(trial.step, sent, depths)
        gop.depths[index] = depths.numpy()
        gop.motion[index] = trial.choice.numpy()
        gop.codes[index] = sent.permute(2, 0, 1).numpy()
        if detail is not None and plan is not None:
            pair = layer_pair(carry, before, trial.state, trial.choice)
            target = (trial.target[0] * 255).round()
            shown = encode_pair(detail, index, pair, target, plan, tools)
            pixels, carry = shown.pixels, shown.carry(carry)
        squares += _squares(coder.geometry, pixels, frames, track.present, rows)
    return CodedGop(gop, detail, squares)


@dataclass(frozen=True)
class Trial:
    """A step before the encoder has decided how deep to code it."""

    target: Tensor  # [1, 2, 3, H, W]
    state: StepState
    choice: Tensor  # [1, h, w]
    step: StepContext
    remainder: Tensor  # [1, h, w, D]
    codes: Tensor  # [h, w, K]


def try_step(
    coder: StepCoder,
    carry: Carry | None,
    padded: NDArray[np.uint8],
    track: GopTrack,
    rows: NDArray[np.intp],
    skip_below: float = 0.0,
) -> Trial:
    """Search motion, build the context, encode and quantise to full depth.

    Args:
        coder: the shared half of a step.
        carry: from the step before; None at a keyframe.
        padded: frames of the GOP uint8 `[n, H, W, 3]`.
        track: of the GOP.
        rows: see `step_rows`.
        skip_below: a delta whose reference has a lower mean `cube_error` is not encoded: its
            remainder is 0.
    """
    h, w = coder.geometry.grid
    target = to_picture(padded[rows[2:]])[None]
    state = coder.state(track.states[rows], track.times_ns[rows])
    choice = torch.zeros(1, h, w, dtype=torch.long)
    if carry is not None:
        choice = coder.bundle.model.warper.choose(state.motion, carry.pictures[:, 1], target)
    step = coder.begin(carry, state, choice)
    error = cube_error(step.context.reference, target).mean()
    if carry is None or error >= skip_below:
        remainder = coder.bundle.model.encoder(target, step.context, step.pyramid)
    else:
        remainder = torch.zeros_like(step.prediction)
    codes = coder.bundle.quantizer.encode(remainder.flatten(0, 2), step.kind)
    return Trial(target, state, choice, step, remainder, codes.view(h, w, -1))


def _squares(
    geometry: Geometry,
    pixels: NDArray[np.uint8],
    frames: NDArray[np.uint8],
    present: NDArray[np.bool_],
    rows: NDArray[np.intp],
) -> float:
    total = 0.0
    for place, row in enumerate(rows[2:]):
        if present[row] and (place == 0 or row != rows[2]):
            seen = pixels[place, : geometry.height, : geometry.width].astype(np.float32)
            total += float(np.square(seen - frames[row]).sum(dtype=np.float64))
    return total


def gop_track(session: Session, start: int, stop: int) -> GopTrack:
    """Times and states of frames [start, stop), through their packet and back."""
    steps = [f.step for f in session.schema.fields]
    kinds = [f.kind for f in session.schema.fields]
    packet = encode_track(
        session.times_ns[start:stop],
        session.present[start:stop],
        session.states[start:stop],
        steps,
        kinds,
    )
    times, present, states = decode_track(packet, steps, kinds)
    return GopTrack(times, states, present, packet)
