"""What the teachers of the blending networks share: lessons in a folder, and the loop.

`fit_restore.py` and `fit_view.py` differ in where crops come from and in how they are mixed. A
lesson is a file of the crops of one frame, with features in steps of 1/64 from -1 on and colours in
whole levels: all of it as single precision would fill the disk.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import multiprocessing
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import relive
from relive.session import Session

LESSON_CODE = Path(relive.__file__).parent
STEPS = 64  # of a feature to one
TOGETHER = 4  # crops to a step of learning

Crop = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
"""Features, colours of candidates, the truth, and which pixels count."""
Sample = tuple[Tensor, Tensor, Tensor, Tensor]
"""The same as float32: `[K, F, H, W]`, `[K, 3, H, W]`, `[3, H, W]`, `[H, W]`."""
Crops = Callable[[Session, int, np.random.Generator], Sequence[Crop]]
"""Makes the crops of a random frame of a session; the number says which lesson it is."""


@dataclass(frozen=True)
class Course:
    """How a network is taught.

    Attributes:
        crops: makes a lesson.
        net: makes the network.
        mix: what the network makes of a sample `[3, H, W]`, levels.
        side: of the parts of crops that are shown, pixels.
        epochs: where the command line says nothing.
    """

    crops: Crops
    net: Callable[[], nn.Module]
    mix: Callable[[nn.Module, Sample], Tensor]
    side: int
    epochs: int


def crop(
    given: NDArray[np.float32],
    colours: NDArray[np.float32],
    truth: NDArray[np.uint8],
    counts: NDArray[np.bool_],
    corner: tuple[int, int],
    side: int,
) -> Crop:
    """Cut a square out of all that is known of a frame, from its top left corner.

    Args:
        given: features `[K, F, H, W]`.
        colours: of the candidates `[K, H, W, 3]`.
        truth: the frame `[H, W, 3]`.
        counts: which pixels count `[H, W]`.
        corner: row and column.
        side: of the square, pixels.
    """
    rows, columns = (slice(place, place + side) for place in corner)
    features = ((given[:, :, rows, columns] + 1) * STEPS).round().clip(0, 255)
    shown = colours[:, rows, columns].round().clip(0, 255).transpose(0, 3, 1, 2)
    return (
        features.astype(np.uint8),
        shown.astype(np.uint8),
        truth[rows, columns].transpose(2, 0, 1),
        counts[rows, columns].astype(np.uint8),
    )


def prepare(folder: Path, paths: list[Path], course: Course, options: argparse.Namespace) -> None:
    """Make lessons until the time is over; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    _stamp(folder)
    end = time.monotonic() + 60 * options.minutes
    tasks = [(turn, number) for turn in range(options.per_session) for number in range(len(paths))]
    work = partial(_prepare_one, folder, paths, course.crops, end)
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        for _ in pool.imap_unordered(work, tasks):
            pass


def _stamp(folder: Path) -> None:
    """Write into the folder which code makes its lessons, and refuse those of another one."""
    files = sorted(LESSON_CODE.glob("restore/*.py")) + sorted(LESSON_CODE.glob("view/*.py"))
    files += sorted(Path(__file__).parent.glob("fit_*.py"))
    made_by = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    stamp = folder / "made-by.txt"
    if stamp.exists() and stamp.read_text() != made_by:
        sys.exit(f"{folder} has lessons of other code; name another folder")
    stamp.write_text(made_by)


def _prepare_one(
    folder: Path, paths: list[Path], crops: Crops, end: float, task: tuple[int, int]
) -> None:
    turn, number = task
    out = folder / f"{turn:03d}-{number:03d}.npz"
    if out.exists() or time.monotonic() > end:
        return
    torch.set_num_threads(1)
    with Session.open(paths[number]) as session:
        made = crops(session, turn + number, np.random.default_rng((0, turn, number)))
    part = out.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for place, one in enumerate(made):
            for name, array in zip("abcd", one, strict=True):
                with file.open(f"{place}{name}.npy", "w") as member:
                    npy.write_array(member, np.ascontiguousarray(array))
    part.rename(out)


