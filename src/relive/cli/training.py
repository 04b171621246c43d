"""`relive train`."""

from pathlib import Path
from typing import Annotated

import typer

from relive.cli.console import Console, Json, Quiet, Verbose

_STEPS = 1000  # of the bar


def train(
    config: Annotated[Path, typer.Argument(help="What to train on what, and how long (TOML).")],
    resume: Annotated[Path | None, typer.Option(help="Run folder to go on from.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a model on a folder of sessions and write it as one file for `--model`."""
    from relive.codec.export import export_model
    from relive.cubes.store import open_folder
    from relive.train.run import train as train_model
    from relive.train.settings import read_settings

    console = Console(as_json, quiet, verbose)
    with console.progress("train") as progress:

        def report(share: float, line: str) -> None:
            if progress is not None:
                progress(round(share * _STEPS), _STEPS)
            console.note(line)

        run = train_model(config, resume, report)
    settings = read_settings(config)
    with console.progress("export") as progress:
        stores = open_folder(settings.data, settings.cache)
        bundle = export_model(run, stores, run / "model.safetensors", progress=progress)
    model = run / "model.safetensors"
    console.result(
        {"run": run, "model": model, "model_id": bundle.model_id},
        f"wrote {model}, model {bundle.model_id}",
    )
