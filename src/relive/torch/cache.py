"""Decoded codes and pictures on disk, one file each a replay, mapped into memory by every worker.

```
 replay ──GOP after GOP──► .part ──whole──► .npy ──► mapped, by all
          under a lock: the first makes it, the others wait
```

The name of a file holds what its content depends on: path, size and age of the replay, the model,
and for pictures tiers and size. A part that a killed process has left is written over.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from relive.codec import Replay
from relive.codec.stored import StoredCodes
from relive.errors import InputError, ReliveError
from relive.torch.pictures import resized

Array = np.ndarray[Any, Any]
Size = tuple[int, int]

MAX_MAPPED = 256  # each holds a file open


class Cache:
    """A folder of decoded codes and pictures.

    Raises:
        InputError: The folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the cache {folder}: {error.strerror}") from error
        self._folder = folder
        self._mapped: OrderedDict[Path, Array] = OrderedDict()

    def codes(self, replay: Replay, start: int, stop: int) -> StoredCodes:
        """Codes of the steps of frames [start, stop), which begins and ends with a step."""

        def make(part: IO[bytes]) -> None:
            blocks = (_rows(replay.codes(s.start, s.stop)) for s in replay.spans if s)
            steps = sum(-(-len(span) // 2) for span in replay.spans)
            _write(part, steps, _rows(replay.codes(0, 0)), blocks)

        rows = self._array(replay, "codes", make)
        low, high = np.searchsorted(rows["first_frame"], (start, stop))
        part = rows[low:high]
        return StoredCodes(*(part[name] for name in part.dtype.names or ()))

    def pictures(self, replay: Replay, size: Size, start: int, stop: int) -> Array:
        """Frames [start, stop) of a size, uint8 `[n, h, w, 3]`, mapped."""

        def make(part: IO[bytes]) -> None:
            blocks = (resized(frame[None], size) for frame in replay.iter_frames())
            _write(part, replay.num_frames, np.zeros((0, *size, 3), np.uint8), blocks)

        what = f"pictures of {size[0]} by {size[1]}, {replay.tiers} tiers"
        frames: Array = self._array(replay, what, make)[start:stop]
        return frames

    def _array(self, replay: Replay, what: str, make: Callable[[IO[bytes]], None]) -> Array:
        """Map an array that belongs to a replay; made where it is not there yet."""
        facts = (what, replay.path.resolve(), *replay.stamp, replay.header.model_id)
        name = hashlib.sha256(" ".join(map(str, facts)).encode()).hexdigest()[:24]
        path = self._folder / f"{name}.npy"
        if path not in self._mapped:
            if not path.exists():
                _make_once(path, make)
            self._mapped[path] = _map(path)
            while len(self._mapped) > MAX_MAPPED:
                self._mapped.popitem(last=False)
        self._mapped.move_to_end(path)
        return self._mapped[path]

    def __getstate__(self) -> dict[str, Any]:
        """Leave what is mapped to this process."""
        return {**self.__dict__, "_mapped": OrderedDict()}


def _rows(codes: StoredCodes) -> Array:
    """Steps as rows of a structured array."""
    columns = vars(codes)
    kinds: Any = [(name, array.dtype, array.shape[1:]) for name, array in columns.items()]
    rows = np.empty(len(codes), kinds)
    for name, array in columns.items():
        rows[name] = array
    return rows


def _make_once(path: Path, make: Callable[[IO[bytes]], None]) -> None:
    """Have one process make a file while others that want it wait.

    Raises:
        ReliveError: The folder takes no file, or the disk is full; nothing is left.
    """
    part = path.with_suffix(".part")
    with _writing(path), path.with_suffix(".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if path.exists():
                return
            with part.open("wb") as file:
                make(file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing does not, where a fork has the file, too


def _write(part: IO[bytes], count: int, none: Array, blocks: Iterable[Array]) -> None:
    """Write an array of `count` rows like those of `none` block by block, as `np.save` would."""
    header = {
        "descr": np.lib.format.dtype_to_descr(none.dtype),
        "fortran_order": False,
        "shape": (count, *none.shape[1:]),
    }
    np.lib.format.write_array_header_1_0(part, header)
    row_bytes = none.dtype.itemsize * int(np.prod(none.shape[1:], dtype=np.int64))
    if count * row_bytes and hasattr(os, "posix_fallocate"):
        part.flush()  # a disk that is too small says so before anything is decoded
        os.posix_fallocate(part.fileno(), part.tell(), count * row_bytes)
    for block in blocks:
        part.write(np.ascontiguousarray(block).tobytes())


def _map(path: Path) -> Array:
    """Map a file of ours.

    Raises:
        InputError: It has been changed or cut since it was made.
        ReliveError: It cannot be opened.
    """
    try:
        found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{path} is not whole ({error}); remove it: it is made anew") from error
    except OSError as error:
        raise ReliveError(f"cannot open {path}: {error.strerror}") from error
    return found


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in one line what the disk says."""
    try:
        yield
    except OSError as error:
        raise ReliveError(f"cannot write {path}: {error.strerror}") from error
