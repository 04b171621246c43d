"""Replays ──► a LeRobot dataset (v3.0): a row a step, pictures as H.264.

Needs pyarrow (extra `data`), not the package `lerobot`. The way back is in `lerobot_read.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relive.codec import Bundle, Replay
from relive.codec.output import beside
from relive.datasets.lerobot_layout import INFO, load_pyarrow
from relive.datasets.lerobot_write import DatasetWriter, Kind
from relive.datasets.rows import Columns, Steps, rate_of, refuse_damage, spans_of, steps_of
from relive.errors import InputError

Progress = Callable[[int, int], None]
CRF = 12
MAX_CRF = 51
TASK = "task"  # an event of this name says what is to be done from then on


def to_lerobot(
    replays: Sequence[Path | str],
    folder: Path | str,
    *,
    actions: Sequence[str] | None = None,
    task: str | None = None,
    fps: float | None = None,
    crf: int = CRF,
    model: Bundle | Path | str | None = None,
    tiers: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write the episodes of replays as one LeRobot dataset.

    A row holds the picture and the states of a frame, the action taken there, and the reward it
    brought: an episode of N + 1 frames is N rows, and its last frame has none. The fields
    `reward`, `episode` and `ended` become `next.reward`, `episode_index`, `next.done` and
    `next.truncated`; all other fields are `observation.state` or `action`.

    Args:
        replays: of one size, one schema and one rate.
        folder: to make.
        actions: names of state fields that are actions; None for `action`, `action.…` and the like.
        task: what is to be done, in words; None for the last event `task` before the episode,
            or else the name of the game.
        fps: rows a second: each holds the last frame at or before it. None for every frame, which
            then have to come at one rate.
        crf: of H.264, 4:4:4; 0 is RGB without loss.
        model: weights; None for the bundled ones.
        tiers: decode so many; None for all there are.
        force: overwrite a dataset in `folder`.
        progress: told rows done and rows in all (of this replay and those before).

    Returns:
        Number of rows.

    Raises:
        InputError: The replays do not go together, their frames come at no one rate, or some were
            generated.
        DamagedError: A replay is damaged; nothing is written.
        MissingExtraError: pyarrow is not installed.
    """
    load_pyarrow()
    if not replays:
        raise InputError("no replay is named")
    if not 0 <= crf <= MAX_CRF:
        raise InputError(f"crf {crf} is not from 0 to {MAX_CRF}")
    if fps is not None and not 0 < fps <= 1e6:
        raise InputError(f"fps {fps} is not over 0")
    rate = None if fps is None else Fraction(fps).limit_denominator(1001)
    paths, out = [Path(path) for path in replays], Path(folder)
    with beside(out, paths, force, _remove_dataset) as part:
        writer: DatasetWriter | None = None
        for path in paths:
            with Replay.open(path, model, tiers) as replay:
                kind = Kind.of(replay, actions, rate or rate_of(replay))
                if writer is None:
                    writer = DatasetWriter(part, kind, crf)
                if kind != writer.kind:
                    raise InputError(f"{path}: other size, fields or rate than {paths[0]}")
                with writer.closing():
                    _add(writer, replay, kind, task, exact=fps is None, progress=progress)
        assert writer is not None  # noqa: S101  there is a replay
        return writer.finish()


def _add(
    writer: DatasetWriter,
    replay: Replay,
    kind: Kind,
    task: str | None,
    *,
    exact: bool,
    progress: Progress | None,
) -> None:
    columns = Columns.of(replay, kind.actions)
    spans = spans_of(replay)
    episodes = [steps_of(replay, span, columns, kind.rate, exact) for span in spans]
    total = writer.num_rows + sum(map(len, episodes))

    def done() -> None:
        if progress:
            progress(writer.num_rows, total)

    for span, steps in zip(spans, episodes, strict=True):
        words = task or _task_at(replay, span.start) or replay.header.game or replay.path.stem
        writer.add(steps, held_pictures(replay, steps), words, done)


def held_pictures(replay: Replay, steps: Steps) -> Iterator[NDArray[np.uint8]]:
    """Decode the picture of every step, a GOP in memory at a time.

    Raises:
        DamagedError: One of them is damaged; told at the end.
    """
    times_shown = np.bincount(steps.held[:-1])
    first, last = int(steps.held[0]), int(steps.held[-2])
    for index, frame in enumerate(replay.iter_frames(first, last + 1), first):
        for _ in range(times_shown[index]):
            yield frame
    refuse_damage(replay)


def _task_at(replay: Replay, frame: int) -> str:
    moment = replay.times_ns[frame]
    said = [e.payload for e in replay.events if e.name == TASK and e.time_ns <= moment]
    return said[-1] if said else ""


def _remove_dataset(folder: Path) -> None:
    """Remove a dataset that is overwritten; a folder with anything else is refused."""
    ours = {"meta", "data", "videos"}
    foreign = next((p.name for p in sorted(folder.iterdir()) if p.name not in ours), None)
    if foreign is not None or not (folder / INFO).is_file():
        what = f"holds {foreign}, which is" if foreign else "is"
        raise InputError(f"{folder} {what} no part of a LeRobot dataset; name another folder")
    shutil.rmtree(folder)
