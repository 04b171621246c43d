"""Results that need not be computed twice, as small JSON files named by a hash of their inputs."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def default_cache_folder() -> Path:
    """Return `$RELIVE_CACHE`, else `$XDG_CACHE_HOME/relive/bench`, else `~/.cache/relive/bench`."""
    chosen = os.environ.get("RELIVE_CACHE")
    if chosen:
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "relive" / "bench"


def write_text_whole(path: Path, text: str) -> None:
    """Write a text file beside its name and rename it when whole, so no half file is ever seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class ResultCache:
    """Looks up JSON values by everything that they depend on.

    Args:
        folder: Where the files are; made when the first result is stored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: list[Any]) -> Any | None:
        """Return the value stored under `key`, or None when there is none that can be read."""
        try:
            stored = json.loads(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return stored.get("value") if isinstance(stored, dict) else None

    def put(self, key: list[Any], value: Any) -> None:
        """Store a JSON value under `key`."""
        text = json.dumps({"key": key, "value": value})
        write_text_whole(self._path(key), text)

    def _path(self, key: list[Any]) -> Path:
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.json"
