"""Episodes as NPZ, as world models keep them (DreamerV2 and V3, IRIS, D4RL) ◄──► replays, sessions.

```
 replay ──► 00000.npz …: image, action, reward, is_first, is_last, is_terminal, a row of each field
 NPZ ──► session
```
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.codec import Bundle, Replay
from relive.codec.output import beside
from relive.datasets.episodes import ENDED, EPISODE, REWARD, action_names, episodes
from relive.datasets.npz_file import FPS, SCHEMA, NpzEpisode
from relive.datasets.rows import Part, add_rows, led_rows, refuse_damage, spans_of
from relive.errors import InputError
from relive.session import Recorder, StateField, StateSchema

Progress = Callable[[int, int], None]
Columns = Mapping[str, NDArray[Any]]
IMAGE, ACTION, PRESENT, DEFAULT_FPS = "image", "action", "present", 30.0
FIRST, LAST, TERMINAL = "is_first", "is_last", "is_terminal"
_REWARDS = ("reward", "rewards")
_TERMINALS = (TERMINAL, "terminal", "terminals", "terminated", "terminations")
_DONES = ("done", "dones", "ends")
_CUTS = (LAST, "truncated", "truncations", "timeouts")
_FLAGS = (FIRST, *_TERMINALS, *_DONES, *_CUTS, PRESENT)
_MAX_WHOLE = 1 << 24  # a float32 holds every whole number to here


def to_npz(
    replays: Sequence[Path | str],
    folder: Path | str,
    *,
    actions: Sequence[str] | None = None,
    model: Bundle | Path | str | None = None,
    tiers: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write every episode of replays as an NPZ file of its own; one is in memory at a time.

    Arrays of T rows: `image` uint8 `[T, H, W, 3]`, `action` float32 `[T, A]` and `reward` that led
    to the picture (0 in the first row, as in DreamerV2), `is_first`, `is_last`, `is_terminal`,
    `present` where pictures are missing, and every other field under its name. `fps` and `schema`
    are single values.

    Args:
        replays: to read.
        folder: to make.
        actions: names of state fields that are actions; None for `action`, `action.…` and the like.
        model: weights; None for the bundled ones.
        tiers: decode so many; None for all there are.
        force: overwrite a folder of NPZ files.
        progress: told frames done and frames in all, of each replay.

    Returns:
        Number of files.

    Raises:
        InputError: A replay has no such action, a field has the name of another array, or frames
            were generated.
        DamagedError: A replay is damaged; nothing is written.
    """
    paths, out, written = [Path(path) for path in replays], Path(folder), 0
    with beside(out, paths, force, _remove_files) as part:
        part.mkdir()
        for path in paths:
            with Replay.open(path, model, tiers) as replay:
                for arrays in _episode_arrays(replay, actions, progress):
                    np.savez_compressed(part / f"{written:05d}.npz", **arrays)
                    written += 1
        if not written:
            raise InputError("no replay with an episode of two frames")
    return written


def _episode_arrays(
    replay: Replay, named: Sequence[str] | None, progress: Progress | None
) -> Iterator[dict[str, Any]]:
    names, actions = [field.name for field in replay.schema.fields], action_names(replay, named)
    kept = [name for name in names if name not in actions]
    taken = {IMAGE, ACTION, FIRST, LAST, TERMINAL, PRESENT, FPS, SCHEMA}
    for name in kept:
        if name in taken:
            raise InputError(f"{replay.path}: the field {name!r} has the name of another array")
    spans = spans_of(replay)
    for span, episode in zip(spans, episodes(replay, actions), strict=True):
        refuse_damage(replay)
        number = np.arange(len(span))
        last = number == len(span) - 1
        arrays: dict[str, Any] = {
            IMAGE: episode.frames,
            FIRST: number == 0,
            LAST: last,
            TERMINAL: last & episode.terminated,
            FPS: np.array(replay.fps),
            SCHEMA: np.array(json.dumps(replay.schema.to_dict())),
        }
        if actions:
            arrays[ACTION] = np.concatenate([np.zeros_like(episode.actions[:1]), episode.actions])
        there = replay.present[span.start : span.stop]
        if not there.all():
            arrays[PRESENT] = there.copy()
        columns = zip(kept, episode.states.T, strict=True)
        arrays |= {name: rows for name, rows in columns if name not in (EPISODE, ENDED)}
        arrays.setdefault(REWARD, np.append(np.float32(0), episode.rewards))
        yield arrays
        if progress:
            progress(span.stop, spans[-1].stop)


