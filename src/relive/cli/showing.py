"""`relive demo`: the whole line once, on a real game, beside the classical codecs."""

from pathlib import Path
from typing import Annotated

import typer

from relive.cli.console import Console, Force, Json, Quiet, Verbose


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")] = Path("demo"),
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of the session.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same session.")] = 1,
    model: Annotated[
        Path | None, typer.Option(help="Weights; without it the bundled model.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Record a real game, encode, decode, compare with x264, x265 and AV1, and write a report."""
    from relive.bench.demo import run_demo

    console = Console(as_json, quiet, verbose)
    with console.progress("demo") as progress:
        result = run_demo(
            out,
            seconds,
            seed,
            model=model,
            force=force,
            progress=progress,
            on_stage=console.note,
        )
    text = f"{result.table()}\n{result.frames} frames in {result.seconds:.0f} s: {result.report}"
    console.result(result.to_dict(), text)
