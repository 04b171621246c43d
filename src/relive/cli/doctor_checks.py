"""Looking around without importing anything heavy: packages, tools, model, disk."""

import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from relive import __version__

PYTHONS = ((3, 11), (3, 13))
PACKAGES = (
    "av",
    "mcap",
    "numba",
    "numpy",
    "protobuf",
    "pydantic",
    "rich",
    "safetensors",
    "torch",
    "typer",
    "zstandard",
)
EXTRAS: dict[str, tuple[tuple[str, ...], str]] = {
    "games": (("crafter", "gymnasium", "minigrid", "vizdoom"), "record, demo"),
    "bench": (
        (
            "bjontegaard",
            "flip-evaluator",
            "imageio-ffmpeg",
            "matplotlib",
            "torchmetrics",
            "transformers",
        ),
        "demo, compare, bench",
    ),
    "data": (("minari", "pyarrow"), "export to .parquet; Minari"),
    "live": (("websockets",), "stream"),
    "play": (("fastapi", "pillow", "uvicorn"), "play"),
    "rerun": (("rerun-sdk",), "export to .rrd"),
    "restore": (("opencv-python-headless",), "restore, interpolate"),
    "scale": (("ray",), "encode --batch --ray"),
    "search": (("duckdb", "pyarrow"), "search, catalog"),
    "train": (("accelerate", "matplotlib", "tensorboard"), "train, report"),
}
"""What an extra brings, and the verbs that need it."""

MODEL = "tiny"
FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve")
LEAST_FREE_BYTES = 200_000_000
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
_CARD_ID = re.compile(r"model id \| `([0-9a-f]{16})`")
_ID_CHARACTERS = 16


def look_around() -> dict[str, Any]:
    """Describe this installation.

    Returns:
        What `relive doctor --json` prints; `speed` and what torch knows are filled in later.
    """
    problems: list[str] = []
    return {
        "relive": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "packages": _packages(problems),
        "extras": _extras(),
        "device": {"processor": _processor(), "cores": _cores(), "features": _features()},
        "kernels": None,
        "model": _model(problems),
        "tools": {"ffmpeg": _ffmpeg(), "chromium": _first(_CHROMIUM)},
        "disk": _disk(problems),
        "speed": None,
        "problems": problems,
    }


def version_of(package: str) -> str | None:
    """Version of an installed package; None where it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def kernel_cache() -> dict[str, Any]:
    """Describe the cache of compiled kernels; loads numba."""
    from relive.compiled import cache_folder

    folder = cache_folder()
    files = [file for file in folder.rglob("*.nb*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    return {"folder": str(folder), "files": len(files), "bytes": size}


def _packages(problems: list[str]) -> dict[str, str | None]:
    oldest, newest = (".".join(map(str, version)) for version in PYTHONS)
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        problems.append(f"Python {platform.python_version()} is not in {oldest} … {newest}")
    versions = {package: version_of(package) for package in PACKAGES}
    if missing := [package for package, version in versions.items() if version is None]:
        problems.append(f"{', '.join(missing)} not installed: pip install relive")
    return versions


def _extras() -> dict[str, dict[str, Any]]:
    described = {}
    for extra, (packages, verbs) in EXTRAS.items():
        missing = [package for package in packages if version_of(package) is None]
        described[extra] = {"installed": not missing, "missing": missing, "verbs": verbs}
    return described


def _model(problems: list[str]) -> dict[str, Any]:
    """Check the bundled weights against the card that lies beside them."""
    folder = Path(str(resources.files("relive"))) / "weights"
    file = folder / f"{MODEL}.safetensors"
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()[:_ID_CHARACTERS]
        card = _CARD_ID.search((folder / f"{MODEL}.md").read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"the bundled model cannot be read: {error.filename}: {error.strerror}")
        return {"name": MODEL, "path": str(file), "model_id": None, "whole": False}
    whole = card is not None and card[1] == found
    if not whole:
        wanted = card[1] if card else "nothing known"
        problems.append(f"{file} is {found}, not {wanted}: install relive again")
    return {"name": MODEL, "path": str(file), "model_id": found, "whole": whole}


def _disk(problems: list[str]) -> dict[str, Any]:
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        problems.append(f"{folder}: {free / 1e6:.0f} MB free, too little for a session")
    try:
        with tempfile.TemporaryFile():
            pass
    except OSError as error:
        problems.append(f"no temporary files can be written: {error.strerror or error}")
    return {"folder": str(folder), "free_bytes": free}


def _ffmpeg() -> str | None:
    """Path of the ffmpeg that the peers run with, found without importing its package."""
    spec = find_spec("imageio_ffmpeg")
    if spec is not None and spec.origin is not None:
        binaries = sorted((Path(spec.origin).parent / "binaries").glob("ffmpeg*"))
        if binaries:
            return str(binaries[-1])
    return shutil.which("ffmpeg")


def _first(names: tuple[str, ...]) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpuinfo(key: str) -> str:
    """First value of a key of /proc/cpuinfo; nothing where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(rf"^{key}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _features() -> list[str]:
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return [name for name in FEATURES if name in flags]
