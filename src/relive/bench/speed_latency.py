"""Latency of one step of two frames: of the networks, and of the codec with entropy coding.

```
 encode: warp, context, encoder, quantiser (, depths, entropy coder) ─► bits
 decode: bits ─► (entropy decoder,) warp, context, dequantiser, decoder, memory ─► frames
```
"""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.bench.speed_device import Case, Setting, percentiles_ms, race
from relive.bench.speed_networks import Networks, Step, size_config
from relive.bench.speed_plan import SPECIFICATION, Plan
from relive.bitstream import GopCodes, decode_codes, encode_codes
from relive.codec.bundle import Bundle, load_bundle
from relive.codec.gop import start_step, step_rows, try_codes
from relive.codec.rate import choose_depths
from relive.codec.step import Geometry, StepCoder
from relive.codec.track import GopTrack, gop_track
from relive.config import ModelConfig
from relive.model.context import Carry
from relive.quantizer.rvq import ResidualVQ
from relive.session import Session, StateSchema

GOP_FRAMES, QUALITY = 32, 5
WIDTH, HEIGHT, FPS = 320, 240, 35
NETWORKS_WHAT = (
    "one picture pair at a time; encode: warp, state, context, prediction, encoder, quantiser; "
    "decode: warp, state, context, prediction, dequantiser, decoder, recurrent state and memory; "
    "no entropy coding"
)
CODEC_WHAT = (
    "the bundled model on one core, float32; encode: state, motion search, context, encoder, "
    "quantiser, choice of depths, and the step's share of coding the packet of its GOP; decode: "
    "the step's share of decoding the packet, state, warp, context, decoder; reconstruct: the "
    "decoder run by which the encoder follows, needed before the next step only"
)


def measure_latency(
    setting: Setting, plan: Plan, size: str, config: ModelConfig | None = None
) -> dict[str, Any]:
    """Time the networks of a size step by step, encoding and decoding in turn.

    Args:
        setting: where.
        plan: amounts.
        size: name of the size.
        config: of the model, where it is not that of the size.
    """
    networks = Networks(config or size_config(size), setting)
    quantizer = ResidualVQ(networks.config.quantizer).to(setting.device)
    with torch.inference_mode(), setting.running():
        step = networks.step(1, plan.side, plan.side)
        cases = _network_cases(networks, quantizer, step)
        times = race(setting, cases, plan.steps, plan.limit_s)
    rows = {name: percentiles_ms(value.seconds) for name, value in times.items()}
    return {
        "size": size,
        "pixels": [plan.side, plan.side],
        **rows,
        "frames_per_s_in_series": 2e3 / sum(float(row["p50_ms"]) for row in rows.values()),
        "what": NETWORKS_WHAT,
        "specification": SPECIFICATION["latency_ms"],
    }


def _network_cases(networks: Networks, quantizer: ResidualVQ, step: Step) -> dict[str, Case]:
    model, pictures = networks.model, step.carry.pictures
    levels = step.depths.flatten()

    def encode() -> Tensor:
        model.warper.choose(step.motion, pictures[:, 1], step.frames)
        networks.warp(step)
        context = networks.context(step)
        model.prediction(*context)
        remainder = networks.encode(step, context)
        return quantizer.encode(remainder.flatten(0, 2), 1)

    codes = encode()

    def decode() -> Carry:
        networks.warp(step)
        context = networks.context(step)
        prediction = model.prediction(*context)
        latents = prediction + quantizer.decode(codes, levels, 1).view_as(prediction)
        decoded = networks.decode(step, context, latents)
        return model.remember(context[0], decoded, latents, decoded.frames, step.depths)

    return {"encode": encode, "decode": decode}


