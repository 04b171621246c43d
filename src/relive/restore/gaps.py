"""Where a session lacks something, and the neighbours that can fill it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from relive.cubes.states import camera_poses, has_camera
from relive.errors import InputError
from relive.model.warp import Pinhole
from relive.restore.filling import smooth_filling
from relive.restore.scroll import Scroll, learn_scroll, places
from relive.restore.sources import Frame, Gap, Mask, Source
from relive.restore.tint import tint_alike
from relive.session import StateSchema

NEAR_FRAMES = 12  # that are kept at hand
MAX_SEARCH = 4096  # frames on either side that are looked at for one that shows something


class Recording(Protocol):
    """What a session and a replay have in common."""

    width: int
    height: int
    schema: StateSchema
    times_ns: NDArray[np.int64]
    states: NDArray[np.float32]
    present: NDArray[np.bool_]

    def frame(self, index: int) -> Frame:
        """Read one frame."""


class SessionGaps:
    """A recording, what it lacks, and the frames around every gap.

    Attributes:
        lost: bool `[T]`; True where the whole frame is missing.
        hidden: parts that are missing of frames, by their numbers, bool `[H, W]`.

    Args:
        recording: a session or a replay.
        lost: as above.
        hidden: as above.
        states: with guesses where they are not known; None for those of the recording.
        stated: False where a state was guessed; None where none was.
    """

    def __init__(
        self,
        recording: Recording,
        lost: NDArray[np.bool_],
        hidden: Mapping[int, Mask],
        states: NDArray[np.float32] | None = None,
        stated: NDArray[np.bool_] | None = None,
    ) -> None:
        self._recording = recording
        self._stated = np.ones(len(lost), np.bool_) if stated is None else stated
        self.lost, self.hidden = lost.copy(), hidden
        self.times_ns = recording.times_ns
        self.states = recording.states if states is None else states
        self.camera = make_camera(recording.schema, recording.width, recording.height)
        self._poses = camera_poses(recording.schema, self.states)
        self._read: Callable[[int], Frame] = lru_cache(maxsize=NEAR_FRAMES)(recording.frame)
        self._shape = recording.height, recording.width
        self._places = self._place_of(self.states)
        self._scroll = self._learn_scroll()

    def _learn_scroll(self) -> Scroll | None:
        """Learn how the picture scrolls, where the state places an actor and no camera."""
        if self.camera is not None or self._places is None:
            return None
        there = np.flatnonzero(~self.lost)
        moves = np.diff(self._places[there], axis=0)
        return learn_scroll(moves, lambda row: self._shown(int(there[row])))

    def known(self, index: int) -> Mask:
        """What is known of a frame, bool `[H, W]`."""
        if self.lost[index]:
            return np.zeros(self._shape, np.bool_)
        hidden = self.hidden.get(index)
        return np.ones(self._shape, np.bool_) if hidden is None else ~hidden

    def _shown(self, index: int) -> Frame:
        """Read a frame; what is hidden of it is filled from around, so that nothing can see it."""
        if self.lost[index]:
            return np.zeros((*self._shape, 3), np.uint8)
        pixels, hidden = self._read(index), self.hidden.get(index)
        return pixels if hidden is None else smooth_filling(pixels, ~hidden)

    def source(self, index: int) -> Source:
        """Read a frame with all that is known of it."""
        known, pixels = self.known(index), self._shown(index)
        time = int(self.times_ns[index])
        place = None if self._places is None else self._places[index]
        pose, guessed = self._poses[index], not self._stated[index]
        return Source(pixels, known, self.states[index], pose, time, place, guessed)

    def gap_further(self, index: int, skipped: int) -> Gap | None:
        """Surround a frame by others, the nearest or further ones; None where there are none.

        Args:
            index: of the frame.
            skipped: frames on either side that are passed over.
        """
        sides = self._sides(index, skipped)
        return None if sides is None else self._surrounded(index, sides)

    def gaps_around(self, index: int) -> list[Gap]:
        """Surround a frame by the nearest others, and by those that show what these lack of it.

        Those are further away, and only what is known of the frame tells how far to believe them.

        Returns:
            Two gaps at most; none where no other frame shows anything.
        """
        near = self._sides(index, 0)
        if near is None:
            return []
        if not self.known(index).any():
            return [self._surrounded(index, near)]
        first, last = (self._behind(index, side) for side in near)
        behind = near[0] if first is None else first, near[1] if last is None else last
        return [self._surrounded(index, sides) for sides in dict.fromkeys((near, behind))]

    def between(self, time_ns: int, state: NDArray[np.float32], guessed: bool = True) -> Gap:
        """Surround a moment by the frames that are there, before and after it.

        Args:
            time_ns: the moment.
            state: at the moment `[S]`.
            guessed: it was not recorded.
        """
        there = np.flatnonzero(~self.lost)
        at = int(np.searchsorted(self.times_ns[there], time_ns))
        first, last = (int(there[i]) for i in (max(0, at - 1), min(at, len(there) - 1)))
        pose = camera_poses(self._recording.schema, state[None])[0]
        place = self._place_of(state[None])
        nothing = np.zeros((*self._shape, 3), np.uint8), np.zeros(self._shape, np.bool_)
        place = None if place is None else place[0]
        target = Source(*nothing, state, pose, time_ns, place, guessed)
        before, after = self.source(first), self.source(last)
        return self._surround(target, before, after)

    def _surrounded(self, index: int, sides: tuple[int, int]) -> Gap:
        target, before, after = (self.source(i) for i in (index, *sides))
        return self._surround(target, before, after)

    def _surround(self, target: Source, before: Source, after: Source) -> Gap:
        scrolls = self._scrolls(*(source.place for source in (before, target, after)))
        overlay = None if self._scroll is None else self._scroll.overlay
        return tint_alike(Gap(target, before, after, self.camera, scrolls, overlay))

    def _sides(self, index: int, skipped: int) -> tuple[int, int] | None:
        """Find a frame on either side, or one twice where the other side has none."""
        sides = [self._neighbour(index, step, skipped) for step in (-1, 1)]
        there = [side for side in sides if side is not None]
        return (there[0], there[-1]) if there else None

    def _neighbour(self, index: int, step: int, skipped: int) -> int | None:
        """Find a frame on one side that shows what a frame lacks, else one that shows anything."""
        places = range(index + step, -1 if step < 0 else len(self.lost), step)
        there = [place for place in places[:MAX_SEARCH] if not self.lost[place]]
        for wanted in (~self.known(index), np.ones(self._shape, np.bool_)):
            showing = (place for place in there if self._shows(place, wanted))
            if found := list(islice(showing, skipped + 1)):
                return found[skipped] if skipped < len(found) else None
        return None

    def _behind(self, index: int, near: int) -> int | None:
        """Find the first frame behind a neighbour that shows some of what this one lacks, too."""
        wanted = ~self.known(index) & ~self.known(near)
        if not wanted.any():
            return None
        step = 1 if near > index else -1
        places = range(near + step, -1 if step < 0 else len(self.lost), step)[:MAX_SEARCH]
        there = (place for place in places if not self.lost[place])
        return next((place for place in there if self._shows(place, wanted)), None)

    def _shows(self, index: int, wanted: Mask) -> bool:
        """Whether a frame that is there shows anything of what is wanted."""
        hidden = self.hidden.get(index)
        return bool((wanted if hidden is None else wanted & ~hidden).any())

    def _scrolls(self, *places: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        before, target, after = places
        if self._scroll is None or before is None or target is None or after is None:
            return None
        return np.stack([target - before, after - target]) @ self._scroll.matrix

    def _place_of(self, states: NDArray[np.float32]) -> NDArray[np.float64] | None:
        return places(self._recording.schema, states)


def make_camera(schema: StateSchema, width: int, height: int) -> Pinhole | None:
    """Build the camera that a schema declares, if the state places it.

    Raises:
        InputError: Its view does not lie in the frame.
    """
    camera = schema.camera
    if camera is None or not has_camera(schema):
        return None
    x, y, w, h = view = camera.view or (0, 0, width, height)
    if x + w > width or y + h > height:
        raise InputError(f"camera: view {list(view)} does not lie in a frame of {width}x{height}")
    return Pinhole.from_fov(camera.fov_deg, camera.pixel_aspect, view)
