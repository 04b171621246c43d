"""Feed every parser with mutated input and count what becomes of it (issue 5, point g).

    python tools/fuzz.py 1000 SESSION.mcap -o results/fuzz.json

Every target gets so many inputs; half of them, where there are checksums, with the checksums made
anew. Each input has a time limit and its peak memory is read. Leaves with 1 where anything fails.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import torch
from fuzz_targets import Target, targets, write_inputs
from judging import Judge

from relive.bench.provenance import provenance, write_json
from relive.codec import load_bundle, save_bundle
from relive.config import ModelConfig, QuantizerConfig
from relive.errors import ReliveError
from relive.model.hst_mae import HSTMAE
from relive.quantizer.rvq import ResidualVQ

TIME_LIMIT_S = 10.0
MEMORY_LIMIT_BYTES = 256 << 20
BAD = ("crash", "hang", "wrong", "memory")


def save_small_model(path: Path) -> None:
    """Write a model of the real classes, small and untrained, with the bundled tables."""
    config = ModelConfig(
        embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 2), window_size=4,
        context_dims=(8, 8, 16), decoder_dim=16, decoder_depth=1, decoder_heads=2, state_dim=16,
        state_depth=1, state_heads=2,
        quantizer=QuantizerConfig(num_quantizers=3, codebook_size=16, codebook_dim=8),
    )  # fmt: skip
    bundled = load_bundle()
    save_bundle(
        path, HSTMAE(config), ResidualVQ(config.quantizer), detail=bundled.detail,
        level_costs=bundled.level_costs, post_filter=bundled.post_filter, colours=bundled.colours,
    )  # fmt: skip


def memory_bytes(name: str) -> int:
    """Read VmRSS or VmHWM of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) << 10
    raise SystemExit(f"/proc/self/status has no {name}")


def broken(target: Target, seed: int) -> tuple[str, bool, bytes]:
    """Return the mutation of a seed: its name, whether it is sealed anew, and the bytes."""
    chance = Random(seed)
    if target.reseal is not None and seed % 2:
        name, data = target.reseal(target.data, chance)
        return name, True, data
    name, data = target.mutate(target.data, chance)
    return name, False, data


def judge(target: Target, data: bytes, sealed: bool) -> tuple[str, str]:
    """Return the outcome of one input, and what to know of it."""
    try:
        outcome = target.judge(data)
    except ReliveError as error:
        return "refused", type(error).__name__
    except AssertionError as error:
        return "wrong", traceback.format_exc()[-600:] + str(error)
    except Exception:
        return "crash", traceback.format_exc()[-900:]
    if outcome == "different" and target.checked and not sealed:
        return "wrong", "another content, and every checksum holds"
    return outcome, ""


def serve(pipe: "Connection[Any, Any]", folder: Path) -> None:
    """The worker: judge each (target, seed) that comes through the pipe."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        known = targets(folder, Path(work))
        pipe.send("ready")
        while (request := pipe.recv()) is not None:
            target = known[request[0]]
            change, sealed, data = broken(target, request[1])
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
            before = memory_bytes("VmRSS")
            outcome, note = judge(target, data, sealed)
            peak = max(0, memory_bytes("VmHWM") - before)
            pipe.send((change, sealed, outcome, note, peak))


def fuzz(name: str, folder: Path, count: int) -> dict[str, Any]:
    """Judge `count` inputs of one target."""
    began, worker = time.perf_counter(), Judge(serve, (folder,), TIME_LIMIT_S)
    raw: Counter[str] = Counter()
    resealed: Counter[str] = Counter()
    failures: list[Any] = []
    peak = 0
    for seed in range(count):
        answer = worker.ask((name, seed))
        if isinstance(answer, str):
            answer = ("see the seed", None, answer, "", 0)
        change, sealed, outcome, note, used = answer
        peak = max(peak, used)
        if used > MEMORY_LIMIT_BYTES:
            outcome = "memory"
        (resealed if sealed else raw)[outcome] += 1
        if outcome in BAD:
            failures.append((seed, change, outcome, used, note))
    worker.stop()
    print(name, dict(raw), dict(resealed), f"{peak >> 20} MiB", file=sys.stderr, flush=True)
    return {
        "inputs": count,
        "as_they_are": dict(raw),
        "sealed_anew": dict(resealed),
        "failed": len(failures),
        "failures_seed_change_outcome": failures[:20],
        "peak_bytes_over_the_worker": peak,
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("count", type=int, help="inputs for each target")
    parser.add_argument("session", type=Path, help="a recording (.mcap)")
    parser.add_argument("--target", action="append", help="this one alone; may be repeated")
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(options.session, folder)
        save_small_model(folder / "small.safetensors")
        known = targets(folder, folder)
        chosen = options.target or list(known)
        sizes = {target: len(known[target].data) for target in chosen}
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda t: fuzz(t, folder, options.count), chosen))
    result = {
        "command": " ".join(["python", *sys.argv]),
        **provenance(),
        "session": options.session.name,
        "time_limit_s": TIME_LIMIT_S,
        "memory_limit_bytes": MEMORY_LIMIT_BYTES,
        "input_bytes": sizes,
        "targets": dict(zip(chosen, results, strict=True)),
        "passed": not any(r["failed"] for r in results),
    }
    if options.out:
        write_json(options.out, result)
    sys.exit(not result["passed"])


if __name__ == "__main__":
    main()
