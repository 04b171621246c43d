"""A small replay with all that the player shows: camera, regions, events, two tiers, and damage."""

from pathlib import Path

import numpy as np

import relive
from relive.container import ReplayReader
from relive.session import Camera, Recorder, Region, RegionSchema, StateField, StateSchema

FRAMES, WIDTH, HEIGHT, FPS, GOP = 48, 160, 96, 30, 8
SCHEMA = StateSchema(
    (
        StateField("x", unit="m", role="camera.x", step=0.01),
        StateField("y", unit="m", role="camera.y", step=0.01),
        StateField("yaw", unit="deg", kind="angle", role="camera.yaw", step=0.1),
        StateField("health", unit="hp", step=1.0),
    ),
    Camera(fov_deg=90.0),
)
REGIONS = RegionSchema((Region(1, "left", "simple", 1), Region(2, "right", "critical", 2)))
ABSENT = 21


def write_session(path: Path) -> Path:
    """Record a noisy picture that wanders; one frame is missing."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    picture = np.kron(coarse, np.ones((8, 8, 1), np.uint8)) // 2
    picture += rng.integers(0, 16, picture.shape, np.uint8)  # or it would be kept exactly
    labels = np.ones((HEIGHT, WIDTH), np.uint8)
    labels[:, WIDTH // 2 :] = 2
    with Recorder(path, SCHEMA, REGIONS, game="test:wander") as recorder:
        for n in range(FRAMES):
            frame = None if n == ABSENT else np.roll(picture, (n // 2, 2 * n), (0, 1))
            state = np.array([np.cos(n / 8), np.sin(n / 8), 6.0 * n, 100 - n], np.float32)
            recorder.add(frame, state, n * 1_000_000_000 // FPS, None if frame is None else labels)
            if n in (12, 30):
                recorder.event("door", f"number {n}", n * 1_000_000_000 // FPS)
    return path


def write_replays(folder: Path) -> Path:
    """Write `s.mcap`, `s.relive`, `hurt.relive` (a GOP lost, one degraded) and `broken.relive`."""
    write_session(folder / "s.mcap")
    replay = folder / "s.relive"
    relive.encode(folder / "s.mcap", replay, quality=4, preset="fast", keyframe_interval=GOP)
    data = bytearray(replay.read_bytes())
    with ReplayReader.open(replay) as reader:
        third, fifth = reader.gops[2], reader.gops[4]
    data[third.codes_at + 60] ^= 255
    assert fifth.detail_at is not None
    data[fifth.detail_at + 60] ^= 255
    (folder / "hurt.relive").write_bytes(data)
    (folder / "broken.relive").write_bytes(b"\x89MCAP0\r\nnothing")
    return folder
