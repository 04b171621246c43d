"""A short recording and a replay of it with a small random model, for tests of what is around."""

from pathlib import Path

import numpy as np

import relive
from relive.session import Camera, Recorder, StateField, StateSchema
from small_model import write_small_model

FRAMES, WIDTH, HEIGHT, MISSING = 40, 47, 31, 7
INTERVAL_NS = 28_571_428  # 35 frames a second
SCHEMA = StateSchema(
    (
        StateField("health", unit="hp", step=1.0),
        StateField("x", role="camera.x", step=0.01),
        StateField("y", role="camera.y", step=0.01),
        StateField("z", role="camera.z", step=0.01),
        StateField("yaw", unit="deg", kind="angle", role="camera.yaw", step=0.01),
    ),
    Camera(90.0),
)


def write_short(folder: Path, keyframe_interval: int = 8) -> Path:
    """Write `s.mcap`, `m.safetensors` and `s.relive` into a folder; frame 7 is missing."""
    rng = np.random.default_rng(2)
    small = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    picture = small.repeat(8, 0).repeat(8, 1)[:HEIGHT, :WIDTH]
    with Recorder(folder / "s.mcap", SCHEMA, game="test", force=True) as recorder:
        for n in range(FRAMES):
            frame = None if n == MISSING else np.roll(picture, n, axis=1)
            recorder.add(frame, np.array([100 - n, n / 10, 0, 0, n], np.float32), n * INTERVAL_NS)
            if n % 10 == 3:
                recorder.event("kill", f"imp {n}", n * INTERVAL_NS + 5)
    model = write_small_model(folder / "m.safetensors")
    relive.encode(
        folder / "s.mcap",
        folder / "s.relive",
        model=model,
        keyframe_interval=keyframe_interval,
        preset="fast",
        force=True,
    )
    return folder


def write_mixed(source: Path, folder: Path) -> None:
    """Write replays that are whole (`a`), damaged (`hurt`) and none (`none`), from `source`."""
    whole = (source / "s.relive").read_bytes()
    (folder / "a.relive").write_bytes(whole)
    with relive.Replay.open(source / "s.relive") as replay:
        place = replay.gops[1].codes_at + 60
    hurt = bytearray(whole)
    hurt[place] ^= 255
    (folder / "hurt.relive").write_bytes(hurt)
    (folder / "none.relive").write_bytes(b"no replay")
