"""A folder of sessions for training: what is of no use is named and left out, never fatal.

```
 folder ──► .mcap, stores ──► open each ──► judge each ──► compare those of one game ──► Corpus
                                 │             │                    │
                                 └─────────────┴── Skipped ◄────────┘   name and reason
```
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from relive.cubes.store import SCARCE, SessionStore, find_stores, store_folder, unpack
from relive.errors import FormatError, InputError
from relive.session import Session, StateSchema

MIN_FRAMES = 34
"""A chain of 16 steps of two frames, and the pair before it."""

_OTHER_FILES = 256  # that a run has open beside its sessions
_NAMED = 3  # reasons in the message when nothing is left
_REPAIR = "relive repair saves what is whole of it"


@dataclass(frozen=True)
class Skipped:
    """A session that is left out.

    Attributes:
        name: Its path inside the folder.
        reason: Why, in one line.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Corpus:
    """The sessions of a folder.

    Attributes:
        stores: Those to train on: unpacked ones, then recordings, each sorted by path.
        skipped: Those that are left out, sorted by name.
    """

    stores: list[SessionStore]
    skipped: list[Skipped]

    def to_manifest(self) -> dict[str, Any]:
        """Return what was used and what was not, as plain values for JSON."""
        games = Counter(store.game for store in self.stores)
        return {
            "used": len(self.stores),
            "skipped": len(self.skipped),
            "frames": sum(len(store.frames) for store in self.stores),
            "games": dict(sorted(games.items())),
            "sessions": [store.name for store in self.stores],
            "skipped_sessions": [{"name": row.name, "reason": row.reason} for row in self.skipped],
        }


def open_corpus(
    folder: Path, cache: Path, progress: Callable[[int, int], None] | None = None
) -> Corpus:
    """Open every session of a folder that is fit for training.

    Left out are files that cannot be read, damaged sessions, those of fewer than 34 frames, those
    that show one picture all along, those with states that are not finite, and those that differ
    from most sessions of their game in schema or frame size.

    Args:
        folder: Recordings and stores, also in folders inside it.
        cache: Folder of the stores that are unpacked.
        progress: Told frames done and frames in all of the session that is unpacked.

    Raises:
        InputError: There is no folder, or no session in it that is fit.
        OSError: The cache cannot be written, such as on a full disk (ENOSPC), or the machine has
            not as many file descriptors as there are sessions.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one with sessions (.mcap) in it")
    paths = [*find_stores(folder), *sorted(folder.rglob("*.mcap"))]
    _allow_files(len(paths))
    fit: dict[str, SessionStore] = {}
    skipped: list[Skipped] = []
    for path in paths:
        name = str(path.relative_to(folder))
        opened = _open(path, cache, progress)
        if isinstance(opened, SessionStore):
            fit[name] = opened
        else:
            skipped.append(Skipped(name, opened))
    odd = _find_odd(fit)
    skipped += [Skipped(name, reason) for name, reason in odd.items()]
    stores = [store for name, store in fit.items() if name not in odd]
    skipped.sort(key=lambda row: row.name)
    if not stores:
        raise InputError(_nothing_left(folder, skipped))
    return Corpus(stores, skipped)


def family(game: str) -> str:
    """Name what the sessions of a game share their schema with: all maps of `doom:` are one game.

    A `gym:` environment is a game of its own; so is a name without a colon.
    """
    kind, colon, _ = game.partition(":")
    return kind if colon and kind != "gym" else game


def _allow_files(count: int) -> None:
    """Raise this process's limit of open files, as far as it may: every session holds one."""
    try:
        import resource
    except ModuleNotFoundError:  # no Unix: there is no such limit
        return
    wanted = count + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _open(
    path: Path, cache: Path, progress: Callable[[int, int], None] | None
) -> SessionStore | str:
    """Open a recording or a store.

    Returns:
        The store, or the reason why it is left out.
    """
    try:
        if path.is_dir():
            store = SessionStore.open(path)
        else:
            reason = None if store_folder(path, cache).exists() else _judge_recording(path)
            if reason:
                return reason  # not worth the disk
            store = unpack(path, cache, progress)
        return _judge(store) or store
    except (FormatError, InputError) as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in SCARCE:
            raise cause from None  # it says nothing about this session
        return f"{_line(error)}; {_REPAIR}" if isinstance(error, FormatError) else _line(error)
    except OSError as error:
        if error.errno != errno.EIO and str(error.filename) != str(path):
            raise  # it is the cache that cannot be written
        return f"it cannot be read: {error.strerror}"


