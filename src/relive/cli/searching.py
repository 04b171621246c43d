"""`relive search`: moments by state, by picture and by place."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relive.cli import completing
from relive.cli.coding import Model
from relive.cli.console import Console, Json, Quiet, Verbose, finite
from relive.errors import DamagedError, InputError

if TYPE_CHECKING:
    from relive.codec import Bundle, Replay
    from relive.search import Found, Like, Place


def search(
    target: Annotated[
        Path,
        typer.Argument(
            help="A replay (.relive), a folder of them, or a catalogue.",
            autocompletion=completing.REPLAYS,
        ),
    ],
    where: Annotated[
        str | None, typer.Option(help="SQL condition: \"health < 20 and map = 'map01'\".")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(help="PICTURE or REPLAY@seconds; with @x,y,w,h behind it, that part of it."),
    ] = None,
    near: Annotated[
        str | None, typer.Option(help="x,y,z or x,y,z,yaw of the camera, yaw in degrees.")
    ] = None,
    place: Annotated[str | None, typer.Option(help="Where REPLAY@seconds was.")] = None,
    within: Annotated[
        float, typer.Option(min=0.0, help="Of the place: so far away.", callback=finite)
    ] = 64.0,
    angle: Annotated[
        float, typer.Option(min=0.0, max=180.0, help="Of the place: turned so many degrees.")
    ] = 20.0,
    gap: Annotated[
        float, typer.Option(min=0.0, help="Seconds between ranges that are still one.")
    ] = 1.0,
    limit: Annotated[int, typer.Option(min=1, max=4096, help="Most ranges.")] = 20,
    thumbnails: Annotated[
        Path | None, typer.Option(help="Folder for a small picture of every range.")
    ] = None,
    model: Model = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find moments by state, picture or place, without decoding a picture."""
    from relive.search import Query, check_folder, find, opened, passed_over

    console = Console(as_json, quiet, verbose)
    if not any((where, like, near, place)):
        raise InputError("nothing to search for: give --where, --like, --near or --place")
    if near and place:
        raise InputError("--near and --place both say where; give one of them")
    if thumbnails:
        check_folder(thumbnails)
    bundle = _bundle(model) if like or thumbnails else None
    query = Query(
        where,
        _place(near, place),
        within,
        angle,
        None if bundle is None or like is None else _like(like, bundle),
        gap,
        limit,
    )
    with opened(target, bundle if like else None, console.note) as catalog:
        found, total = find(catalog, query)
        if query.like is not None and (unseen := passed_over(catalog, query.like)):
            console.note(f"{unseen} replays have no codes of this model; --like passed them over")
    rows = [_row(one) for one in found]
    try:
        if thumbnails and bundle:
            _add_thumbnails(console, rows, found, thumbnails, bundle)
    finally:
        console.result({"ranges": rows, "total": total}, _text(found, total))
    lost = sum(row.get("thumbnail", "") is None for row in rows)
    if lost:
        raise DamagedError(f"{lost} of {len(rows)} ranges have no thumbnail")


def _add_thumbnails(
    console: Console,
    rows: list[dict[str, Any]],
    found: "list[Found]",
    folder: Path,
    bundle: "Bundle",
) -> None:
    """Write the pictures, and into each row where its own is."""
    from relive.search import write_thumbnails

    for row, picture in zip(
        rows, write_thumbnails(found, folder, bundle, console.note), strict=True
    ):
        row["thumbnail"] = picture


def _bundle(model: Path | None) -> "Bundle":
    from relive.codec import load_bundle

    return load_bundle(model)


def _place(near: str | None, place: str | None) -> "Place | None":
    from relive.search import Place

    if near is not None:
        return Place.parse(near)
    if place is None:
        return None
    path, seconds = _moment(place, "--place")
    with _open(path) as replay:
        return Place.of(replay, _frame(replay, seconds))


def _like(text: str, bundle: "Bundle") -> "Like":
    from relive.search import Like, read_picture

    name, _, after = text.rpartition("@")
    part = _part(after) if name else None
    whole = name if part else text
    if whole.rpartition("@")[0].endswith(".relive"):
        path, seconds = _moment(whole, "--like")
        with _open(path, bundle) as replay:
            return Like.of(replay.frame(_frame(replay, seconds)), bundle, part)
    if name and part is None and not Path(text).exists():
        raise InputError(
            f"--like {text}: behind @ of a picture stand x,y,w,h, of a .relive seconds"
        )
    return Like.of(read_picture(Path(whole)), bundle, part)


def _part(text: str) -> tuple[int, int, int, int] | None:
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.strip().isdecimal() for number in numbers):
        return None
    x, y, w, h = map(int, numbers)
    return x, y, w, h


def _moment(text: str, option: str) -> tuple[Path, float]:
    name, _, seconds = text.rpartition("@")
    try:
        value = finite(float(seconds))
    except (ValueError, typer.BadParameter):
        value = None
    if not name or value is None:
        raise InputError(f"{option} {text}: write REPLAY@seconds")
    return Path(name), value


def _open(path: Path, bundle: "Bundle | None" = None) -> "Replay":
    from relive.codec import Replay
    from relive.codec.growing import open_replay

    return Replay.open(path) if bundle is None else open_replay(path, bundle)


def _frame(replay: "Replay", seconds: float) -> int:
    last = float(replay.times_ns[-1] - replay.times_ns[0]) / 1e9 if replay.num_frames else 0.0
    if not replay.num_frames or not 0 <= seconds <= last:
        raise InputError(f"{replay.path}: no frame at {seconds:g} s; the last is at {last:.3f} s")
    return replay.index_at(int(replay.times_ns[0]) + round(seconds * 1e9))


def _row(found: "Found") -> dict[str, Any]:
    return {
        "file": found.path,
        "game": found.game,
        "start_s": found.start_s,
        "end_s": found.end_s,
        "first_frame": found.frames.start,
        "last_frame": found.frames.stop - 1,
        "best_s": found.best_s,
        "best_frame": found.best_frame,
        "distance": found.distance,
    }


def _text(found: list["Found"], total: int) -> str:
    if not found:
        return "nothing found"
    lines = [
        f"{one.path}  {one.start_s:.2f}–{one.end_s:.2f} s"
        + (f"  best {one.best_s:.2f} s, distance {one.distance:.2f}" if one.distance else "")
        for one in found
    ]
    more = f"{total - len(found)} more ranges; --limit shows more"
    return "\n".join([*lines, more] if total > len(found) else lines)
