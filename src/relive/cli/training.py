"""`relive train`."""

from pathlib import Path
from typing import Annotated

import typer

from relive.cli.console import Console, Quiet, Verbose


def train(
    config: Annotated[Path, typer.Argument(help="What to train on what, and how long (TOML).")],
    resume: Annotated[Path | None, typer.Option(help="Run folder to go on from.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a model on a folder of sessions."""
    from relive.train.run import train as train_model

    console = Console(quiet=quiet, verbose=verbose)
    with console.progress("train") as progress:
        train_model(config, resume=resume, progress=progress)
