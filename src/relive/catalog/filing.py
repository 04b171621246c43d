"""Folders ──► catalogue: what is new, changed, moved or gone since the last time.

```
 size and age as known ──► nothing to do
 else: hash ──► known, and the old path is gone ──► moved
           └──► known at this path ──► touched         └──► else read anew
```
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from relive.catalog.catalog import Catalog
from relive.catalog.reading import Stamp, read_facts, sha256_of
from relive.errors import InputError, refuse_folder

if TYPE_CHECKING:
    from relive.codec import Bundle

Progress = Callable[[int, int, str], None]
SUFFIX = ".relive"
NO_TEXT = "its name is not UTF-8; give it another one"


@dataclass
class FilingReport:
    """What became of the files, and one line for each that is damaged or broken.

    `undescribed` are those that were read now and need another model than the one that was given,
    so that a search by picture does not see them.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    missing: int = 0
    removed: int = 0
    unchanged: int = 0
    undescribed: int = 0
    problems: dict[str, str] = field(default_factory=dict)


def find_replays(places: Sequence[Path]) -> Iterator[Path]:
    """List replays in folders and below, sorted; a file stands for itself.

    Raises:
        InputError: A place does not exist, or is no file or folder, or one cannot be read.
    """
    for place in places:
        if not place.exists():
            raise InputError(f"{place}: there is no such file or folder")
        if not place.is_file() and not place.is_dir():
            raise InputError(f"{place} is neither a file nor a folder")
        if not _is_text(str(place)):
            raise InputError(f"{place}: {NO_TEXT}")
        if place.is_file():
            yield Path(os.path.abspath(place))  # noqa: PTH100  links stay links
            continue
        for folder, below, names in os.walk(os.path.abspath(place), onerror=refuse_folder):  # noqa: PTH100  as above
            below.sort()
            found = (Path(folder) / name for name in sorted(names) if name.endswith(SUFFIX))
            yield from (path for path in found if path.is_file())  # a pipe would never end


def _is_text(path: str) -> bool:
    """Whether a path can be written down; on some disks names are any bytes."""
    return not any("\ud800" <= letter <= "\udfff" for letter in path)


def add(
    catalog: Catalog,
    places: Sequence[Path],
    bundle: Bundle | None = None,
    progress: Progress | None = None,
) -> FilingReport:
    """Take folders, and the replays in and below them, into a catalogue.

    Args:
        catalog: opened for writing.
        places: folders and files.
        bundle: model to describe keyframes with, for the search by picture, those of replays of
            models that it has grown from, too; None for none.
        progress: told files done, files in all, and the path.

    Raises:
        InputError: A place does not exist.
    """
    paths = list(find_replays(places))
    known = {row[0] for row in catalog.rows("SELECT path FROM folders")}
    with catalog.transaction():
        for place in map(os.path.abspath, places):
            if place not in known:
                catalog.run("INSERT INTO folders VALUES (?)", [place])
    return _file(catalog, paths, bundle, progress)


def update(
    catalog: Catalog,
    places: Sequence[Path] = (),
    bundle: Bundle | None = None,
    progress: Progress | None = None,
    prune: bool = False,
) -> FilingReport:
    """Bring a catalogue up to date with its folders, or with some of them.

    Files that are gone are marked as missing and not searched; with `prune` they are taken out.

    Raises:
        InputError: A place does not exist, or is not in the catalogue.
    """
    inside = [row[0] for row in catalog.rows("SELECT path FROM folders ORDER BY path")]
    wanted = [os.path.abspath(place) for place in places] or inside  # noqa: PTH100  as above
    for place in wanted:
        if not any(place == known or place.startswith(known + os.sep) for known in inside):
            raise InputError(f"{place} is not in the catalogue; add it: relive catalog add")
    there = [Path(place) for place in wanted if Path(place).exists()]
    report = _file(catalog, list(find_replays(there)), bundle, progress)
    for number, path, missing in _under(catalog, wanted):
        if not Path(path).exists():
            with catalog.transaction():
                if prune:
                    catalog.drop(number)
                elif not missing:
                    catalog.run("UPDATE files SET missing = true WHERE file = ?", [number])
            report.removed += prune
            report.missing += not prune
    return report


