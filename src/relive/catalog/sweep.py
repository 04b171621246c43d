"""Integrity sweep: every byte of every file read and checked; it goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relive.catalog.catalog import Catalog
from relive.catalog.reading import Stamp, sha256_of
from relive.container import verify
from relive.errors import ReliveError

CONDITIONS = ("whole", "damaged", "broken")
CHANGED = "its content has changed since it was taken in, and its age has not"
UNKNOWN = "it has changed, or could not be read before; take it in: relive catalog update"


@dataclass
class SweepReport:
    """Files checked now, left for an `update`, and one line for each that is not whole."""

    checked: int = 0
    stale: int = 0
    problems: dict[str, str] = field(default_factory=dict)


def sweep(
    catalog: Catalog,
    again: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> SweepReport:
    """Check the files of a catalogue that were not checked yet, one transaction each.

    Args:
        catalog: opened for writing.
        again: begin anew: check all of them.
        progress: told files done, files in all, and the path.

    Returns:
        The report; its problems are those of all files, checked now or before.
    """
    if again:
        with catalog.transaction():
            catalog.run("UPDATE files SET verified = false")
    report = SweepReport()
    waiting = catalog.records("SELECT * FROM files WHERE NOT verified ORDER BY file")
    for place, row in enumerate(waiting):
        if progress:
            progress(place, len(waiting), row["path"])
        try:
            now = Stamp.of(Path(row["path"]))
        except OSError:
            continue  # missing files are found below
        if (now.bytes, now.mtime_ns) != (row["bytes"], row["mtime_ns"]):
            report.stale += 1
            continue
        _check(catalog, row)
        report.checked += 1
    for path, condition, problems in catalog.rows(
        "SELECT path, condition, problems FROM files WHERE condition <> 'whole' ORDER BY path"
    ):
        report.problems[path] = problems[0] if problems else condition
    for (path,) in catalog.rows("SELECT path FROM files ORDER BY path"):
        if not Path(path).exists():
            report.problems[path] = "the file is missing"
    return report


def _check(catalog: Catalog, row: dict[str, Any]) -> None:
    """Verify a file and note what was found, beside what was known of the same bytes.

    Where the bytes are others, their hash is taken out, so that an update reads the file anew.
    """
    path, known, sha256 = Path(row["path"]), row["sha256"], ""
    problems, condition = [], "whole"
    try:
        sha256 = sha256_of(path)
        problems = verify(path)
        condition = "damaged" if problems else "whole"
    except (ReliveError, OSError) as error:
        problems, condition = [str(error)], "broken"
    if known and sha256 == known:
        problems += [problem for problem in row["problems"] if problem not in problems]
        condition = max(condition, row["condition"], key=CONDITIONS.index)
    elif sha256:
        problems.append(CHANGED if known else UNKNOWN)
        condition = max(condition, "damaged", key=CONDITIONS.index)
    with catalog.transaction():
        catalog.run(
            "UPDATE files SET verified = true, condition = ?, problems = ?, sha256 = ? "
            "WHERE file = ?",
            [condition, problems, known if sha256 == known else "", row["file"]],
        )
