"""Check what the codec promises on one session (issue 2, points e and g).

    python tools/check_codec.py SESSION.mcap -o results/check-codec.json

Encodes the session once, then: decodes in other processes with 1 and 2 threads; seeks; decodes
files with a flipped or cut byte; compares the states; counts the overhead. Every part says in the
result what was done. Leaves with 1 where anything fails.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import torch
from check_damage import check_mutations
from codes_digest import PARTS, Integers, digest_codes, read_codes
from numpy.typing import NDArray

from relive.bench.provenance import provenance, write_json
from relive.bitstream import encode_codes, encode_detail
from relive.codec import Bundle, EncodeReport, Replay, encode, load_bundle
from relive.codec.gop import encode_gop
from relive.codec.rate import QUALITIES
from relive.codec.step import Geometry, StepCoder
from relive.codec.track import gop_track
from relive.codec.workers import NUM_WORKERS, workers
from relive.container import ReplayReader
from relive.session import Recorder, Session

SHORT_FRAMES, SHORT_INTERVAL = 64, 16
MAX_OVERHEAD = 0.03
PEER_BPS = 100_000
BEGAN = time.perf_counter()

Json = dict[str, Any]
Frames = NDArray[np.uint8]


def say(text: str) -> None:
    """Show a line of progress."""
    print(f"[{time.perf_counter() - BEGAN:5.0f} s] {text}", file=sys.stderr, flush=True)


# a: other processes ------------------------------------------------------------------------------


def encoders_own_codes(
    session: Session, bundle: Bundle, quality: int, file: Path
) -> list[Integers]:
    """Encode again, keep what goes into the coder, and check that `file` holds these packets."""
    coder = StepCoder(bundle, session.schema, Geometry(session.width, session.height))

    @torch.inference_mode()
    def one(start: int, stop: int) -> Integers:
        track = gop_track(session, start, stop)
        setting = QUALITIES[quality - 1]
        gop = encode_gop(coder, session.frames(start, stop), track, setting)
        return gop.codes, gop.detail

    with ReplayReader.open(file) as reader:
        spans = [(g.first_frame, g.first_frame + g.num_frames) for g in reader.gops]
        gops = list(workers().map(one, *zip(*spans, strict=True)))
        for i, (codes, detail) in enumerate(gops):
            written = reader.read_gop(i)
            again = detail and encode_detail(detail, codes, bundle.detail)
            if encode_codes(codes, bundle.tables) != written.codes or again != written.detail:
                raise SystemExit(f"GOP {i}: encoding twice gave different packets")
    return gops


def use_threads(count: int) -> None:
    """Give each worker of the codec `count` torch threads inside its operations."""
    gate = Barrier(NUM_WORKERS)

    def work() -> None:
        gate.wait()
        torch.set_num_threads(count)

    for done in [workers().submit(work) for _ in range(NUM_WORKERS)]:
        done.result()


def decode_as_other(replay: Path, model: Path | None, threads: int, out: Path) -> None:
    """The other process: print digests of all codes, write all frames to `out`."""
    torch.set_num_threads(threads)
    bundle = load_bundle(model)
    with ReplayReader.open(replay) as reader:
        digests = digest_codes(read_codes(reader, bundle, i) for i in range(len(reader.gops)))
    use_threads(threads)
    with Replay.open(replay, bundle) as opened:
        np.save(out, opened.frames(0, opened.num_frames))
    print(json.dumps(digests | {"torch_threads": threads, "gops_at_a_time": NUM_WORKERS}))


def check_processes(file: Path, model: Path | None, own: dict[str, str], truth: Frames) -> Json:
    """Decode in fresh processes with 1 and with 2 threads."""
    cores = sorted(os.sched_getaffinity(0))
    children = []
    for threads in (1, 2):
        frames = file.with_name(f"frames{threads}.npy")
        command = [sys.executable, __file__, str(file), "--other", str(frames)]
        command += ["--threads", str(threads), *(["--model", str(model)] if model else [])]
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, str(threads))
        # Inherited by the child: with 1 thread it has 1 core, and so takes GOP after GOP.
        os.sched_setaffinity(0, cores[:threads])
        child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        os.sched_setaffinity(0, cores)
        children.append((child, frames))
    runs = []
    for child, frames in children:
        printed, _ = child.communicate()
        if child.returncode:
            raise SystemExit("a decoding process failed")
        run: Json = json.loads(printed)
        difference = np.abs(np.load(frames).astype(np.int16) - truth)
        run["same"] = {part: run[part] == own[part] for part in PARTS}
        run["frames_equal"] = not difference.any()
        run["frames_max_difference_levels"] = int(difference.max())
        runs.append(run)
    return {
        "what": "codes of fresh processes against those the encoder handed to its coder (SHA-256); "
        "their frames against those decoded here. threads = OMP_NUM_THREADS = torch threads inside "
        "operations; with 1 thread the process has 1 core",
        "encoder": own,
        "processes": runs,
        "passed": all(all(run["same"].values()) for run in runs),
        "frames_equal": all(run["frames_equal"] for run in runs),
    }


# b: seeks ----------------------------------------------------------------------------------------


def check_seeks(file: Path, bundle: Bundle, truth: Frames, count: int) -> Json:
    """Seek to single frames and short ranges, in fresh replays and in one that goes on."""
    chance = random.Random(0)
    wrong, taken = [], []
    running = Replay.open(file, bundle)
    for number in range(count):
        start = chance.randrange(len(truth))
        stop = min(len(truth), start + (1 if number % 2 else chance.randint(2, 12)))
        began = time.perf_counter()
        replay = Replay.open(file, bundle) if number % 4 < 2 else running
        frames = replay.frames(start, stop)
        taken.append(time.perf_counter() - began)
        if not np.array_equal(frames, truth[start:stop]):
            wrong.append([number, start, stop])
        if replay is not running:
            replay.close()
        if number % 50 == 49:
            say(f"seeks: {number + 1} of {count}")
    running.close()
    return {
        "what": "half single frames, half 2 to 12 frames; half in a fresh Replay (opening counts, "
        "loading the model does not), half in one that goes on; against the full decode",
        "seeks": count,
        "equal": count - len(wrong),
        "wrong_number_start_stop": wrong,
        "p50_ms": float(np.percentile(taken, 50)) * 1e3,
        "p99_ms": float(np.percentile(taken, 99)) * 1e3,
        "passed": not wrong,
    }


# c: a short replay to damage ----------------------------------------------------------------------


def write_short(session: Session, out: Path, frames: int) -> None:
    """Write the first frames of a session, and the events up to then, as a session."""
    with Recorder(out, session.schema, session.region_schema, game=session.game) as recorder:
        for i in range(min(frames, session.num_frames)):
            frame = session.frame(i) if session.present[i] else None
            recorder.add(frame, session.states[i], int(session.times_ns[i]))
        last_ns = session.times_ns[:frames][-1]
        for event in session.events:
            if event.time_ns <= last_ns:
                recorder.event(event.name, event.payload, event.time_ns)


# d: states; e: overhead --------------------------------------------------------------------------


def check_states(session: Session, replay: Replay) -> Json:
    """Compare states and times with the recorded ones."""
    fields = []
    for i, field in enumerate(session.schema.fields):
        recorded, read = session.states[:, i], replay.states[:, i]
        if field.step > 0:
            difference = np.abs(recorded.astype(np.float64) - read)
            # A value is the float32 nearest to a multiple of the step.
            within = bool((difference <= field.step / 2 + np.spacing(np.abs(read)) / 2).all())
            worst = float(difference.max())
        else:
            within = recorded.tobytes() == read.tobytes()
            worst = 0.0 if within else float(np.nanmax(np.abs(recorded - read)))
        fields.append(
            {"name": field.name, "step": field.step, "max_difference": worst, "within": within}
        )
    times = np.array_equal(session.times_ns, replay.times_ns)
    return {
        "what": "within: at most step / 2 (and the rounding of float32) from the recorded value; "
        "with step 0 the very bits",
        "frames": replay.num_frames,
        "times_identical": times,
        "fields": fields,
        "passed": times and all(field["within"] for field in fields),
    }


def check_overhead(report: EncodeReport, session: Session, replay: Replay) -> Json:
    """Count the bytes that are neither codes nor states nor events."""
    gops = replay.gops
    packets = sum(g.codes_bytes + g.track_bytes + g.detail_bytes for g in gops[:-1])
    frames_between = max(1, gops[-1].first_frame - gops[0].first_frame)
    running = (gops[-1].codes_at - gops[0].codes_at - packets) / frames_between * session.fps
    overhead = report.parts["container"] + report.parts["header"]
    share = overhead * 8 / session.duration_s / PEER_BPS
    return {
        "what": "container (records, index fields, checksums of messages) and header, of the whole "
        f"file of {session.duration_s:.1f} s; a longer one has less",
        "parts": report.parts,
        "overhead_bytes": overhead,
        "share_of_this_file": overhead / report.bytes,
        "this_file_bps": report.bytes * 8 / session.duration_s,
        "overhead_bps": overhead * 8 / session.duration_s,
        "share_of_100_kbit_s": share,
        "share_of_100_kbit_s_without_what_comes_once_a_file": running * 8 / PEER_BPS,
        "passed": share < MAX_OVERHEAD,
    }


def run(options: argparse.Namespace, folder: Path) -> Json:
    """Run all checks in a temporary folder."""
    bundle, file, quality = load_bundle(options.model), folder / "whole.relive", options.quality
    result: Json = {"command": " ".join(["python", *sys.argv]), **provenance(options.model)}
    with Session.open(options.session) as session:
        say(f"encoding {session.num_frames} frames twice")
        report = encode(session, file, model=bundle, quality=quality)
        own = digest_codes(encoders_own_codes(session, bundle, quality, file))
        write_short(session, folder / "short.mcap", SHORT_FRAMES)
        result["session"] = {"name": options.session.name, "frames": session.num_frames}
        result["encoding"] = {
            "quality": quality,
            "bytes": report.bytes,
            "bits_per_pixel": report.bits_per_pixel,
            "psnr_db": report.psnr_db,
        }
        say("decoding here, then in other processes")
        with Replay.open(file, bundle) as replay:
            truth = replay.frames(0, replay.num_frames)
            result["states"] = check_states(session, replay)
            result["overhead"] = check_overhead(report, session, replay)
    result["processes"] = check_processes(file, options.model, own, truth)
    say("seeks")
    result["seeks"] = check_seeks(file, bundle, truth, options.seeks)
    say("mutations")
    short = folder / "short.relive"
    interval = SHORT_INTERVAL
    encode(folder / "short.mcap", short, model=bundle, quality=quality, keyframe_interval=interval)
    result["mutations"] = {
        "replay": f"the first {SHORT_FRAMES} frames, keyframe interval {interval}",
        **check_mutations(short, options.model, options.mutations, say),
    }
    return result


def main() -> None:
    """Parse, run, write, and print a summary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("session", type=Path, help="a recording (.mcap)")
    parser.add_argument("--model", type=Path, help="weights instead of the bundled ones")
    parser.add_argument("--quality", type=int, default=5)
    parser.add_argument("--seeks", type=int, default=200)
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--other", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.other:
        decode_as_other(options.session, options.model, options.threads, options.other)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = run(options, Path(folder))
    parts = ("processes", "seeks", "mutations", "states", "overhead")
    result["seconds"] = time.perf_counter() - BEGAN
    result["passed"] = all(result[part]["passed"] for part in parts)
    if options.out:
        write_json(options.out, result)
    print({part: result[part]["passed"] for part in parts}, f"{result['seconds']:.0f} s")
    sys.exit(not result["passed"])


if __name__ == "__main__":
    main()
