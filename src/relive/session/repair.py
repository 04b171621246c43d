"""Checking a recording, and saving what is whole of a damaged one."""

from collections.abc import Callable
from pathlib import Path

from relive.errors import InputError
from relive.session.recorder import Recorder
from relive.session.session import Session


def verify_session(path: Path | str) -> list[str]:
    """Check every checksum and every frame of a recording; return one line for each problem.

    Raises:
        InputError: There is no such file, or nothing of it is whole.
        FormatError: It is no recording, or its header is damaged.
    """
    with Session.open(path) as opened:
        present, cut = int(opened.present.sum()), opened.damaged
    with Session.open(path, verify=True) as checked:
        lost = present - int(checked.present.sum())
        problems = ["the recording was not finalised, or a part of it is lost"] if cut else []
        if lost:
            problems.append(f"{lost} of {checked.num_frames} frames cannot be read")
        elif checked.damaged and not cut:
            problems.append("some region maps cannot be read")
    return problems


def repair_session(
    path: Path | str,
    out: Path | str,
    *,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, list[str]]:
    """Write everything that is whole in a recording to a clean one.

    Frames keep their times; those that cannot be read become missing ones.

    Args:
        path: The recording.
        out: The recording to write.
        force: Overwrite `out`.
        progress: Is told the frames done and the frames in all.

    Returns:
        The frames written, missing ones not counted, and one line for each problem.

    Raises:
        InputError: The input is missing, the output exists, or both are one file.
        FormatError: It is no recording, or its header is damaged.
    """
    if Path(out).exists() and Path(out).samefile(path):
        raise InputError(f"{out} is the damaged file itself; give another output")
    problems = verify_session(path)
    with Session.open(path, verify=True) as session:
        _copy(session, out, force, progress)
        return int(session.present.sum()), problems


def _copy(
    session: Session, out: Path | str, force: bool, progress: Callable[[int, int], None] | None
) -> None:
    total = session.num_frames
    with Recorder(
        out, session.schema, session.region_schema, game=session.game, force=force
    ) as recorder:
        for event in session.events:
            recorder.event(event.name, event.payload, event.time_ns)
        for i in range(total):
            frame = session.frame(i) if session.present[i] else None
            regions = None if frame is None else session.regions(i, i + 1)
            labelled = regions is not None and bool(regions.any())
            recorder.add(
                frame,
                session.states[i],
                int(session.times_ns[i]),
                regions[0] if labelled and regions is not None else None,
            )
            if progress is not None:
                progress(i + 1, total)
