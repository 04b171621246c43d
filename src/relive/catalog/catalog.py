"""A catalogue: thousands of replays in one duckdb file, or for a moment in memory.

Every change of one file is one transaction. What was committed survives `kill -9`, by duckdb's
write-ahead log; what was not leaves no trace. A new file gets its name once its tables are there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from relive.catalog import tables
from relive.catalog.reading import Facts, Stamp
from relive.errors import FormatError, InputError, ReliveError

if TYPE_CHECKING:
    import duckdb

_MAGIC, _MAGIC_AT = b"DUCK", 8
_ALONE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
"""Nothing is fetched from the network, whatever the file or the SQL asks for."""
_SAFE = "SET enable_external_access = false; SET lock_configuration = true"


class Catalog:
    """An open catalogue; a context manager.

    Attributes:
        path: of the file; None in memory.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path | None) -> None:
        self._connection = connection
        self.path = path

    @classmethod
    def open(cls, path: Path | str, *, write: bool = False, create: bool = False) -> Self:
        """Open a catalogue.

        Args:
            path: of the file.
            write: to change it; only one process can.
            create: make it where there is none.

        Raises:
            InputError: There is none, or it is not a catalogue.
            ReliveError: Another process has it open to change it.
        """
        path = Path(path)
        if not path.exists() and not create:
            raise InputError(f"{path}: there is no such catalogue; make one: relive catalog add")
        if path.is_dir() or not path.parent.is_dir():
            raise InputError(f"{path} is no file that a catalogue could be")
        if not path.exists():
            _make(path, cls._open)
        return cls._open(path, write)

    @classmethod
    def _open(cls, path: Path, write: bool) -> Self:
        """Open a file of duckdb, and make the tables where it has none and may be written."""
        import duckdb

        try:
            _check_magic(path)
            connection = duckdb.connect(str(path), read_only=not write, config=_ALONE)
        except duckdb.IOException as error:
            raise _cannot_open(path, str(error)) from error
        except duckdb.Error as error:
            raise FormatError(f"{path}: not a catalogue: {_line(error)}") from error
        try:
            return cls(connection, path)._checked(write)
        except BaseException:
            connection.close()
            raise

    @classmethod
    def in_memory(cls) -> Self:
        """Make an empty catalogue that lives as long as it is open."""
        import duckdb

        return cls(duckdb.connect(":memory:", config=_ALONE), None)._checked(write=True)

    def _checked(self, write: bool) -> Self:
        """Make the tables where the file is empty; refuse a file of another kind."""
        names = {row[0] for row in self.rows("SELECT table_name FROM duckdb_tables()")}
        if not names and write:
            with self.transaction():
                self.run(tables.CREATE)
                self.run("INSERT INTO meta VALUES ('version', ?)", [tables.VERSION])
        elif "meta" not in names or "files" not in names:
            raise FormatError(f"{self.path}: not a catalogue, it has no table of files")
        found = self.rows("SELECT value FROM meta WHERE key = 'version'")
        if found != [(tables.VERSION,)]:
            raise FormatError(
                f"{self.path}: a catalogue of version {found[0][0] if found else '?'}; "
                f"this program knows {tables.VERSION}: make it anew"
            )
        return self

    def lock_down(self) -> None:
        """Refuse from now on whatever SQL could reach outside: files, network, settings."""
        self.run(_SAFE)

    def run(self, sql: str, values: Sequence[Any] | None = None) -> duckdb.DuckDBPyConnection:
        """Run a statement of ours."""
        return self._connection.execute(sql, values)

    def columns(self, sql: str) -> dict[str, Any]:
        """Fetch all columns of a query that may take long: Ctrl-C stops it.

        It runs in a thread, because duckdb looks for signals only between its tasks, and one task
        may be the whole query.
        """
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(lambda: self.run(sql).fetchnumpy())
            try:
                return waiting.result()
            except KeyboardInterrupt:
                self._connection.interrupt()
                raise

    def rows(self, sql: str, values: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Fetch all rows of a query."""
        return self.run(sql, values).fetchall()

    def records(self, sql: str, values: Sequence[Any] | None = None) -> list[dict[str, Any]]:
        """Fetch all rows of a query by the names of their columns."""
        cursor = self.run(sql, values)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block, or nothing of it."""
        self.run("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            self.run("ROLLBACK")
            raise
        self.run("COMMIT")

    def tables(self, kind: str) -> list[str]:
        """Name the tables of a kind: `states` or `descriptors`."""
        sql = "SELECT table_name FROM duckdb_tables() WHERE starts_with(table_name, ?) ORDER BY 1"
        return [row[0] for row in self.rows(sql, [f"{kind}_"])]

    def put(self, stamp: Stamp, sha256: str, facts: Facts) -> int:
        """Take a file in, or anew, in the running transaction; return its number."""
        known = self.rows("SELECT file FROM files WHERE path = ?", [stamp.path])
        if known:
            self.drop(known[0][0])
            number = int(known[0][0])
        else:
            number = int(self.rows("SELECT coalesce(max(file), 0) + 1 FROM files")[0][0])
        states = self._put_states(number, facts)
        described = self._put_descriptors(number, facts)
        self._put_file(number, stamp, sha256, facts, states, described)
        self._put_gops(number, facts)
        self._put_events(number, facts)
        return number

    def count(self, table: str) -> int:
        """Rows of a table of ours."""
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608  names of ours

    def drop(self, number: int) -> None:
        """Take a file out, in the running transaction."""
        kinds = [*self.tables("states"), *self.tables("descriptors")]
        for table in ("files", *tables.OF_FILES, *kinds):
            self.run(f"DELETE FROM {table} WHERE file = ?", [number])  # noqa: S608  names of ours

    def _put_file(
        self, number: int, stamp: Stamp, sha256: str, facts: Facts, *kinds: str | None
    ) -> None:
        values = [number, stamp.path, stamp.bytes, stamp.mtime_ns, sha256, facts.condition,
                  facts.problems, False, False, facts.game, tables.map_of(facts.game),
                  facts.model_id, *facts.size, facts.fps, len(facts.times_ns),
                  facts.start_ns, facts.duration_s, json.dumps(facts.schema.to_dict()),
                  *kinds]  # fmt: skip
        marks = ", ".join("?" * len(values))
        self.run(f"INSERT INTO files VALUES ({marks})", values)  # noqa: S608  marks alone

    def _put_gops(self, number: int, facts: Facts) -> None:
        names = ("index", "first_frame", "num_frames", "start_ns", "end_ns", "psnr_db",
                 "codes_at", "codes_bytes", "detail_bytes")  # fmt: skip
        columns = {name: [getattr(gop, name) for gop in facts.gops] for name in names}
        self._insert("gops", {"file": [number] * len(facts.gops), **columns})

    def _put_events(self, number: int, facts: Facts) -> None:
        times = [event.time_ns for event in facts.events]
        frames = np.searchsorted(facts.times_ns, np.array(times, np.int64), "right") - 1
        columns = {
            "file": [number] * len(times),
            "time_ns": times,
            "frame": frames.clip(0),
            "name": [event.name for event in facts.events],
            "payload": [event.payload for event in facts.events],
        }
        self._insert("events", columns)

    def _put_states(self, number: int, facts: Facts) -> str | None:
        """Write one row a frame, without numbers where its state is not known; return the table."""
        import pyarrow as pa

        count = len(facts.times_ns)
        if not count:
            return None
        table = tables.StateTable.of(facts.schema)
        self.run(table.create)
        columns: dict[str, Any] = {
            "file": np.full(count, number, np.int32),
            "frame": np.arange(count),
            "time_s": (facts.times_ns - facts.times_ns[0]) / 1e9,
            "present": facts.present,
        }
        columns |= {
            f"state {n}": pa.array(facts.states[:, n], mask=~facts.stated)
            for n in range(len(table.columns))
        }
        self._insert(table.name, columns)
        return table.name

    def _put_descriptors(self, number: int, facts: Facts) -> str | None:
        """Write one row a keyframe; return the table."""
        if facts.descriptors is None or not len(facts.descriptors):
            return None
        import pyarrow as pa

        count, size = facts.descriptors.shape
        table = tables.descriptor_table(facts.model_id)
        self.run(
            f"CREATE TABLE IF NOT EXISTS {table} (file INTEGER, frame BIGINT, vector FLOAT[{size}])"
        )
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(facts.descriptors.ravel()), size)
        numbers = np.full(count, number, np.int32)
        self._insert(table, {"file": numbers, "frame": facts.keyframes, "vector": vectors})
        return table

    def _insert(self, table: str, columns: dict[str, Any]) -> None:
        """Append columns, in the order of the table, to it."""
        import pyarrow as pa

        if len(next(iter(columns.values()))):
            self._connection.register("incoming", pa.table(columns))
            self.run(f"INSERT INTO {table} SELECT * FROM incoming")  # noqa: S608  names of ours
            self._connection.unregister("incoming")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _make(path: Path, open_: Callable[[Path, bool], Catalog]) -> None:
    """Make an empty catalogue beside its name, and give it the name unless somebody has it now."""
    part = path.with_name(f".{path.name}.part")  # one that was left by a kill is taken up again
    try:
        open_(part, True).close()
        if path.exists():
            part.unlink(missing_ok=True)
        else:
            part.rename(path)
    except OSError as error:
        raise InputError(f"cannot make {path}: {error.strerror or error}") from error


def _check_magic(path: Path) -> None:
    """Refuse another kind of file before duckdb looks for an extension that reads it."""
    if path.exists():
        with path.open("rb") as file:
            start = file.read(_MAGIC_AT + len(_MAGIC))
        if start and start[_MAGIC_AT:] != _MAGIC:
            raise FormatError(f"{path}: not a catalogue, which is a duckdb file")


def _cannot_open(path: Path, said: str) -> ReliveError:
    """Say why duckdb does not open a file."""
    if "lock" in said.lower():
        return ReliveError(f"{path} is in use by another process; wait until it is done")
    if "not a valid DuckDB" in said:
        return FormatError(f"{path}: not a catalogue, which is a duckdb file")
    return InputError(f"cannot open {path}: {said.splitlines()[0]}")


def _line(error: Exception) -> str:
    return str(error).splitlines()[0]
