"""The manifest of a corpus: what is in the folder, what failed, and why."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from relive.errors import InputError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Entry:
    """What became of one session.

    Attributes:
        file: Its path inside the folder.
        split: The split that it belongs to.
        game: Its name in full.
        seed: Of the game and of its player.
        frames: Its length in frames, 0 where it failed.
        seconds: Its length in seconds of game time.
        bytes: Size of the file.
        status: Whether it is there.
        reason: Why it failed, "" where it is there.
    """

    file: str
    split: str
    game: str
    seed: int
    frames: int = 0
    seconds: float = 0.0
    bytes: int = 0
    status: Literal["ok", "failed"] = "ok"
    reason: str = ""


class Manifest:
    """`manifest.json` of a corpus, written whole after every change.

    Entries of an earlier run that this one does not touch stay, as long as their file does.

    Args:
        folder: The folder of the corpus.

    Raises:
        InputError: There is a file of this name that is no manifest.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._entries = {entry.file: entry for entry in _read(folder / MANIFEST)}

    def add(self, entry: Entry) -> None:
        """Add or replace an entry, without writing."""
        self._entries[entry.file] = entry

    def forget_lost(self, planned: set[str]) -> None:
        """Drop the entries whose file is gone, and failures at what is not planned any more."""
        self._entries = {
            name: entry
            for name, entry in self._entries.items()
            if (name in planned if entry.status == "failed" else (self._folder / name).is_file())
        }

    def write(self) -> None:
        """Write the manifest beside its name and rename it."""
        path = self._folder / MANIFEST
        part = path.with_name(f"{MANIFEST}.part")
        part.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        part.replace(path)

    def to_dict(self) -> dict[str, Any]:
        """Return what the file holds: counts in all and by split, and every session."""
        entries = [self._entries[name] for name in sorted(self._entries)]
        splits = sorted({entry.split for entry in entries})
        return {
            **counts(entries),
            "splits": {name: counts([e for e in entries if e.split == name]) for name in splits},
            "sessions": [asdict(entry) for entry in entries],
        }


def counts(entries: list[Entry]) -> dict[str, Any]:
    """Count sessions that are there and that failed; frames, seconds and bytes of the former."""
    there = [entry for entry in entries if entry.status == "ok"]
    return {
        "ok": len(there),
        "failed": len(entries) - len(there),
        "frames": sum(entry.frames for entry in there),
        "seconds": round(sum(entry.seconds for entry in there), 3),
        "bytes": sum(entry.bytes for entry in there),
    }


def _read(path: Path) -> list[Entry]:
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["sessions"]
        return [Entry(**row) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not the manifest of a corpus ({error}); remove it, or give another folder"
        ) from None
