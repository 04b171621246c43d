"""Measure what recording costs the game, on pictures of a real session.

    python tests/measure_recording.py SESSION.mcap --seconds 30 -o results/recording.json

The pictures of the session are played at 60 a second into a new recording while the "game" works
in Python for 8 ms a frame, holding the global lock as a game written in Python would. A plain
copy of the picture in place of `add` shows what the machine itself does to such a loop.
"""

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from relive.session import Recorder, Session

FPS = 60
BUSY_S = 0.008


def work(seconds):
    end = time.perf_counter() + seconds
    count = 0
    while time.perf_counter() < end:
        count += 1
    return count


def measure_add(session, path, seconds):
    """Record at 60 frames a second; the times of `add` in ms, and those of it that are work."""
    count = min(len(session), 600)
    frames, states = session.frames(0, count), session.states
    regions = session.regions(0, count)
    with Recorder(path, session.schema, session.region_schema, force=True) as recorder:

        def add(number):
            maps = None if regions is None else regions[number % count]
            recorder.add(frames[number % count], states[number % count], number * 10**7, maps)

        took_ms = play(add, seconds)
    return took_ms, play(lambda number: frames[number % count].copy(), seconds)


def play(add, seconds):
    """Call `add` 60 times a second between spells of work; its times in ms."""
    took_ms = []
    start = time.perf_counter()
    for number in range(int(seconds * FPS)):
        work(BUSY_S)
        before = time.perf_counter()
        add(number)
        took_ms.append((time.perf_counter() - before) * 1e3)
        time.sleep(max(0.0, start + (number + 1) / FPS - time.perf_counter()))
    return np.array(took_ms)


def measure_speed(session, path):
    """Frames a second that the writer and the reader reach."""
    count = min(len(session), 600)
    frames, states = session.frames(0, count), session.states
    start = time.perf_counter()
    with Recorder(path, session.schema, session.region_schema, force=True) as recorder:
        for i in range(count):
            recorder.add(frames[i], states[i], int(session.times_ns[i]))
    write_fps = count / (time.perf_counter() - start)
    start = time.perf_counter()
    with Session.open(path) as copy:
        for i in range(0, count, 32):
            copy.frames(i, min(i + 32, count))
    return write_fps, count / (time.perf_counter() - start), path.stat().st_size / count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("session", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    with Session.open(options.session) as session, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "copy.mcap"
        write_fps, read_fps, frame_bytes = measure_speed(session, path)
        took_ms, copy_ms = measure_add(session, path, options.seconds)
        result = {
            "command": " ".join(["python", *sys.argv]),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "load": os.getloadavg()[0],
            "python": platform.python_version(),
            "game": session.game,
            "size": f"{session.width}x{session.height}",
            "frames": len(took_ms),
            "add_median_ms": round(float(np.median(took_ms)), 3),
            "add_p99_ms": round(float(np.percentile(took_ms, 99)), 3),
            "add_max_ms": round(float(took_ms.max()), 3),
            "plain_copy_p99_ms": round(float(np.percentile(copy_ms, 99)), 3),
            "plain_copy_max_ms": round(float(copy_ms.max()), 3),
            "write_ms_per_frame": round(1e3 / write_fps, 3),
            "read_ms_per_frame": round(1e3 / read_fps, 3),
            "bytes_per_frame": round(frame_bytes),
            "raw_bytes_per_frame": session.width * session.height * 3,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
