"""States from a CSV file: ``time_s``, then one column for every field; one row for every frame."""

import csv
from collections.abc import Iterator
from decimal import Decimal, DecimalException
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from relive.errors import InputError
from relive.session.schema import StateField, StateSchema

TIME_COLUMN = "time_s"
_MAX_NS = Decimal(2**63 - 1)


class StateCsv:
    """Reads a CSV of states row by row.

    Args:
        path: The file, UTF-8.
        schema: The fields; its columns may stand in any order. None makes a linear field of
            every column.

    Raises:
        InputError: It cannot be read, or its header does not fit.
    """

    def __init__(self, path: Path, schema: StateSchema | None) -> None:
        self.path = path
        self.num_rows = 0
        try:
            self._file = path.open(encoding="utf-8-sig", newline="")
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        self._lines = csv.reader(self._file, strict=True)
        try:
            self._names = self._header()
            self.schema = self._default_schema() if schema is None else schema
            self._columns = self._match()
        except BaseException:
            self._file.close()
            raise
        self._last_ns = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.float32] | None]]:
        """List the time in nanoseconds and the state of every row.

        The state is float32 [S]; None where every cell of it is empty, which says that it is not
        known.

        Raises:
            InputError: A row is wrong; the line names the file and the row.
        """
        while (cells := self._next_cells()) is not None:
            if not cells:  # an empty line
                continue
            self.num_rows += 1
            if len(cells) != len(self._names) + 1:
                raise self._wrong(f"{len(cells)} cells, the header has {len(self._names) + 1}")
            told = len(cells) == 1 or any(cell.strip() for cell in cells[1:])
            yield self._time_ns(cells[0]), self._values(cells[1:]) if told else None

    def _next_cells(self) -> list[str] | None:
        try:
            return next(self._lines, None)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{self.path}: not a CSV after row {self.num_rows}: {error}") from None

    def _header(self) -> list[str]:
        header = [cell.strip() for cell in self._next_cells() or []]
        if not header or header[0] != TIME_COLUMN:
            first = repr(header[0][:40]) if header else "nothing"
            raise InputError(f"{self.path}: the first column is {first}, not {TIME_COLUMN!r}")
        return header[1:]

    def _default_schema(self) -> StateSchema:
        try:
            return StateSchema(tuple(StateField(name) for name in self._names))
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None

    def _match(self) -> list[int]:
        """Find the column of every field."""
        wanted = [field.name for field in self.schema.fields]
        places = {name: place for place, name in enumerate(self._names)}
        known = set(wanted)
        if missing := [name for name in wanted if name not in places]:
            raise InputError(f"{self.path}: the column {missing[0]!r} of the schema is missing")
        if extra := [name for name in self._names if name not in known]:
            raise InputError(f"{self.path}: the schema has no field {extra[0]!r}")
        if len(self._names) != len(wanted):
            raise InputError(f"{self.path}: a column is there twice")
        return [places[name] for name in wanted]

    def _time_ns(self, cell: str) -> int:
        try:
            exact = Decimal(cell.strip()) * 1_000_000_000
        except DecimalException:
            raise self._wrong(f"time_s {cell!r} is not a number") from None
        if not exact.is_finite() or not 0 <= exact <= _MAX_NS:
            raise self._wrong(f"time_s {cell} is not a number of seconds from 0 up")
        time_ns = int(exact.to_integral_value())
        if time_ns <= self._last_ns:
            raise self._wrong(f"time_s {cell} is not after that of the row before")
        self._last_ns = time_ns
        return time_ns

    def _values(self, cells: list[str]) -> NDArray[np.float32]:
        values = np.empty(len(self._columns), np.float32)
        for place, column in enumerate(self._columns):
            try:
                with np.errstate(over="ignore"):
                    values[place] = np.float64(cells[column])
            except ValueError:
                raise self._wrong(
                    f"{self._names[column]} {cells[column]!r} is not a number"
                ) from None
            if not np.isfinite(values[place]):
                raise self._wrong(f"{self._names[column]} is {cells[column]}, not a finite float32")
        return values

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self.path}, row {self.num_rows} (line {self._lines.line_num}): {what}")
