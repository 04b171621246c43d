"""`relive view`: a picture, or a film along a path, of what another camera would have seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relive.codec import Replay
from relive.errors import FormatError, InputError
from relive.restore.opening import REPLAY_SUFFIX
from relive.restore.sources import Frame
from relive.session import Session
from relive.view.camera import Offset, Pose, parse_camera, read_path, recorded_pose
from relive.view.viewer import View, Viewer

Progress = Callable[[int, int], None]
Floats = NDArray[np.float64]
NS = 1_000_000_000
HANDY_FRAMES = 4  # of a GOP that are decoded quickly
LEAST_SHARE = 0.005  # of a scene that a recorded frame must show
MAX_TRIES = 64  # frames that turn out to be damaged before a view is given up


@dataclass(frozen=True)
class Wanted:
    """The camera that is wanted.

    Attributes:
        camera: `X,Y,Z,YAW[,PITCH[,ROLL]]` in the units of the session.
        at_s: seconds from the first frame: the moment that is looked at, and without `camera` the
            recorded pose that `offset` counts from.
        offset: from the pose.
        path: CSV of cameras, in place of all of these.
    """

    camera: str | None = None
    at_s: float | None = None
    offset: Offset = field(default_factory=Offset)
    path: Path | None = None


@dataclass(frozen=True)
class Seen:
    """A view to write.

    Attributes:
        time_ns: its time in the output.
        view: what is seen.
    """

    time_ns: int
    view: View


@dataclass(frozen=True)
class Opened:
    """A recording that is looked into.

    Attributes:
        recording: where frames come from.
        viewer: of it.
    """

    recording: Session | Replay
    viewer: Viewer

    def view(self, pose: Pose, time_ns: int | None, fill: bool, overlay: bool) -> View:
        """Read what a view needs and draw it; frames that cannot be read are left out.

        Raises:
            InputError: No frame can be read.
        """
        for _ in range(MAX_TRIES):
            lessons = self._read(self.viewer.lessons)
            if lessons is None:
                continue
            if lessons:
                self.viewer.learn(lessons)
            plan = self.viewer.plan(pose, time_ns)
            frames = self._read(plan.frames)
            if frames is not None:
                return self.viewer.view(plan, frames, fill=fill, overlay=overlay)
        raise InputError(f"{self.recording.path}: too many of its frames are damaged")

    def _read(self, wanted: Sequence[int]) -> Mapping[int, Frame] | None:
        """Read frames; None, and the frame forgotten, where one turns out to be damaged."""
        frames = {}
        for index in wanted:
            frame = read_frame(self.recording, index)
            if frame is None:
                self.viewer.forget(index)
                return None
            frames[index] = frame
        return frames


def read_frame(recording: Session | Replay, index: int) -> Frame | None:
    """Read a frame; None where it turns out to be damaged."""
    try:
        frame = recording.frame(index)
    except FormatError:
        return None
    return frame if recording.present[index] else None


def usable_frames(recording: Session | Replay) -> NDArray[np.bool_]:
    """Frames that were recorded, not made, and whose state is known."""
    usable = recording.present & recording.stated & ~recording.generated
    if isinstance(recording, Replay):
        for number, span in enumerate(recording.spans):
            if recording.condition(number) in ("damaged", "lost"):
                usable[span.start : span.stop] = False
    return np.asarray(usable)


def handy_frames(recording: Session | Replay) -> NDArray[np.bool_]:
    """Frames that are read quickly: in a replay, those that follow soon after a keyframe."""
    handy = np.ones(recording.num_frames, np.bool_)
    if isinstance(recording, Replay):
        for span in recording.spans:
            handy[span.start + HANDY_FRAMES : span.stop] = False
    return handy


@contextmanager
def open_view(path: Path, model: Path | None = None) -> Iterator[Opened]:
    """Open a session or a replay to look into.

    Raises:
        InputError: There is no such file, or it has no camera or no frames.
        FormatError: It is something else.
    """
    is_replay = path.suffix.lower() == REPLAY_SUFFIX
    recording = Replay.open(path, model) if is_replay else Session.open(path)
    with recording:
        try:
            viewer = Viewer(recording, usable_frames(recording), handy_frames(recording))
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        yield Opened(recording, viewer)


def views(
    opened: Opened,
    wanted: Wanted,
    *,
    fill: bool = False,
    overlay: bool = False,
    progress: Progress | None = None,
) -> Iterator[Seen]:
    """Draw what is wanted, camera after camera.

    Raises:
        InputError: The camera is not one, or no recorded frame saw anything of what it would see.
    """
    recording = opened.recording
    moment = None if wanted.at_s is None else _moment(recording, wanted.at_s)
    if wanted.path is not None:
        times, poses = read_path(wanted.path, recording.schema)
    else:
        times, poses = [0], [_pose(opened, wanted, moment)]
    any_seen = False
    for number, (time_ns, pose) in enumerate(zip(times, poses, strict=True), 1):
        view = opened.view(pose, moment, fill, overlay)
        any_seen |= bool(view.plan.sources) and view.share > LEAST_SHARE
        yield Seen(time_ns, view)
        if progress:
            progress(number, len(times))
    if not any_seen:
        raise InputError(
            f"{recording.path}: no recorded frame shows anything of what this camera would see"
        )


def _moment(recording: Session | Replay, at_s: float) -> int:
    """Time of a moment in nanoseconds."""
    first, last = int(recording.times_ns[0]), int(recording.times_ns[-1])
    moment = first + round(at_s * NS)
    if not first <= moment <= last:
        raise InputError(f"--at {at_s:g}: {recording.path} ends at {(last - first) / NS:.3f} s")
    return moment


def _pose(opened: Opened, wanted: Wanted, moment: int | None) -> Pose:
    recording = opened.recording
    if wanted.camera is not None:
        return wanted.offset.of(parse_camera(wanted.camera, recording.schema))
    if moment is None:
        raise InputError("where from? give --camera X,Y,Z,YAW, --at SECONDS or --path CSV")
    index = _known_at(recording, opened.viewer.memory.poses, moment)
    return wanted.offset.of(recorded_pose(recording.schema, recording.states[index]))


def _known_at(recording: Session | Replay, poses: Floats, moment: int) -> int:
    """The frame of a moment; its picture may be missing, but not its pose.

    Raises:
        InputError: The state is not known there; another one would be another place.
    """
    known = recording.stated & np.isfinite(poses).all(1)
    if isinstance(recording, Replay):
        known &= recording.has_states
    apart = np.abs(recording.times_ns - moment)
    index = int(apart.argmin())
    if not known[index]:
        nearest = int(np.flatnonzero(known)[apart[known].argmin()])
        at_s, there_s = (
            (t - int(recording.times_ns[0])) / NS
            for t in (moment, int(recording.times_ns[nearest]))
        )
        raise InputError(
            f"--at {at_s:g}: {recording.path} does not know the state there; "
            f"the nearest that it knows is at {there_s:.3f} s"
        )
    return index
