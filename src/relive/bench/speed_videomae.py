"""HST-MAE-B against VideoMAE-B (arXiv 2203.12602) on the same clips: whose cost grows how.

VideoMAE is transformers' own class with random weights and fused attention. Its attention is
global, so its cost has a part that grows with the square of the tokens; ours is windowed and grows
with the pixels. Both encoders run dense.

Shapes: B clips, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from relive.bench.speed_device import Case, Setting, Times, clock, race
from relive.bench.speed_fit import describe_crossing, exponent
from relive.bench.speed_flops import count_flops
from relive.bench.speed_networks import Networks, Step, check_picture, size_config
from relive.bench.speed_plan import CLIP_FRAMES, SPECIFICATION, Plan
from relive.config import CUBE_FRAMES, ModelConfig
from relive.errors import MissingExtraError

if TYPE_CHECKING:
    from transformers import VideoMAEModel

CLIP_STEPS = CLIP_FRAMES // CUBE_FRAMES
BATCHED_PIXELS = 512 * 512  # above this, the steps of a clip as one batch do not fit small machines
WHAT = (
    "seconds of one 16-frame clip, dense; ours: 8 steps of 2 frames, as one batch or one after the "
    "other, whichever is faster, with state, context pyramid and prediction (encoder_side) or the "
    "encoder alone; VideoMAE: transformers' VideoMAEModel, VideoMAEConfig's defaults, random "
    "weights, scaled_dot_product_attention; exponent: least squares in log-log over the sizes; "
    "crossing: pixels of a frame, interpolated in log-log"
)


def make_videomae(device: str, **config: Any) -> VideoMAEModel:
    """Build VideoMAE-B, or the model of another configuration, with random weights.

    Raises:
        MissingExtraError: transformers is not installed.
    """
    try:
        from transformers import VideoMAEConfig, VideoMAEModel
    except ImportError as error:
        raise MissingExtraError("transformers", "bench") from error
    with torch.device(device):
        chosen = VideoMAEConfig(num_frames=CLIP_FRAMES, **config)
        chosen._attn_implementation = "sdpa"
        model: VideoMAEModel = VideoMAEModel(chosen)
    model.train(False)
    return model


def sinusoid_table(positions: int, dim: int) -> Tensor:
    """The fixed position table of VideoMAE `[1, positions, dim]`, by the formula of its class.

    The class fills it number by number, which takes a minute for 1280x720.
    """
    exponents = 2 * torch.div(torch.arange(dim), 2, rounding_mode="floor").double() / dim
    angles = torch.arange(positions, dtype=torch.float64)[:, None] / 10000**exponents
    angles[:, 0::2] = angles[:, 0::2].sin()
    angles[:, 1::2] = angles[:, 1::2].cos()
    return angles.float()[None]


def resize_videomae(model: VideoMAEModel, height: int, width: int) -> None:
    """Let a model take pictures of H x W pixels; its weights do not depend on the size."""
    embeddings, patches = model.embeddings, model.embeddings.patch_embeddings
    patch, _ = patches.patch_size
    patches.image_size = (height, width)
    patches.num_patches = height // patch * (width // patch) * (CLIP_FRAMES // patches.tubelet_size)
    embeddings.num_patches = patches.num_patches
    table = sinusoid_table(patches.num_patches, model.config.hidden_size)
    embeddings.position_embeddings = table.to(next(model.parameters()).device)


def videomae_flops(height: int, width: int, **config: Any) -> int:
    """Count the operations of VideoMAE for one clip, without computing it (meta tensors)."""
    model = make_videomae("meta", **config)
    resize_videomae(model, height, width)
    clip = torch.empty(1, CLIP_FRAMES, 3, height, width, device="meta")
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        return count_flops(lambda: model(clip))


def measure_videomae(
    setting: Setting,
    plan: Plan,
    size: str = "base",
    config: ModelConfig | None = None,
    on_size: Callable[[dict[str, Any]], None] | None = None,
    **videomae: Any,
) -> dict[str, Any]:
    """Measure both encoders at every size of the plan.

    Args:
        setting: where.
        plan: amounts.
        size: of ours.
        config: of ours, where it is not that of the size.
        on_size: told the row of every size as soon as it is known.
        videomae: changes of VideoMAEConfig.
    """
    for height, width in plan.video_sizes:
        check_picture(height, width)
    ours = Networks(config or size_config(size), setting)
    other = make_videomae(setting.device, **videomae)
    forward = torch.compile(other) if setting.compiled else other
    rows = []
    for height, width in sorted(plan.video_sizes, key=lambda s: s[0] * s[1]):
        resize_videomae(other, height, width)
        with torch.inference_mode(), setting.running():
            row = _measure_size(ours, forward, plan, height, width)
        row |= _flops(ours, height, width, videomae)
        rows.append(row)
        if on_size:
            on_size(row)
    return {
        "size": size,
        "clip_frames": CLIP_FRAMES,
        "sizes": rows,
        **compare_rows(rows),
        "what": WHAT,
        "specification": {
            "ratio_at_720p": SPECIFICATION["videomae_720p_ratio"],
            "exponent": SPECIFICATION["cost_exponent"],
        },
    }


def _measure_size(
    ours: Networks, videomae: Callable[[Tensor], object], plan: Plan, height: int, width: int
) -> dict[str, Any]:
    """Race both at one size."""
    setting = ours.setting
    clip = torch.rand(1, CLIP_FRAMES, 3, height, width, device=setting.device)
    step = ours.step(1, height, width)
    cases: dict[str, Case] = {
        **{f"one_by_one {k}": v for k, v in _one_by_one(ours, step).items()},
        "videomae": lambda: videomae(clip),
    }
    if height * width <= BATCHED_PIXELS:
        batch = ours.step(CLIP_STEPS, height, width)
        cases |= {f"batch {k}": v for k, v in _sections(ours, batch).items()}
    clock(setting, lambda: ours.latents(step))  # warm-up even where the first run counts
    times = race(setting, cases, plan.repeats, plan.limit_s)
    return {"height": height, "width": width, "pixels": height * width, **_ratios(times)}


def _sections(ours: Networks, step: Step) -> dict[str, Case]:
    """What precedes the encoder, and the encoder."""
    context = ours.context(step)
    return {
        "before": lambda: ours.model.prediction(*ours.context(step)),
        "encoder": lambda: ours.encode(step, context),
    }


def _one_by_one(ours: Networks, step: Step) -> dict[str, Case]:
    def repeated(case: Case) -> Case:
        return lambda: [case() for _ in range(CLIP_STEPS)]

    return {name: repeated(case) for name, case in _sections(ours, step).items()}


def _ratios(times: dict[str, Times]) -> dict[str, Any]:
    """Take our faster way, and compare."""
    ways = sorted({name.split()[0] for name in times if name != "videomae"})

    def whole(way: str) -> float:
        return times[f"{way} before"].median_s + times[f"{way} encoder"].median_s

    best, theirs = min(ways, key=whole), times["videomae"].median_s
    encoder = times[f"{best} encoder"].median_s
    return {
        "ours": best,
        "encoder_side_s": whole(best),
        "encoder_s": encoder,
        "videomae_s": theirs,
        "encoder_side_frames_per_s": CLIP_FRAMES / whole(best),
        "encoder_frames_per_s": CLIP_FRAMES / encoder,
        "videomae_frames_per_s": CLIP_FRAMES / theirs,
        "times_faster": theirs / whole(best),
        "encoder_times_faster": theirs / encoder,
        "times": {name: value.to_dict() for name, value in times.items()},
    }


def _flops(ours: Networks, height: int, width: int, videomae: dict[str, Any]) -> dict[str, float]:
    """Operations of one clip on both sides."""
    plain = replace(ours.setting, compiled=False)
    with torch.inference_mode(), plain.running():
        step = ours.step(1, height, width)
        context = ours.context(step)
        encoder = count_flops(lambda: ours.model.encoder(step.frames, *context)) * CLIP_STEPS
        before = count_flops(lambda: ours.model.prediction(*ours.context(step))) * CLIP_STEPS
    theirs = videomae_flops(height, width, **videomae)
    return {
        "encoder_side_flops": before + encoder,
        "encoder_flops": encoder,
        "videomae_flops": theirs,
        "flops_ratio": theirs / (before + encoder),
    }


def compare_rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Exponents and crossing points over the sizes, for time and for operations."""
    if len(rows) < 2:
        return {}
    pixels = [row["pixels"] for row in rows]

    def column(name: str) -> list[float]:
        return [float(row[name]) for row in rows]

    costs = {
        "time": ("encoder_side_s", "videomae_s"),
        "encoder_time": ("encoder_s", "videomae_s"),
        "flops": ("encoder_side_flops", "videomae_flops"),
    }
    return {
        "exponent": {name: exponent(pixels, column(ours)) for name, (ours, _) in costs.items()},
        "videomae_exponent": {
            name: exponent(pixels, column(theirs)) for name, (_, theirs) in costs.items()
        },
        "crossing": {
            name: describe_crossing(pixels, column(ours), column(theirs))
            for name, (ours, theirs) in costs.items()
        },
    }
