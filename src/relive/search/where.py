"""Search by state: an SQL condition on the fields of the states and on what is known of the file.

The condition comes from a stranger. It is one expression of one SELECT on a connection that can
neither write, nor read files, nor change its settings (`Catalog.lock_down`).
"""

from __future__ import annotations

from relive.catalog import Catalog
from relive.errors import InputError
from relive.search.hits import Hits

OF_FILE = {
    "game": "game",
    "map": "map",
    "file": "parse_filename(path)",
    "path": "path",
    "condition": "condition",
    "width": "width",
    "height": "height",
    "fps": "fps",
    "frames": "frames",
    "duration_s": "duration_s",
    "model_id": "model_id",
}
"""What a condition may say of the file; a field of the state with such a name comes first."""


def matching(catalog: Catalog, condition: str) -> Hits:
    """Find the frames that meet a condition.

    Args:
        catalog: locked down.
        condition: such as `health < 20 and map = 'map01'`.

    Raises:
        InputError: It is not an SQL condition, or no replay has a field that it names.
    """
    import duckdb

    parts, refused = [], ""
    tables = catalog.tables("states")
    for table in tables:
        query = _query(catalog, table, condition)
        _check_single(condition, query)
        try:
            parts.append(Hits.of_frames(catalog.run(query).fetchnumpy()))
        except duckdb.BinderException as error:  # these replays have no such field
            refused = refused or _line(error)
        except duckdb.Error as error:
            raise InputError(f"--where {condition!r}: {_line(error)}") from error
    if tables and not parts:
        raise InputError(f"--where {condition!r}: {refused}")
    return Hits.join(parts)


def _query(catalog: Catalog, table: str, condition: str) -> str:
    """Write the query of one table of states."""
    names = {row[0].lower() for row in catalog.rows(f"DESCRIBE {table}")}
    of_file = [
        f'{sql} AS "{name}"' for name, sql in OF_FILE.items() if name not in names - {"file"}
    ]
    files = f"SELECT file AS file_number, {', '.join(of_file)} FROM files WHERE NOT missing"  # noqa: S608  names of ours
    return (
        "SELECT file_number AS file, frame, time_s FROM "  # noqa: S608  checked by the caller
        f"(SELECT * EXCLUDE (file), file AS state_file FROM {table}) states "
        f"JOIN ({files}) files ON state_file = file_number WHERE (\n{condition}\n)"
    )


def _check_single(condition: str, query: str) -> None:
    """Refuse what is more than a condition."""
    import duckdb

    try:
        duckdb.extract_statements(f"SELECT (\n{condition}\n)")
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise InputError(f"--where {condition!r}: {_line(error)}") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise InputError(f"--where {condition!r}: write one condition, no statement")


def _line(error: Exception) -> str:
    """Shorten what duckdb says to its first line."""
    text = str(error).strip().splitlines()[0]
    return text.partition(": ")[2] or text
