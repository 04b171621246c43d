"""The steps of `train_small_on_gpu.py` that need torch, each in a process of its own; their sum.

The module itself loads no torch, so that the conductor can import it.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gpu_pieces import put

TRAIN_SHARE = 0.68  # of the budget
CPU_BATCHES = 96  # batches are for a large GPU; a CPU rehearses with so much less
MEMORY_SHARE = 0.85  # of the GPU that a batch may need
COUNTED = 2  # updates whose operations are counted, of each phase

Json = dict[str, Any]


class Place:
    """Where things are in the folder of work."""

    def __init__(self, work: Path) -> None:
        self.work, self.run, self.cache = work, work / "run", work / "cache"
        self.corpus, self.settings, self.plan = (
            work / "corpus",
            work / "settings.json",
            work / "plan.json",
        )

    def checkpoint_files(self) -> list[Path]:
        """What another machine needs to go on."""
        pointer = self.run / "checkpoint.json"
        if not pointer.exists():
            return []
        newest = self.run / "checkpoints" / json.loads(pointer.read_text())["file"]
        files = [newest, pointer, self.run / "settings.json", self.run / "log.jsonl"]
        return [path for path in files if path.exists()] if newest.exists() else []


def scaled(values: Json, place: Place, size: str, budget_minutes: float) -> Json:
    """Fit a recipe to the budget, the folders and the machine."""
    import torch

    phases = [dict(phase) for phase in values["phase"]]
    total = sum(phase.get("minutes") or 0 for phase in phases)
    factor = TRAIN_SHARE * budget_minutes / total
    for phase in phases:
        if phase.get("minutes"):
            phase["minutes"] *= factor
        if not torch.cuda.is_available() and not phase.get("probability"):
            phase["batch"] = max(1, phase["batch"] // CPU_BATCHES)
    cores = len(os.sched_getaffinity(0))
    return {
        **values,
        "data": place.corpus / "train",
        "valid": place.corpus / "valid",
        "out": place.run,
        "cache": place.cache,
        "model": size,
        "workers": max(1, min(14, cores - 2)),
        "checkpoint_minutes": min(2.0, 0.08 * budget_minutes),
        "phase": phases,
    }


def plan(options: argparse.Namespace) -> None:
    """Unpack the sessions; count operations and find batches that fit, on a run that is dropped."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from relive.train.settings import check_settings, read_json, read_toml

    place = Place(options.work)
    recordings = sorted(place.corpus.rglob("*.mcap"))
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        list(pool.map(_unpack, recordings, [place.cache] * len(recordings)))
    known = place.run / "settings.json"
    if known.exists():  # of the run that goes on: same phases, folders of this machine
        folders = {"data": place.corpus / "train", "valid": place.corpus / "valid"}
        values = read_json(known) | folders | {"out": place.run, "cache": place.cache}
    else:
        values = scaled(read_toml(options.config), place, options.size, options.budget_minutes)
    settings, rows, peak = _probe(check_settings(values, str(options.config)), place)
    put(place.settings, settings.model_dump_json(indent=1).encode())
    put(place.plan, json.dumps({"phases": rows, **peak}, indent=1).encode())


def _unpack(path: Path, cache: Path) -> None:
    from relive.cubes.store import unpack
    from relive.errors import InputError

    try:
        unpack(path, cache)
    except InputError as error:  # training names it again and leaves it out
        sys.stderr.write(f"{error}\n")


def _probe(settings: Any, place: Place) -> tuple[Any, list[Json], Json]:
    """Settings with batches that fit; operations of an update by phase; what the device can do."""
    from relive.bench.speed_device import DTYPES, Setting, describe_device
    from relive.bench.speed_flops import measure_peak
    from relive.train.setup import open_run

    folder = place.work / "probe"
    shutil.rmtree(folder, ignore_errors=True)
    run = open_run(settings.model_copy(update={"out": folder}))
    run.progress.started = (True, True)
    rows = [_probe_phase(run, number) for number in range(len(settings.phase))]
    shutil.rmtree(folder)
    names = {dtype: name for name, dtype in DTYPES.items()}
    setting = Setting(
        run.processes.device.type,
        names.get(run.arithmetic.dtype, "float32"),  # type: ignore[arg-type]
        settings.threads,
    )
    with setting.with_threads():
        peak = measure_peak(setting)["flops_per_s"]
    phases = run.settings.phase
    about = {"peak_flops_per_s": peak, "dtype": setting.dtype}
    device = describe_device(setting.device)
    return settings.model_copy(update={"phase": phases}), rows, about | {"device": device}


