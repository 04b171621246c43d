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
"""What a condition may say of the file; a field of the state with such a name comes first, but for
`file`, which is a name of the table's own."""


def matching(catalog: Catalog, condition: str) -> Hits:
    """Find the frames that meet a condition.

    Args:
        catalog: locked down.
        condition: such as `health < 20 and map = 'map01'`.

    Raises:
        InputError: It is not an SQL condition, or no replay has a field that it names.
    """
    import duckdb

    _check_single(condition)
    parts, refused = [], ""
    tables = catalog.tables("states")
    for table in tables:
        try:
            parts.append(Hits.of_frames(catalog.columns(_query(catalog, table, condition))))
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
    number = "number"  # of the file; no field may have its name
    while number in names | set(OF_FILE):
        number += "_"
    return (
        f"SELECT {number} AS file, frame, time_s FROM "  # noqa: S608  checked by the caller
        f"(SELECT * EXCLUDE (file), file AS {number} FROM {table}) JOIN "
        f"(SELECT file AS {number}, {', '.join(of_file)} FROM files WHERE NOT missing) "
        f"USING ({number}) WHERE (\n{condition}\n)"
    )


def _check_single(condition: str) -> None:
    """Refuse what is more than a condition, such as one that closes the bracket around it.

    Alone it must be one expression, so its brackets are those that it opens itself.
    """
    import duckdb

    try:
        duckdb.SQLExpression(condition)
        duckdb.extract_statements(f"SELECT (\n{condition}\n)")
    except duckdb.Error as error:
        raise InputError(f"--where {condition!r}: {_line(error)}") from error


def _line(error: Exception) -> str:
    """Shorten what duckdb says to its first line."""
    text = str(error).strip().splitlines()[0]
    return text.partition(": ")[2] or text
