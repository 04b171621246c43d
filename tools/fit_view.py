"""Teach the blending network of `relive view` on training sessions.

    python tools/fit_view.py runs/corpus/train --lessons L -o src/relive/weights/view.safetensors

Poses are left out of recordings, with all frames up to some number before and after; the views from
them are compared with the true frames. The weapon and the status bar, by ViZDoom's labels, are no
part of that. The network learns to weigh the looks so that the squared error is least.
"""

from __future__ import annotations

import numpy as np
import torch
from blend_lessons import Course, Crop, Sample, crop, teach
from torch import nn

from relive.cubes.states import camera_poses
from relive.session import Session
from relive.view.blend import NUM_FEATURES, BlendNet, features, vote
from relive.view.viewer import Viewer
from relive.view.viewing import usable_frames

CROP, PART, CROPS = 112, 64, 3
GAPS = (1, 2, 4, 8, 16, 32)
HUD = 4  # labels from here on are fixed to the screen


def crops(session: Session, number: int, rng: np.random.Generator) -> list[Crop]:
    """Leave a pose out, and look at it from the rest of the recording."""
    if session.schema.camera is None:
        return []
    gap = GAPS[number % len(GAPS)]
    target = int(rng.integers(0, session.num_frames))
    usable = usable_frames(session)
    usable[max(0, target - gap) : target + gap + 1] = False
    viewer = Viewer(session, usable)
    viewer.learn({index: session.frame(index) for index in viewer.lessons})
    time_ns = int(session.times_ns[target])
    plan = viewer.plan(camera_poses(session.schema, session.states[target][None])[0], time_ns)
    if not plan.sources:
        return []
    looks, late_s = viewer.looks(plan, {index: session.frame(index) for index in plan.frames})
    if len(looks.near) < 2:
        return []
    given = features(looks, vote(looks, viewer.memory.pace), late_s)
    truth, labels = session.frame(target), session.regions(target, target + 1)
    counts = (looks.near >= 0).any(0) & (labels[0] < HUD if labels is not None else True)
    sides = viewer.camera.bottom_px, truth.shape[1]
    corners = [[int(rng.integers(0, side - CROP + 1)) for side in sides] for _ in range(CROPS)]
    return [crop(given, looks.colours, truth, counts, (y, x), CROP) for y, x in corners]


def mix(net: nn.Module, sample: Sample) -> torch.Tensor:
    """What the network makes of a crop `[3, H, W]`."""
    given, colours = sample[0][None], sample[1]
    mixed: torch.Tensor = (net(given, given[:, :, 3] > 0)[0, :, None] * colours).sum(0)
    return mixed


if __name__ == "__main__":
    teach(__doc__, Course(crops, lambda: BlendNet(NUM_FEATURES), mix, PART, 30))
