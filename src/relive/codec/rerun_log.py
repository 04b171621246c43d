"""A range of a replay as a recording of the Rerun viewer (`.rrd`, extra `rerun`).

```
 frames ──► screen, JPEG (with a camera: inside its frustum)      state/NAME  ◄── states
 poses  ──► world/camera, world/path                              events      ◄── events
            timelines: `time` since the first frame of the replay, `frame`
```

Where a state is not known, curves and the path have a gap and the camera is not drawn: the state
that a replay holds in its place is the last one that was known.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from relive.codec.output import Progress, events_of, present_frames, write_beside
from relive.codec.replay import Replay
from relive.cubes.states import camera_poses
from relive.errors import DamagedError, InputError, MissingExtraError, ReliveError
from relive.model.warp import Pinhole, rotation

TIME, FRAME = "time", "frame"
CAMERA, PATH, STATE, EVENTS = "world/camera", "world/path", "state", "events"
JPEG_QUALITY = 95
FRUSTUM_SHARE = 0.05  # of the length of the path's bounding box
PATH_COLOUR = (255, 170, 60)


def write_rerun(
    replay: Replay,
    out: Path | str,
    start: int,
    stop: int,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write frames `start` to `stop` with states, camera and events for the Rerun viewer.

    Args:
        replay: an open replay.
        out: `.rrd`.
        start: first frame.
        stop: one past the last frame.
        force: overwrite `out`.
        progress: told frames done and frames in all.

    Returns:
        Number of pictures in the recording.

    Raises:
        MissingExtraError: rerun-sdk is not installed.
        InputError: The range is empty, or `out` exists or has another suffix.
        DamagedError: Parts of the range were damaged; the rest was written.
    """
    os.environ.setdefault("RUST_LOG", "off")  # its log would stand beside our one line
    try:
        import rerun
    except ModuleNotFoundError:
        raise MissingExtraError("rerun-sdk", "rerun") from None
    out, span = Path(out), range(start, stop)
    if out.suffix.lower() != ".rrd":
        raise InputError(f"cannot write {out}: a recording of the Rerun viewer is .rrd")
    if not 0 <= start < stop <= replay.num_frames:
        raise InputError(
            f"{replay.path}: frames {start} to {stop} are no range in its "
            f"{replay.num_frames} frames"
        )

    def write(replay: Replay, span: range, part: Path, told: Callable[[int], None]) -> None:
        _Log(rerun, replay, span, part).write(told)

    def told(count: int) -> None:
        if progress:
            progress(count, len(span))

    write_beside(write, replay, span, out, force, told)
    written = int(replay.present[start:stop].sum())
    if replay.damaged:
        raise DamagedError(f"{replay.path} is damaged; {written} whole frames are in {out}")
    return written


