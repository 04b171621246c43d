"""Views of one recording, and what is remembered between them.

```
 camera ─► plan: frames to read ─► (whoever reads them) ─► surfaces ─► looks ─► view
              session memory                                kept
```

Planning and drawing are apart, so that frames may come from a file, or from a player that has
them already.

Shapes: T frames, H W pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relive.cubes.states import camera_poses
from relive.errors import InputError
from relive.restore.filling import smooth_filling
from relive.restore.gaps import Recording, make_camera
from relive.restore.sources import Frame, Mask
from relive.view.blend import blend
from relive.view.camera import Pose
from relive.view.cracks import close_cracks
from relive.view.light import Moment, light_alike, pick, sure_looks
from relive.view.memory import SessionMemory
from relive.view.overlay import find_overlay, telling_pairs
from relive.view.render import Looks, look
from relive.view.surface import Shot, Surface, find_surface

Floats = NDArray[np.float32]
KEPT_BYTES = 96 << 20
PATTERN = np.array([[64, 64, 72], [104, 104, 116]], np.uint8)  # of what is unseen, in squares
SQUARE_PX = 8


@dataclass(frozen=True)
class Plan:
    """What a view is to be made of.

    Attributes:
        pose: of the camera `[6]`.
        time_ns: the moment that is looked at.
        sources: frames to look through, the best one first.
        neighbours: of the sources whose depth is not known yet.
        nearest: the frame whose pose is nearest.
        around: the frames before and after the moment, nearest in time; they tell its tint.
    """

    pose: Pose
    time_ns: int
    sources: tuple[int, ...]
    neighbours: Mapping[int, list[int]]
    nearest: int
    around: tuple[int, int]

    @property
    def frames(self) -> list[int]:
        """Frames that must be read, in order."""
        wanted = {self.nearest, *self.around, *self.neighbours}
        for others in self.neighbours.values():
            wanted.update(others)
        return sorted(wanted)


@dataclass(frozen=True)
class View:
    """What a camera would have seen.

    Attributes:
        pixels: uint8 `[H, W, 3]`; what is unseen shows a pattern of squares, or is filled.
        seen: what a recorded frame shows, bool `[H, W]`.
        confidence: float32 `[H, W]`, 0 where it is unseen.
        scene: where the camera's picture is, bool `[H, W]`; an overlay covers the rest.
        plan: what it was made of.
    """

    pixels: Frame
    seen: Mask
    confidence: Floats
    scene: Mask
    plan: Plan

    @property
    def share(self) -> float:
        """Of the pixels of the scene that are seen."""
        return float(self.seen[self.scene].mean())

    @property
    def mean_confidence(self) -> float:
        """Mean over the pixels that are seen; 0 where none are."""
        return float(self.confidence[self.seen].mean()) if self.seen.any() else 0.0


class Viewer:
    """Draws views of a recording.

    Attributes:
        memory: where every frame was taken from.
        scene: where the camera's picture is, bool `[H, W]`; an overlay covers the rest.

    Args:
        recording: a session or a replay.
        usable: frames that may be used, bool `[T]`.
        handy: frames that are read quickly, bool `[T]`; None for all.

    Raises:
        InputError: The recording has no camera, or no frame that may be used.
    """

    def __init__(
        self,
        recording: Recording,
        usable: NDArray[np.bool_],
        handy: NDArray[np.bool_] | None = None,
    ) -> None:
        camera = make_camera(recording.schema, recording.width, recording.height)
        if camera is None:
            raise InputError(
                "no view from elsewhere without a camera: the schema needs a [camera] and fields "
                "of the roles camera.x, camera.y, camera.z and camera.yaw"
            )
        if not usable.any():
            raise InputError("no frame was recorded together with its state")
        poses = camera_poses(recording.schema, recording.states)
        self.camera, self.times_ns = camera, recording.times_ns
        self.scene = np.zeros((recording.height, recording.width), np.bool_)
        self.scene[camera.top_px : camera.bottom_px, camera.left_px : camera.right_px] = True
        self.memory = SessionMemory(poses, recording.times_ns, usable, camera, self.scene)
        self._handy = np.ones(len(usable), np.bool_) if handy is None else handy
        self._has_learned = False
        self._surfaces: OrderedDict[int, Surface] = OrderedDict()

    @property
    def lessons(self) -> list[int]:
        """Frames to learn from what is fixed to the screen; none once that is known."""
        if self._has_learned:
            return []
        pairs = telling_pairs(self.memory, self._handy)
        return sorted({index for first in pairs for index in (first, first + 1)})

    def learn(self, frames: Mapping[int, Frame]) -> None:
        """Learn from the lessons what is fixed to the screen: it is no place in the world."""
        pairs = telling_pairs(self.memory, self._handy)
        fixed = find_overlay(self.memory, pairs, self.camera, self.scene, frames.__getitem__)
        self.memory.known = self.scene & ~fixed
        self._has_learned = True

    def plan(self, pose: Pose, time_ns: int | None = None) -> Plan:
        """Choose frames.

        Args:
            pose: of the camera `[6]`.
            time_ns: the moment that is looked at; None for that of the nearest frame.
        """
        memory = self.memory
        sources = tuple(memory.sources(pose, time_ns))
        new = {index: memory.neighbours(index) for index in sources if index not in self._surfaces}
        nearest = memory.nearest(pose)
        moment = int(self.times_ns[nearest]) if time_ns is None else time_ns
        return Plan(pose, moment, sources, new, nearest, memory.around(moment))

    def forget(self, frame: int) -> None:
        """Use a frame no more: it turned out not to be readable.

        Raises:
            InputError: No other one is left.
        """
        self.memory.usable[frame] = False
        if not self.memory.usable.any():
            raise InputError("none of the frames can be read")

    def view(
        self,
        plan: Plan,
        frames: Mapping[int, Frame],
        *,
        fill: bool = False,
        overlay: bool = False,
    ) -> View:
        """Draw what a camera would have seen.

        Args:
            plan: what it is made of.
            frames: those that the plan wants.
            fill: paint what is unseen smoothly, from what is around it.
            overlay: put over it what is fixed to the screen in the nearest frame.
        """
        shape = (*self.scene.shape, 3)
        pixels, confidence = np.zeros(shape, np.uint8), np.zeros(shape[:2], np.float32)
        seen, nearest = np.zeros(shape[:2], np.bool_), None
        surfaces, moment = self._gather(plan, frames)
        if surfaces:
            looks, late_s = self._looks(plan, surfaces, moment)
            colours, confidence = blend(looks, late_s, self.memory.pace)
            seen = np.asarray((looks.near >= 0).any(0))
            colours, confidence, seen = close_cracks(colours, confidence, seen, self.scene)
            pixels = colours.round().clip(0, 255).astype(np.uint8)
        if overlay:
            nearest = frames[plan.nearest]
            nearest = moment.tint_of(nearest).apply_to_frame(nearest)
        over = self._finish(pixels, seen, fill, nearest)
        seen, confidence = seen & ~over, confidence * ~over
        return View(pixels, seen, confidence, self.scene, plan)

    def looks(self, plan: Plan, frames: Mapping[int, Frame]) -> tuple[Looks, list[float]]:
        """Draw the sources of a plan, in the light of its moment; those in doubt are left out.

        Returns:
            The looks, and the seconds between each source and the moment.
        """
        return self._looks(plan, *self._gather(plan, frames))

    def _looks(
        self, plan: Plan, surfaces: list[Surface], moment: Moment
    ) -> tuple[Looks, list[float]]:
        drawn = look(surfaces, plan.pose, self.camera)
        chosen = sure_looks(drawn)
        looks = light_alike(pick(drawn, chosen), [surfaces[k] for k in chosen], moment)
        times = (int(self.times_ns[plan.sources[k]]) for k in chosen)
        return looks, [abs(time - plan.time_ns) / 1e9 for time in times]

    def _gather(self, plan: Plan, frames: Mapping[int, Frame]) -> tuple[list[Surface], Moment]:
        """The sources of a plan with their depth, and the tint of its moment."""
        surfaces = [self._surface(index, plan, frames) for index in plan.sources]
        self._evict(len(surfaces))
        return surfaces, self._moment(plan, frames, [one.shot.pixels for one in surfaces])

    def _moment(self, plan: Plan, frames: Mapping[int, Frame], sources: list[Frame]) -> Moment:
        first, last = plan.around
        times = [int(self.times_ns[index]) for index in plan.around]
        span, passed = times[1] - times[0], plan.time_ns - times[0]
        share = min(max(passed / span, 0.0), 1.0) if span > 0 else 0.0
        late_s = min(abs(plan.time_ns - time) for time in times) / 1e9
        around = frames[first], frames[last]
        return Moment.between(*around, share, late_s, sources, ~self.scene)

    def _shot(self, index: int, frames: Mapping[int, Frame]) -> Shot:
        return Shot(frames[index], self.memory.known, self.memory.poses[index])

    def _surface(self, index: int, plan: Plan, frames: Mapping[int, Frame]) -> Surface:
        if index not in self._surfaces:
            others = [self._shot(other, frames) for other in plan.neighbours[index]]
            shot = self._shot(index, frames)
            self._surfaces[index] = find_surface(shot, others, self.camera, self.memory.pace)
        self._surfaces.move_to_end(index)
        return self._surfaces[index]

    def _evict(self, needed: int) -> None:
        """Let go of the surfaces that were used longest ago."""
        room = max(needed, KEPT_BYTES // (12 * self.scene.size))
        while len(self._surfaces) > room:
            self._surfaces.popitem(last=False)

    def _finish(self, pixels: Frame, seen: Mask, fill: bool, nearest: Frame | None) -> Mask:
        """Mark or fill what is unseen; lay over it what is fixed to the screen, if wanted."""
        unseen = self.scene & ~seen
        if fill and seen.any():
            pixels[unseen] = smooth_filling(pixels, seen)[unseen]
        else:
            rows, columns = np.indices(seen.shape) // SQUARE_PX
            pixels[unseen] = PATTERN[(rows + columns) % 2][unseen]
        pixels[~self.scene] = 0
        over = ~self.scene
        if nearest is not None:
            over = ~self.memory.known
            pixels[over] = nearest[over]
        return over
