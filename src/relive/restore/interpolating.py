"""`relive interpolate`: frames between frames, from both neighbours and the state between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relive.errors import InputError
from relive.restore.completing import complete_between
from relive.restore.gaps import SessionGaps
from relive.restore.opening import Opened, open_recording, state_at
from relive.restore.output import Output, Row, Tally, check_output, write_rows

Progress = Callable[[int, int], None]
NS = 1_000_000_000
SAME_NS = 1000  # a recorded frame this near is taken as it is
MAX_FPS = 1000
MAX_FRAMES = 1 << 22


def interpolate(
    source: Path | str,
    out: Path | str | Output,
    fps: Fraction,
    *,
    model: Path | None = None,
    progress: Progress | None = None,
) -> Tally:
    """Write a recording at another rate; frames that were recorded at a time are kept as they are.

    Args:
        source: a session or a replay.
        out: where to write, or a path alone.
        fps: frames a second of the output, exact.
        model: that the replay needs; None for the bundled one.
        progress: told frames done and frames in all.

    Returns:
        What was written.

    Raises:
        InputError: The rate is out of range, all frames are missing, or `out` exists.
    """
    path = Path(source)
    output = out if isinstance(out, Output) else Output(Path(out), by="interpolate")
    if not 0 < fps <= MAX_FPS:
        raise InputError(f"--fps {fps} is not a rate over 0 and up to {MAX_FPS}")
    check_output(output, path)
    with open_recording(path, model) as opened:
        there = np.flatnonzero(~opened.lost)
        times = grid(
            int(opened.recording.times_ns[there[0]]), int(opened.recording.times_ns[there[-1]]), fps
        )
        return write_rows(opened, _rows(opened, opened.gaps({}), times, progress), output)


def grid(first_ns: int, last_ns: int, fps: Fraction) -> list[int]:
    """Times of a steady rate, each rounded to the nanosecond by itself, so that none drifts.

    Raises:
        InputError: They would be too many.
    """
    count = int((last_ns - first_ns) * fps / NS) + 1
    if count > MAX_FRAMES:
        raise InputError(f"{count} frames at {fps} frames a second are over {MAX_FRAMES}")
    return [first_ns + round(number * NS / fps) for number in range(count)]


def _rows(
    opened: Opened, gaps: SessionGaps, times: list[int], progress: Progress | None
) -> Iterator[Row]:
    there = np.flatnonzero(~gaps.lost)
    known_ns = gaps.times_ns[there]
    for number, time in enumerate(times):
        near = int(np.abs(known_ns - time).argmin())
        if abs(int(known_ns[near]) - time) <= SAME_NS:
            index = int(there[near])
            yield Row(time, gaps.states[index], gaps.source(index).pixels, opened.regions(index))
        else:
            yield _between(opened, gaps, time)
        if progress:
            progress(number + 1, len(times))


def _between(opened: Opened, gaps: SessionGaps, time_ns: int) -> Row:
    state: NDArray[np.float32] = state_at(
        opened.recording.schema, gaps.times_ns, gaps.states, time_ns
    )
    completed = complete_between(gaps.between(time_ns, state))
    return Row(time_ns, state, completed.pixels, None, completed)