def _judge_recording(path: Path) -> str | None:
    """Say why a recording is left out, as far as its index tells."""
    with Session.open(path) as session:
        return _judge_length(session.damaged, session.num_frames)


def _judge(store: SessionStore) -> str | None:
    """Say why a store is left out, or None."""
    reason = _judge_length(store.damaged, len(store.frames))
    if reason is None and not np.isfinite(store.states).all():
        row = int(np.argmin(np.isfinite(store.states).all(axis=1)))
        reason = f"its state of frame {row} is not finite"
    if reason is None and _is_constant(store):
        reason = f"all its {len(store.frames)} frames are one picture"
    return reason


def _judge_length(damaged: bool, num_frames: int) -> str | None:
    if damaged:
        return f"it is cut or damaged, {num_frames} frames are left; {_REPAIR}"
    if num_frames < MIN_FRAMES:
        return f"it has {num_frames} frames, training needs {MIN_FRAMES}"
    return None


def _is_constant(store: SessionStore) -> bool:
    """Say whether all frames are alike; reads no further than to the first that is not."""
    first = store.frames[0]
    return all(np.array_equal(frame, first) for frame in store.frames[1:])


def _find_odd(stores: dict[str, SessionStore]) -> dict[str, str]:
    """Find the sessions that differ from most of their game; of two equal parts the first wins.

    Returns:
        Their reasons, by name.
    """
    usual: dict[str, SessionStore] = {}
    for game in {family(store.game) for store in stores.values()}:
        members = [store for store in stores.values() if family(store.game) == game]
        kinds = Counter((store.schema, store.frames.shape[1:]) for store in members)
        usual[game] = next(
            store
            for store in members
            if (store.schema, store.frames.shape[1:]) == kinds.most_common(1)[0][0]
        )
    return {
        name: difference
        for name, store in stores.items()
        if (difference := _difference(store, usual[family(store.game)]))
    }


def _difference(store: SessionStore, usual: SessionStore) -> str | None:
    """Say in what a session differs from the usual one of its game, or None."""
    (height, width), (usual_height, usual_width) = store.frames.shape[1:3], usual.frames.shape[1:3]
    words = []
    if (height, width) != (usual_height, usual_width):
        words.append(f"frames of {width}x{height}, not {usual_width}x{usual_height}")
    if store.schema != usual.schema:
        words.append(_schema_difference(store.schema, usual.schema))
    if not words:
        return None
    game = family(store.game) or "sessions without a game"
    return f"it differs from most of {game}: {', '.join(words)}"


def _schema_difference(schema: StateSchema, usual: StateSchema) -> str:
    names, usual_names = ([field.name for field in s.fields] for s in (schema, usual))
    lost = [name for name in usual_names if name not in names]
    added = [name for name in names if name not in usual_names]
    if lost or added:
        words = [f"no state field {', '.join(lost)}"] if lost else []
        words += [f"state field {', '.join(added)} of its own"] if added else []
        return ", ".join(words)
    if names != usual_names:
        return "the order of its state fields"
    unlike = [
        one.name for one, other in zip(schema.fields, usual.fields, strict=True) if one != other
    ]
    if unlike:
        return f"unit, kind, role or step of state field {', '.join(unlike)}"
    return "its camera"


def _nothing_left(folder: Path, skipped: list[Skipped]) -> str:
    if not skipped:
        return f"{folder} has no sessions (.mcap) in it; record some first"
    reasons = "; ".join(f"{row.name}: {row.reason}" for row in skipped[:_NAMED])
    more = f"; and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
    return f"{folder} has no session that is fit for training: {reasons}{more}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
