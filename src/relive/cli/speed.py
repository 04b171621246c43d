"""`relive bench speed`: how fast the networks are on a device."""

from pathlib import Path
from typing import Annotated, Any

import typer

from relive.cli.console import Console, Json, Quiet, Verbose
from relive.errors import InputError

_SIZES = "tiny,small,base,large"
_PARTS = "peak,networks,throughput,training,latency,codec,videomae"
_VIDEO_SIZES = "224x224,320x320,512x512,1280x720"


def speed(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder or .json.")] = Path("results"),
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32,bfloat16,float16.")] = "float32",
    threads: Annotated[int, typer.Option(min=1, help="Threads on the CPU.")] = 1,
    sizes: Annotated[str, typer.Option(help="Sizes of the model.")] = _SIZES,
    parts: Annotated[str, typer.Option(help="What to measure.")] = _PARTS,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")] = 5,
    limit: Annotated[float, typer.Option(help="No new round of a race after so many s.")] = 600.0,
    side: Annotated[int, typer.Option(min=16, help="Sides of the pictures, pixels.")] = 224,
    batch: Annotated[int, typer.Option(min=1, help="Pairs of frames at a time.")] = 8,
    train_batch: Annotated[int, typer.Option(min=1, help="The same in training.")] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the latency.")] = 100,
    video_sizes: Annotated[str, typer.Option(help="Beside VideoMAE, WxH.")] = _VIDEO_SIZES,
    session: Annotated[Path | None, typer.Option(help="Recording for the codec part.")] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Measure again what is there.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure throughput, latency, memory and FLOPs; beside VideoMAE and the specification."""
    from relive.bench.speed import bench_speed
    from relive.bench.speed_plan import Plan

    console = Console(as_json, quiet, verbose)
    plan = Plan(
        repeats=repeats,
        limit_s=limit,
        side=side,
        batch=batch,
        train_batch=train_batch,
        steps=steps,
        video_sizes=_pictures(video_sizes),
        session=None if session is None else str(session),
    )
    with console.progress("bench speed") as progress:
        values = bench_speed(
            out,
            device=device,
            dtypes=dtype,
            threads=threads,
            compiled=compiled,
            sizes=_names(sizes),
            parts=_names(parts),
            plan=plan,
            force=force,
            progress=progress,
        )
    lines = [line for name, run in values["summary"].items() for line in _lines(name, run)]
    console.result(values, "\n".join([*lines, f"wrote {out}"]))


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _pictures(text: str) -> tuple[tuple[int, int], ...]:
    """Read "1280x720,…" as (height, width)."""
    try:
        pairs = [name.split("x") for name in _names(text)]
        return tuple((int(height), int(width)) for width, height in pairs)
    except ValueError:
        raise InputError(f"--video-sizes {text}: write WIDTHxHEIGHT with commas") from None


def _lines(name: str, run: dict[str, Any]) -> list[str]:
    """Say a run in a few lines."""
    lines = [name]
    if "peak_gflops_per_s" in run:
        lines.append(f"  matrix-product peak {run['peak_gflops_per_s']:.0f} GFLOP/s")
    for size, row in run.get("sizes", {}).items():
        lines.append(
            f"  {size}: {row['encoder_side_parameters'] / 1e6:.1f}M + "
            f"{row['decoder_parameters'] / 1e6:.1f}M parameters, "
            f"{row['encoder_side_gflops_per_frame']:.1f} + {row['decoder_gflops_per_frame']:.1f} "
            "GFLOPs a frame"
        )
    for size, row in run.get("throughput", {}).items():
        lines += [f"  {size} {side}: {_rates(row[side])}" for side in ("encoder", "decoder")]
    for size, row in run.get("training", {}).items():
        lines += [f"  {size} training, {ratio} hidden: {_saved(r)}" for ratio, r in row.items()]
    for size, row in run.get("latency_ms", {}).items():
        lines.append(f"  {size} latency: {_latency(row)}")
    if "codec_ms" in run:
        lines.append(f"  codec latency: {_latency(run['codec_ms'])}")
    for size, row in run.get("videomae", {}).get("sizes", {}).items():
        lines.append(
            f"  {size}: {row['times_faster']:.2f} times faster than VideoMAE-B "
            f"(FLOPs {row['flops_ratio']:.2f})"
        )
    return lines


def _rates(rows: dict[str, Any]) -> str:
    return ", ".join(
        f"{float(ratio):.0%} hidden {row['frames_per_s']:.1f} frames/s "
        f"({row['times_faster']:.2f} times)"
        for ratio, row in rows.items()
    )


def _saved(row: dict[str, Any]) -> str:
    return "; ".join(
        f"{what} with {float(ratio):.0%} of the decoder hidden {value['times_faster']:.2f} times "
        f"faster, {value['memory_saved']:.0%} less memory"
        for what, ratios in row.items()
        for ratio, value in ratios.items()
    )


def _latency(row: dict[str, Any]) -> str:
    return ", ".join(f"{k} p50 {v[0]:.1f} ms p99 {v[1]:.1f} ms" for k, v in row["p50_p99"].items())