class _Log:
    """One recording on its way into a file."""

    def __init__(self, rr: Any, replay: Replay, span: range, out: Path) -> None:
        self.rr, self.replay, self.span, self.out = rr, replay, span, out
        self.since_ns = replay.times_ns - replay.times_ns[0]
        self.known = (replay.stated & replay.has_states)[span.start : span.stop]
        self.camera = replay.coder.camera
        self.screen = f"{CAMERA}/screen" if self.camera else "screen"
        name = f"{replay.path.stem}, frames {span.start} to {span.stop - 1}"
        game = re.sub("[^A-Za-z0-9]+", "-", replay.header.game).strip("-") or "relive"
        self.stream = rr.RecordingStream(game, recording_id=name)
        self.stream.save(str(out), default_blueprint=self._layout())

    def write(self, told: Callable[[int], None]) -> None:
        """Write everything; the file is whole when this returns."""
        try:
            self._states()
            if self.camera is not None:
                self._camera(self.camera, camera_poses(self.replay.schema, self.replay.states))
            self._events()
            for index, frame in present_frames(self.replay, self.span, told):
                picture = self.rr.EncodedImage.columns(
                    blob=[_jpeg(frame)], media_type=["image/jpeg"]
                )
                self._columns(self.screen, [int(self.since_ns[index])], [index], picture)
            self._flush()
        finally:
            self.stream.disconnect()

    def _flush(self) -> None:
        """Wait for the writer; the SDK logs what goes wrong there and says nothing to its caller.

        Raises:
            ReliveError: It could not write everything.
        """
        try:
            self.stream.flush()
        except Exception as error:  # an error of the SDK's own, of a class that it does not export
            raise ReliveError(f"cannot write {self.out}: {error}") from error

    def _columns(self, path: str, since_ns: Any, frames: Any, columns: Any) -> None:
        """Write rows at their times and frame numbers; the time of writing is nobody's business."""
        times = np.asarray(since_ns, np.int64).astype("timedelta64[ns]")
        indexes = [
            self.rr.TimeColumn(TIME, duration=times),
            self.rr.TimeColumn(FRAME, sequence=np.asarray(frames)),
        ]
        self.stream.send_columns(path, indexes, columns)

    def _states(self) -> None:
        rows = slice(self.span.start, self.span.stop)
        for column, field in enumerate(self.replay.schema.fields):
            path = self.rr.new_entity_path([STATE, field.name])
            name = f"{field.name}, {field.unit}" if field.unit else field.name
            self.stream.log(path, self.rr.SeriesLines(names=name), static=True)
            values = self.replay.states[rows, column].astype(np.float64)
            # A row of no scalar at all breaks the curve of the viewer.
            scalars = self.rr.Scalars.columns(scalars=values[self.known])
            self._columns(
                path, self.since_ns[rows], self.span, scalars.partition(self.known.astype(int))
            )

    def _camera(self, camera: Pinhole, poses: NDArray[np.float64]) -> None:
        """Write the pose of every frame, the lens, and the way that the camera went."""
        rows = slice(self.span.start, self.span.stop)
        places = poses[rows, :3]
        axes = rotation(torch.from_numpy(poses[rows, 3:])).numpy()  # right, up, forward
        axes[..., 1] *= -1  # to right, down, forward
        axes[~self.known] = 0  # shrinks the camera to nothing
        seen = places[self.known]
        size = float(np.linalg.norm(seen.max(0) - seen.min(0))) if len(seen) else 0.0
        self.stream.log("world", self.rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        strips = [places[run.start : run.stop] for run in _runs(self.known)]
        line = self.rr.LineStrips3D(strips, colors=[PATH_COLOUR])
        self.stream.log(PATH, line, static=True)
        lens = self.rr.Pinhole(
            focal_length=(camera.focal_x_px, camera.focal_y_px),
            principal_point=(camera.centre_x_px, camera.centre_y_px),
            resolution=(self.replay.width, self.replay.height),
            camera_xyz=self.rr.ViewCoordinates.RDF,
            image_plane_distance=max(1e-3, FRUSTUM_SHARE * size),
        )
        self.stream.log(self.screen, lens, static=True)
        poses_of = self.rr.Transform3D.columns(translation=places, mat3x3=axes)
        self._columns(CAMERA, self.since_ns[rows], self.span, poses_of)

    def _events(self) -> None:
        origin = int(self.replay.times_ns[0])
        for event in events_of(self.replay, self.span):
            text = f"{event.name} {event.payload}".rstrip()
            row = self.rr.TextLog.columns(text=[text], level=["INFO"])
            since, frame = event.time_ns - origin, self.replay.index_at(event.time_ns)
            self._columns(EVENTS, [since], [frame], row)

    def _layout(self) -> Any:
        """Lay out the viewer: the picture, the world where there is a camera, curves, events."""
        import rerun.blueprint as rrb

        pictures: list[Any] = [rrb.Spatial2DView(origin=self.screen, name="screen")]
        if self.camera is not None:
            pictures.append(rrb.Spatial3DView(origin="world", name="world"))
        curves = (
            [rrb.TimeSeriesView(origin=STATE, name="states")] if self.replay.states.size else []
        )
        side = rrb.Vertical(*curves, rrb.TextLogView(origin=EVENTS, name="events"))
        return rrb.Blueprint(rrb.Horizontal(rrb.Vertical(*pictures), side))


def _runs(known: NDArray[np.bool_]) -> list[range]:
    """Where True stands in a row."""
    edges = np.flatnonzero(np.diff(known, prepend=False, append=False))
    return [range(*pair) for pair in edges.reshape(-1, 2).tolist()]


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    """Compress a frame; full colour resolution, because games draw thin coloured lines."""
    from PIL import Image

    data = BytesIO()
    Image.fromarray(frame).save(data, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return data.getvalue()
