"""What a catalogue keeps of one replay, read without decoding a picture."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relive.catalog.descriptor import describe
from relive.container import GopEntry, ReplayEvent
from relive.errors import ModelMismatchError, ReliveError
from relive.session import StateSchema

if TYPE_CHECKING:
    from relive.codec import Bundle, Replay

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Stamp:
    """By what a file is known again: where it is, how long, how old."""

    path: str
    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Look at a file."""
        found = path.stat()
        return cls(str(path), found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Facts:
    """A replay as a catalogue knows it; of a broken file there is a problem and nothing else."""

    problems: list[str]
    broken: bool = False
    game: str = ""
    model_id: str = ""
    size: tuple[int, int] = (0, 0)
    fps: float = 0.0
    schema: StateSchema = field(default_factory=StateSchema)
    times_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    present: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    states: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    stated: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    gops: list[GopEntry] = field(default_factory=list)
    events: list[ReplayEvent] = field(default_factory=list)
    keyframes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    descriptors: NDArray[np.float32] | None = None

    @property
    def condition(self) -> str:
        """Say `whole`, `damaged` or `broken`."""
        return "broken" if self.broken else "damaged" if self.problems else "whole"

    @property
    def start_ns(self) -> int:
        """Time of the first frame."""
        return int(self.times_ns[0]) if len(self.times_ns) else 0

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the last."""
        return float(self.times_ns[-1] - self.times_ns[0]) / 1e9 if len(self.times_ns) else 0.0


def sha256_of(path: Path) -> str:
    """Hash a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_facts(path: Path, bundle: Bundle | None) -> Facts:
    """Read a replay; whatever is wrong with it becomes a problem and never an error.

    Args:
        path: of the replay.
        bundle: model to read codes with, or one that has grown out of it; None, or another one
            than the replay needs: no descriptors.
    """
    from relive.codec import Replay  # brings torch, which nothing else of a catalogue needs
    from relive.codec.growing import open_replay

    try:
        if not os.access(path, os.R_OK):
            return Facts([f"{path}: no permission to read it"], broken=True)
        with Replay.open(path) if bundle is None else open_replay(path, bundle) as replay:
            return _facts_of(replay, bundle is not None)
    except (ReliveError, OSError) as error:
        return Facts([str(error)], broken=True)


def _facts_of(replay: Replay, described: bool) -> Facts:
    keyframes, descriptors = np.zeros(0, np.int64), None
    if described:
        with suppress(ModelMismatchError):
            keyframes, descriptors = describe_replay(replay)
    return Facts(
        list(replay.problems) or (["GOPs do not decode"] if replay.damaged else []),
        False,
        replay.header.game,
        replay.header.model_id,
        (replay.width, replay.height),
        replay.fps,
        replay.schema,
        replay.times_ns,
        replay.present,
        replay.states,
        replay.stated & replay.has_states,
        replay.gops,
        replay.events,
        keyframes,
        descriptors,
    )


def describe_replay(replay: Replay) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Describe the keyframes of a replay.

    Returns:
        Their frames `[n]`, and their descriptors `[n, …]`.

    Raises:
        ModelMismatchError: Its model is another one.
    """
    steps = replay.codes(keyframes=True)
    steps = steps[steps.readable]
    return steps.first_frame, describe(steps.dequantise(replay.codebooks))
