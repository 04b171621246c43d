"""Sessions as memory-mapped arrays, so that training reads crops without decoding.

A store is a folder: frames.npy uint8 `[T, H, W, 3]`, states.npy float32 `[T, S]`, times_ns.npy
int64 `[T]`, schema.json. `unpack` makes one from a recording, once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relive.errors import InputError
from relive.session import Session, StateSchema

BLOCK_FRAMES = 32


@dataclass(frozen=True)
class SessionStore:
    """One session, memory-mapped."""

    name: str
    frames: NDArray[np.uint8]
    states: NDArray[np.float32]
    times_ns: NDArray[np.int64]
    schema: StateSchema

    @classmethod
    def open(cls, folder: Path) -> SessionStore:
        """Map the arrays of a store.

        Raises:
            InputError: The folder is not a store.
        """
        try:
            schema = StateSchema.from_dict(json.loads((folder / "schema.json").read_text()))
            frames = np.load(folder / "frames.npy", mmap_mode="r")
            states = np.load(folder / "states.npy")
            times = np.load(folder / "times_ns.npy")
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} is not an unpacked session: {error}") from error
        return cls(folder.name, frames, states, times, schema)


def unpack(
    path: Path, cache: Path, progress: Callable[[int, int], None] | None = None
) -> SessionStore:
    """Unpack a recording into the cache, or map what is there already.

    Args:
        path: the `.mcap` recording.
        cache: folder of the stores.
        progress: told frames done and frames in all.
    """
    stat = path.stat()
    mark = hashlib.sha256(f"{path.resolve()}{stat.st_size}{stat.st_mtime_ns}".encode()).hexdigest()
    folder = cache / f"{path.stem}-{mark[:12]}"
    if folder.exists():
        return SessionStore.open(folder)
    part = cache / f"{folder.name}.{os.getpid()}.part"
    part.mkdir(parents=True)
    try:
        _write_arrays(path, part, progress)
    except BaseException:
        shutil.rmtree(part)
        raise
    try:
        part.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        shutil.rmtree(part)  # another process was first, with the same recording
    return SessionStore.open(folder)


def _write_arrays(path: Path, part: Path, progress: Callable[[int, int], None] | None) -> None:
    """Decode a recording into the arrays of a store."""
    with Session.open(path) as session:
        count = session.num_frames
        shape = (count, session.height, session.width, 3)
        frames = np.lib.format.open_memmap(
            part / "frames.npy", mode="w+", dtype=np.uint8, shape=shape
        )
        for start in range(0, count, BLOCK_FRAMES):
            stop = min(start + BLOCK_FRAMES, count)
            frames[start:stop] = session.frames(start, stop)
            if progress:
                progress(stop, count)
        frames.flush()
        np.save(part / "states.npy", session.states)
        np.save(part / "times_ns.npy", session.times_ns)
        (part / "schema.json").write_text(json.dumps(session.schema.to_dict()))


def open_folder(
    folder: Path, cache: Path, progress: Callable[[int, int], None] | None = None
) -> list[SessionStore]:
    """Open every session of a folder, recordings and stores alike, sorted by name.

    Raises:
        InputError: There is none.
    """
    stores = [
        SessionStore.open(p.parent)
        for p in sorted(folder.rglob("frames.npy"))
        if not p.parent.name.endswith(".part")
    ]
    stores += [unpack(p, cache, progress) for p in sorted(folder.rglob("*.mcap"))]
    if not stores:
        raise InputError(f"{folder} has no sessions (.mcap) in it; record some first")
    return stores
