"""`relive catalog`: a tree of replays in one file, kept up to date and checked."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relive.cli.coding import Model
from relive.cli.console import Console, Json, Quiet, Verbose, human_bytes, table
from relive.errors import DamagedError

if TYPE_CHECKING:
    from relive.catalog import FilingReport
    from relive.codec import Bundle

catalog = typer.Typer(help="A tree of replays in one duckdb file.", rich_markup_mode=None)

Db = Annotated[Path, typer.Argument(help="The catalogue, such as library.duckdb.")]
Places = Annotated[list[Path], typer.Argument(help="Folders, or single replays.")]
NoPictures = Annotated[
    bool, typer.Option("--no-pictures", help="Leave out what a search by picture needs.")
]


@catalog.command()
def add(
    db: Db,
    places: Places,
    model: Model = None,
    no_pictures: NoPictures = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Take in folders with all replays below them; what is there already is left as it is."""
    from relive.catalog import Catalog, find_replays
    from relive.catalog import add as file_all

    console = Console(as_json, quiet, verbose)
    list(find_replays(places))  # what cannot be filed leaves no empty catalogue behind
    bundle = _bundle(model, no_pictures)
    with Catalog.open(db, write=True, create=True) as opened, console.progress("add") as progress:
        report = file_all(opened, places, bundle, progress)
    _report(console, report)


@catalog.command()
def update(
    db: Db,
    places: Annotated[
        list[Path] | None, typer.Argument(help="Only these folders.", show_default="all")
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Take out files that are gone, instead of marking them.")
    ] = False,
    model: Model = None,
    no_pictures: NoPictures = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Take in what is new, changed, moved or gone since the last time."""
    from relive.catalog import Catalog
    from relive.catalog import update as bring_up_to_date

    console = Console(as_json, quiet, verbose)
    bundle = _bundle(model, no_pictures)
    with Catalog.open(db, write=True) as opened, console.progress("update") as progress:
        report = bring_up_to_date(opened, places or (), bundle, progress, prune)
    _report(console, report)


@catalog.command()
def remove(
    db: Db, places: Places, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False
) -> None:
    """Take replays, or folders of them, out of the catalogue; the files stay."""
    from relive.catalog import Catalog
    from relive.catalog import remove as take_out

    console = Console(as_json, quiet, verbose)
    with Catalog.open(db, write=True) as opened:
        removed = take_out(opened, places)
    console.result({"removed": removed}, f"{removed} replays taken out")


@catalog.command("list")
def list_(db: Db, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """List the replays, and what is wrong with them."""
    from relive.catalog import Catalog

    console = Console(as_json, quiet, verbose)
    with Catalog.open(db) as opened:
        rows = opened.records(
            "SELECT path, game, map, frames, duration_s, width, height, fps, bytes, model_id, "
            "condition, problems, verified, missing, descriptors IS NOT NULL AS pictures "
            "FROM files ORDER BY path"
        )
    console.result({"files": rows}, "\n".join(map(_line, rows)) or "no replay in it")


@catalog.command()
def stats(db: Db, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Say how much is in it, by game and in all."""
    from relive.catalog import Catalog, summary

    console = Console(as_json, quiet, verbose)
    with Catalog.open(db) as opened:
        values = summary(opened)
    text = {name: value for name, value in values.items() if name != "games"}
    text |= {g["game"] or "no game": f"{g['files']}, {g['hours']:.2f} h" for g in values["games"]}
    console.result(values, table(text))


@catalog.command()
def verify(
    db: Db,
    again: Annotated[bool, typer.Option("--again", help="Check all files anew.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Read and check every file that was not checked yet; exit code 3 where one is not whole."""
    from relive.catalog import Catalog, sweep

    console = Console(as_json, quiet, verbose)
    with Catalog.open(db, write=True) as opened, console.progress("verify") as progress:
        report = sweep(opened, again, progress)
    lines = [f"{path}: {problem}" for path, problem in report.problems.items()]
    lines += [f"{report.checked} files checked"]
    if report.stale:
        lines += [f"{report.stale} files have changed; take them in: relive catalog update {db}"]
    console.result(vars(report), "\n".join(lines))
    if report.problems:
        raise DamagedError(f"{db}: {len(report.problems)} replays are damaged, broken or missing")


def _bundle(model: Path | None, no_pictures: bool) -> "Bundle | None":
    from relive.codec import load_bundle

    return None if no_pictures else load_bundle(model)


def _report(console: Console, report: "FilingReport") -> None:
    values: dict[str, Any] = vars(report)
    counts = ", ".join(f"{values[name]} {name}" for name in values if name != "problems")
    lines = [
        problem if problem.startswith(path) else f"{path}: {problem}"
        for path, problem in report.problems.items()
    ]
    console.result(values, "\n".join([*lines, counts]))


def _line(row: dict[str, Any]) -> str:
    state = "missing" if row["missing"] else row["condition"]
    what = f"{row['game'] or '-'}  {row['duration_s']:.1f} s  {human_bytes(row['bytes'])}"
    why = f": {row['problems'][0]}" if row["problems"] else ""
    return f"{row['path']}  {what}  {state}{why}"
