"""`relive regions`: regions found in a session, written into its region track."""

from pathlib import Path
from typing import Annotated

import typer

from relive.cli import completing
from relive.cli.coding import Model
from relive.cli.console import (
    Console,
    Force,
    Json,
    Quiet,
    Staged,
    Verbose,
    finite,
    mcap_output,
    table,
)
from relive.errors import DamagedError


def regions(
    source: Annotated[
        Path, typer.Argument(help="The session (.mcap).", autocompletion=completing.SESSIONS)
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="The session to write (.mcap), with the regions that were found.",
            callback=mcap_output,
        ),
    ],
    learn: Annotated[
        float,
        typer.Option(
            help="Seconds looked at first; what comes up later may open a region.",
            min=0.1,
            callback=finite,
        ),
    ] = 60.0,
    model: Model = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find regions (overlays, objects, ground, walls, or what looks alike) without labels."""
    from relive.regions import check_output, discover, write_regions
    from relive.session import Session

    console = Console(as_json, quiet, verbose)
    check_output(source, out, force)
    with Session.open(source, verify=True) as session:
        with console.progress("regions") as bar:
            stages = Staged(bar) if bar else None
            if stages:
                stages.begin("looking")
            found = discover(session, model=model, learn_s=learn, progress=stages)
            if stages:
                stages.begin("writing")
            write_regions(session, found, out, force=force, progress=stages)
        damaged = session.damaged
        frames = session.num_frames
    opened = {o.region.id: o.frame for o in found.opened}
    shares = {r.id: float((found.blocks == r.id).mean()) for r in found.schema.regions}
    rows = [
        {"id": r.id, "name": r.name, "share": shares[r.id], "opened_at_frame": opened.get(r.id)}
        for r in found.schema.regions
    ]
    lines = {
        f"{r.id} {r.name}": f"{100 * shares[r.id]:.1f} %"
        + (f", from frame {opened[r.id]}" if r.id in opened else "")
        for r in found.schema.regions
    }
    text = table({"wrote": out, "frames": frames, **lines})
    console.result({"out": out, "frames": frames, "regions": rows}, text)
    if damaged:
        raise DamagedError(f"{source} is damaged; what could be read was written to {out}")
