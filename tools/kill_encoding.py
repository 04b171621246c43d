"""Kill encodings with SIGKILL at random moments and check what is left (issue 2, f).

    python tools/kill_encoding.py SESSION.mcap -o results/kill-encoding.json

`relive encode` runs once to its end, which gives the true replay and its duration. Then it runs
again and again and is killed at a random moment between the first byte of its output and its
usual end. Without any repair, the file must open and hold every GOP that reached the disk, with
the packets of the true replay. Leaves with 1 where it does not.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from relive.bench.provenance import provenance, write_json
from relive.codec import Bundle, Replay, load_bundle
from relive.container import ReplayReader
from relive.errors import ReliveError

POLL_S = 0.002

Json = dict[str, Any]


def start_encoding(options: argparse.Namespace, out: Path) -> tuple["subprocess.Popen[str]", float]:
    """Start `relive encode`; return it and the moment when its output begins."""
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "relive", "encode", str(options.session), "-o", str(out), "-q"]
    command += ["--quality", str(options.quality)]
    command += ["--keyframe-interval", str(options.keyframe_interval)]
    command += ["--model", str(options.model)] if options.model else []
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True)
    while not out.exists() or not out.stat().st_size:
        if child.poll() is not None:
            raise SystemExit("relive encode ended without writing anything")
        time.sleep(POLL_S)
    return child, time.perf_counter()


def encode_whole(options: argparse.Namespace, out: Path) -> list[float]:
    """Encode to the end; return when the file grew, in seconds after its first byte."""
    child, began = start_encoding(options, out)
    grown, size = [0.0], out.stat().st_size
    while child.poll() is None:
        time.sleep(POLL_S)
        if out.stat().st_size > size:
            size = out.stat().st_size
            grown.append(time.perf_counter() - began)
    if child.returncode:
        raise SystemExit("relive encode failed")
    return grown


def kill_once(options: argparse.Namespace, out: Path, after_s: float) -> bool:
    """Encode, kill after some seconds; return whether it was still running."""
    child, began = start_encoding(options, out)
    time.sleep(max(0.0, began + after_s - time.perf_counter()))
    running = child.poll() is None
    child.kill()
    return running and child.wait() == -signal.SIGKILL


def check(out: Path, whole: Path, bundle: Bundle) -> Json:
    """Compare what is left of a killed encoding with the whole one."""
    left, data = out.read_bytes(), whole.read_bytes()
    try:
        with ReplayReader.open(out) as reader, ReplayReader.open(whole) as truth:
            ends = [record_end(data, gop.track_at) for gop in truth.gops]
            on_disk = sum(end <= len(left) for end in ends)
            same = [reader.read_gop(i) == truth.read_gop(i) for i in range(len(reader.gops))]
        frames_equal = True
        with Replay.open(out, bundle) as replay, Replay.open(whole, bundle) as true:
            frames, gops, damaged = replay.num_frames, len(replay.gops), replay.damaged
            if gops:  # packets are compared for all; pixels for the last GOP, which was cut closest
                first = replay.gops[-1].first_frame
                last = replay.frames(first, frames)
                frames_equal = np.array_equal(last, true.frames(first, frames))
    except ReliveError as error:
        return {"bytes": len(left), "failure": f"{type(error).__name__}: {error}"}
    failure = None
    if gops != on_disk or not all(same):
        failure = f"{on_disk} whole GOPs on disk, {gops} readable, {sum(same)} equal"
    elif not frames_equal:
        failure = "frames of the last readable GOP differ"
    elif not damaged and len(left) < len(data):
        failure = "cut, but damaged is False"
    return {
        "bytes": len(left),
        "prefix_of_the_whole": data.startswith(left),
        "gops_on_disk": on_disk,
        "gops_readable": gops,
        "frames_readable": frames,
        "damaged": damaged,
        "failure": failure,
    }


def record_end(data: bytes, offset: int) -> int:
    """Return the end of the MCAP record at an offset: opcode, 8 bytes of length, content."""
    return offset + 9 + int.from_bytes(data[offset + 1 : offset + 9], "little")


def run(options: argparse.Namespace, folder: Path) -> Json:
    """Encode once to the end, then kill as often as wanted."""
    bundle, whole, out = load_bundle(options.model), folder / "whole.relive", folder / "out.relive"
    grown = encode_whole(options, whole)
    chance = random.Random(options.seed)
    kills: list[Json] = []
    ended = 0
    while len(kills) < options.kills and ended < options.kills:
        after_s = chance.uniform(0.0, grown[-1])
        if not kill_once(options, out, after_s):
            ended += 1  # this run was faster than the first
            continue
        kills.append({"after_s": after_s, **check(out, whole, bundle)})
        print(f"{len(kills)} of {options.kills}: {kills[-1]}", file=sys.stderr, flush=True)
    with ReplayReader.open(whole) as reader:
        gops, frames = len(reader.gops), reader.num_frames
    failures = [kill for kill in kills if kill["failure"]]
    return {
        "command": " ".join(["python", *sys.argv]),
        **provenance(options.model),
        "what": "relive encode, killed with SIGKILL; GOPs on disk = those of the whole replay that "
        "end inside the file that is left. Codes, states and times of all readable GOPs are "
        "compared with the whole replay as packets, pixels of the last one as frames",
        "whole": {
            "frames": frames,
            "gops": gops,
            "bytes": whole.stat().st_size,
            "file_grew_at_s": [round(moment, 3) for moment in grown],
        },
        "kills": len(kills),
        "runs_that_ended_before_the_kill": ended,
        "frames_readable": [kill.get("frames_readable", 0) for kill in kills],
        "failures": len(failures),
        "passed": len(kills) == options.kills and not failures,
        "runs": kills,
    }


def main() -> None:
    """Parse, run, write, and print a summary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("session", type=Path, help="a recording (.mcap)")
    parser.add_argument("--model", type=Path, help="weights instead of the bundled ones")
    parser.add_argument("--quality", type=int, default=5)
    parser.add_argument("--keyframe-interval", type=int, default=32)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(options, Path(folder))
    if options.out:
        write_json(options.out, result)
    print({key: result[key] for key in ("kills", "failures", "frames_readable", "passed")})
    sys.exit(not result["passed"])


if __name__ == "__main__":
    main()
