"""`relive verify` and `relive repair`: is a file whole, and what can be saved of it."""

from pathlib import Path
from typing import Annotated

import typer

from relive.cli.console import Console, Force, Json, Quiet, Verbose, mcap_output
from relive.cli.files import File, is_replay
from relive.errors import DamagedError


def verify(
    file: File, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False
) -> None:
    """Check every checksum and index; exit code 3 where something is damaged."""
    from relive import container
    from relive.session.repair import verify_session

    console = Console(as_json, quiet, verbose)
    replay = is_replay(file)
    with console.progress("verify"):
        problems = container.verify(file) if replay else verify_session(file)
    kind = "replay" if replay else "session"
    values = {"kind": kind, "damaged": bool(problems), "problems": problems}
    console.result(values, "\n".join(problems) or f"{file}: a whole {kind}")
    if problems:
        raise DamagedError(f"{file}: damaged; save what is whole: relive repair {file} -o OUT")


def repair(
    file: File,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The clean file to write.", callback=mcap_output)
    ],
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Save what is whole of a damaged file; exit code 3 where something was lost."""
    from relive import container
    from relive.session.repair import repair_session

    console = Console(as_json, quiet, verbose)
    with console.progress("repair") as progress:
        if is_replay(file):
            report = container.repair(file, out, force=force)
            frames, problems = report.frames, report.problems
        else:
            frames, problems = repair_session(file, out, force=force, progress=progress)
    values = {"frames": frames, "damaged": bool(problems), "problems": problems}
    console.result(values, "\n".join([*problems, f"saved {frames} frames in {out}"]))
    if problems:
        raise DamagedError(f"{file}: damaged; what was whole is in {out}")
