"""Where and how a speed is measured: device, number format, threads; clocks that can be trusted.

Cases that are compared run in turn, A B C, A B C, …, so that the drift of a shared machine hits all
of them alike; the median over the rounds is the figure.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from relive.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LONG_WARM_UP_S = 20.0  # a first run as long as this is a measurement: what it warms up is nothing
Case = Callable[[], object]


@dataclass(frozen=True)
class Setting:
    """One way of running networks; every figure belongs to one.

    Attributes:
        device: "cpu" or "cuda".
        dtype: Number format of the matrix products; by autocast, the weights stay float32.
        threads: Threads of PyTorch on the CPU.
        compiled: Whether encoder and decoder went through torch.compile.
    """

    device: str
    dtype: str
    threads: int
    compiled: bool = False

    @property
    def label(self) -> str:
        """A name for people and for the JSON: "cpu bfloat16 2 threads"."""
        count = f" {self.threads} thread{'s' * (self.threads > 1)}"
        threads = count if self.device == "cpu" else ""
        return f"{self.device} {self.dtype}{threads}{' compiled' if self.compiled else ''}"

    @contextmanager
    def with_threads(self) -> Iterator[None]:
        """Run the block with this many threads."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the block in this format with this many threads.

        One autocast for the whole block keeps the cast weights from call to call.
        """
        low = self.dtype != "float32"
        with self.with_threads(), torch.autocast(self.device, DTYPES[self.dtype], enabled=low):
            yield

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "autocast": self.dtype != "float32"}


def choose_device(name: str) -> str:
    """Return "cpu" or "cuda"; "auto" takes a GPU where there is one.

    Raises:
        InputError: Another name, or there is no such device.
    """
    if name not in ("cpu", "cuda", "auto"):
        raise InputError(f"--device {name}: choose cpu, cuda or auto")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise InputError(
            f"--device cuda: PyTorch {torch.__version__} sees no GPU; use --device cpu"
        )
    return "cuda" if there and name != "cpu" else "cpu"


def choose_dtypes(text: str) -> tuple[str, ...]:
    """Split "float32,bfloat16".

    Raises:
        InputError: A name is unknown.
    """
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        if name not in DTYPES:
            raise InputError(f"--dtype {name}: choose from {', '.join(DTYPES)}")
    if not names:
        raise InputError(f"--dtype is empty; choose from {', '.join(DTYPES)}")
    return names


def describe_device(device: str) -> dict[str, Any]:
    """Name the device, so that a figure can be judged."""
    if device == "cpu":
        return {"kind": "cpu", "name": _processor(), "capability": _cpu_capability()}
    properties = torch.cuda.get_device_properties(0)
    return {
        "kind": "cuda",
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
        "cuda": torch.version.cuda,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def _cpu_capability() -> str:
    return str(torch.backends.cpu.get_cpu_capability())


def _processor() -> str:
    """Name of the processor; its family where it does not say more (virtual machines)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    pairs = (line.partition(":") for line in lines)
    rows = {name.strip(): value.strip() for name, _, value in pairs}
    return f"{rows.get('model name', '')}, family {rows.get('cpu family', 'unknown')}"


@dataclass(frozen=True)
class Span:
    """One run: seconds by the clock, and seconds of work of all threads on the CPU."""

    clock_s: float
    cpu_s: float


@dataclass(frozen=True)
class Times:
    """Every run of a case."""

    spans: tuple[Span, ...]

    @property
    def seconds(self) -> list[float]:
        """Seconds by the clock, of every run."""
        return [span.clock_s for span in self.spans]

    @property
    def median_s(self) -> float:
        """The figure."""
        return float(np.median(self.seconds))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON.

        On a CPU that others use too, `cpu_median_s` says what the clock would say without them, if
        there is one thread; `min_s` comes near it.
        """
        return {
            "runs": len(self.spans),
            "median_s": self.median_s,
            "min_s": min(self.seconds),
            "max_s": max(self.seconds),
            "cpu_median_s": float(np.median([span.cpu_s for span in self.spans])),
        }


def percentiles_ms(seconds: list[float]) -> dict[str, float | int]:
    """p50 and p99 in milliseconds."""
    p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
    return {"steps": len(seconds), "p50_ms": float(p50), "p99_ms": float(p99)}


def clock(setting: Setting, case: Case) -> Span:
    """Time one run, the device's work included."""
    setting.wait()
    start, cpu = time.perf_counter(), time.process_time()
    case()
    setting.wait()
    return Span(time.perf_counter() - start, time.process_time() - cpu)


def race(
    setting: Setting, cases: Mapping[str, Case], repeats: int, limit_s: float = 600.0
) -> dict[str, Times]:
    """Run cases in turn after one warm-up each.

    Args:
        setting: Where.
        cases: What, by name.
        repeats: Rounds.
        limit_s: No new round begins after this time; one round is always whole.

    Returns:
        Times by name.
    """
    start = time.perf_counter()
    spans: dict[str, list[Span]] = {}
    for name, case in cases.items():
        first = clock(setting, case)
        spans[name] = [first] if first.clock_s > LONG_WARM_UP_S else []
    for _ in range(repeats):
        if all(spans.values()) and time.perf_counter() - start > limit_s:
            break
        for name, case in cases.items():
            if len(spans[name]) < repeats:
                spans[name].append(clock(setting, case))
    return {name: Times(tuple(values)) for name, values in spans.items()}