def measure_codec(plan: Plan, bundle: Bundle | None = None) -> dict[str, Any]:
    """Time the codec step by step on a recording, or on drawn pictures of 320x240.

    Args:
        plan: amounts; as many whole GOPs as hold its steps.
        bundle: weights; the bundled ones without it.
    """
    bundle = bundle or load_bundle()
    clip = _Clip.of(plan.session)
    coder = StepCoder(bundle, clip.schema, Geometry(*clip.size))
    seconds: dict[str, list[float]] = defaultdict(list)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the codec does: one GOP a core
    try:
        with torch.inference_mode():
            _measure_gop(coder, clip, 0, defaultdict(list))  # warm-up
            for place in range(-(-plan.steps * 2 // GOP_FRAMES)):
                _measure_gop(coder, clip, place, seconds)
    finally:
        torch.set_num_threads(threads)
    rows = {name: percentiles_ms(values) for name, values in seconds.items()}
    return {
        "model": bundle.model_id,
        "frames": "drawn" if plan.session is None else Path(plan.session).name,
        "width": clip.size[0],
        "height": clip.size[1],
        "quality": QUALITY,
        "keyframe_interval": GOP_FRAMES,
        **rows,
        "what": CODEC_WHAT,
        "specification": SPECIFICATION["latency_ms"],
    }


class _Clip:
    """Frames and states of as many GOPs as are asked for; after the last one from the front."""

    def __init__(self, schema: StateSchema, gops: list[tuple[NDArray[np.uint8], GopTrack]]) -> None:
        self.schema, self.gops = schema, gops
        height, width = gops[0][0].shape[1:3]
        self.size = (width, height)

    @classmethod
    def of(cls, session: str | None) -> _Clip:
        """Read the first GOPs of a recording, or draw two."""
        if session is None:
            return cls(StateSchema(), [_draw_gop(place) for place in range(2)])
        with Session.open(session) as opened:
            count = max(1, min(8, opened.num_frames // GOP_FRAMES))
            spans = [(i * GOP_FRAMES, (i + 1) * GOP_FRAMES) for i in range(count)]
            spans = [(start, min(stop, opened.num_frames)) for start, stop in spans]
            gops = [(opened.frames(*span), gop_track(opened, *span)) for span in spans]
            return cls(opened.schema, gops)


def _draw_gop(place: int) -> tuple[NDArray[np.uint8], GopTrack]:
    """Draw a smooth texture that moves two pixels a frame."""
    chance = np.random.default_rng(place)
    coarse = chance.integers(0, 256, (HEIGHT // 8, WIDTH // 4, 3), dtype=np.uint8)
    wide = coarse.repeat(8, 0).repeat(8, 1)
    frames = np.stack([wide[:, 2 * i : 2 * i + WIDTH] for i in range(GOP_FRAMES)])
    times = np.arange(GOP_FRAMES, dtype=np.int64) * (1_000_000_000 // FPS)
    states = np.zeros((GOP_FRAMES, 0), np.float32)
    return frames, GopTrack(times, states, np.ones(GOP_FRAMES, np.bool_), b"")


def _measure_gop(
    coder: StepCoder, clip: _Clip, place: int, seconds: dict[str, list[float]]
) -> None:
    """Encode a GOP and decode it again, taking the time of every step."""
    frames, track = clip.gops[place % len(clip.gops)]
    gop, encode_s = _encode_gop(coder, frames, track, seconds)
    steps, h, w = gop.depths.shape
    start = time.perf_counter()
    packet = encode_codes(gop, coder.bundle.tables)
    middle = time.perf_counter()
    decoded = decode_codes(packet, coder.bundle.tables, steps, h, w)
    end = time.perf_counter()
    entropy_s, back_s = (middle - start) / steps, (end - middle) / steps
    seconds["encode"] += [value + entropy_s for value in encode_s]
    seconds["decode"] += [value + back_s for value in _decode_gop(coder, decoded, track)]
    seconds["entropy_encode"] += [entropy_s] * steps
    seconds["entropy_decode"] += [back_s] * steps


def _encode_gop(
    coder: StepCoder,
    frames: NDArray[np.uint8],
    track: GopTrack,
    seconds: dict[str, list[float]],
) -> tuple[GopCodes, list[float]]:
    """Encode as `relive.codec.gop.encode_gop` does: the codes, and the time of every step."""
    count, (h, w) = len(frames), coder.geometry.grid
    gop = GopCodes.empty(-(-count // 2), coder.bundle.config.quantizer.num_quantizers, h, w)
    padded, carry, taken = coder.geometry.pad(frames), None, []
    for index in range(len(gop.depths)):
        start = time.perf_counter()
        begun = start_step(coder, carry, padded, track, step_rows(index, count))
        trial = try_codes(coder, carry, begun)
        depths = choose_depths(coder, trial.step, trial.remainder, trial.codes, QUALITY)
        stages = torch.arange(trial.codes.shape[-1])
        sent = torch.where(stages < depths[..., None], trial.codes, 0)
        middle = time.perf_counter()
        carry = coder.finish(trial.step, sent, depths)
        taken.append(middle - start)
        seconds["reconstruct"].append(time.perf_counter() - middle)
        gop.depths[index] = depths.numpy()
        gop.motion[index] = begun.choice.numpy()
        gop.codes[index] = sent.permute(2, 0, 1).numpy()
    return gop, taken


def _decode_gop(coder: StepCoder, gop: GopCodes, track: GopTrack) -> list[float]:
    """Decode as `relive.codec.replay` does: the time of every step."""
    carry, taken = None, []
    for index in range(len(gop.depths)):
        start = time.perf_counter()
        rows = step_rows(index, len(track.times_ns))
        state = coder.state(track.states[rows], track.times_ns[rows])
        choice = torch.from_numpy(gop.motion[index, :1].astype(np.int64))
        step = coder.begin(carry, state, choice)
        codes = torch.from_numpy(gop.codes[index].astype(np.int64)).permute(1, 2, 0)
        depths = torch.from_numpy(gop.depths[index].astype(np.int64))
        carry = coder.finish(step, codes, depths)
        taken.append(time.perf_counter() - start)
    return taken
