"""Teach the blending network of `relive restore` on training sessions.

    python tools/fit_restore.py runs/corpus/train -o src/relive/weights/restore.safetensors

Frames are taken out of recordings whole or in cubes, candidates are made from what is left, and the
network learns to weigh them so that the squared error is least. Also writes what it was taught on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from relive.restore.blend import BlendNet, features
from relive.restore.candidates import explain
from relive.restore.gaps import SessionGaps
from relive.session import Session

CROP, PART = 112, 56
Sample = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
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
        part = np.s_[top : top + CROP, left : left + CROP]
        yield (
            torch.from_numpy(given[:, :, part[0], part[1]].copy()),
            torch.from_numpy(candidates.colours[:, part[0], part[1]].copy()),
            torch.from_numpy(truth[part].astype(np.float32)),
            torch.from_numpy(unknown[part].astype(np.float32)),
        )


def part_of(sample: Sample) -> Sample:
    """A random square of a crop."""
    given, colours, truth, unknown = sample
    top, left = (int(torch.randint(0, CROP - PART + 1, ())) for _ in range(2))
    rows, columns = slice(top, top + PART), slice(left, left + PART)
    return (
        given[:, :, rows, columns],
        colours[:, rows, columns],
        truth[rows, columns],
        unknown[rows, columns],
    )


def loss(net: BlendNet, sample: Sample) -> torch.Tensor:
    """Squared error of the pixels that are unknown, as a logarithm."""
    given, colours, truth, unknown = sample
    mixed = (net(given[None])[0][..., None] * colours).sum(0)
    error = ((mixed - truth).square().mean(-1) * unknown).sum() / unknown.sum().clamp_min(1)
    return (error + 4).log()  # frames that are hard to guess do not outweigh the others


def main() -> None:
    """Teach and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sessions", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--per-session", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    paths = sorted(arguments.sessions.glob("*.mcap"))
    np.random.default_rng(1).shuffle(paths)
    if arguments.cache and arguments.cache.exists():
        taught = torch.load(arguments.cache)
    else:
        taught = list(samples(paths, arguments.per_session, 0, 60 * arguments.minutes))
        if arguments.cache:
            torch.save(taught, arguments.cache)
    print(f"{len(taught)} crops of {len(paths)} sessions", flush=True)
    net = BlendNet()
    optimiser = torch.optim.AdamW(net.parameters(), 4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 4e-3, total_steps=arguments.epochs * len(taught)
    )
    for epoch in range(arguments.epochs):
        losses = []
        for index in torch.randperm(len(taught)).tolist():
            optimiser.zero_grad()
            value = loss(net, part_of(taught[index]))
            value.backward()
            optimiser.step()
            schedule.step()
            losses.append(value.item())
        print(
            f"epoch {epoch}: {np.mean(losses):.4f} = {-4.343 * np.mean(losses) + 48.13:.2f} dB",
            flush=True,
        )
        save_file(net.state_dict(), arguments.out)


if __name__ == "__main__":
    main()
