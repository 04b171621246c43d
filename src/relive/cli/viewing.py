"""`relive view`: what another camera would have seen."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from relive.cli import completing
from relive.cli.coding import Model
from relive.cli.console import Console, Force, Json, Quiet, Verbose, finite, regular_output, table
from relive.errors import InputError


def view(
    source: Annotated[
        Path,
        typer.Argument(
            help="A session (.mcap) or a replay (.relive).", autocompletion=completing.BOTH
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="A .png; for --path also a .mp4, .mkv, .mcap or .relive, or a folder of PNG.",
            callback=regular_output,
        ),
    ],
    camera: Annotated[
        str | None,
        typer.Option(help="X,Y,Z,YAW[,PITCH[,ROLL]] in the units of the session's states."),
    ] = None,
    at: Annotated[
        float | None,
        typer.Option(
            help="Second to look at, from the first frame; without --camera from its pose.",
            min=0.0,
            callback=finite,
        ),
    ] = None,
    move: Annotated[
        str | None, typer.Option(help="FORWARD,RIGHT,UP from there, in world units.")
    ] = None,
    turn: Annotated[
        float, typer.Option(help="Degrees to the right; negative to the left.", callback=finite)
    ] = 0.0,
    pitch: Annotated[float, typer.Option(help="Degrees upwards.", callback=finite)] = 0.0,
    path: Annotated[
        Path | None,
        typer.Option(help="CSV of cameras: time_s,x,y,z,yaw[,pitch[,roll]]; makes a film."),
    ] = None,
    fill: Annotated[
        bool, typer.Option(help="Paint what no frame shows, smoothly; else it shows squares.")
    ] = False,
    overlay: Annotated[
        bool,
        typer.Option(help="Put status bar and weapon of the nearest recorded frame over it."),
    ] = False,
    confidence: Annotated[
        Path | None,
        typer.Option(
            help="Also write how sure every pixel is: a .png, for --path an .npz or a folder."
        ),
    ] = None,
    quality: Annotated[
        int | None, typer.Option(min=1, max=10, help="Quality of a .relive output; 5 by default.")
    ] = None,
    model: Model = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show what a camera near the path would have seen; unseen parts are shown as unseen."""
    from relive.restore import Output
    from relive.view import Offset, Wanted
    from relive.view import view as draw
    from relive.view.camera import parse_numbers

    console = Console(as_json, quiet, verbose)
    if path is not None and (camera is not None or move is not None or turn or pitch):
        raise InputError("--path has all cameras; it goes with neither --camera nor --move")
    moved = parse_numbers("--move", move or "0,0,0", 3, 3, "FORWARD,RIGHT,UP")
    offset = Offset(moved[0], moved[1], moved[2], turn, pitch)
    wanted = Wanted(camera, at, offset, path)
    output = Output(out, confidence, force, "view", model, quality)
    with console.progress("view") as progress:
        tally = draw(
            source, output, wanted, fill=fill, overlay=overlay, model=model, progress=progress
        )
    rows = {
        "wrote": out,
        "camera": ", ".join(f"{number:g}" for number in tally.camera),
        "seen": f"{100 * tally.seen:.1f} % of the scene",
        "confidence": f"{tally.confidence:.2f}",
        "from frames": ", ".join(map(str, tally.sources)),
    }
    console.result({**asdict(tally), "out": out}, table(rows))
