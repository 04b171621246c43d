"""One hour of play, recorded, encoded and decoded: memory, seeks, times.

    python tools/measure_hour.py FOLDER [--game deathmatch] [--hours 1] [--preset fast] [--out FILE]

Doom at 160×120, every fourth tic (8.75 frames/s): as agents are trained on it, and a tenth of the
work of 320×240 at 35 frames/s.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from relive.bench.provenance import provenance
from relive.codec import Replay, encode
from relive.codec.effort import DEFAULT_PRESET, PRESETS
from relive.session import Recorder, Session
from relive.session.sources.doom import TICS_PER_S, DoomGame
from relive.session.sources.doom_state import state_schema

EVERY = 4
SIZE = (160, 120)
SEEKS = 150
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_mib() -> float:
    """Memory of this process that is in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * PAGE / 2**20


class Memory:
    """Resident memory over the length of the session."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def __call__(self, done: int, total: int) -> None:
        """Look, `done` of `total` frames through."""
        self.seen.append((done / total, resident_mib()))

    def report(self) -> dict[str, float]:
        """Means of the second tenth, when everything is warm, and of the last one; the greatest."""
        at, mib = np.array(self.seen).T
        early, late = mib[(at > 0.1) & (at <= 0.2)], mib[at > 0.9]
        return {
            "second_tenth_mib": round(float(early.mean()), 1),
            "last_tenth_mib": round(float(late.mean()), 1),
            "greatest_mib": round(float(mib.max()), 1),
        }


def record(path: Path, game: str, hours: float, seed: int) -> None:
    """Record a game, if it is not there yet."""
    if path.exists():
        return
    tics = int(hours * 3600 * TICS_PER_S)
    with DoomGame(game, seed=seed, width=SIZE[0], height=SIZE[1]) as played:
        schema = state_schema(*SIZE)
        with Recorder(path, schema, game=f"doom:{game}") as recorder:
            for tic in islice(played, 0, tics, EVERY):
                recorder.add(tic.frame, tic.state, tic.time_ns)


def timed(what: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def watched(frames: Iterator[object], total: int, memory: Memory) -> None:
    """Go through all frames."""
    for count, _ in enumerate(frames, 1):
        if count % 32 == 0:
            memory(count, total)


def measure(session: Path, replay: Path, preset: str) -> dict[str, object]:
    """Encode, decode, seek."""
    memory = {"encode": Memory(), "decode": Memory()}
    report = encode(session, replay, preset=preset, force=True, progress=memory["encode"])
    rng = np.random.default_rng(0)
    with Replay.open(replay) as opened, Session.open(session) as original:
        total = opened.num_frames
        decode_s = timed(lambda: watched(opened.iter_frames(), total, memory["decode"]))
        places = rng.integers(0, total, SEEKS).tolist()
        keys = [place // 32 * 32 for place in rng.integers(0, total, SEEKS).tolist()]
        seeks = np.array([timed(lambda p=place: opened.frame(p)) for place in places]) * 1e3
        starts = np.array([timed(lambda p=place: opened.frame(p)) for place in keys]) * 1e3
        return {
            "preset": preset,
            "frames": total,
            "seconds_of_play": (opened.times_ns[-1] - opened.times_ns[0]) / 1e9,
            "bytes": report.bytes,
            "bits_per_pixel": report.bits_per_pixel,
            "psnr_db": report.psnr_db,
            "encode_fps": round(report.encode_fps, 2),
            "decode_fps": round(total / decode_s, 2),
            "memory": {name: seen.report() for name, seen in memory.items()},
            "seek_ms": {f"p{p}": round(float(np.percentile(seeks, p)), 1) for p in (50, 99)},
            "keyframe_ms": {f"p{p}": round(float(np.percentile(starts, p)), 1) for p in (50, 99)},
            "times_equal": bool(np.array_equal(opened.times_ns, original.times_ns)),
        }


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--game", default="deathmatch")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=7000)
    parser.add_argument("--preset", choices=list(PRESETS), default=DEFAULT_PRESET)
    parser.add_argument("--out", type=Path, default=Path("results/hour.json"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    session = args.folder / f"play-{args.seed}-{round(args.hours * 60)}min.mcap"
    record(session, args.game, args.hours, args.seed)
    result = measure(session, session.with_suffix(".relive"), args.preset)
    args.out.write_text(json.dumps({**provenance(), **result}, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
