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
SAME = Fraction(1, 100)  # of the interval: a recorded frame this near is taken as it is
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
        there = opened.recording.times_ns[~opened.lost]
        times = grid(int(there[0]), int(there[-1]), fps)
        rows = _rows(opened, opened.gaps({}), times, NS * SAME / fps)
        return write_rows(opened, _told(rows, len(times), progress), output)


def grid(first_ns: int, last_ns: int, fps: Fraction) -> list[int]:
    """Times of a steady rate, each rounded to the nanosecond by itself, so that none drifts.

    Raises:
        InputError: They would be too many.
    """
    count = int((last_ns - first_ns) * fps / NS + SAME) + 1
    if count > MAX_FRAMES:
        raise InputError(f"{count} frames at {fps} frames a second are over {MAX_FRAMES}")
    return [first_ns + round(number * NS / fps) for number in range(count)]


def _rows(opened: Opened, gaps: SessionGaps, times: list[int], same_ns: Fraction) -> Iterator[Row]:
    there = np.flatnonzero(~gaps.lost)
    known_ns = gaps.times_ns[there]
    for time in times:
        near = int(np.abs(known_ns - time).argmin())
        if abs(int(known_ns[near]) - time) <= same_ns:
            index = int(there[near])
            yield Row(
                time_ns=time,
                state=gaps.states[index],
                pixels=gaps.source(index).pixels,
                regions=opened.regions(index),
                generated=opened.generated(index),
                stated=bool(opened.stated[index]),
            )
        else:
            yield _between(opened, gaps, time)


def _told(rows: Iterator[Row], total: int, progress: Progress | None) -> Iterator[Row]:
    for number, row in enumerate(rows, 1):
        yield row
        if progress:
            progress(number, total)


def _between(opened: Opened, gaps: SessionGaps, time_ns: int) -> Row:
    state: NDArray[np.float32] = state_at(
        opened.recording.schema, gaps.times_ns, gaps.states, time_ns
    )
    completed = complete_between(gaps.between(time_ns, state))
    after = int(np.searchsorted(gaps.times_ns, time_ns))
    stated = bool(opened.stated[after - 1 : after + 1].all())
    return Row(time_ns, state, completed.pixels, None, completed, stated=stated)
