"""A LeRobot dataset (v3.0, and v2.1 and v2.0 before it) ──► a session, to be encoded.

A row of LeRobot holds an action and what it brought; in a session these stand in the frame that
they led to. So every episode ends with a frame that is missing: it holds the last action, the last
reward, and whether the game ended the episode.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from relive.codec.output import beside
from relive.datasets import lerobot_layout as layout
from relive.datasets.lerobot_fields import Features
from relive.datasets.lerobot_index import Info, Place, read_info, read_places
from relive.datasets.rows import add_rows, led_rows
from relive.errors import InputError
from relive.session import Recorder

Progress = Callable[[int, int], None]
Picture = NDArray[np.uint8]


def from_lerobot(
    folder: Path | str,
    out: Path | str,
    *,
    frame: str | None = None,
    game: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write the episodes of a LeRobot dataset as one session.

    Every number of every feature becomes a field, under its name in `info.json`, else under that
    of its feature (`action[0]`); texts are left out. `next.reward` becomes `reward`, the end of
    an episode that was not cut sets `ended`, and `episode` counts. What is to be done is an event
    `task`.

    Args:
        folder: of the dataset, which holds `meta`.
        out: `.mcap` to write.
        frame: key of the pictures, where there are several cameras.
        game: what was played; None for `lerobot:` and the name of the folder.
        force: overwrite `out`.
        progress: told rows done and rows in all.

    Returns:
        Number of frames written, the missing one of every episode among them.

    Raises:
        InputError: It is no such dataset, of another version, has no pictures, or its files do not
            hold what they should.
        MissingExtraError: pyarrow is not installed.
    """
    layout.load_pyarrow()
    folder, out = Path(folder), Path(out)
    info = read_info(folder)
    key = _camera(folder, info, frame)
    features = Features.of(folder, info, key)
    places = read_places(folder, info, key)
    name = game or f"lerobot:{folder.resolve().name}"
    with (
        beside(out, [], force) as part,
        Recorder(part, features.schema, game=name, force=True) as recorder,
    ):
        _record(recorder, features, info, key, places, progress)
        if not recorder.num_frames:
            raise InputError(f"{folder}: there is no episode")
    return recorder.num_frames


def _record(
    recorder: Recorder,
    features: Features,
    info: Info,
    key: str,
    places: list[Place],
    progress: Progress | None,
) -> None:
    table: Any = None
    table_of: Path | None = None
    task, done = "", 0
    for number, place in enumerate(places):
        if table_of != place.data:
            table, table_of = features.read(place.data), place.data
        taken = features.take(table, place)
        rows = led_rows(features.parts(taken, place), number, features.terminated(taken))
        if place.task != task:
            task = place.task
            recorder.event("task", task, round(recorder.num_frames * 1e9 / info.fps))
        film = _film(place, info.fps) if place.video else _images(taken[key], place)
        with closing(film):
            where = f"{place.video or place.data}, episode {place.index}"
            add_rows(recorder, film, rows, info.fps, where)
        done += place.length
        if progress:
            progress(done, info.num_frames)


def _camera(folder: Path, info: Info, frame: str | None) -> str:
    cameras = info.cameras
    if not cameras:
        raise InputError(f"{folder}: the dataset has no pictures, and a session needs them")
    if frame is None and len(cameras) > 1:
        raise InputError(
            f"{folder}: there are several cameras; name one: --frame {cameras[0]} (frame=…), "
            f"out of {', '.join(cameras)}"
        )
    if frame is not None and frame not in cameras:
        raise InputError(f"{folder}: no pictures {frame!r}; there are {', '.join(cameras)}")
    return frame or cameras[0]


def _film(place: Place, fps: Fraction) -> Generator[Picture]:
    """Decode the pictures of an episode: uint8 `[H, W, 3]`, one for each row."""
    half, number, path = 1 / (2 * fps), 0, place.video
    try:
        with av.open(str(path), "r") as file:
            if not file.streams.video:
                raise InputError(f"{path}: it has no video stream")
            stream = file.streams.video[0]
            assert stream.time_base is not None  # noqa: S101  every stream of a file has one
            file.seek(max(0, int((place.from_s - half) / stream.time_base)), stream=stream)
            for frame in file.decode(stream):
                moment_s = (frame.pts or 0) * stream.time_base
                if moment_s < place.from_s - half:
                    continue
                if number == place.length:
                    return
                if abs(moment_s - place.from_s - number / fps) > half:
                    raise InputError(
                        f"{path}: picture {number} of episode {place.index} is at "
                        f"{float(moment_s):.3f} s, not at {float(place.from_s + number / fps):.3f}"
                    )
                yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                number += 1
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if number < place.length:
        raise InputError(
            f"{path}: {number} pictures of episode {place.index}, which has {place.length} rows"
        )


def _images(column: Any, place: Place) -> Generator[Picture]:
    """Decode pictures that stand in the rows, as PNG or JPEG."""
    for number, item in enumerate(column):
        try:
            with av.open(io.BytesIO(item.as_py()["bytes"]), "r") as file:
                picture = next(file.decode(video=0))
                yield np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)
        except (av.FFmpegError, TypeError, KeyError, StopIteration):
            raise InputError(
                f"{place.data}: picture {number} of episode {place.index} cannot be decoded"
            ) from None
