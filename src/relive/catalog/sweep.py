"""Integrity sweep: every byte of every file read and checked; it goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from relive.catalog.catalog import Catalog
from relive.catalog.reading import Stamp, sha256_of
from relive.container import verify
from relive.errors import ReliveError


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
    sql = "SELECT file, path, bytes, mtime_ns, sha256 FROM files WHERE NOT verified ORDER BY file"
    waiting = catalog.rows(sql)
    for place, (number, path, size, mtime_ns, sha256) in enumerate(waiting):
        if progress:
            progress(place, len(waiting), path)
        try:
            now = Stamp.of(Path(path))
        except OSError:
            continue  # missing files are found below
        if (now.bytes, now.mtime_ns) != (size, mtime_ns):
            report.stale += 1
            continue
        _check(catalog, number, Path(path), sha256)
        report.checked += 1
    for path, condition, problems in catalog.rows(
        "SELECT path, condition, problems FROM files WHERE condition <> 'whole' ORDER BY path"
    ):
        report.problems[path] = problems[0] if problems else condition
    for (path,) in catalog.rows("SELECT path FROM files ORDER BY path"):
        if not Path(path).exists():
            report.problems[path] = "the file is missing"
    return report


def _check(catalog: Catalog, number: int, path: Path, sha256: str) -> None:
    """Verify a file and note what was found."""
    problems, condition = [], "whole"
    try:
        problems = verify(path)
        if sha256_of(path) != sha256:
            problems.append("its content has changed since it was taken in, and its age has not")
        condition = "damaged" if problems else "whole"
    except (ReliveError, OSError) as error:
        problems, condition = [str(error)], "broken"
    with catalog.transaction():
        catalog.run(
            "UPDATE files SET verified = true, condition = ?, problems = ? WHERE file = ?",
            [condition, problems, number],
        )
