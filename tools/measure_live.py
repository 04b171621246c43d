"""Measure live streams: bytes beside a file, latency of a step, memory, and what a loss costs.

Latency is given by the clock and in processor time, which others on the machine disturb less.

    python tools/measure_live.py runs/corpus/valid/*.mcap --frames 64 --quality 1 --quality 5

A table a session and quality on stdout, or one JSON object with `--json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.codec import Bundle, Decoder, Encoder, encode, load_bundle
from relive.session import Recorder, Session

Seconds = tuple[float, float]
INTERVAL = 32
STEPS = INTERVAL // 2
LOST = (0, 3, 11)
"""Steps of every GOP that are lost, in a run each; 0 from the second GOP on."""
WARM_UP = 2  # steps that are not timed


def excerpt(session: Session, start: int, count: int, out: Path) -> None:
    """Copy some frames into a recording of their own."""
    with Recorder(out, session.schema, session.region_schema, game=session.game) as recorder:
        for i in range(start, start + count):
            frame = session.frame(i) if session.present[i] else None
            recorder.add(frame, session.states[i], int(session.times_ns[i]))


def packets_of(
    session: Session, bundle: Bundle, quality: int, rounds: int = 1
) -> Iterator[tuple[bytes, Seconds]]:
    """Stream a session, over and over; header and packets, each with what it took."""
    encoder = Encoder(
        session.width, session.height, session.schema, model=bundle, quality=quality,
        keyframe_interval=INTERVAL, game=session.game, regions=session.region_schema,
    )  # fmt: skip
    yield encoder.header, (0.0, 0.0)
    length = int(session.times_ns[-1] - session.times_ns[0]) + session.frame_interval_ns
    for turn in range(rounds):
        for i in range(session.num_frames):
            frame = session.frame(i) if session.present[i] else None
            moment = int(session.times_ns[i]) + turn * length
            began = now()
            for packet in encoder.push(frame, session.states[i], moment):
                yield packet, since(began)
    for packet in encoder.flush():
        yield packet, (0.0, 0.0)


def psnr(frames: list[NDArray[np.uint8]], true: list[NDArray[np.uint8]]) -> float:
    """Mean over frames of their PSNR in dB."""
    errors = [np.square(a.astype(np.float32) - b).mean() for a, b in zip(frames, true, strict=True)]
    return float(np.mean([10 * np.log10(255**2 / max(e, 1e-4)) for e in errors]))


def after_a_loss(
    packets: list[bytes], true: NDArray[np.uint8], bundle: Bundle, lost: int
) -> dict[str, float]:
    """PSNR from a lost step to the next keyframe: guesses, what is decoded after, a still."""
    decoder, still = Decoder(bundle), true[0]
    shown: dict[str, list[NDArray[np.uint8]]] = {"concealed": [], "degraded": [], "frozen": []}
    right: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in shown}
    decoder.push(packets[0])
    for place, packet in enumerate(packets[1:]):
        if place % STEPS == lost and place:
            continue
        for frame in decoder.push(packet):
            if not (frame.concealed or frame.degraded):
                still = frame.pixels
                continue
            name = "concealed" if frame.concealed else "degraded"
            for kind, pixels in ((name, frame.pixels), ("frozen", still)):
                shown[kind].append(pixels)
                right[kind].append(true[frame.number])
    return {f"{name}_db": psnr(frames, right[name]) for name, frames in shown.items() if frames}


def now() -> Seconds:
    """The clock, and the processor time of this process."""
    return time.perf_counter(), time.process_time()


def since(began: Seconds) -> Seconds:
    """What has passed."""
    clock, processor = now()
    return clock - began[0], processor - began[1]


def milliseconds(taken: list[Seconds]) -> dict[str, float]:
    """Median and 99th percentile."""
    clock, processor = np.array(taken).T * 1e3
    return {
        "p50": float(np.median(clock)),
        "p99": float(np.percentile(clock, 99)),
        "cpu_p50": float(np.median(processor)),
        "cpu_p99": float(np.percentile(processor, 99)),
    }


def resident_mib() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def measure(path: Path, start: int, count: int, quality: int, bundle: Bundle) -> dict[str, Any]:
    """Measure one excerpt at one quality."""
    with tempfile.TemporaryDirectory() as folder, Session.open(path) as whole:
        part, replay = Path(folder) / "part.mcap", Path(folder) / "part.relive"
        excerpt(whole, start, min(count, whole.num_frames - start), part)
        report = encode(part, replay, model=bundle, quality=quality, keyframe_interval=INTERVAL)
        with Session.open(part) as session:
            true = session.frames(0, session.num_frames)
            made = list(packets_of(session, bundle, quality))
    packets = [packet for packet, _ in made]
    decoder, decode_s, frames = Decoder(bundle), [], []
    for packet in packets:
        began = now()
        frames += [frame.pixels for frame in decoder.push(packet)]
        decode_s.append(since(began))
    live = sum(map(len, packets))
    return {
        "session": path.stem,
        "quality": quality,
        "frames": len(frames),
        "psnr_db": psnr(frames, list(true)),
        "file_bytes": report.bytes,
        "live_bytes": live,
        "live_over_file_percent": 100 * (live / report.bytes - 1),
        "header_bytes": len(packets[0]),
        "encode_ms": milliseconds([s for _, s in made[1 + WARM_UP :]]),
        "decode_ms": milliseconds(decode_s[1 + WARM_UP :]),
        "lost_step": {str(n): after_a_loss(packets, true, bundle, n) for n in LOST},
    }


def memory(path: Path, count: int, quality: int, rounds: int, bundle: Bundle) -> dict[str, Any]:
    """Resident memory of encoder and decoder together, after every round of an excerpt."""
    with tempfile.TemporaryDirectory() as folder, Session.open(path) as whole:
        part = Path(folder) / "part.mcap"
        excerpt(whole, 0, min(count, whole.num_frames), part)
        with Session.open(part) as session:
            decoder, frames, held = Decoder(bundle), 0, []
            for packet, _ in packets_of(session, bundle, quality, rounds):
                frames += len(decoder.push(packet))
                if frames and frames % session.num_frames == 0:
                    held.append(round(resident_mib(), 1))
    return {"session": path.stem, "frames": frames, "resident_mib": held}


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("sessions", nargs="+", type=Path)
    parser.add_argument("--start", type=int, default=40, help="first frame")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--quality", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=0, help="of the memory measurement")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    bundle, results = load_bundle(args.model), []
    for path in args.sessions:
        for quality in args.quality or [5]:
            row = measure(path, args.start, args.frames, quality, bundle)
            results.append(row)
            if not args.json:
                print(json.dumps(row), flush=True)
    long = None
    if args.rounds:
        long = memory(args.sessions[0], args.frames, (args.quality or [5])[0], args.rounds, bundle)
        if not args.json:
            print(json.dumps(long))
    if args.json:
        print(json.dumps({"measured": results, "memory": long}))


if __name__ == "__main__":
    main()
