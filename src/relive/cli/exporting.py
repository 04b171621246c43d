"""`relive export`: a replay as a clip, a cut, training data, or a recording of the Rerun viewer."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from relive.cli import completing
from relive.cli.coding import Model
from relive.cli.console import (
    Console,
    End,
    Force,
    Json,
    Quiet,
    Start,
    Verbose,
    human_bytes,
    regular_output,
)
from relive.cli.layouts import Layout, refuse, write_layout
from relive.errors import DamagedError, InputError

_CLIPS = (".mp4", ".gif")
_REPLAY = ".relive"
_STEPS = (".parquet", ".safetensors", ".npz", "")


def export(
    replay: Annotated[
        Path, typer.Argument(help="The replay (.relive).", autocompletion=completing.REPLAYS)
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help=".mp4 or .gif clip, .relive cut, .rrd for the Rerun viewer; of codes and states "
            ".parquet, .safetensors, .npz or a folder of shards.",
            callback=regular_output,
        ),
    ],
    start: Start = None,
    end: End = None,
    tier: Annotated[
        int | None,
        typer.Option(
            help="Highest tier to keep or to show: 1, the codes alone.",
            min=1,
            max=2,
            show_default="all; 1 for a .relive without --start and --end",
        ),
    ] = None,
    scale: Annotated[
        int | None, typer.Option(min=1, max=8, help="Clips: so many times larger.")
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Clips: at most so many frames a second. LeRobot: rows a second, frames held.",
        ),
    ] = None,
    layout: Annotated[
        Layout | None, typer.Option(help="A dataset of episodes, into a folder.")
    ] = None,
    action: Annotated[
        list[str] | None,
        typer.Option(
            help="Datasets: a field that is an action; may be repeated.",
            show_default="action, action.…",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="LeRobot: what is to be done.", show_default="the game"),
    ] = None,
    crf: Annotated[
        int | None,
        typer.Option(
            min=0, max=51, help="LeRobot: of its H.264; 0 without loss.", show_default="12"
        ),
    ] = None,
    model: Model = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make a clip, a shorter or smaller replay, training data, or a recording of the viewer."""
    console = Console(as_json, quiet, verbose)
    if layout is not None:
        refuse({"--start": start, "--end": end, "--scale": scale}, "without --layout")
        write_layout(
            console,
            layout,
            (replay, out),
            actions=action or None,
            task=task,
            fps=fps,
            crf=crf,
            tier=tier,
            model=model,
            force=force,
        )
        return
    refuse({"--action": action or None, "--task": task, "--crf": crf}, "with --layout")
    kind = out.suffix.lower()
    if kind not in (*_WRITERS, *_STEPS, _REPLAY):
        raise InputError(
            f"cannot export {out}: name a .mp4, .gif, .relive, .rrd, .parquet, .safetensors or "
            ".npz file, or a folder"
        )
    look = {name: value for name, value in (("scale", scale), ("max_fps", fps)) if value}
    if look and kind not in _CLIPS:
        raise InputError(f"--scale and --fps are for clips (.mp4, .gif), not for {out}")
    if kind == _REPLAY:
        _cut(console, replay, out, (start, end), tier, force)
        return
    if kind in _STEPS:
        if tier is not None:
            raise InputError(f"--tier is for pictures and cuts, not for {out}")
        _write_steps(console, (replay, out), (start, end), model, force)
        return
    write = partial(_WRITERS[kind](), force=force, **look)
    _write(console, write, (replay, out), (start, end), tier, model)


def _clip_writer() -> Callable[..., int]:
    from relive.codec.clips import write_clip

    return write_clip


def _rerun_writer() -> Callable[..., int]:
    from relive.codec.rerun_log import write_rerun

    return write_rerun


_WRITERS = {**dict.fromkeys(_CLIPS, _clip_writer), ".rrd": _rerun_writer}


def _write(
    console: Console,
    write: Callable[..., int],
    paths: tuple[Path, Path],
    span_s: tuple[float | None, float | None],
    tier: int | None,
    model: Path | None,
) -> None:
    """Decode a range into a file of another kind."""
    from relive.codec import Replay
    from relive.codec.output import span_of

    path, out = paths
    with console.progress("export") as progress, Replay.open(path, model, tier) as replay:
        span = span_of(replay, *span_s)
        frames = write(replay, out, span.start, span.stop, progress=progress)
    size = out.stat().st_size
    values = {"frames": frames, "bytes": size, "out": out}
    console.result(values, f"exported {frames} frames into {out}, {human_bytes(size)}")


def _write_steps(
    console: Console,
    paths: tuple[Path, Path],
    span_s: tuple[float | None, float | None],
    model: Path | None,
    force: bool,
) -> None:
    """Write codes, states and events of a range."""
    from relive.codec import Replay
    from relive.codec.output import span_of
    from relive.datasets import write_steps

    path, out = paths
    with console.progress("export") as progress, Replay.open(path, model) as replay:
        span = span_of(replay, *span_s)
        steps = write_steps(replay, out, span.start, span.stop, force=force, progress=progress)
    files = out.iterdir() if out.is_dir() else [out]
    size = sum(file.stat().st_size for file in files)
    values = {"frames": len(span), "steps": steps, "bytes": size, "out": out}
    console.result(values, f"exported {steps} steps into {out}, {human_bytes(size)}")


def _cut(
    console: Console,
    path: Path,
    out: Path,
    span_s: tuple[float | None, float | None],
    tier: int | None,
    force: bool,
) -> None:
    from relive.container import cut

    ranged = span_s != (None, None)
    before = path.stat().st_size if path.exists() else 0
    report = cut(path, out, tier or (None if ranged else 1), force, *span_s)
    after = out.stat().st_size
    values = {"gops": report.gops, "frames": report.frames, "bytes": after, "bytes_before": before}
    console.result(
        values, f"kept {report.frames} frames in {human_bytes(after)} of {human_bytes(before)}"
    )
    if report.problems:
        raise DamagedError(f"{path}: {report.problems[0]}; what is whole was kept")
