"""Teach the blending network of `relive view` on training sessions.

    python tools/fit_view.py runs/corpus/train -o src/relive/weights/view.safetensors

Poses are left out of recordings, with all frames up to some number before and after; the views from
them are compared with the true frames. The weapon and the status bar, by ViZDoom's labels, are no
part of that. The network learns to weigh the looks so that the squared error is least.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from relive.cubes.states import camera_poses
from relive.restore.blend import BlendNet
from relive.session import Session
from relive.view.blend import NUM_FEATURES, features, vote
from relive.view.render import look
from relive.view.viewer import Viewer
from relive.view.viewing import usable_frames

CROP, PART, CROPS = 112, 64, 3
GAPS = (1, 2, 4, 8, 16, 32)
HUD = 4  # labels from here on are fixed to the screen
Sample = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


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
    surfaces = viewer.surfaces(plan, {index: session.frame(index) for index in plan.frames})
    if len(surfaces) < 2:
        return
    looks = look(surfaces, plan.pose, viewer.camera)
    late_s = viewer.late_s(plan)
    given = features(looks, vote(looks, viewer.memory.pace), late_s)
    truth, labels = session.frame(target), session.regions(target, target + 1)
    counts = (looks.near >= 0).any(0) & (labels[0] < HUD if labels is not None else True)
    for _ in range(CROPS):
        height = viewer.camera.bottom_px
        top, left = (int(rng.integers(0, side - CROP)) for side in (height, truth.shape[1]))
        part = np.s_[top : top + CROP, left : left + CROP]
        yield (
            torch.from_numpy(given[:, :, part[0], part[1]].copy()),
            torch.from_numpy(looks.colours[:, part[0], part[1]].copy()),
            torch.from_numpy(truth[part].astype(np.float32)),
            torch.from_numpy(counts[part].astype(np.float32)),
        )


def part_of(sample: Sample) -> Sample:
    """A random square of a crop."""
    given, colours, truth, counts = sample
    top, left = (int(torch.randint(0, CROP - PART + 1, ())) for _ in range(2))
    rows, columns = slice(top, top + PART), slice(left, left + PART)
    return (
        given[:, :, rows, columns],
        colours[:, rows, columns],
        truth[rows, columns],
        counts[rows, columns],
    )


def loss(net: BlendNet, sample: Sample) -> torch.Tensor:
    """Squared error of what counts, as a logarithm: hard views do not outweigh the others."""
    given, colours, truth, counts = sample
    weights = net(given[None], given[None, :, 3] > 0)[0]
    mixed = (weights[..., None] * colours).sum(0)
    error = ((mixed - truth).square().mean(-1) * counts).sum() / counts.sum().clamp_min(1)
    return (error + 4).log()


def main() -> None:
    """Teach and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sessions", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--per-session", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=8, help="to make the crops")
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
    net = BlendNet(NUM_FEATURES)
    optimiser = torch.optim.AdamW(net.parameters(), 4e-3, weight_decay=1e-3)
    steps = arguments.epochs * len(taught)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    for epoch in range(arguments.epochs):
        losses = []
        for index in torch.randperm(len(taught)).tolist():
            optimiser.zero_grad()
            value = loss(net, part_of(taught[index]))
            value.backward()
            optimiser.step()
            schedule.step()
            losses.append(value.item())
        mean = float(np.mean(losses))
        print(f"epoch {epoch}: {mean:.4f} = {-4.343 * mean + 48.13:.2f} dB", flush=True)
        save_file(net.state_dict(), arguments.out)


if __name__ == "__main__":
    main()
