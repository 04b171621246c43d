"""`relive report`."""

from pathlib import Path
from typing import Annotated

import typer

from relive.cli.console import Console, Force, Json, Quiet, Verbose, regular_output
from relive.errors import InputError


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a training run, also one in progress.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The page; RUN/report.html without it.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show how a training run goes: curves, pictures, settings, as one HTML page."""
    from relive.train.report import write_report

    console = Console(as_json, quiet, verbose)
    if regular_output(out) and out and out.exists():
        if out.is_dir():
            raise InputError(f"{out} is a folder; give the name of the page")
        if not force:
            raise InputError(f"{out} exists; overwrite it with --force")
    page, log = write_report(run, out)
    console.result(
        {"report": page, "updates": log.updates, "minutes": round(log.minutes, 2)},
        f"wrote {page}, {log.updates} updates in {log.minutes:.1f} minutes",
    )
