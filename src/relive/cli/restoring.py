"""`relive restore` and `relive interpolate`: frames that were not recorded, made and marked."""

from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relive.cli import completing
from relive.cli.coding import Model
from relive.cli.console import Console, Force, Json, Quiet, Verbose, regular_output, table
from relive.errors import InputError

if TYPE_CHECKING:
    from relive.restore import Tally

MAX_RATE_CHARS = 40

Source = Annotated[
    Path,
    typer.Argument(help="A session (.mcap) or a replay (.relive).", autocompletion=completing.BOTH),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help=".mcap session, .relive replay, .mp4 or .mkv video, or a folder for pictures.",
        callback=regular_output,
    ),
]
Confidence = Annotated[
    Path | None,
    typer.Option(
        help="Also write how sure every generated pixel is: an .npz file or a folder of PNG."
    ),
]
Quality = Annotated[
    int | None, typer.Option(min=1, max=10, help="Quality of a .relive output; 5 by default.")
]


def restore(
    source: Source,
    out: Out,
    hide: Annotated[
        list[str] | None,
        typer.Option(help="Replace a rectangle: x,y,w,h, or x,y,w,h@start-end in seconds."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Replace what the array `hidden` of an .npz file marks as True."),
    ] = None,
    confidence: Confidence = None,
    quality: Quality = None,
    model: Model = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Fill missing frames, damaged parts and hidden rectangles from both sides in time."""
    from relive.restore import Hidden, Output
    from relive.restore import restore as fill

    console = Console(as_json, quiet, verbose)
    output = Output(out, confidence, force, "restore", model, quality)
    rectangles = [Hidden.parse(text) for text in hide or []]
    with console.progress("restore") as progress:
        tally = fill(source, output, hide=rectangles, mask=mask, model=model, progress=progress)
    _tell(console, tally, out)


def interpolate(
    source: Source,
    out: Out,
    fps: Annotated[str, typer.Option(help="Frames a second: 60, 29.97 or 60000/1001.")],
    confidence: Confidence = None,
    quality: Quality = None,
    model: Model = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make the frames between frames, for another rate."""
    from relive.restore import Output
    from relive.restore import interpolate as fill

    console = Console(as_json, quiet, verbose)
    output = Output(out, confidence, force, "interpolate", model, quality)
    with console.progress("interpolate") as progress:
        tally = fill(source, output, _rate(fps), model=model, progress=progress)
    _tell(console, tally, out)


def _rate(text: str) -> Fraction:
    """Read a rate; an exponent could make a number without end."""
    try:
        if len(text) > MAX_RATE_CHARS or "e" in text.lower():
            raise ValueError
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"--fps {text!r} is no number of frames a second") from None


def _tell(console: Console, tally: "Tally", out: Path) -> None:
    sure = "nothing was generated" if tally.confidence is None else f"{tally.confidence:.2f}"
    rows = {
        "wrote": out,
        "frames": tally.frames,
        "generated": f"{tally.generated} whole, {tally.repaired} in part",
        "pixels": f"{100 * tally.share:.2f} % generated",
        "confidence": sure,
    }
    console.result({**asdict(tally), "out": out}, table(rows))
