"""What was made in a folder: one line a result in `batch.jsonl`, written before it is renamed.

A result is known by its hash. A line whose result was never renamed knows a file that is not there,
and does no harm; a result has its line, whatever was killed when.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from relive.batch.task import Made
from relive.errors import InputError

MANIFEST = "batch.jsonl"


class Manifest:
    """The lines of a folder; a context manager.

    Args:
        folder: the folder of results, held by nobody else.

    Raises:
        InputError: There is a file of this name that is no manifest.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / MANIFEST
        self._lines: defaultdict[str, list[Made]] = defaultdict(list)
        size = 0
        if path.exists():
            data = path.read_bytes()
            size = data.rfind(b"\n") + 1  # what follows is a line that was cut off
            for number, line in enumerate(data[:size].splitlines(), 1):
                made = _read(path, number, line)
                self._lines[made.file].append(made)
        self._file = path.open("ab")
        self._file.truncate(size)

    def of(self, file: str) -> tuple[Made, ...]:
        """Return what is known of a session."""
        return tuple(self._lines.get(file, ()))

    def add(self, made: Made) -> None:
        """Write a line, and have it on the disk."""
        self._file.write(json.dumps(asdict(made), separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._lines[made.file].append(made)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


def _read(path: Path, number: int, line: bytes) -> Made:
    try:
        return Made(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}, line {number}: not a line of a batch ({error}); remove the file, or give "
            "another folder"
        ) from None
