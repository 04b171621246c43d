"""Measure `relive encode --batch` with one worker against two (issue 7, point 9).

    python tools/measure_batch.py SESSION.mcap… -o results/batch.json

Eight sessions are cut from the given ones: every second pixel of `--frames` frames, 160×96, and
encoded by one worker and by two, in turns. Reported of each run:

- `seconds`, `frames_per_s`: the whole command, start of Python and loading of torch included;
- `steady_frames_per_s`: after every worker has ended its first session, as in a long batch;
- `steady_cpu_seconds_a_frame`: processor time of the same sessions; what two workers take more
  than one is lost to sharing caches and memory, whatever else the machine does meanwhile;
- `cores_given`: that over the wall time. On a busy machine two workers may get no more than one.

Then two cuts of the full size, 96 frames each, are encoded by one worker with each preset:
`core_seconds_a_frame`, loading of the model included, is what docs/batch.md reckons costs with.

`ratio` and `ratio_steady` are of wall time. `ratio_on_free_cores` is 2 · processor time a frame
with one worker / with two: what two cores without other work would give in a long batch.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from relive.bench.provenance import provenance, write_json
from relive.session import Recorder, Session

SESSIONS, WIDTH, HEIGHT = 8, 160, 96
FULL_SESSIONS, FULL_FRAMES = 2, 96

Json = dict[str, Any]


def cut_sessions(sources: list[Path], folder: Path, sessions: int, length: int, full: bool) -> None:
    """Write short sessions from the sources in turn, in full size or small."""
    folder.mkdir()
    for number in range(sessions):
        with Session.open(sources[number % len(sources)]) as source:
            first = number // len(sources) * length
            frames = source.frames(first, first + length)
            schema = source.schema
            if not full:
                frames = frames[:, ::2, ::2][:, :HEIGHT, :WIDTH]
                camera = replace(schema.camera, view=None) if schema.camera else None
                schema = replace(schema, camera=camera)
            with Recorder(folder / f"{number}.mcap", schema, game=source.game) as recorder:
                for n, frame in enumerate(frames, first):
                    recorder.add(frame, source.states[n], int(source.times_ns[n]))


def run(folder: Path, out: Path, workers: int, preset: str, length: int) -> Json:
    """Encode all; read when each session was ready."""
    command = [sys.executable, "-m", "relive", "encode", "--batch", str(folder), "-o", str(out),
               "--workers", str(workers), "--preset", preset]  # fmt: skip
    load, began = os.getloadavg()[0], time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    ready = [time.perf_counter() - began for line in child.stderr or () if "encoded" in line]
    if child.wait():
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
    seconds = time.perf_counter() - began
    report = json.loads((out / "report.json").read_text())
    rest = SESSIONS - workers
    steady_s = ready[-1] - ready[workers - 1]
    cpu_s = steady_cpu_seconds(out, workers)
    return {
        "workers": workers,
        "seconds": round(seconds, 2),
        "frames_per_s": round(report["frames"] / seconds, 3),
        "steady_frames_per_s": round(length * rest / steady_s, 3),
        "steady_cpu_seconds_a_frame": round(cpu_s / length / rest, 5),
        "cores_given": round(cpu_s / steady_s, 3),
        "cpu_seconds": report["cpu_seconds"],
        "bytes": report["bytes"],
        "sha256": sha256_of(out),
        "load_before": round(load, 2),
    }


def sha256_of(folder: Path) -> str:
    """Hash the names and the content of all replays of a run."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.relive")):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def steady_cpu_seconds(out: Path, workers: int) -> float:
    """Add up the processor time of all sessions but the first of every worker."""
    lines = [json.loads(line) for line in (out / "batch.jsonl").read_text().splitlines()]
    return float(sum(line["cpu_seconds"] for line in lines[workers:]))


def cost_of(work: Path, preset: str) -> Json:
    """Encode the sessions of the full size with one worker."""
    out = work / f"full-{preset}"
    command = [sys.executable, "-m", "relive", "encode", "--batch", str(work / "full"),
               "-o", str(out), "--workers", "1", "--preset", preset, "--json", "-q"]  # fmt: skip
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    seconds = report["cpu_seconds"] / report["frames"]
    return {
        "frames": report["frames"],
        "bytes": report["bytes"],
        "core_seconds_a_frame": round(seconds, 4),
    }


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sessions", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--frames", type=int, default=600, help="of a session")
    options = parser.parse_args()
    runs: list[Json] = []
    with tempfile.TemporaryDirectory(prefix="relive-batch-") as name:
        cut_sessions(options.sessions, Path(name) / "in", SESSIONS, options.frames, False)
        for number in range(options.rounds):
            for workers in (1, 2):
                out = Path(name) / f"{number}-{workers}"
                runs.append(run(Path(name) / "in", out, workers, options.preset, options.frames))
                print(runs[-1], file=sys.stderr, flush=True)
        cut_sessions(options.sessions, Path(name) / "full", FULL_SESSIONS, FULL_FRAMES, True)
        cost = {preset: cost_of(Path(name), preset) for preset in ("medium", "fast")}

    def ratio(key: str) -> float:
        one, two = (statistics.median(r[key] for r in runs if r["workers"] == n) for n in (1, 2))
        return round(two / one, 3)

    result = {
        "sessions": SESSIONS,
        "frames": SESSIONS * options.frames,
        "picture": [WIDTH, HEIGHT],
        "preset": options.preset,
        "ratio": ratio("frames_per_s"),
        "ratio_steady": ratio("steady_frames_per_s"),
        "ratio_on_free_cores": round(2 / ratio("steady_cpu_seconds_a_frame"), 3),
        "same_bytes": len({r["sha256"] for r in runs}) == 1,
        "runs": runs,
        "full_size": cost,
    }
    write_json(options.out, {**result, **provenance()})
    print({key: value for key, value in result.items() if key.startswith("ratio")})
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
