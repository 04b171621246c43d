"""Teach the blending network of `relive restore` on training sessions.

    python tools/fit_restore.py runs/corpus/train -o src/relive/weights/restore.safetensors

Frames are taken out of recordings whole, with or without their state, or in cubes, candidates are
made from what is left, and the network learns to weigh them so that the squared error is least.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from blend_lessons import Sample, crop, teach

from relive.restore.blend import BlendNet, features
from relive.restore.candidates import explain
from relive.restore.gaps import SessionGaps
from relive.restore.opening import fill_states
from relive.session import Session

CROP, CROPS, PART = 72, 4, 48
KINDS = ("frame", "cubes", "guessed", "frame", "cubes", "guessed", "long")


def samples(paths: list[Path], per_session: int, seed: int, left_s: float) -> Iterator[Sample]:
    """Yield features, candidates and truth of crops."""
    rng, end = np.random.default_rng(seed), time.monotonic() + left_s
    for turn in range(per_session):
        for number, path in enumerate(paths):
            if time.monotonic() > end:
                return
            with Session.open(path) as session:
                yield from crops(session, KINDS[(number + turn) % len(KINDS)], rng)


def crops(session: Session, kind: str, rng: np.random.Generator) -> Iterator[Sample]:
    """Take something out of a session, and make candidates of what is left."""
    gaps, target = lose(session, kind, rng)
    gap = gaps.gap(target)
    candidates = explain(gap)
    given, truth = features(gap, candidates), session.frame(target)
    unknown = ~gap.target.known
    for _ in range(CROPS):
        corner = [int(rng.integers(0, side - CROP)) for side in truth.shape[:2]]
        yield crop(given, candidates.colours, truth, unknown, (corner[0], corner[1]), CROP)


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


def weigh(net: BlendNet, sample: Sample) -> torch.Tensor:
    """Weights of the candidates of a crop `[K, H, W]`."""
    given = sample[0][None]
    return net(given)[0]


if __name__ == "__main__":
    teach(__doc__, samples, BlendNet, weigh, PART, 12)