def _probe_phase(run: Any, number: int) -> Json:
    """Count the operations of a phase; halve its batch, twice the batches, until one fits."""
    import torch

    run.progress.phase, run.lefts = number, {}
    while not run.phase.probability:
        phase = run.phase
        try:
            return {"name": phase.name, "batch": phase.batch, **_count(run, number)}
        except torch.OutOfMemoryError as error:
            if phase.batch == 1:
                raise SystemExit(f"phase {phase.name}: not even one chain fits: {error}") from error
        run.stepper.optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        half = {"batch": phase.batch // 2, "accumulate": 2 * phase.accumulate}
        phases = list(run.settings.phase)
        phases[number] = phase.model_copy(update=half)
        run.settings = run.settings.model_copy(update={"phase": tuple(phases)})
    return {"name": run.phase.name}


def _count(run: Any, number: int) -> Json:
    """Operations and frames of an update: what the forward pass counts, three times."""
    from functools import partial

    import torch

    from relive.bench.speed_flops import count_flops
    from relive.train.loader import Updates
    from relive.train.run import make_request
    from relive.train.setup import weighting_of

    phase, on_gpu = run.phase, run.processes.device.type == "cuda"
    weights = weighting_of(run.settings, phase).weights()
    reads = Updates(run.stores, run.names, run.settings, number, run.processes.share)
    requests = [make_request(run, reads, reads[n], weights) for n in range(COUNTED)]
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        run.stepper.backward(run.objective(requests[0]).loss)
        run.stepper.optimizer.zero_grad(set_to_none=True)
    needed = torch.cuda.max_memory_allocated() if on_gpu else 0
    if on_gpu and needed > MEMORY_SHARE * torch.cuda.get_device_properties(0).total_memory:
        raise torch.OutOfMemoryError(f"{needed} bytes are more than {MEMORY_SHARE:.0%} of the GPU")
    forward = [count_flops(partial(run.objective, request)) for request in requests]
    return {
        "flops_per_update": 3 * phase.accumulate * sum(forward) / len(forward),
        "frames_per_update": 2 * phase.batch * phase.span * phase.accumulate,
        "accumulate": phase.accumulate,
        "memory_bytes": needed or None,
    }


def train(options: argparse.Namespace) -> None:
    """Train, from the newest checkpoint where there is one."""
    from relive.train.run import train as train_model
    from relive.train.settings import check_settings, read_json

    place = Place(options.work)
    settings = check_settings(read_json(place.settings), str(place.settings))
    resume = place.run if place.checkpoint_files() else None

    def report(share: float, line: str) -> None:
        sys.stderr.write(f"{share:.1%} {line}\n")

    train_model(settings, resume, report, fit=lambda run: _export(options, run))


def export(options: argparse.Namespace) -> None:
    """Write the averaged weights as a model: first without tables, which takes no time."""
    from relive.codec.bundle import save_bundle
    from relive.train.checkpoint import load_averaged

    place = Place(options.work)
    if not (place.run / "model.safetensors").exists() or not options.whole:
        save_bundle(place.run / "model.safetensors", *load_averaged(place.run))
    if options.whole:
        _export(options, place.run)


def _export(options: argparse.Namespace, run: Path) -> None:
    """Fit the tables of the bitstream on a few sessions, as many as the budget allows."""
    from relive.codec.export import export_model
    from relive.cubes.corpus import open_corpus
    from relive.train.checkpoint import load_averaged

    place = Place(options.work)
    stores = open_corpus(place.corpus / "train", place.cache).stores
    few = max(2, round(options.budget_minutes / 4))
    chosen = stores[:: max(1, len(stores) // few)][:few]
    export_model(load_averaged(run), chosen, run / "model.safetensors")


def summarise(place: Place) -> Json:
    """Updates, speed and share of the peak, from the log, the plan and the newest checkpoint."""
    if not place.checkpoint_files() or not place.plan.exists():
        return {"updates": 0}
    pointer = json.loads((place.run / "checkpoint.json").read_text())["progress"]
    planned = json.loads(place.plan.read_text())
    log = [json.loads(line) for line in (place.run / "log.jsonl").read_text().splitlines()]
    peak, rows = planned["peak_flops_per_s"], list(_phases(log, planned, pointer["update"]))
    flops = sum(row["updates"] * row["flops_per_update"] for row in rows)
    frames = sum(row["updates"] * row["frames_per_update"] for row in rows)
    seconds = max(pointer["seconds"], 1e-9)
    return {
        "updates": pointer["update"],
        "train_seconds": round(seconds, 1),
        "frames": frames,
        "frames_per_s": frames / seconds,
        "flops_per_s": flops / seconds,
        "share_of_peak": flops / seconds / peak,
        "skipped": pointer["skipped"],
        "best_db": pointer["best_db"],
        **{name: planned[name] for name in ("peak_flops_per_s", "dtype", "device")},
        "phases": rows,
        "what": "operations of an update: torch's flop counter over the forward pass, times three; "
        "seconds of updates, waiting for data included; peak: fastest square matrix product in the "
        "same number format (relive.bench.speed_flops.measure_peak)",
    }


def _phases(log: Sequence[Json], planned: Json, last: int) -> Iterator[Json]:
    """What is known of every phase that began."""
    starts: dict[str, int] = {}
    for line in log:
        if line.get("event") == "phase":
            starts.setdefault(line["detail"], line["update"])
    known = [row for row in planned["phases"] if row["name"] in starts and len(row) > 1]
    ends = [starts[row["name"]] for row in known[1:]] + [last]
    for row, ended in zip(known, ends, strict=True):
        lines = [x for x in log if x.get("phase") == row["name"] and "updates_per_s" in x]
        rates = sorted(line["updates_per_s"] for line in lines)
        rate = rates[len(rates) // 2] if rates else None
        waited = [line["loader_wait_share"] for line in lines]
        yield row | {
            "updates": ended - starts[row["name"]],
            "updates_per_s": rate,
            "share_of_peak": rate and rate * row["flops_per_update"] / planned["peak_flops_per_s"],
            "loader_wait_share": sum(waited) / len(waited) if waited else None,
        }
