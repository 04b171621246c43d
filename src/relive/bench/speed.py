"""How fast the networks are, on any device, beside what the specification says.

```
 peak ─────────► FLOP/s of the device ───────────────┐
 networks ─────► parameters, FLOPs of a frame ───────┤
 throughput ───► dense and masked, frames/s, memory ─┼─► speed.json, two plots
 training ─────► decoder masking, time and memory ───┤
 latency ──────► p50, p99 of a 2-frame step ─────────┤
 codec ────────► the same with entropy coding ───────┤
 videomae ─────► cost over pixels, beside VideoMAE ──┘
```

A part that is in the JSON already, of the same device and the same amounts, is not measured again.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from relive.bench.compare import Progress
from relive.bench.provenance import machine, result_path, source_hash, versions, write_json
from relive.bench.speed_device import Setting, choose_device, choose_dtypes, describe_device
from relive.bench.speed_flops import measure_peak
from relive.bench.speed_latency import measure_codec, measure_latency
from relive.bench.speed_networks import size_config
from relive.bench.speed_plan import SPECIFICATION, Plan
from relive.bench.speed_plots import draw_speed
from relive.bench.speed_summary import summarise
from relive.bench.speed_throughput import measure_networks, measure_throughput
from relive.bench.speed_training import measure_training
from relive.bench.speed_videomae import measure_videomae
from relive.errors import InputError

Values = dict[str, Any]
SIZE_NAMES = ("tiny", "small", "base", "large")
_OF_A_SIZE: dict[str, tuple[Callable[[Setting, Plan, str], Values], tuple[str, ...]]] = {
    "networks": (measure_networks, ("side",)),
    "throughput": (measure_throughput, ("repeats", "limit_s", "side", "batch")),
    "training": (measure_training, ("repeats", "limit_s", "side", "train_batch")),
    "latency": (measure_latency, ("limit_s", "side", "steps")),
}
_ALONE: dict[str, tuple[Callable[[Setting, Plan], Values], tuple[str, ...]]] = {
    "peak": (lambda setting, plan: measure_peak(setting), ()),
    "codec": (lambda setting, plan: measure_codec(plan), ("steps", "session")),
    "videomae": (measure_videomae, ("repeats", "limit_s", "video_sizes")),
}
PARTS = ("peak", *_OF_A_SIZE, "codec", "videomae")


@dataclass(frozen=True)
class Job:
    """One part of one run: where it goes in the JSON, what it depends on, how it is measured."""

    setting: Setting
    key: str
    amounts: Values
    measure: Callable[[], Values]


def plan_jobs(
    settings: Sequence[Setting], plan: Plan, sizes: Sequence[str], parts: Sequence[str]
) -> list[Job]:
    """List what is to be measured, the cheap parts first.

    Raises:
        InputError: A size or a part is unknown.
    """
    for size in sizes:
        size_config(size)
    for part in parts:
        if part not in PARTS:
            raise InputError(f"--parts {part}: choose from {', '.join(PARTS)}")
    order = [part for part in PARTS if part in parts]
    return [
        job for part in order for setting in settings for job in _jobs(part, setting, plan, sizes)
    ]


def _jobs(part: str, setting: Setting, plan: Plan, sizes: Sequence[str]) -> Iterator[Job]:
    if part == "codec" and (setting.device, setting.dtype) != ("cpu", "float32"):
        return  # the codec is float32 on the CPU, so that both sides see the same pixels
    if part in _ALONE:
        alone, names = _ALONE[part]
        yield Job(setting, part, plan.amounts(*names), partial(alone, setting, plan))
        return
    measure, names = _OF_A_SIZE[part]
    for size in sizes:
        run = partial(measure, setting, plan, size)
        yield Job(setting, f"{part}/{size}", plan.amounts(*names), run)


def bench_speed(
    out: Path,
    *,
    device: str = "auto",
    dtypes: str = "float32",
    threads: int = 1,
    compiled: bool = False,
    sizes: Sequence[str] = SIZE_NAMES,
    parts: Sequence[str] = PARTS,
    plan: Plan | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Values:
    """Measure, and write JSON after every part, and the plots.

    Args:
        out: A folder (gets `speed.json`), or a `.json` file.
        device: "cpu", "cuda" or "auto".
        dtypes: Number formats, with commas.
        threads: Threads of PyTorch on the CPU.
        compiled: Send encoder and decoder through torch.compile.
        sizes: Sizes of the model.
        parts: What to measure, of `PARTS`.
        plan: Amounts.
        force: Measure again what is there.
        progress: Called with (parts done, parts in all).

    Returns:
        What was written.

    Raises:
        InputError: There is no such device, size or part, or `out` holds something else.
    """
    if threads < 1:
        raise InputError("--threads must be at least 1")
    chosen = choose_device(device)
    settings = [Setting(chosen, dtype, threads, compiled) for dtype in choose_dtypes(dtypes)]
    jobs = plan_jobs(settings, plan or Plan(), sizes, parts)
    path = result_path(out, "speed.json")
    result = _read(path)
    result |= _origin()
    for done, job in enumerate(jobs):
        run = _run_of(result, job.setting)
        if force or not _is_there(run, job):
            run["parts"][job.key] = _measure(job)
            _write(path, result)
        if progress:
            progress(done + 1, len(jobs))
    _write(path, result)
    draw_speed(result, path)
    return result


def _read(path: Path) -> Values:
    """Read an earlier result.

    Raises:
        InputError: The file holds something else.
    """
    if not path.exists():
        return {"kind": "bench_speed", "runs": {}}
    try:
        values: Values = json.loads(path.read_text(encoding="utf-8"))
        if values["kind"] != "bench_speed":
            raise KeyError("kind")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no result of bench speed; name another --out") from error
    return values


def _origin() -> Values:
    """Versions and machine of the newest part; every run and part has its own date and device."""
    found = versions()
    try:
        found["transformers"] = importlib.metadata.version("transformers")
    except importlib.metadata.PackageNotFoundError:
        found["transformers"] = "not installed"
    return {
        "date": _now(),
        "machine": machine(),
        "versions": found,
        "specification": SPECIFICATION,
    }


def _run_of(result: Values, setting: Setting) -> Values:
    """The run of a setting on this very device; a new one where there is none."""
    device = describe_device(setting.device)
    name = f"{device['name']}, {setting.label}"
    fresh = {"setting": setting.to_dict(), "device": device, "parts": {}}
    run: Values = result["runs"].setdefault(name, fresh)
    return run


def _is_there(run: Values, job: Job) -> bool:
    part = run["parts"].get(job.key)
    return part is not None and part["amounts"] == job.amounts


def _measure(job: Job) -> Values:
    start = time.perf_counter()
    with job.setting.with_threads():
        values = job.measure()
    spent = time.perf_counter() - start
    head = {"date": _now(), "source": source_hash()[:16], "amounts": job.amounts}
    return {**head, "spent_s": round(spent, 1), **values}


def _write(path: Path, result: Values) -> None:
    result["summary"] = summarise(result["runs"])
    write_json(path, result)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
