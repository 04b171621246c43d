"""`relive record` and `relive import`: sessions from games and from video files."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from relive.cli.console import Console, Force, Json, Progress, Quiet, Verbose, regular_output
from relive.cli.files import describe, description_text
from relive.errors import InputError

Out = Annotated[
    Path, typer.Option("--out", "-o", help="The session to write (.mcap).", callback=regular_output)
]


class Player(StrEnum):
    """Who plays the recorded game."""

    SCRIPTED = "scripted"
    KEYBOARD = "keyboard"


def record(
    game: Annotated[str, typer.Argument(help="doom:SCENARIO, doom:WAD/MAP or gym:ENV_ID.")],
    out: Out,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of the session.")] = 20.0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same session.")] = 0,
    player: Annotated[Player, typer.Option(help="Who plays.")] = Player.SCRIPTED,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Record a session of a real game; Ctrl-C ends it early and keeps it."""
    console = Console(as_json, quiet, verbose)
    kind, _, name = game.partition(":")
    if kind not in ("doom", "gym") or not name:
        raise InputError(
            f"unknown game {game!r}; write doom:deathmatch, doom:freedoom2/map01 or gym:ENV_ID"
        )
    if player is Player.KEYBOARD:
        _refuse_keyboard()
    try:
        with console.progress(f"record {game}") as progress:
            _play(kind, name, out, seconds, seed, force, progress)
    except KeyboardInterrupt:
        if out.exists():
            raise KeyboardInterrupt(f"{out} holds what was played") from None
        raise
    values = describe(out)
    console.result(values, description_text(out, values))


def import_(
    video: Annotated[Path, typer.Argument(help="Any video file.")],
    out: Out,
    state: Annotated[
        Path | None, typer.Option(help="CSV: time_s, then one column a field; one row a frame.")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="TOML that declares the fields.")] = None,
    regions: Annotated[Path | None, typer.Option(help="NPZ with the region maps.")] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make a session of a video file and, where there is one, its state."""
    from relive.session.sources.video import import_video

    console = Console(as_json, quiet, verbose)
    with console.progress("import") as progress:
        import_video(
            video, out, state=state, schema=schema, regions=regions, force=force, progress=progress
        )
    values = describe(out)
    console.result(values, description_text(out, values))


def _play(
    kind: str,
    name: str,
    out: Path,
    seconds: float,
    seed: int,
    force: bool,
    progress: Progress | None,
) -> None:
    if kind == "doom":
        from relive.session.sources.doom import record_doom

        record_doom(name, out, seconds=seconds, seed=seed, force=force, progress=progress)
    else:
        from relive.session.sources.gym import record_gym

        record_gym(name, out, seconds=seconds, seed=seed, force=force, progress=progress)


def _refuse_keyboard() -> None:
    where = "" if os.environ.get("DISPLAY") else " (and there is no display here)"
    raise InputError(
        f"--player keyboard is not possible yet{where}; "
        "use --player scripted, or relive.Recorder inside your own game"
    )