def read(path: Path, side: int, rng: np.random.Generator) -> list[Sample]:
    """Random squares of the crops of a lesson, mirrored or not."""
    out = []
    with np.load(path) as file:
        for place in range(len(file.files) // 4):
            arrays = [file[f"{place}{name}"] for name in "abcd"]
            top, left = (int(rng.integers(0, edge - side + 1)) for edge in arrays[3].shape)
            parts = [a[..., top : top + side, left : left + side] for a in arrays]
            if rng.random() < 0.5:
                parts = [part[..., ::-1] for part in parts]
            features, *rest = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
            out.append((features.float() / STEPS - 1, *(part.float() for part in rest)))
    return out


def loss(mixed: Tensor, sample: Sample) -> Tensor:
    """Squared error of what counts, as a logarithm: hard frames do not outweigh the others."""
    _, _, truth, counts = sample
    error = ((mixed - truth).square().mean(0) * counts).sum() / counts.sum().clamp_min(1)
    return (error + 4).log()


def teach(description: str | None, course: Course) -> None:
    """Read the command line, make lessons or take those that are there, teach, and write."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("sessions", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--lessons", type=Path, required=True, help="folder to keep them in")
    parser.add_argument("--per-session", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=course.epochs)
    parser.add_argument("--minutes", type=float, default=8, help="to make lessons")
    parser.add_argument("--workers", type=int, default=1, help="processes that make them")
    parser.add_argument("--rate", type=float, default=4e-3, help="of learning, at most")
    parser.add_argument("--start", type=Path, help="weights to begin with")
    options = parser.parse_args()
    torch.manual_seed(0)
    paths = sorted(options.sessions.glob("*.mcap"))
    np.random.default_rng(1).shuffle(paths)
    prepare(options.lessons, paths, course, options)
    lessons = sorted(options.lessons.glob("*.npz"))
    print(f"{len(lessons)} lessons of {len(paths)} sessions", flush=True)
    network = course.net()
    if options.start:
        network.load_state_dict(load_file(options.start))
    _learn(network, course, lessons, options)


def _learn(
    network: nn.Module, course: Course, lessons: list[Path], options: argparse.Namespace
) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), options.rate, weight_decay=1e-3)
    rng, began = np.random.default_rng(0), time.monotonic()
    for epoch in range(options.epochs):
        losses: list[float] = []
        for group, share in _groups(lessons, course.side, rng):
            rate = options.rate * _slope((epoch + share) / options.epochs)
            for settings in optimiser.param_groups:
                settings["lr"] = rate
            optimiser.zero_grad()
            for sample in group:
                value = loss(course.mix(network, sample), sample) / len(group)
                value.backward()
                losses.append(value.item() * len(group))
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        mean, minutes = float(np.mean(losses)), (time.monotonic() - began) / 60
        print(f"epoch {epoch}: {-4.343 * mean + 48.13:.2f} dB, {minutes:.1f} min", flush=True)
        state = {name: tensor.half() for name, tensor in network.state_dict().items()}
        save_file(state, options.out)


def _groups(
    lessons: list[Path], side: int, rng: np.random.Generator
) -> Iterator[tuple[list[Sample], float]]:
    """Crops of several lessons at a time in any order, and the share of lessons that were read."""
    waiting: list[Sample] = []
    for number, index in enumerate(rng.permutation(len(lessons))):
        waiting += read(lessons[index], side, rng)
        if len(waiting) < 16 * TOGETHER and number + 1 < len(lessons):
            continue
        order = rng.permutation(len(waiting))
        for first in range(0, len(order), TOGETHER):
            group = [waiting[place] for place in order[first : first + TOGETHER]]
            yield group, (number + 1) / len(lessons)
        waiting = []


def _slope(share: float) -> float:
    """Rate of learning: up in the first 5 %, down by a cosine."""
    return min(share / 0.05, 0.5 + 0.5 * math.cos(math.pi * min(share, 1.0))) + 1e-3
