"""`relive train`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relive.cli import completing
from relive.cli.console import Console, Json, Quiet, Verbose
from relive.errors import InputError

if TYPE_CHECKING:
    from relive.codec import Bundle
    from relive.train.settings import TrainSettings

_STEPS = 1000  # of the bar
_BUNDLED = "tiny"
_MINUTES = 20.0
_FINE_TUNE: dict[str, Any] = {
    "learning_rate": 4e-4,
    "warmup_updates": 50,
    "ema": 0.995,
    "restart_until": 0.5,
    "learn_fields": True,
    "weights": {"spatial": 0.0, "temporal": 0.0, "state": 0.0},
}
_FINE_TUNE_PHASES: tuple[tuple[float, dict[str, Any]], ...] = (
    (0.7, {"name": "adapt", "batch": 8, "crop": (128, 128), "chain": (8, 16, 32)}),
    (0.3, {"name": "unrolled", "batch": 4, "crop": (160, 128), "chain": 16, "span": 4}),
)


def train(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="What to train on what, and how long (TOML).", autocompletion=completing.TOML
        ),
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Run folder to go on from.")] = None,
    begin: Annotated[
        str | None, typer.Option("--from", help="Start from these weights: tiny, or a model file.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of sessions to learn from.")] = None,
    valid: Annotated[
        Path | None, typer.Option(help="Folder of held-out sessions; else a fifth of --data.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Of training, with --from; 20 by default.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a model on a folder of sessions, or adapt one, and write it as one file for `--model`.

    With CONFIG a run as the file says; with --from and --data the given weights go on learning
    from other sessions. Ctrl-C ends a run with a checkpoint; --resume goes on from it.
    """
    from relive.codec.bundle import load_bundle
    from relive.train import checkpoint
    from relive.train.run import train as train_model

    rank = int(os.environ.get("RANK", "0"))  # under torchrun the first process talks and writes
    console = Console(as_json, quiet or rank > 0, verbose)
    settings = _settings(config, resume, begin, data, valid, minutes, out)
    start = None
    if settings.start and not resume:
        bundle = load_bundle(_model(settings.start))
        start = (bundle.model, bundle.quantizer)
    with console.progress("train") as progress:

        def report(share: float, line: str) -> None:
            if progress is not None:
                progress(round(share * _STEPS), _STEPS, line)
            else:
                console.note(f"{share:.1%} {line}")

        def fit(run: Path) -> None:
            _export(settings, checkpoint.load_averaged(run), run, console)

        console.note(f"reading {settings.data}")
        run = train_model(settings, resume, report, begin=start, fit=fit)
    if rank:
        return
    bundle = _export(settings, checkpoint.load_averaged(run), run, console)
    model = run / "model.safetensors"
    console.result(
        {"run": run, "model": model, "model_id": bundle.model_id},
        f"wrote {model}, model {bundle.model_id}",
    )


def _model(name: str) -> Path | None:
    """File of the weights to start from; None for the bundled ones.

    Raises:
        InputError: There is no such file.
    """
    if name == _BUNDLED:
        return None
    if not Path(name).exists():
        raise InputError(f"there is no model {name}; start from {_BUNDLED}, or from a model file")
    return Path(name)


def _export(settings: TrainSettings, weights: Any, run: Path, console: Console) -> Bundle:
    """Write the averaged weights with fresh probability nets as the run's model."""
    from relive.codec.export import export_model
    from relive.train.setup import open_data

    with console.progress("export") as progress:
        stores = open_data(settings)[0].stores
        return export_model(weights, stores, run / "model.safetensors", progress=progress)


def _settings(
    config: Path | None,
    resume: Path | None,
    begin: str | None,
    data: Path | None,
    valid: Path | None,
    minutes: float | None,
    out: Path | None,
) -> TrainSettings:
    """Settings of the file, those of a run to go on with, or those of a short adaptation."""
    from relive.train.settings import check_settings, read_json, read_settings

    if config is not None:
        if data or valid or out or minutes:
            raise InputError(
                "--data, --valid, --minutes and --out are for --from; CONFIG names its own"
            )
        settings = read_settings(config)
        return settings.model_copy(update={"start": begin}) if begin else settings
    if resume is not None:
        if begin or data or valid or out or minutes:
            raise InputError("--resume goes on as the run began; give it alone, or with a CONFIG")
        return check_settings(read_json(resume / "settings.json"), f"{resume / 'settings.json'}")
    if not begin or not data:
        raise InputError("give a CONFIG.toml, or --from MODEL with --data FOLDER, or --resume RUN")
    phases = [
        {**phase, "minutes": (minutes or _MINUTES) * share} for share, phase in _FINE_TUNE_PHASES
    ]
    values = {
        **_FINE_TUNE,
        "start": begin,
        "data": data,
        "valid": valid,
        "out": out or Path("runs/adapted"),
        "phase": phases,
    }
    return check_settings(values, "relive train")
