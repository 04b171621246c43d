"""The files that may be watched, by opaque names: no path ever comes from a request."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from relive.codec import Bundle, Replay
from relive.container import ReplayReader
from relive.errors import InputError, ReliveError
from relive.player.original import Original

MAX_FILES = 10_000
MAX_OPEN = 4
SUFFIX = ".relive"


class UnknownFileError(InputError):
    """A request names a file that is not in the catalogue."""


@dataclass
class Entry:
    """A file of the catalogue.

    Attributes:
        id: a hash, so that an address can be kept; it is looked up, never taken for a path.
        path: of the file.
        name: what people see: relative to the folder that was given.
        summary: filled when the file was read; `status` is `reading`, `ok` or `broken`.
    """

    id: str
    path: Path
    name: str
    summary: dict[str, Any] = field(default_factory=lambda: {"status": "reading"})


class Watched:
    """An open replay: whole, its first tier alone, and the session it was made from.

    Attributes:
        entry: of the catalogue.
        replay: with all tiers.
        base: with the codes alone; the same where the file has nothing else.
        original: None if it was not given.
    """

    def __init__(self, entry: Entry, model: Bundle | Path | None, original: Path | None) -> None:
        self.entry = entry
        self.replay = Replay.open(entry.path, model)
        try:
            if not self.replay.num_frames:
                raise InputError(f"{entry.path}: the replay has no frames")
            bundle = self.replay.coder.bundle
            self.base = self.replay
            if self.replay.tiers > 1:
                self.base = Replay.open(entry.path, bundle, tiers=1)
            self.original = Original.open(original, self.replay) if original else None
        except BaseException:
            self.replay.close()
            raise
        self.spans = self.replay.spans
        self.starts = np.array([span.start for span in self.spans])

    def at(self, tiers: int) -> Replay:
        """The replay that decodes so many tiers."""
        return self.base if tiers == 1 else self.replay

    def span_of(self, frame: int) -> int:
        """The GOP that a frame lies in."""
        return int(np.searchsorted(self.starts, frame, side="right")) - 1


class Catalogue:
    """The files given at the start; summaries are read in the background, replays on demand."""

    def __init__(
        self,
        paths: Sequence[Path],
        model: Bundle | Path | None = None,
        original: Path | None = None,
    ) -> None:
        found = [file for path in paths for file in _replays(path)]
        if not found:
            raise InputError(f"no replay (*{SUFFIX}) in {', '.join(map(str, paths))}")
        if original is not None and len(found) != 1:
            raise InputError("--original goes with one replay")
        if len(found) > MAX_FILES:
            raise InputError(f"{len(found)} replays are more than {MAX_FILES}; name a subfolder")
        entries = [Entry(_id_of(file), file, name) for file, name in found]
        self.entries = {entry.id: entry for entry in entries}
        self._model, self._original = model, original
        self._open: OrderedDict[str, Watched] = OrderedDict()
        self._lock = threading.Lock()
        if len(entries) == 1:  # what is wrong with it is said at once
            self.watched(entries[0].id)

    def without_paths(self, line: str) -> str:
        """An error as a viewer may read it: files by their names."""
        for entry in self.entries.values():
            line = line.replace(str(entry.path), entry.name)
        return line

    def read_summaries(self) -> None:
        """Read every file that was not read yet; one that is broken is said to be so."""
        for entry in self.entries.values():
            if entry.summary["status"] == "reading":
                entry.summary = summarise(entry.path)

    def start_reading(self) -> None:
        """Read summaries in a thread of their own."""
        threading.Thread(target=self.read_summaries, name="relive-catalogue", daemon=True).start()

    def watched(self, name: str) -> Watched:
        """Open a file, or take it as it was opened before.

        Raises:
            UnknownFileError: There is none of this name.
            ReliveError: It cannot be played.
        """
        if name not in self.entries:
            raise UnknownFileError("no such file")
        with self._lock:
            if name not in self._open:
                self._open[name] = Watched(self.entries[name], self._model, self._original)
                if len(self._open) > MAX_OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(name)
            return self._open[name]


def _replays(path: Path) -> list[tuple[Path, str]]:
    if path.is_dir():
        files = sorted(file for file in path.rglob(f"*{SUFFIX}") if file.is_file())
        return [(file, str(file.relative_to(path))) for file in files]
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    return [(path, path.name)]


def _id_of(file: Path) -> str:
    return sha256(str(file.resolve()).encode()).hexdigest()[:16]


def summarise(path: Path) -> dict[str, Any]:
    """Say what the library shows of a file, without decoding a picture."""
    try:
        with ReplayReader.open(path) as reader:
            return {"status": "ok", **_summary(reader)}
    except (ReliveError, OSError) as error:
        line = " ".join(str(error).split()).replace(str(path), path.name)
        return {"status": "broken", "error": line, "bytes": _size(path)}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _summary(reader: ReplayReader) -> dict[str, Any]:
    header, gops = reader.header, reader.gops
    steps = [(g.end_ns - g.start_ns) / (g.num_frames - 1) for g in gops if g.num_frames > 1]
    step_ns = float(np.median(steps)) if steps else 0.0
    frames = reader.num_frames
    raw = frames * header.width * header.height * 3
    measured = [gop.psnr_db for gop in gops if gop.psnr_db > 0]
    return {
        "frames": frames,
        "width": header.width,
        "height": header.height,
        "fps": 1e9 / step_ns if step_ns else 0.0,
        "duration_s": (gops[-1].end_ns - gops[0].start_ns + step_ns) / 1e9 if gops else 0.0,
        "bytes": reader.size,
        "ratio": raw / reader.size,
        "game": header.game,
        "quality": header.quality,
        "model_id": header.model_id,
        "tiers": header.tiers,
        "psnr_db": float(np.mean(measured)) if measured else None,
        "damaged": reader.damaged,
        "problems": len(reader.problems),
    }
