"""What the teachers of the blending networks share: crops, parts of them, and the loop.

`fit_restore.py` and `fit_view.py` differ in where crops come from and in what counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from relive.restore.blend import BlendNet

Sample = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Features, colours of candidates, the truth, and which pixels count."""
Samples = Callable[[list[Path], int, int, float], Iterator[Sample]]


def crop(
    given: NDArray[np.float32],
    colours: NDArray[np.float32],
    truth: NDArray[np.uint8],
    counts: NDArray[np.bool_],
    corner: tuple[int, int],
    side: int,
) -> Sample:
    """Cut a square out of all that is known of a frame, from its top left corner."""
    rows, columns = (slice(place, place + side) for place in corner)
    return (
        torch.from_numpy(given[:, :, rows, columns].astype(np.float16)),
        torch.from_numpy(colours[:, rows, columns].astype(np.float16)),
        torch.from_numpy(truth[rows, columns].astype(np.float32)),
        torch.from_numpy(counts[rows, columns].astype(np.float32)),
    )


def part_of(sample: Sample, side: int) -> Sample:
    """A random square of a crop."""
    given, colours, truth, counts = sample
    top, left = (int(torch.randint(0, len(truth) - side + 1, ())) for _ in range(2))
    rows, columns = slice(top, top + side), slice(left, left + side)
    return (
        given[:, :, rows, columns].float(),
        colours[:, rows, columns].float(),
        truth[rows, columns],
        counts[rows, columns],
    )


def loss(weights: torch.Tensor, sample: Sample) -> torch.Tensor:
    """Squared error of what counts, as a logarithm: hard frames do not outweigh the others.

    Args:
        weights: of the candidates `[K, H, W]`.
        sample: as the network saw it.
    """
    _, colours, truth, counts = sample
    mixed = (weights[..., None] * colours).sum(0)
    error = ((mixed - truth).square().mean(-1) * counts).sum() / counts.sum().clamp_min(1)
    return (error + 4).log()


def teach(
    description: str | None,
    samples: Samples,
    net: Callable[[], BlendNet],
    weigh: Callable[[BlendNet, Sample], torch.Tensor],
    side: int,
    epochs: int,
) -> None:
    """Read the command line, make crops or take them from the cache, teach, and write.

    Args:
        description: of the command.
        samples: yields crops of sessions, some per session, from a seed, until a time is over.
        net: makes the network.
        weigh: weights of candidates `[K, H, W]`.
        side: of the parts of crops that are shown, pixels.
        epochs: where the command line says nothing.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("sessions", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--per-session", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--minutes", type=float, default=8, help="to make the crops")
    parser.add_argument("--rate", type=float, default=4e-3, help="of learning, at most")
    parser.add_argument("--start", type=Path, help="weights to begin with")
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
    network = net()
    if arguments.start:
        network.load_state_dict(load_file(arguments.start))
    optimiser = torch.optim.AdamW(network.parameters(), arguments.rate, weight_decay=1e-3)
    steps = arguments.epochs * len(taught)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, arguments.rate, total_steps=steps)
    for epoch in range(arguments.epochs):
        losses = []
        for index in torch.randperm(len(taught)).tolist():
            part = part_of(taught[index], side)
            optimiser.zero_grad()
            value = loss(weigh(network, part), part)
            value.backward()
            optimiser.step()
            schedule.step()
            losses.append(value.item())
        mean = float(np.mean(losses))
        print(f"epoch {epoch}: {mean:.4f} = {-4.343 * mean + 48.13:.2f} dB", flush=True)
        save_file(network.state_dict(), arguments.out)
