"""Write a session again with the regions that were found in it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from relive.errors import InputError, ReliveError
from relive.regions.finding import Found, Progress
from relive.session import Recorder, Session
from relive.session.marks import UNSTATED


def check_output(source: Path, out: Path, force: bool) -> None:
    """Refuse, before any work, what could not be written.

    Raises:
        InputError: There is no such folder, it exists, or it is the session itself.
    """
    if not out.parent.is_dir():
        raise InputError(f"cannot write {out}: there is no folder {out.parent}")
    if out.exists() and source.exists() and out.samefile(source):
        raise InputError(f"{out} is the session itself; choose another name")
    if out.exists() and not force:
        raise InputError(f"{out} exists; add --force to overwrite it")


def write_regions(
    session: Session,
    found: Found,
    out: Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> None:
    """Copy a session, with found regions in place of those that it has.

    Frames, times, states, gaps and events stay as they are. The file is written under another name
    and renamed when it is whole.

    Args:
        session: an open session.
        found: its regions.
        out: the session to write (.mcap).
        force: overwrite it.
        progress: told frames done and frames in all.

    Raises:
        InputError: It cannot be written there.
        ReliveError: The disk is full, or cannot be written.
    """
    check_output(session.path, out, force)
    try:
        with TemporaryDirectory(prefix=".relive-", dir=out.parent) as folder:
            part = Path(folder) / out.name
            _record(session, found, part, progress)
            part.replace(out)
    except OSError as error:
        raise ReliveError(f"cannot write {out}: {error.strerror or error}") from error


def _record(session: Session, found: Found, part: Path, progress: Progress | None) -> None:
    stated, events = session.stated, list(session.events)
    with Recorder(part, session.schema, found.schema, game=session.game) as recorder:
        for index in range(session.num_frames):
            present = bool(session.present[index])
            recorder.add(
                session.frame(index) if present else None,
                session.states[index] if stated[index] else None,
                int(session.times_ns[index]),
                found.maps(index, index + 1)[0] if present else None,
            )
            if progress:
                progress(index + 1, session.num_frames)
        for event in events:
            if event.name != UNSTATED or session.schema.width == 0:
                recorder.event(event.name, event.payload, event.time_ns)
