"""`relive grow`: codebooks that grow where content is new."""

from pathlib import Path
from typing import Annotated

import typer

from relive.cli import completing
from relive.cli.console import Console, Force, Json, Quiet, Staged, Verbose, finite, table
from relive.errors import InputError


def grow(
    data: Annotated[Path, typer.Option(help="Folder of sessions that may be new to the model.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The model file to write (.safetensors).")
    ],
    known: Annotated[
        Path | None,
        typer.Option(help="Folder of sessions that the model knew, so that it stays good at them."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="The model to grow; the bundled one by default.", autocompletion=completing.MODELS
        ),
    ] = None,
    entries: Annotated[int, typer.Option(min=1, help="Entries added to every codebook.")] = 256,
    limit: Annotated[
        float | None,
        typer.Option(min=0, callback=finite, help="Misfit over which a session is new."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Add codebook entries for new content; the new model also reads replays of the old one."""
    from relive.codec import growing
    from relive.codec.novelty import NEW

    console = Console(as_json, quiet, verbose)
    with console.progress("grow") as bar:
        stages, last = Staged(bar) if bar else None, ""

        def told(stage: str, done: int, total: int) -> None:
            nonlocal last
            if stages is None:
                return
            if stage != last:
                stages.begin(stage)
            last = stage
            stages(done, total)

        report = growing.grow(
            _sessions(data),
            out,
            known=_sessions(known) if known else (),
            model=model,
            entries=entries,
            limit=NEW if limit is None else limit,
            force=force,
            told=told,
        )
    rows = {
        "wrote": f"{out}, model {report.model_id}",
        "reads": f"replays of {report.earlier_id}, too",
        "codebooks": f"{report.entries} entries",
        "new": f"{len(report.used)} of {len(report.misfits)} sessions",
    }
    names = {path: str(path.relative_to(data)) for path in report.misfits}
    values = {
        **vars(report),
        "misfits": {names[path]: misfit for path, misfit in report.misfits.items()},
        "used": [names[path] for path in report.used],
        "out": out,
    }
    console.result(values, table(rows))


def _sessions(folder: Path) -> list[Path]:
    """Sessions of a folder and below.

    Raises:
        InputError: There is none.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    paths = sorted(folder.rglob("*.mcap"))
    if not paths:
        raise InputError(f"{folder} holds no session (.mcap)")
    return paths