def remove(catalog: Catalog, places: Sequence[Path]) -> int:
    """Take files, or folders with all below them, out of a catalogue; return how many files.

    Raises:
        InputError: A place is not in the catalogue.
    """
    removed = 0
    for place in map(os.path.abspath, places):
        rows = _under(catalog, [place])
        added = catalog.rows("SELECT 1 FROM folders WHERE path = ?", [place])
        if not rows and not added:
            raise InputError(f"{place} is not in the catalogue")
        with catalog.transaction():
            for number, _, _ in rows:
                catalog.drop(number)
            catalog.run("DELETE FROM folders WHERE path = ?", [place])
        removed += len(rows)
    return removed


def _under(catalog: Catalog, places: Sequence[str]) -> list[tuple[int, str, bool]]:
    """Files of the catalogue that are one of these places or lie below it."""
    rows = catalog.rows("SELECT file, path, missing FROM files ORDER BY path")
    return [
        (int(number), path, bool(missing))
        for number, path, missing in rows
        if any(path == place or path.startswith(place.rstrip(os.sep) + os.sep) for place in places)
    ]


def _file(
    catalog: Catalog, paths: Sequence[Path], bundle: Bundle | None, progress: Progress | None
) -> FilingReport:
    """Take in what is new or changed among files that exist, one transaction each."""
    report = FilingReport()
    for place, path in enumerate(paths):
        if progress:
            progress(place, len(paths), str(path))
        if not _is_text(str(path)):
            report.problems[str(path)] = NO_TEXT
            continue
        try:
            _file_one(catalog, Stamp.of(path), bundle, report)
        except FileNotFoundError:
            continue  # gone since the folder was listed
    if progress:
        progress(len(paths), len(paths), "")
    return report


def _file_one(catalog: Catalog, stamp: Stamp, bundle: Bundle | None, report: FilingReport) -> None:
    known = catalog.records("SELECT * FROM files WHERE path = ?", [stamp.path])
    if known and _as_before(known[0], stamp, bundle):
        report.unchanged += 1
        return
    try:
        sha256 = sha256_of(Path(stamp.path))
    except PermissionError:
        sha256 = ""
    lacks = known and _lacks_descriptors(known[0], bundle)
    if known and known[0]["sha256"] == sha256 and not lacks:
        _place(catalog, known[0]["file"], stamp)
        report.unchanged += 1
        return
    before = None if known else _moved_from(catalog, stamp, sha256)
    if before is not None:
        _place(catalog, before, stamp)
        report.moved += 1
        return
    facts = read_facts(Path(stamp.path), bundle)
    with catalog.transaction():
        catalog.put(stamp, sha256, facts)
    report.changed += bool(known)
    report.added += not known
    report.undescribed += bool(bundle and len(facts.times_ns) and facts.descriptors is None)
    if facts.problems:
        report.problems[stamp.path] = facts.problems[0]


def _as_before(row: dict[str, object], stamp: Stamp, bundle: Bundle | None) -> bool:
    """Whether a file has the size and age that the catalogue knows, and lacks nothing.

    One without a hash could not be read, or the sweep has found it changed.
    """
    same = bool(row["sha256"]) and row["bytes"] == stamp.bytes and row["mtime_ns"] == stamp.mtime_ns
    return same and not row["missing"] and not _lacks_descriptors(row, bundle)


def _lacks_descriptors(row: dict[str, object], bundle: Bundle | None) -> bool:
    """Whether a file was taken in without descriptors, and could have them now."""
    if bundle is None or row["descriptors"] is not None or not row["frames"]:
        return False
    from relive.codec.growing import bundle_for  # brings torch, as the model has

    return bundle_for(str(row["model_id"]), bundle) is not None


def _moved_from(catalog: Catalog, stamp: Stamp, sha256: str) -> int | None:
    """Find the file that this one was before it was moved: the same bytes, its old path gone."""
    rows = catalog.rows(
        "SELECT file, path FROM files WHERE sha256 = ? AND bytes = ?", [sha256, stamp.bytes]
    )
    gone = [int(number) for number, path in rows if not Path(path).exists()]
    return gone[0] if gone and sha256 else None


def _place(catalog: Catalog, number: int, stamp: Stamp) -> None:
    """Set where a known file lies now."""
    with catalog.transaction():
        catalog.run(
            "UPDATE files SET path = ?, bytes = ?, mtime_ns = ?, missing = false WHERE file = ?",
            [stamp.path, stamp.bytes, stamp.mtime_ns, number],
        )
