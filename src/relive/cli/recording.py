"""`relive record` and `relive import`: sessions from games and from video files."""

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relive.cli import completing
from relive.cli.console import (
    Console,
    Force,
    Json,
    Quiet,
    Verbose,
    finite,
    human_bytes,
    mcap_output,
)
from relive.cli.files import describe, description_text
from relive.cli.layouts import import_layout, importer_of, refuse
from relive.errors import InputError, ReliveError

if TYPE_CHECKING:
    from relive.session.sources.play import Play

Out = Annotated[
    Path, typer.Option("--out", "-o", help="The session to write (.mcap).", callback=mcap_output)
]


class Player(StrEnum):
    """Who plays the recorded game."""

    SCRIPTED = "scripted"
    KEYBOARD = "keyboard"


def record(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="The session to write (.mcap); with --batch the folder.",
            callback=mcap_output,
        ),
    ],
    game: Annotated[
        str | None,
        typer.Argument(
            help="doom:SCENARIO, doom:WAD/MAP, crafter:survival or gym:ENV_ID.",
            autocompletion=completing.games,
        ),
    ] = None,
    batch: Annotated[
        Path | None,
        typer.Option(
            help="TOML of many sessions, in place of GAME; goes on.", autocompletion=completing.TOML
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Length of the session.", show_default="20")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Same seed, same session.", show_default="0")
    ] = None,
    player: Annotated[
        Player | None, typer.Option(help="Who plays.", show_default="scripted")
    ] = None,
    actions: Annotated[
        bool,
        typer.Option(
            "--actions", help="Doom, Crafter: keep what the player did; gym does so anyway."
        ),
    ] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes of --batch.", show_default="cores")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Only this split of --batch; may be repeated.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Record a session of a real game, or a corpus of many; Ctrl-C ends it and keeps it."""
    console = Console(as_json, quiet, verbose)
    if (game is None) == (batch is None):
        raise InputError("record needs either GAME or --batch SPEC.toml; see: relive record --help")
    if batch is not None:
        given = {"--seconds": seconds, "--seed": seed, "--player": player}
        _refuse_given(given | {"--actions": actions or None}, "without --batch")
        _record_batch(console, batch, out, split or [], jobs, force)
    elif game is not None:
        _refuse_given({"--jobs": jobs, "--split": split or None}, "with --batch")
        if player is Player.KEYBOARD:
            _refuse_keyboard()
        from relive.session.sources.play import Play

        play = Play(seed or 0, 20.0 if seconds is None else seconds, keep_actions=actions)
        _record_one(console, game, out, play, force)


def _refuse_given(options: Mapping[str, object], where: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name} goes {where} only; see: relive record --help")


def _record_one(console: Console, game: str, out: Path, play: "Play", force: bool) -> None:
    """Record one session; an interrupted one is kept."""
    from relive.session.sources.games import record_game

    try:
        with console.progress(f"record {game}") as progress:
            record_game(game, out, play, force=force, progress=progress)
    except KeyboardInterrupt:
        if out.exists():
            raise KeyboardInterrupt(f"{out} holds what was played") from None
        raise
    values = describe(out)
    console.result(values, description_text(out, values))


def _record_batch(
    console: Console, batch: Path, out: Path, splits: list[str], jobs: int | None, force: bool
) -> None:
    """Record the sessions of a batch; exit code 1 where one failed."""
    from relive.session.batch import record_batch
    from relive.session.batch_spec import read_batch

    takes = read_batch(batch)
    if out.is_file():
        raise InputError(f"{out} is a file; --batch writes a folder")
    with console.progress("record") as progress:

        def report(done: int, total: int, line: str) -> None:
            if progress is not None:
                progress(done, total)
            else:
                console.note(f"{done}/{total} {line}")

        result = record_batch(takes, out, splits=splits, jobs=jobs, force=force, report=report)
    failures = [f"failed: {row['file']}: {row['reason']}" for row in result["failures"]]
    console.result(
        result,
        "\n".join(
            [
                *failures,
                f"{out}: {result['recorded']} recorded, {result['skipped']} there already, "
                f"{result['failed']} failed; {human_bytes(result['bytes'])}",
            ]
        ),
    )
    if failures:
        raise ReliveError(
            f"{len(failures)} of {result['ok'] + result['failed']} sessions failed, "
            f"see {out / 'manifest.json'}; the same command tries them again"
        )


def import_(
    video: Annotated[
        Path,
        typer.Argument(
            help="Any video file; an .npz of episodes or a folder of them; a LeRobot dataset."
        ),
    ],
    out: Out,
    state: Annotated[
        Path | None, typer.Option(help="CSV: time_s, then one column a field; one row a frame.")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="TOML that declares the fields.")] = None,
    regions: Annotated[Path | None, typer.Option(help="NPZ with the region maps.")] = None,
    game: Annotated[
        str | None, typer.Option(help="Name of the game; without it that of the video.")
    ] = None,
    frame: Annotated[
        str | None, typer.Option(help="Datasets: which pictures, where there are several.")
    ] = None,
    after: Annotated[
        list[str] | None,
        typer.Option(
            help="NPZ: an array that tells of the time after its picture; may be repeated."
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            help="NPZ: frames a second.", callback=finite, show_default="what it says, or 30"
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make a session of a video file and, where there is one, its state; or of a dataset."""
    console = Console(as_json, quiet, verbose)
    layout = importer_of(video)
    if layout is None:
        refuse({"--frame": frame, "--after": after or None, "--fps": fps}, "with datasets")
        _import_video(console, video, out, state, schema, regions, game, force)
    else:
        refuse({"--state": state, "--schema": schema, "--regions": regions}, "with videos")
        with console.progress("import") as progress:
            import_layout(
                layout,
                video,
                out,
                frame=frame,
                after=after or [],
                fps=fps,
                game=game,
                force=force,
                progress=progress,
            )
    values = describe(out)
    console.result(values, description_text(out, values))


def _import_video(
    console: Console,
    video: Path,
    out: Path,
    state: Path | None,
    schema: Path | None,
    regions: Path | None,
    game: str | None,
    force: bool,
) -> None:
    from relive.session.sources.video import import_video

    with console.progress("import") as progress:
        import_video(
            video,
            out,
            state=state,
            schema=schema,
            regions=regions,
            game=game,
            force=force,
            progress=progress,
        )


def _refuse_keyboard() -> None:
    where = "" if os.environ.get("DISPLAY") else " (and there is no display here)"
    raise InputError(
        f"--player keyboard is not possible yet{where}; "
        "use --player scripted, or relive.Recorder inside your own game"
    )
