"""Where a result comes from: date, machine, versions, model. And writing it as JSON."""

import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from relive.bench.cache import write_text_whole
from relive.bench.ffmpeg import ffmpeg_version

_LIBRARIES = (
    "relive",
    "numpy",
    "torch",
    "torchmetrics",
    "flip-evaluator",
    "bjontegaard",
    "imageio-ffmpeg",
    "vizdoom",
)


def provenance(model: Path | str | None = None) -> dict[str, Any]:
    """Return date, machine, versions and model, as plain values for JSON.

    Raises:
        ModelMismatchError: There is no such model.
    """
    from relive.codec import load_bundle

    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "model": {
            "path": "bundled" if model is None else str(model),
            "id": load_bundle(model).model_id,
        },
    }


def machine() -> dict[str, Any]:
    """Describe the machine."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.processor()


def versions() -> dict[str, str]:
    """Return the versions of Python, ffmpeg and the libraries that shape a result."""
    found = {"python": platform.python_version(), "ffmpeg": ffmpeg_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


_ENCODING = (
    "bitstream",
    "codec",
    "container",
    "cubes",
    "enhancement",
    "model",
    "quantizer",
    "session",
)


def source_hash() -> str:
    """Return a hash of our own code that shapes an encoding, to know stale cached results."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for folder in _ENCODING:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    for path in sorted((root / "weights").glob("*")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def result_path(out: Path, name: str) -> Path:
    """Return `out` if it names a JSON file, else the file `name` in the folder `out`."""
    return out if out.suffix == ".json" else out / name


def write_json(path: Path, value: Any) -> None:
    """Write JSON that any reader takes: numbers that are not finite become null."""
    write_text_whole(path, json.dumps(_plain(value), indent=1, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value
