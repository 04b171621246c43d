"""`relive encode` and `relive decode`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from relive.cli import completing
from relive.cli.batching import encode_folder
from relive.cli.console import (
    Console,
    End,
    Force,
    Json,
    Quiet,
    Staged,
    Start,
    Verbose,
    finite,
    human_bytes,
    mcap_output,
    table,
)
from relive.errors import DamagedError, InputError

Model = Annotated[
    Path | None,
    typer.Option(
        help="Weights to use instead of the bundled model.", autocompletion=completing.MODELS
    ),
]


def encode(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="The replay to write (.relive); with --batch the folder.",
            callback=mcap_output,
        ),
    ],
    session: Annotated[
        Path | None,
        typer.Argument(help="The session to compress (.mcap).", autocompletion=completing.SESSIONS),
    ] = None,
    batch: Annotated[
        Path | None,
        typer.Option(help="Every session in this folder and below, in place of one; goes on."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes: sessions of --batch at once, or parts of a long one.",
            show_default="cores",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="Encode --batch on the Ray cluster at this address, or `local`."),
    ] = None,
    model: Model = None,
    quality: Annotated[
        int | None, typer.Option(min=1, max=10, help="1 smallest … 10 best; 5 by default.")
    ] = None,
    bitrate: Annotated[
        str | None, typer.Option(help="Instead: bits per second, such as 300k or 1.2M.")
    ] = None,
    psnr: Annotated[
        float | None, typer.Option(help="Instead: PSNR in dB that every GOP shall have.")
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="How long to search: fast, medium or slow; the format is the same.",
            autocompletion=completing.presets,
        ),
    ] = "medium",
    keyframe_interval: Annotated[
        int, typer.Option(min=2, help="Frames from keyframe to keyframe; even.")
    ] = 32,
    adapt: Annotated[
        bool,
        typer.Option(help="Fit the probability tables to this session; kept if that pays."),
    ] = False,
    tiers: Annotated[
        int,
        typer.Option(min=1, max=2, help="1: codes alone, without enhancement; data to train on."),
    ] = 2,
    favour: Annotated[
        float,
        typer.Option(
            min=0,
            max=12,
            callback=finite,
            help="Finer where the session's regions are important: 6 halves the step.",
        ),
    ] = 0.0,
    depth: Annotated[
        int | None, typer.Option(min=0, hidden=True, help="Every cube at this depth.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compress a session into a replay, or a folder of sessions into a folder of replays."""
    import relive
    from relive.codec.control import parse_bitrate

    console = Console(as_json, quiet, verbose)
    settings: dict[str, Any] = {
        "model": model,
        "quality": quality,
        "bitrate": None if bitrate is None else parse_bitrate(bitrate),
        "psnr": psnr,
        "preset": preset,
        "keyframe_interval": keyframe_interval,
        "depth": depth,
        "adapt": adapt,
    }
    if (session is None) == (batch is None):
        raise InputError("encode needs either SESSION or --batch FOLDER; see: relive encode --help")
    if batch is not None and favour:
        raise InputError("--favour is for one session, not for --batch")
    if batch is not None:
        if tiers != 2:
            raise InputError("--tiers is for one session, not for --batch")
        encode_folder(console, batch, out, settings, workers, ray, force)
        return
    if session is None or ray is not None:
        raise InputError("--ray goes with --batch only; see: relive encode --help")
    with console.progress("encode") as bar:
        progress = Staged(bar) if bar else None
        report = relive.encode(
            session,
            out,
            **settings,
            tiers=tiers,
            processes=workers or 0,
            favour=favour,
            force=force,
            progress=progress,
            on_stage=progress.begin if progress else None,
        )
    text = table(
        {
            "wrote": out,
            "frames": report.frames,
            "size": human_bytes(report.bytes),
            "rate": f"{report.bits_per_pixel:.4f} bits per pixel",
            "quality": f"{report.psnr_db:.2f} dB PSNR",
            "speed": f"{report.encode_fps:.1f} frames/s",
            **{f"  {part}": human_bytes(size) for part, size in report.parts.items()},
        }
    )
    console.result(asdict(report), text)
    if not report.reached:
        console.note(f"{out} misses its target: {_missed(bitrate)}")
    if report.damaged:
        raise DamagedError(f"{session} is damaged; what could be read was written to {out}")


def _missed(bitrate: str | None) -> str:
    if bitrate is None:
        return "some GOP stays below that PSNR even with the finest step"
    return f"it is not within 3 % of {bitrate}"


def decode(
    replay: Annotated[
        Path, typer.Argument(help="The replay (.relive).", autocompletion=completing.REPLAYS)
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out", "-o", help=".mp4 or .mkv video, .mcap session, folder of PNG, - raw rgb24."
        ),
    ],
    start: Start = None,
    end: End = None,
    quality: Annotated[
        int | None,
        typer.Option(help="At most this quality: 1 leaves out the enhancement.", min=1, max=10),
    ] = None,
    model: Model = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Decode a replay, or a part of it."""
    import relive

    if not out:
        raise InputError("'' names no file; give a name with -o")
    _refuse_foreign_folder(Path(out))
    console = Console(as_json, quiet, verbose)
    with console.progress("decode") as progress:
        frames = relive.decode(
            replay,
            out,
            model=model,
            start_s=start,
            end_s=end,
            quality=quality,
            force=force,
            progress=progress,
        )
    if out == "-":
        sys.stdout.flush()
        console.note(f"decoded {frames} frames")
    else:
        console.result({"frames": frames, "out": out}, f"decoded {frames} frames into {out}")


def _refuse_foreign_folder(out: Path) -> None:
    """Keep `--force` from replacing a folder that holds more than pictures of an earlier run."""
    foreign = out.is_dir() and next((f for f in out.iterdir() if f.suffix != ".png"), None)
    if foreign:
        raise InputError(f"{out} holds {foreign.name}, which is no picture; name another folder")
