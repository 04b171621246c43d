"""Kill `relive encode --batch` with SIGKILL at random moments and check what is left (issue 7, h).

    python tools/kill_batch.py -o results/kill-batch.json --minutes 8

A tree of small sessions is encoded once to its end by an untrained model, which gives the true
replays. Then it is encoded into an empty folder and killed at a random moment after its first
write, again and again in the same folder, so that every run goes on where a killed one stopped; a
folder that is done is followed by an empty one. Three of four kills strike the process that hands
out the work, the fourth a worker, after which the run must end well by itself. After every kill all
replays must be true, and those that were there must be there, untouched. Leaves with 1 where they
are not.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from relive.bench.provenance import provenance, write_json
from relive.session import Recorder, StateField, StateSchema

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from small_model import write_small_model

SESSIONS, FRAMES, WIDTH, HEIGHT = 48, 8, 48, 32
POLL_S = 0.005
SCHEMA = StateSchema((StateField("health", unit="hp", step=1.0),))

Json = dict[str, Any]


def write_sessions(folder: Path) -> None:
    """Write a tree of small sessions, no two alike."""
    for number in range(SESSIONS):
        rng = np.random.default_rng(number)
        picture = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        path = folder / f"{number % 3}" / f"{number:02d}.mcap"
        path.parent.mkdir(parents=True, exist_ok=True)
        with Recorder(path, SCHEMA, game="test") as recorder:
            for n in range(FRAMES):
                recorder.add(np.roll(picture, n, 1), np.array([n], np.float32), n * 40_000_000)


def replays(out: Path) -> dict[str, tuple[str, int]]:
    """Hash and age of every replay in a folder."""
    return {
        path.relative_to(out).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(out.rglob("*.relive"))
    }


def start(work: Path, out: Path) -> "subprocess.Popen[bytes]":
    """Start the batch."""
    command = [sys.executable, "-m", "relive", "encode", "--batch", str(work / "in"),
               "-o", str(out), "--model", str(work / "m.safetensors"), "--preset", "fast",
               "--workers", "2", "-q", "--json"]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_a_write(child: "subprocess.Popen[bytes]", out: Path) -> float:
    """Wait until a worker writes; return the moment."""
    while child.poll() is None and not any(out.rglob(".*.relive.part")):
        time.sleep(POLL_S)
    return time.perf_counter()


def workers_of(pid: int) -> list[int]:
    """List the processes that encode for another one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]


def strike(child: "subprocess.Popen[bytes]", victim: str, chance: random.Random) -> bool:
    """Kill; return whether somebody was there to be killed."""
    if child.poll() is not None:
        return False
    pid = child.pid
    if victim == "worker":
        workers = workers_of(pid)
        if not workers:
            return False
        pid = chance.choice(workers)
    os.kill(pid, signal.SIGKILL)
    return True


def check(before: Json, after: Json, true: Json) -> str | None:
    """Say what is wrong with the replays of a folder."""
    wrong = [name for name, (digest, _) in after.items() if true.get(name) != digest]
    lost = [name for name in before if name not in after]
    again = [name for name in before if name in after and after[name] != before[name]]
    if wrong or lost or again:
        return f"{len(wrong)} not true, {len(lost)} lost, {len(again)} made again"
    return None


def kill_once(work: Path, out: Path, true: Json, span: float, chance: random.Random) -> Json:
    """Run, kill, check; empty where the run ended before the kill."""
    victim = "worker" if chance.random() < 0.25 else "batch"
    after_s = chance.uniform(0, span)
    before = replays(out)
    child = start(work, out)
    began = wait_for_a_write(child, out)
    time.sleep(max(0.0, began + after_s - time.perf_counter()))
    killed = strike(child, victim, chance)
    code = child.wait()
    after = replays(out)
    failure = check(before, after, true)
    if not failure and victim == "worker" and (code or after.keys() != true.keys()):
        failure = f"exit code {code}, {len(after)} of {len(true)} replays"
    if not killed and not failure:
        return {}
    return {"victim": victim, "after_s": round(after_s, 3), "before": len(before),
            "after": len(after), "of": len(true), "failure": failure}  # fmt: skip


def finish(work: Path, out: Path, true: Json) -> str | None:
    """Run to the end; say what is wrong with it."""
    before = replays(out)
    code = start(work, out).wait()
    after = replays(out)
    failure = check(before, after, true)
    if not failure and (code or after.keys() != true.keys() or list(out.rglob("*.part"))):
        failure = f"exit code {code}, {len(after)} of {len(true)} replays, or a part is left"
    lines = [json.loads(line) for line in (out / "batch.jsonl").read_text().splitlines()]
    noted = {line["result"] for line in lines}
    return failure or (None if noted >= {digest for digest, _ in after.values()} else "no line")


def main() -> int:
    """Kill, check, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=9)
    options = parser.parse_args()
    chance, kills, finishes = random.Random(options.seed), [], []
    with tempfile.TemporaryDirectory(prefix="relive-kill-") as name:
        work, out = Path(name), Path(name) / "out"
        write_sessions(work / "in")
        write_small_model(work / "m.safetensors")
        start(work, work / "warm").wait()  # compiles the kernels
        child = start(work, work / "true")
        began = wait_for_a_write(child, work / "true")
        child.wait()
        span = time.perf_counter() - began
        true = {name: digest for name, (digest, _) in replays(work / "true").items()}
        ends = time.monotonic() + 60 * options.minutes
        while len(kills) < options.kills and time.monotonic() < ends:
            killed = kill_once(work, out, true, span, chance)
            kills += [killed] if killed else []
            print(killed or "ended before the kill", file=sys.stderr, flush=True)
            if len(replays(out)) == len(true):
                finishes.append(finish(work, out, true))
                shutil.rmtree(out)
        if out.exists():
            finishes.append(finish(work, out, true))
    failures = [k["failure"] for k in kills if k["failure"]] + [f for f in finishes if f]
    report = {"kills": len(kills), "finishes": len(finishes), "failures": failures,
              "sessions": SESSIONS, "seconds_of_writing": round(span, 3)}  # fmt: skip
    write_json(options.out, {**report, "each": kills, **provenance()})
    print(f"{len(kills)} kills, {len(finishes)} folders finished, {len(failures)} failures")
    return int(bool(failures))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
