"""Sessions as memory-mapped arrays, so that training reads crops without decoding.

A store is a folder: frames.npy uint8 `[T, H, W, 3]`, states.npy float32 `[T, S]`, times_ns.npy
int64 `[T]`, schema.json, and meta.json with the name of the game. `unpack` makes one from a
recording, once.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from relive.errors import InputError
from relive.session import Session, StateSchema

BLOCK_FRAMES = 32
META = "meta.json"
SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What a machine runs out of that opens many sessions."""


@dataclass(frozen=True)
class SessionStore:
    """One session, memory-mapped.

    Attributes:
        name: Of its folder.
        frames: uint8 `[T, H, W, 3]`.
        states: float32 `[T, S]`.
        times_ns: int64 `[T]`.
        schema: The fields of the state.
        game: What was recorded, "" if unknown.
        damaged: The recording was not finalised, or a part of it is lost.
    """

    name: str
    frames: NDArray[np.uint8]
    states: NDArray[np.float32]
    times_ns: NDArray[np.int64]
    schema: StateSchema
    game: str = ""
    damaged: bool = False

    @property
    def fps(self) -> float:
        """Frames a second, from the median time between frames; 0 for a single frame."""
        interval_ns = float(np.median(np.diff(self.times_ns))) if len(self.times_ns) > 1 else 0.0
        return 1e9 / interval_ns if interval_ns else 0.0

    @classmethod
    def open(cls, folder: Path) -> SessionStore:
        """Map the arrays of a store.

        Raises:
            InputError: The folder is not a store.
            OSError: The machine has no file descriptor, or no memory, left (`SCARCE`).
        """
        try:
            schema = StateSchema.from_dict(json.loads((folder / "schema.json").read_text()))
            frames = np.load(folder / "frames.npy", mmap_mode="r")
            states = np.load(folder / "states.npy")
            times = np.load(folder / "times_ns.npy")
            meta = _read_meta(folder)
        except OSError as error:
            if error.errno in SCARCE:
                raise  # it says nothing about the store
            raise InputError(f"{folder} is not an unpacked session: {error}") from error
        except (EOFError, ValueError) as error:
            raise InputError(f"{folder} is not an unpacked session: {error}") from error
        whole = frames.ndim == 4 and frames.shape[3] == 3 and frames.dtype == np.uint8
        count = frames.shape[:1]
        if not whole or states.shape != (*count, schema.width) or times.shape != count:
            raise InputError(
                f"{folder} is not an unpacked session: frames {list(frames.shape)}, states "
                f"{list(states.shape)} and times {list(times.shape)} do not belong together"
            )
        return cls(
            folder.name,
            frames,
            states,
            times,
            schema,
            str(meta.get("game", "")),
            bool(meta.get("damaged")),
        )


def store_folder(path: Path, cache: Path) -> Path:
    """Name the store of a recording inside the cache; another one when the recording changes."""
    stat = path.stat()
    mark = hashlib.sha256(f"{path.resolve()}{stat.st_size}{stat.st_mtime_ns}".encode()).hexdigest()
    return cache / f"{path.stem}-{mark[:12]}"


def unpack(
    path: Path, cache: Path, progress: Callable[[int, int], None] | None = None
) -> SessionStore:
    """Unpack a recording into the cache, or map what is there already.

    Several processes may do so at once. Where it fails, nothing is left behind.

    Args:
        path: the `.mcap` recording.
        cache: folder of the stores.
        progress: told frames done and frames in all.

    Raises:
        InputError: It is no recording.
        FormatError: A frame of it is damaged.
        OSError: The disk is full, or the cache cannot be written.
    """
    folder = store_folder(path, cache)
    if folder.exists():
        if not (folder / META).exists():  # made before stores knew their game
            with Session.open(path) as session:
                _write_meta(session, folder)
        return SessionStore.open(folder)
    part = cache / f"{folder.name}.{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)  # of a killed process that had this number
    part.mkdir(parents=True)
    try:
        _write_arrays(path, part, progress)
    except BaseException:
        shutil.rmtree(part)
        raise
    try:
        part.rename(folder)
    except OSError:
        shutil.rmtree(part)
        if not folder.exists():
            raise
        # Another process was first, with the same recording.
    return SessionStore.open(folder)


def _write_arrays(path: Path, part: Path, progress: Callable[[int, int], None] | None) -> None:
    """Decode a recording into the arrays of a store.

    They are written, not mapped: on a full disk a write fails with an error, a mapped page kills
    the process.
    """
    with Session.open(path) as session:
        count = session.num_frames
        with (part / "frames.npy").open("wb") as file:
            _write_head(file, np.uint8, (count, session.height, session.width, 3))
            for start in range(0, count, BLOCK_FRAMES):
                stop = min(start + BLOCK_FRAMES, count)
                file.write(session.frames(start, stop).data)
                if progress:
                    progress(stop, count)
        save_array(part / "states.npy", session.states)
        save_array(part / "times_ns.npy", session.times_ns)
        (part / "schema.json").write_text(json.dumps(session.schema.to_dict()))
        _write_meta(session, part)


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as .npy; unlike np.save, a full disk is named as such (ENOSPC)."""
    with path.open("wb") as file:
        _write_head(file, array.dtype, array.shape)
        file.write(np.ascontiguousarray(array).data)


def _write_head(file: BinaryIO, dtype: Any, shape: tuple[int, ...]) -> None:
    head = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)


def _write_meta(session: Session, folder: Path) -> None:
    part = folder / f"{META}.{os.getpid()}.part"
    part.write_text(json.dumps({"game": session.game, "damaged": session.damaged}))
    part.replace(folder / META)


def _read_meta(folder: Path) -> dict[str, Any]:
    """Read what is known of a recording beside its arrays; nothing in a store of old."""
    path = folder / META
    meta = json.loads(path.read_text()) if path.exists() else {}
    if not isinstance(meta, dict):
        raise ValueError(f"{META} is not a table")
    return meta


def open_folder(
    folder: Path, cache: Path, progress: Callable[[int, int], None] | None = None
) -> list[SessionStore]:
    """Open every session of a folder, recordings and stores alike, sorted by name.

    Raises:
        InputError: There is none.
    """
    stores = [SessionStore.open(path) for path in find_stores(folder)]
    stores += [unpack(path, cache, progress) for path in sorted(folder.rglob("*.mcap"))]
    if not stores:
        raise InputError(f"{folder} has no sessions (.mcap) in it; record some first")
    return stores


def find_stores(folder: Path) -> list[Path]:
    """Return the folders of the stores inside a folder, sorted, half-made ones left out."""
    folders = sorted(path.parent for path in folder.rglob("frames.npy"))
    return [path for path in folders if not path.name.endswith(".part")]
