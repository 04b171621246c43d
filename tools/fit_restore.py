"""Teach the blending network of `relive restore` on training sessions.

    python tools/fit_restore.py runs/corpus/train -o src/relive/weights/restore.safetensors

Frames are taken out of recordings whole or in cubes, candidates are made from what is left, and the
network learns to weigh them so that the squared error is least. Also writes what it was taught on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from blend_lessons import CROP, Sample, crop, teach

from relive.restore.blend import BlendNet, features
from relive.restore.candidates import explain
from relive.restore.gaps import SessionGaps
from relive.session import Session

PART = 56
KINDS = ("frame", "frame", "cubes", "long")


def samples(paths: list[Path], per_session: int, seed: int, left_s: float) -> Iterator[Sample]:
    """Yield features, candidates and truth of crops."""
    rng, end = np.random.default_rng(seed), time.monotonic() + left_s
    for number, path in enumerate(paths):
        if time.monotonic() > end:
            return
        with Session.open(path) as session:
            for turn in range(per_session):
                kind = KINDS[(number + turn) % len(KINDS)]
                yield from crops(session, kind, rng)


def crops(session: Session, kind: str, rng: np.random.Generator) -> Iterator[Sample]:
    """Take something out of a session, and make candidates of what is left."""
    gap_frames = int(rng.integers(2, 12)) if kind == "long" else 1
    first = int(rng.integers(1, session.num_frames - gap_frames - 1))
    lost = np.zeros(session.num_frames, np.bool_)
    lost[first : first + gap_frames] = True
    hidden = None
    if kind == "cubes":
        grid = rng.random((-(-session.height // 16), -(-session.width // 16))) < 0.3
        hidden = grid.repeat(16, 0).repeat(16, 1)[: session.height, : session.width]
    target = first + gap_frames // 2
    gaps = SessionGaps(session, lost, {} if hidden is None else {target: hidden})
    if hidden is not None:
        gaps.lost[:] = False
    gap = gaps.gap(target)
    candidates = explain(gap)
    given, truth = features(gap, candidates), session.frame(target)
    unknown = ~gap.target.known
    for _ in range(3):
        top, left = (int(rng.integers(0, side - CROP)) for side in truth.shape[:2])
        yield crop(given, candidates.colours, truth, unknown, (top, left))


def weigh(net: BlendNet, sample: Sample) -> torch.Tensor:
    """Weights of the candidates of a crop `[K, H, W]`."""
    given = sample[0][None]
    return net(given)[0]


if __name__ == "__main__":
    teach(__doc__, samples, BlendNet, weigh, PART, 40)
