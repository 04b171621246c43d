"""How fast this machine encodes and decodes, on a clip that is made on the spot."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from relive.codec.encoder import encode
from relive.codec.replay import Replay
from relive.codec.workers import NUM_WORKERS
from relive.session import Recorder, StateField, StateSchema

WIDTH, HEIGHT = 320, 240
GOP_FRAMES = 12
FRAMES = 2 * GOP_FRAMES
INTERVAL_NS = 28_571_429
SEED = 5


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Attributes:
        encode_fps: frames a second, preset medium, quality 5.
        decode_fps: frames a second, both tiers.
        frames: of the clip.
        width: pixels across.
        height: pixels down.
        start_s: seconds until the first frame: loading the model; compiling kernels, if they were
            not in the cache.
        seconds: of the whole test.
    """

    encode_fps: float
    decode_fps: float
    frames: int
    width: int
    height: int
    start_s: float
    seconds: float


def describe_torch() -> dict[str, object]:
    """Say what torch computes with here."""
    cuda = torch.cuda.is_available()
    return {
        "torch": torch.__version__,
        "vector_units": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.cuda.get_device_name() if cuda else None,
        "workers": NUM_WORKERS,
    }


def measure_speed() -> Speed:
    """Encode and decode a synthetic clip of 320×240 pixels in a temporary folder.

    It is textured, scrolls and has moving things on it, so it costs about what a game does.
    """
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="relive-doctor-") as name:
        folder = Path(name)
        _round_trip(folder, "first", 4)
        start_s = time.monotonic() - begin
        encode_fps, decode_fps = _round_trip(folder, "clip", FRAMES)
    seconds = time.monotonic() - begin
    return Speed(encode_fps, decode_fps, FRAMES, WIDTH, HEIGHT, start_s, seconds)


def _round_trip(folder: Path, name: str, frames: int) -> tuple[float, float]:
    session, path = folder / f"{name}.mcap", folder / f"{name}.relive"
    schema = StateSchema((StateField("health", unit="percent", step=1.0),))
    with Recorder(session, schema, game="synthetic") as recorder:
        for n, frame in enumerate(synthetic_clip(frames)):
            recorder.add(frame, np.array([100 - n], np.float32), n * INTERVAL_NS)
    report = encode(session, path, keyframe_interval=GOP_FRAMES)
    begin = time.monotonic()
    with Replay.open(path) as replay:
        shown = sum(1 for _ in replay.iter_frames())
    return report.encode_fps, shown / (time.monotonic() - begin)


def synthetic_clip(frames: int) -> NDArray[np.uint8]:
    """Make uint8 `[frames, 240, 320, 3]`: a textured ground that scrolls, and four things on it."""
    chance = np.random.default_rng(SEED)
    ground = np.zeros((512, 512, 3))
    for size in (2, 8, 32):
        coarse = chance.normal(0, 50 / size**0.5, (512 // size, 512 // size, 3))
        ground += coarse.repeat(size, axis=0).repeat(size, axis=1)
    things = chance.integers(0, 256, (4, 40, 24, 3))
    clip = np.empty((frames, HEIGHT, WIDTH, 3), np.uint8)
    for n, frame in enumerate(clip):
        x, y = 3 * n % (512 - WIDTH), n % (512 - HEIGHT)
        frame[:] = np.clip(110 + ground[y : y + HEIGHT, x : x + WIDTH], 0, 255)
        for row, thing in enumerate(things):
            left = (70 * row + (row - 2) * 2 * n) % (WIDTH - 24)
            frame[60 + 40 * row :][:40, left : left + 24] = thing[: HEIGHT - 60 - 40 * row]
    return clip
