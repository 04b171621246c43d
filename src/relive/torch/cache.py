"""Decoded codes on disk, one file a replay, mapped into memory by every worker.

A file is made beside its name and renamed when whole, so that several processes may make it at
once. Its name holds what the replay is known by: path, size and age.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from relive.codec import Replay
from relive.codec.stored import StoredCodes
from relive.errors import InputError, ReliveError

Array = np.ndarray[Any, Any]


class CodeCache:
    """A folder of decoded codes.

    Raises:
        InputError: The folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the cache {folder}: {error.strerror}") from error
        self._folder = folder
        self._mapped: dict[Path, Array] = {}

    def codes(self, replay: Replay, start: int, stop: int) -> StoredCodes:
        """Codes of the steps of frames [start, stop), which begins and ends with a step."""
        rows = self._rows(replay)
        first = rows["first_frame"]
        low, high = np.searchsorted(first, (start, stop))
        part = rows[low:high]
        return StoredCodes(*(part[name] for name in part.dtype.names or ()))

    def _rows(self, replay: Replay) -> Array:
        """All steps of a replay as rows, mapped; made where they are not there yet."""
        found = replay.path.stat()
        known = f"{replay.path.resolve()} {found.st_size} {found.st_mtime_ns}"
        name = hashlib.sha256(known.encode()).hexdigest()[:24]
        path = self._folder / f"{name}.npy"
        if path not in self._mapped:
            if not path.exists():
                self._make(replay, path)
            self._mapped[path] = np.load(path, mmap_mode="r")
        return self._mapped[path]

    def _make(self, replay: Replay, path: Path) -> None:
        codes = replay.codes()
        columns = vars(codes)
        kinds: Any = [(name, array.dtype, array.shape[1:]) for name, array in columns.items()]
        rows = np.empty(len(codes), kinds)
        for name, array in columns.items():
            rows[name] = array
        part = path.with_name(f"{path.stem}.{os.getpid()}.part.npy")
        try:
            np.save(part, rows)
            part.replace(path)
        except OSError as error:
            raise ReliveError(f"cannot write {path}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)

    def __getstate__(self) -> dict[str, Any]:
        """Leave what is mapped to this process."""
        return {**self.__dict__, "_mapped": {}}
