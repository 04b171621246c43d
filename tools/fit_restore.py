"""Teach the blending network of `relive restore` on training sessions.

    python tools/fit_restore.py CORPUS/train --lessons L -o src/relive/weights/restore.safetensors

Frames are taken out of recordings whole, with or without their state, or in cubes, candidates are
made from what is left, and the network learns to mix them so that the squared error is least.
"""

from __future__ import annotations

import numpy as np
import torch
from blend_lessons import Course, Crop, Sample, crop, teach
from torch import nn

from relive.restore.blend import NUM_FEATURES, features
from relive.restore.candidates import explain
from relive.restore.gaps import SessionGaps
from relive.restore.network import FillNet
from relive.restore.opening import fill_states
from relive.session import Session

CROP, CROPS, PART = 80, 8, 64
KINDS = ("guessed", "cubes", "frame", "guessed", "cubes", "long", "cubes")


def crops(session: Session, number: int, rng: np.random.Generator) -> list[Crop]:
    """Take something out of a session, and make candidates of what is left."""
    gaps, target = lose(session, KINDS[number % len(KINDS)], rng)
    gap, *others = gaps.gaps_around(target)
    candidates = explain(gap, *others)
    given, truth = features(gap, candidates), session.frame(target)
    corners = [
        [int(rng.integers(0, side - CROP + 1)) for side in truth.shape[:2]] for _ in range(CROPS)
    ]
    lost = ~gap.target.known
    return [crop(given, candidates.colours, truth, lost, (y, x), CROP) for y, x in corners]


def lose(session: Session, kind: str, rng: np.random.Generator) -> tuple[SessionGaps, int]:
    """Lose a frame, several, or a third of the cubes of all of them; which one is to be made?"""
    lost = np.zeros(session.num_frames, np.bool_)
    if kind == "cubes":
        target = int(rng.integers(2, session.num_frames - 2))
        return SessionGaps(session, lost, hide_cubes(session, rng)), target
    frames = int(rng.integers(2, 12)) if kind == "long" else 1
    first = int(rng.integers(1, session.num_frames - frames - 1))
    lost[first : first + frames] = True
    guessed = kind == "guessed" or (kind == "long" and rng.random() < 0.5)
    stated = ~lost if guessed else np.ones_like(lost)
    states = fill_states(session.schema, session.times_ns, session.states, stated)
    return SessionGaps(session, lost, {}, states, stated), first + frames // 2


def hide_cubes(session: Session, rng: np.random.Generator) -> dict[int, np.ndarray]:
    """Hide a random 30 % of the cubes of every pair of frames."""
    hidden = {}
    for first in range(0, session.num_frames, 2):
        grid = rng.random((-(-session.height // 16), -(-session.width // 16))) < 0.3
        part = grid.repeat(16, 0).repeat(16, 1)[: session.height, : session.width]
        hidden[first] = hidden[first + 1] = part
    return hidden


def mix(net: nn.Module, sample: Sample) -> torch.Tensor:
    """What the network makes of a crop `[3, H, W]`."""
    given, colours, truth, lost = sample
    known = 1 - lost
    mixed: torch.Tensor = net(given, colours, truth * known, known)[0]
    return mixed


if __name__ == "__main__":
    teach(__doc__, Course(crops, lambda: FillNet(NUM_FEATURES), mix, PART, 6))