def _remove_files(folder: Path) -> None:
    """Remove a folder of NPZ files that is overwritten; one with anything else is refused."""
    files = sorted(folder.iterdir())
    foreign = next((file.name for file in files if file.suffix != ".npz"), None)
    if foreign is not None:
        raise InputError(f"{folder} holds {foreign}, which is no .npz; name another folder")
    shutil.rmtree(folder)


def from_npz(
    source: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    frame: str | None = None,
    after: Sequence[str] = (),
    fps: float | None = None,
    game: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write episodes in NPZ files as a session.

    An array of one number a row becomes a field of its name, wider ones `name[0]`, `name[1]`, …;
    `reward` or `rewards` becomes `reward`. Rows stand at their pictures, those of an array with one
    row less from the second picture on. A new episode begins with each file, where `is_first` is
    set, and behind `is_last`, `done`, `truncated`, `terminal` and their like; `ended` is set where
    the game ended it. Single values are left out.

    Args:
        source: a file, files, or a folder whose `*.npz` are taken in the order of their names.
        out: `.mcap` to write.
        frame: name of the pictures, where several arrays are uint8 `[T, H, W, 3]`.
        after: names of arrays whose rows tell of the time *after* their picture, as `action` does
            in D4RL, IRIS and DreamerV3. They move to the next picture; behind the last one of the
            episode stands a missing frame that holds theirs.
        fps: frames a second; None for what the files say, else 30.
        game: what was played; None for `npz:` and the name of the source.
        force: overwrite `out`.
        progress: told files done and files in all.

    Returns:
        Number of frames written, missing ones among them.

    Raises:
        InputError: A file is none, or its arrays do not fit each other or those of the others.
    """
    paths, name = _files(source)
    if fps is not None and not 0 < fps <= 1e6:
        raise InputError(f"fps {fps} is not over 0")
    out, schema, recorder, episode = Path(out), StateSchema(), None, 0
    with beside(out, paths, force) as part, ExitStack() as stack:
        for number, path in enumerate(paths):
            with NpzEpisode(path, frame) as file:
                rows = _Rows.of(file, after)
                if recorder is None:
                    rate = Fraction(fps or file.fps or DEFAULT_FPS).limit_denominator(10**6)
                    schema = rows.schema
                    made = Recorder(part, schema, game=game or f"npz:{name}", force=True)
                    recorder = stack.enter_context(made)
                if rows.schema != schema:
                    raise InputError(f"{path}: other fields than {paths[0]}")
                episode = _record(recorder, file, rows, rate, episode)
            if progress:
                progress(number + 1, len(paths))
    return recorder.num_frames if recorder else 0


def _files(source: Path | str | Sequence[Path | str]) -> tuple[list[Path], str]:
    """The files of a source, and its name."""
    if not isinstance(source, Path | str):
        paths = [Path(path) for path in source]
        if not paths:
            raise InputError("no NPZ file is named")
        return paths, paths[0].name
    path = Path(source)
    if not path.is_dir():
        return [path], path.name
    paths = sorted(path.glob("*.npz"))
    if not paths:
        raise InputError(f"{path}: there is no .npz file in it")
    return paths, path.resolve().name


@dataclass(frozen=True)
class _Rows:
    """The arrays of a file as fields.

    Attributes:
        parts: name of each array and its rows, `[T, W]`; rewards are the last.
        after: names of those that belong to the next picture.
        starts, terminal: bool `[T]`: an episode begins here, was ended by the game here.
        present: bool `[T]`.
        schema: of the session.
    """

    parts: list[tuple[str, NDArray[Any]]]
    after: frozenset[str]
    starts: NDArray[np.bool_]
    terminal: NDArray[np.bool_]
    present: NDArray[np.bool_]
    schema: StateSchema

    @classmethod
    def of(cls, file: NpzEpisode, after: Sequence[str]) -> _Rows:
        columns = file.columns()
        for name in after:
            if name not in columns or name in _FLAGS:
                raise InputError(
                    f"{file.path}: no array {name!r} that could tell of the time after; there are "
                    f"{', '.join(sorted(set(columns) - set(_FLAGS))) or 'none'}"
                )
        flags = {name: _flag(file, name, columns[name]) for name in _FLAGS if name in columns}
        starts, terminal = _ends(flags, file.num_frames)
        wide = {name: _checked(file, name, v) for name, v in columns.items() if name not in flags}
        rewards = [name for name in _REWARDS if name in wide and wide[name].ndim == 1]
        order = [name for name in wide if name not in rewards[:1]] + rewards[:1]
        fields = _fields(file, {name: wide[name] for name in order}, rewards[:1])
        parts = [(name, wide[name].reshape(file.num_frames, -1)) for name in order]
        present = flags.get(PRESENT, np.ones(file.num_frames, np.bool_))
        return cls(parts, frozenset(after), starts, terminal, present, fields)


def _record(recorder: Recorder, file: NpzEpisode, rows: _Rows, rate: Fraction, episode: int) -> int:
    """Record the episodes of a file; the number of the next one."""
    bounds = [*np.flatnonzero(rows.starts).tolist(), file.num_frames]
    pictures = file.pictures()
    with closing(pictures):
        for low, high in pairwise(bounds):
            parts = [Part(np.zeros((high - low, 0)))]
            parts += [Part(values[low:high], name in rows.after) for name, values in rows.parts]
            led = led_rows(parts, episode, bool(rows.terminal[high - 1]))
            shown = (
                picture if there else None
                for picture, there in zip(
                    islice(pictures, high - low), rows.present[low:high], strict=True
                )
            )
            add_rows(recorder, shown, led, rate, str(file.path))
            episode += 1
    return episode


def _flag(file: NpzEpisode, name: str, values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.size != file.num_frames:
        raise InputError(f"{file.path}: {name!r} has not one value a frame, and it is a flag")
    return np.asarray(values.reshape(-1) != 0)


def _ends(
    flags: Mapping[str, NDArray[np.bool_]], count: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where episodes begin, and where the game ended one."""

    def any_of(names: Sequence[str]) -> NDArray[np.bool_]:
        found = [flags[name] for name in names if name in flags]
        return np.asarray(np.logical_or.reduce([np.zeros(count, np.bool_), *found]))

    terminal, done, cut = any_of(_TERMINALS), any_of(_DONES), any_of(_CUTS)
    if not any(name in flags for name in _TERMINALS):
        terminal = done & ~cut
    starts = any_of((FIRST,))
    starts[1:] |= (terminal | done | cut)[:-1]
    starts[0] = True
    return starts, terminal


def _checked(file: NpzEpisode, name: str, values: NDArray[Any]) -> NDArray[Any]:
    if (
        values.dtype.kind in "iu"
        and values.size
        and np.abs(values.astype(object)).max() > _MAX_WHOLE
    ):
        raise InputError(
            f"{file.path}: {name!r} has whole numbers over {_MAX_WHOLE}, which a float32 state "
            "cannot hold; leave it out"
        )
    return values


def _fields(file: NpzEpisode, columns: Columns, rewards: Sequence[str]) -> StateSchema:
    known, schema = {field.name: field for field in file.schema.fields}, file.schema
    names: list[str] = []
    for name, values in columns.items():
        if name in rewards:
            names.append(REWARD)
        else:
            names += (
                [name] if values.ndim == 1 else [f"{name}[{n}]" for n in range(values.shape[1])]
            )
    marks = [StateField(EPISODE, kind="counter"), StateField(ENDED, kind="category")]
    try:
        fields = [known.get(name, StateField(name)) for name in names]
        return StateSchema((*fields, *marks), schema.camera)
    except InputError as error:
        raise InputError(f"{file.path}: {error}; rename the array") from None
