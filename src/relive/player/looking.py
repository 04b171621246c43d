"""Looking around in a paused replay: views from cameras near a frame, one at a time."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.codec.workers import NUM_WORKERS
from relive.cubes.states import camera_poses, has_camera
from relive.errors import InputError
from relive.player.catalogue import Watched
from relive.player.show import Show
from relive.view import Offset, View, Viewer
from relive.view.memory import pace_of
from relive.view.viewing import handy_frames, usable_frames

MAX_VIEWERS = 2
MAX_TRIES = 16
MAX_PIXELS = 1280 * 960
Frame = NDArray[np.uint8]


def facts_of_view(watched: Watched) -> dict[str, Any] | None:
    """What the page must know to look around; None where the replay has no camera."""
    replay = watched.replay
    if not has_camera(replay.schema) or replay.width * replay.height > MAX_PIXELS:
        return None
    usable = usable_frames(replay)
    if not usable.any():
        return None
    return {"pace": pace_of(camera_poses(replay.schema, replay.states), usable)}


class Looking:
    """Draws views, one at a time; the last recordings that were looked into stay at hand."""

    def __init__(self) -> None:
        self._viewers: OrderedDict[str, Viewer] = OrderedDict()
        self._lock = threading.Lock()

    async def view(self, show: Show, frame: int, tiers: int, offset: Offset, fill: bool) -> View:
        """Draw what would be seen at an offset from the pose of a frame.

        Raises:
            InputError: The replay has no camera, is too large, or cannot be read.
        """
        viewer = await asyncio.to_thread(self._viewer, show.watched, tiers)
        pose = offset.of(viewer.memory.poses[frame])
        time_ns = int(viewer.times_ns[frame])
        for _ in range(MAX_TRIES):
            lessons = await self._read(show, tiers, viewer, viewer.lessons)
            if lessons is None:
                continue
            if lessons:
                await asyncio.to_thread(viewer.learn, lessons)
            plan = await asyncio.to_thread(viewer.plan, pose, time_ns)
            frames = await self._read(show, tiers, viewer, plan.frames)
            if frames is not None:
                return await asyncio.to_thread(viewer.view, plan, frames, fill=fill)
        raise InputError("too many frames are damaged")

    def _viewer(self, watched: Watched, tiers: int) -> Viewer:
        replay, name = watched.at(tiers), f"{watched.entry.id}:{tiers}"
        if replay.width * replay.height > MAX_PIXELS:
            raise InputError(f"views are drawn of up to {MAX_PIXELS} pixels; use relive view")
        with self._lock:
            if name not in self._viewers:
                self._viewers[name] = Viewer(replay, usable_frames(replay), handy_frames(replay))
                if len(self._viewers) > MAX_VIEWERS:
                    self._viewers.popitem(last=False)
            self._viewers.move_to_end(name)
            return self._viewers[name]

    async def _read(
        self, show: Show, tiers: int, viewer: Viewer, wanted: list[int]
    ) -> dict[int, Frame] | None:
        """Decode frames; None, and the frame forgotten, where one is damaged."""
        gops: dict[int, list[int]] = {}
        for index in wanted:
            gops.setdefault(show.watched.span_of(index), []).append(index)
        turns = asyncio.Semaphore(NUM_WORKERS)  # so that few GOPs are in memory at once

        async def read(frames: list[int]) -> dict[int, Frame]:
            async with turns:
                return {index: await show.exact(index, tiers) for index in frames}

        parts = await asyncio.gather(*(read(frames) for frames in gops.values()))
        broken = [index for index in wanted if not show.watched.at(tiers).present[index]]
        for index in broken:
            viewer.forget(index)
        return None if broken else {index: part[index] for part in parts for index in part}
