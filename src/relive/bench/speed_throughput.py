"""Throughput of encoder and decoder: dense against masked, and what it costs in operations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from relive.bench.speed_device import Case, Setting, Times, race
from relive.bench.speed_flops import count_flops
from relive.bench.speed_memory import HOW, peak_bytes
from relive.bench.speed_networks import Networks, Step, count_parameters, size_config
from relive.bench.speed_plan import DECODER_RATIOS, MASK_RATIOS, SPECIFICATION, Plan
from relive.config import CUBE_FRAMES, ModelConfig
from relive.model.layout import Layout, visible
from relive.model.masks import running_cell_mask


def measure_networks(setting: Setting, plan: Plan, size: str) -> dict[str, Any]:
    """Parameters and operations of a size, beside the specification's."""
    return {
        "size": size,
        **describe_networks(size_config(size), setting, plan.side),
        "specification": SPECIFICATION.get(size),
    }


def describe_networks(config: ModelConfig, setting: Setting, side: int) -> dict[str, Any]:
    """Count the parameters of a model, and its operations for one frame of side x side pixels."""
    networks = Networks(config, replace(setting, compiled=False))
    with torch.inference_mode():
        step = networks.step(1, side, side)
        context = networks.context(step)
        latents = networks.model.prediction(*context)
        decoded = networks.decode(step, context, latents)
        cases: dict[str, Case] = {
            "warp": lambda: networks.warp(step),
            "state_context_prediction": lambda: _before(networks, step),
            "encoder": lambda: networks.encode(step, context),
            "decoder": lambda: networks.decode(step, context, latents),
            "remember": lambda: networks.model.remember(
                context[0], decoded, latents, step.carry.pictures, step.depths
            ),
        }
        flops = {name: count_flops(case) / CUBE_FRAMES for name, case in cases.items()}
    return {
        "parameters": count_parameters(networks.model),
        "state_fields": len(config.state_inputs),
        "pixels": [side, side],
        "flops_per_frame": {
            **flops,
            "encoder_side": flops["warp"] + flops["state_context_prediction"] + flops["encoder"],
            "total": sum(flops.values()),
        },
        "what": "torch.utils.flop_counter: matrix products, convolutions and attention of one "
        "2-frame step, halved; a multiply-add is two operations",
    }


def _before(networks: Networks, step: Step) -> object:
    """State, context and prediction: what precedes the encoder."""
    return networks.model.prediction(*networks.context(step))


def measure_throughput(
    setting: Setting, plan: Plan, size: str, config: ModelConfig | None = None
) -> dict[str, Any]:
    """Race the dense encoder against the masked one, and the decoder likewise.

    Args:
        setting: where.
        plan: amounts.
        size: name of the size.
        config: of the model, where it is not that of the size.
    """
    networks = Networks(config or size_config(size), setting)
    with torch.inference_mode(), setting.running():
        step = networks.step(plan.batch, plan.side, plan.side)
        encoder = _race(setting, plan, _encoder_cases(networks, step), step.num_frames)
        decoder = _race(setting, plan, _decoder_cases(networks, step), step.num_frames)
    before = encoder.pop("before")
    for name, row in encoder.items():
        side_s = before["median_s"] + row["median_s"]
        row["side_frames_per_s"] = step.num_frames / side_s
        row["visible_cubes"] = _visible(networks, step, float(name))
    with_ratios(encoder)
    with_ratios(decoder)
    return {
        "size": size,
        "pixels": [plan.side, plan.side],
        "cubes": step.grid[0] * step.grid[1],
        "before_encoder": before,
        "encoder": encoder,
        "decoder": decoder,
        "memory": HOW[setting.device],
        "what": "by mask ratio; encoder: tube masks, the encoder alone; side_frames_per_s adds "
        "before_encoder (state, context pyramid, prediction); decoder: running cell masks; "
        "median over rounds; the cases run in turn within each round",
        "specification": SPECIFICATION.get(size),
    }


def _encoder_cases(networks: Networks, step: Step) -> dict[str, Case]:
    context = networks.context(step)

    def case(layout: Layout | None) -> Case:
        return lambda: networks.encode(step, context, layout)

    masked = {str(ratio): case(networks.layout(step, ratio)) for ratio in MASK_RATIOS}
    return {**masked, "before": lambda: _before(networks, step)}


def _decoder_cases(networks: Networks, step: Step) -> dict[str, Case]:
    context = networks.context(step)
    latents = networks.model.prediction(*context)

    def case(layout: Layout | None) -> Case:
        return lambda: networks.decode(step, context, latents, layout)

    return {str(ratio): case(decoder_layout(step, ratio)) for ratio in DECODER_RATIOS}


def decoder_layout(step: Step, ratio: float) -> Layout | None:
    """Cubes that the decoder shows under a running cell mask; None for all."""
    if not ratio:
        return None
    device = step.frames.device
    return visible(running_cell_mask(step.grid, ratio, 0, len(step.frames), device))


def _visible(networks: Networks, step: Step, ratio: float) -> int:
    h, w = step.grid
    return int((~networks.mask(step, ratio))[0].sum()) if ratio else h * w


def _race(
    setting: Setting, plan: Plan, cases: dict[str, Case], num_frames: int
) -> dict[str, dict[str, Any]]:
    """Count operations and memory of every case, then time them in turn."""
    counts = {name: _count(setting, case) for name, case in cases.items()}
    times = race(setting, cases, plan.repeats, plan.limit_s)
    return {name: _row(times[name], counts[name], num_frames) for name in cases}


def _count(setting: Setting, case: Case) -> tuple[int, int]:
    """Operations and peak bytes of one run; a compiled case hides its operations."""
    held: list[int] = []
    if setting.compiled:
        case()
        return 0, peak_bytes(setting, case)
    flops = count_flops(lambda: held.append(peak_bytes(setting, case)))
    return flops, held[0]


def _row(times: Times, counts: tuple[int, int], num_frames: int) -> dict[str, Any]:
    flops, held = counts
    row = {**times.to_dict(), "frames_per_s": num_frames / times.median_s, "peak_bytes": held}
    if flops:
        row |= {"flops_per_frame": flops / num_frames, "flops_per_s": flops / times.median_s}
    return row


def with_ratios(rows: dict[str, dict[str, Any]], base: str = "0.0") -> None:
    """Add to every row how many times faster, and how much smaller, it is than the base.

    `times_faster` compares medians, `times_faster_best` the fastest runs, `times_faster_cpu` the
    work of the CPU (of the caller only, where the device is a GPU).
    """
    dense = rows[base]
    for row in rows.values():
        row["times_faster"] = dense["median_s"] / row["median_s"]
        row["times_faster_best"] = dense["min_s"] / row["min_s"]
        row["times_faster_cpu"] = dense["cpu_median_s"] / row["cpu_median_s"]
        row["memory_saved"] = 1 - row["peak_bytes"] / dense["peak_bytes"]
