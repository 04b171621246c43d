"""`relive restore`: a recording with gaps in, the same recording without them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from relive.restore.completing import complete
from relive.restore.gaps import SessionGaps
from relive.restore.hiding import Hidden, hidden_masks
from relive.restore.opening import Opened, open_recording
from relive.restore.output import Output, Row, Tally, check_output, write_rows

Progress = Callable[[int, int], None]


def restore(
    source: Path | str,
    out: Path | str | Output,
    *,
    hide: list[Hidden] | None = None,
    mask: Path | None = None,
    model: Path | None = None,
    progress: Progress | None = None,
) -> Tally:
    """Fill missing frames, damaged GOPs and hidden parts; times and states stay as they are.

    Args:
        source: a session or a replay.
        out: where to write, or a path alone.
        hide: rectangles to replace.
        mask: `.npz` with an array `hidden`, True where a pixel is to be replaced.
        model: that the replay needs; None for the bundled one.
        progress: told frames done and frames in all.

    Returns:
        What was written.

    Raises:
        InputError: All frames are missing, `out` exists, or what is hidden does not fit.
    """
    path, output = Path(source), out if isinstance(out, Output) else Output(Path(out))
    check_output(output, path)
    with open_recording(path, model) as opened:
        shape = opened.recording.height, opened.recording.width
        hidden = hidden_masks(hide or [], mask, opened.recording.times_ns, shape)
        gaps = opened.gaps(hidden)
        return write_rows(opened, _rows(opened, gaps, progress), output)


def _rows(opened: Opened, gaps: SessionGaps, progress: Progress | None) -> Iterator[Row]:
    total = opened.recording.num_frames
    for index in range(total):
        completed, mark = None, opened.generated(index)
        if gaps.lost[index] or index in gaps.hidden:
            completed, mark = complete(gaps, index), None
        yield Row(
            time_ns=int(gaps.times_ns[index]),
            state=gaps.states[index],
            pixels=gaps.source(index).pixels if completed is None else completed.pixels,
            regions=opened.regions(index),
            completed=completed,
            generated=mark,
            stated=bool(opened.stated[index]),
        )
        if progress:
            progress(index + 1, total)
