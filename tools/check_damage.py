"""Read damaged replays: files with one flipped bit or cut at a byte, in processes of their own.

A part of `check_codec.py`. Whatever is read must be right or be said to be missing; an error of
ours is an answer, a traceback, a hang or a wrong number is not.
"""

import hashlib
import os
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from codes_digest import PARTS, digest_codes, read_codes
from judging import Judge
from mutations import cut, flip_bit
from numpy.typing import NDArray

from relive.codec import Bundle, Replay, load_bundle
from relive.container import ReplayEvent, ReplayReader
from relive.errors import FormatError, ReliveError

TIME_LIMIT_S = 30.0
NO_LAYER = dict.fromkeys(PARTS[3:], hashlib.sha256().hexdigest())


@dataclass(frozen=True)
class Whole:
    """What the undamaged file holds; frames, times and states by frame number."""

    data: bytes
    frames: NDArray[np.uint8]
    times_ns: NDArray[np.int64]
    states: NDArray[np.float32]
    present: NDArray[np.bool_]
    events: list[ReplayEvent]
    codes: dict[int, dict[str, str]]  # by first frame of the GOP

    @classmethod
    def read(cls, file: Path, bundle: Bundle) -> "Whole":
        """Decode all of the undamaged file."""
        with ReplayReader.open(file) as reader:
            codes = {
                gop.first_frame: digest_codes([read_codes(reader, bundle, i)])
                for i, gop in enumerate(reader.gops)
            }
        with Replay.open(file, bundle) as replay:
            frames = replay.frames(0, replay.num_frames)
            arrays = replay.times_ns, replay.states, replay.present
        return cls(file.read_bytes(), frames, *arrays, replay.events, codes)


def mutate(data: bytes, seed: int) -> tuple[bytes, str]:
    """Flip one bit (even seeds) or cut the file at a byte (odd ones); say which."""
    chance = random.Random(seed)
    if seed % 2:
        out = cut(data, chance)
        return out, f"cut at byte {len(out)}"
    out = flip_bit(data, chance)
    at = next(i for i, (old, new) in enumerate(zip(data, out, strict=True)) if old != new)
    return out, f"bit {(data[at] ^ out[at]).bit_length() - 1} of byte {at}"


def with_pixels(seed: int) -> bool:
    """Every tenth file is decoded down to the pixels: as many flipped as cut ones."""
    return seed // 2 % 10 == 0


def judge(file: Path, bundle: Bundle, whole: Whole, pixels: bool) -> str:
    """Read a mutated file in every way; return the outcome, which begins with WRONG if it is."""
    lost = False
    with ReplayReader.open(file) as reader:
        for i, gop in enumerate(reader.gops):
            try:
                codes = digest_codes([read_codes(reader, bundle, i)])
            except FormatError:
                lost = True
                continue
            right = whole.codes.get(gop.first_frame)
            if gop.detail_at is None and right is not None:  # without its layer
                lost = True
                right = right | NO_LAYER
            if codes != right:
                return f"WRONG codes of the GOP at frame {gop.first_frame}"
    with Replay.open(file, bundle) as replay:
        frames = replay.frames(0, replay.num_frames) if pixels else None
        there = replay.present
        at = np.flatnonzero(there)
        if not (
            whole.present[at].all()
            and np.array_equal(replay.times_ns[there], whole.times_ns[at])
            and np.array_equal(replay.states[there], whole.states[at])
        ):
            return "WRONG times or states"
        sure = there & ~replay.degraded
        if frames is not None and not np.array_equal(
            frames[sure], whole.frames[np.flatnonzero(sure)]
        ):
            return "WRONG frames"
        if not all(event in whole.events for event in replay.events):
            return "WRONG events"
        lost = lost or replay.events != whole.events or len(at) < int(whole.present.sum())
        if lost and not replay.damaged:
            return "WRONG: something is missing, but damaged is False"
        if lost:
            return "damaged, all that is present is right"
        return "damaged, nothing lost" if replay.damaged else "identical"


def serve(pipe: "Connection[Any, Any]", file: Path, model: Path | None) -> None:
    """The worker: judge the mutation of each seed that comes through the pipe."""
    bundle = load_bundle(model)
    whole = Whole.read(file, bundle)
    mutated = file.with_name(f"mutated{os.getpid()}.relive")
    pipe.send("ready")
    while (seed := pipe.recv()) is not None:
        data, change = mutate(whole.data, seed)
        mutated.write_bytes(data)
        try:
            outcome = judge(mutated, bundle, whole, with_pixels(seed))
        except ReliveError as error:
            outcome = f"refused: {type(error).__name__}"
        except Exception:
            outcome = f"WRONG traceback: {traceback.format_exc()}"
        pipe.send((change, outcome))


def check_mutations(
    file: Path, model: Path | None, count: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Judge `count` mutated copies of a replay, two at a time."""
    began = time.perf_counter()

    def batch(seeds: range) -> list[tuple[int, str, str]]:
        judge_process = Judge(serve, (file, model), TIME_LIMIT_S)
        results = []
        for seed in seeds:
            answer = judge_process.ask(seed)
            if isinstance(answer, str):
                answer = ("see the seed", f"WRONG {answer}")
            results.append((seed, *answer))
            if len(results) % 100 == 0:
                say(f"mutations: {len(results)} of {len(seeds)} in one of two batches")
        judge_process.stop()
        return results

    half = count // 2
    with ThreadPoolExecutor(2) as pool:
        results = list(chain(*pool.map(batch, (range(half), range(half, count)))))
    failures = [result for result in results if result[2].startswith("WRONG")]
    kinds = {"flipped": 0, "cut": 1}
    return {
        "what": "seed even: one bit flipped at a random byte, odd: cut at a random byte. Every "
        "file: opened; codes of every GOP decoded and compared (SHA-256); states and times of "
        "every frame that is present compared; `damaged` checked. The sample: every frame decoded "
        f"and compared, too. Limit {TIME_LIMIT_S:.0f} s a file",
        "files": len(results),
        "bytes": file.stat().st_size,
        "decoded_to_pixels": sum(with_pixels(seed) for seed, *_ in results),
        "outcomes": {
            name: dict(Counter(o.split("\n")[0] for s, _, o in results if s % 2 == odd))
            for name, odd in kinds.items()
        },
        "failures_seed_change_outcome": failures,
        "seconds": time.perf_counter() - began,
        "passed": not failures,
    }
