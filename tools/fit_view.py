"""Teach the blending network of `relive view` on training sessions.

    python tools/fit_view.py runs/corpus/train -o src/relive/weights/view.safetensors

Poses are left out of recordings, with all frames up to some number before and after; the views from
them are compared with the true frames. The weapon and the status bar, by ViZDoom's labels, are no
part of that. The network learns to weigh the looks so that the squared error is least.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from blend_lessons import Sample, crop, teach

from relive.cubes.states import camera_poses
from relive.restore.blend import BlendNet
from relive.session import Session
from relive.view.blend import NUM_FEATURES, features, vote
from relive.view.viewer import Viewer
from relive.view.viewing import usable_frames

CROP, PART, CROPS = 112, 64, 3
GAPS = (1, 2, 4, 8, 16, 32)
HUD = 4  # labels from here on are fixed to the screen


def samples(paths: list[Path], per_session: int, seed: int, left_s: float) -> Iterator[Sample]:
    """Yield features, colours, truth and what counts of crops, until the time is over."""
    rng, end = np.random.default_rng(seed), time.monotonic() + left_s
    for number, path in enumerate(paths):
        with Session.open(path) as session:
            for turn in range(per_session if session.schema.camera is not None else 0):
                if time.monotonic() > end:
                    return
                yield from crops(session, GAPS[(number + turn) % len(GAPS)], rng)


def crops(session: Session, gap: int, rng: np.random.Generator) -> Iterator[Sample]:
    """Leave a pose out, and look at it from the rest of the recording."""
    target = int(rng.integers(0, session.num_frames))
    usable = usable_frames(session)
    usable[max(0, target - gap) : target + gap + 1] = False
    viewer = Viewer(session, usable)
    viewer.learn({index: session.frame(index) for index in viewer.lessons})
    time_ns = int(session.times_ns[target])
    plan = viewer.plan(camera_poses(session.schema, session.states[target][None])[0], time_ns)
    if not plan.sources:
        return
    looks, late_s = viewer.looks(plan, {index: session.frame(index) for index in plan.frames})
    if len(looks.near) < 2:
        return
    given = features(looks, vote(looks, viewer.memory.pace), late_s)
    truth, labels = session.frame(target), session.regions(target, target + 1)
    counts = (looks.near >= 0).any(0) & (labels[0] < HUD if labels is not None else True)
    for _ in range(CROPS):
        height = viewer.camera.bottom_px
        top, left = (int(rng.integers(0, side - CROP)) for side in (height, truth.shape[1]))
        yield crop(given, looks.colours, truth, counts, (top, left), CROP)


def weigh(net: BlendNet, sample: Sample) -> torch.Tensor:
    """Weights of the candidates of a crop `[K, H, W]`."""
    given = sample[0][None]
    return net(given, given[:, :, 3] > 0)[0]


if __name__ == "__main__":
    teach(__doc__, samples, lambda: BlendNet(NUM_FEATURES), weigh, PART, 30)
