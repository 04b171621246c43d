"""Write what was completed: a session first, and from it a replay, a video or pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from relive.codec import encode
from relive.codec.output import VIDEO_SUFFIXES, write_beside, write_pictures, write_video
from relive.errors import InputError, ReliveError
from relive.restore.completing import Completed
from relive.restore.confidence import ConfidenceFile, refuse_foreign
from relive.restore.opening import REPLAY_SUFFIX, Opened
from relive.restore.sources import Frame
from relive.session import Event, Recorder, Session
from relive.session.marks import GENERATED, MARKS, UNSTATED, generated_payload

SESSION_SUFFIX = ".mcap"


@dataclass(frozen=True)
class Row:
    """A frame to write.

    Attributes:
        time_ns: its time.
        state: float32 `[S]`.
        pixels: uint8 `[H, W, 3]`.
        regions: uint8 `[H, W]`, of a recorded frame.
        completed: what was generated of it; None where all of it was recorded.
        generated: the mark of a frame that an earlier run generated.
        stated: whether the state was recorded, or lies between two that were.
    """

    time_ns: int
    state: NDArray[np.float32]
    pixels: Frame
    regions: NDArray[np.uint8] | None = None
    completed: Completed | None = None
    generated: Event | None = None
    stated: bool = True


@dataclass(frozen=True)
class Output:
    """Where and how to write.

    Attributes:
        path: `.mcap`, `.relive`, `.mp4`, `.mkv`, or a folder for pictures.
        confidence: `.npz` or a folder for the maps of confidence; None for none.
        force: overwrite both.
        by: the verb, for the marks.
        model: of the replay to write; None for the bundled one.
        quality: of the replay to write; None for the default.
    """

    path: Path
    confidence: Path | None = None
    force: bool = False
    by: str = "restore"
    model: Path | None = None
    quality: int | None = None


@dataclass
class Tally:
    """What was written.

    Attributes:
        frames: in all.
        generated: that were made whole.
        repaired: that were made in part.
        share: of all pixels that were made.
        confidence: mean over the pixels that were made; None where none were.
    """

    frames: int = 0
    generated: int = 0
    repaired: int = 0
    share: float = 0.0
    confidence: float | None = None


def check_output(output: Output, source: Path) -> None:
    """Refuse, before any work, what could not be written.

    Raises:
        InputError: It exists, is the input itself, or is of no known kind.
    """
    out, suffix = output.path, output.path.suffix.lower()
    if suffix not in ("", SESSION_SUFFIX, REPLAY_SUFFIX, *VIDEO_SUFFIXES):
        raise InputError(
            f"cannot write {out}: name a .mcap, .relive, .mp4 or .mkv file, or a folder"
        )
    if output.confidence is not None:
        if output.confidence.suffix.lower() not in ("", ".npz"):
            raise InputError(f"{output.confidence}: confidence goes into an .npz file or a folder")
        if output.confidence.resolve() == out.resolve():
            raise InputError(f"{out} cannot be the output and its map of confidence")
    for path in filter(None, (out, output.confidence)):
        if not path.parent.is_dir():
            raise InputError(f"cannot write {path}: there is no folder {path.parent}")
        if path.exists() and source.exists() and path.samefile(source):
            raise InputError(f"{path} is the input itself; choose another name")
        if path.exists() and not output.force:
            raise InputError(f"{path} exists; add --force to overwrite it")
        if path.exists() and path.is_dir() == bool(path.suffix):
            raise InputError(f"cannot write {path}: it is a {'folder' if path.suffix else 'file'}")
        if path.is_dir():
            refuse_foreign(path)


def write_rows(opened: Opened, rows: Iterable[Row], output: Output) -> Tally:
    """Write rows under other names, and rename when whole.

    Raises:
        ReliveError: It cannot be written.
    """
    try:
        with TemporaryDirectory(prefix=".relive-", dir=output.path.parent) as folder:
            session = Path(folder) / f"made{SESSION_SUFFIX}"
            with ConfidenceFile(output.confidence, Path(folder)) as maps:
                tally = _record(opened, rows, session, output.by, maps)
                maps.finish()
                finish(session, output)
            return tally
    except OSError as error:
        raise ReliveError(f"cannot write {output.path}: {error.strerror or error}") from error


def _record(opened: Opened, rows: Iterable[Row], out: Path, by: str, maps: ConfidenceFile) -> Tally:
    tally, sure = Tally(), 0.0
    schema = opened.recording.schema
    with Recorder(out, schema, opened.region_schema, game=opened.game) as recorder:
        events = [event for event in opened.events() if event.name not in MARKS]
        for row in rows:
            recorder.add(row.pixels, row.state, row.time_ns, row.regions)
            if row.generated is not None:
                events.append(replace(row.generated, time_ns=row.time_ns))
            if not row.stated:
                events.append(Event(row.time_ns, UNSTATED, ""))
            if (made := row.completed) is not None:
                events.append(
                    Event(
                        row.time_ns,
                        GENERATED,
                        generated_payload(by, made.share, made.mean_confidence),
                    )
                )
                maps.add(tally.frames, made.confidence)
                tally.generated += bool(made.made.all())
                tally.repaired += not made.made.all()
                tally.share += made.share
                sure += made.share * made.mean_confidence
            tally.frames += 1
        for event in sorted(events, key=lambda event: event.time_ns):
            recorder.event(event.name, event.payload, event.time_ns)
    tally.confidence = sure / tally.share if tally.share else None
    tally.share /= max(1, tally.frames)
    return tally


def finish(session: Path, output: Output) -> None:
    """Make of the session what was asked for."""
    out, suffix = output.path, output.path.suffix.lower()
    if suffix == SESSION_SUFFIX:
        session.replace(out)
    elif suffix == REPLAY_SUFFIX:
        part = session.with_suffix(REPLAY_SUFFIX)
        encode(session, part, model=output.model, quality=output.quality)
        part.replace(out)
    else:
        with Session.open(session) as opened:
            write = write_video if suffix else write_pictures
            span = range(opened.num_frames)
            write_beside(write, SessionFilm(opened), span, out, output.force, _nobody)


def _nobody(done: int) -> None:
    """Tell nobody."""


class SessionFilm:
    """A session as frames with their times, as `relive.codec.output` writes them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.path, self.width, self.height = session.path, session.width, session.height
        self.times_ns, self.present = session.times_ns, session.present
        self.damaged = session.damaged

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self._session.fps

    def iter_frames(self, start: int, stop: int) -> Iterator[Frame]:
        """Yield frame after frame."""
        for index in range(start, stop):
            yield self._session.frame(index)
