"""Records a corpus: many games, seeds and players, in parallel, again and again until it is whole.

```
 takes ──► what is not there ──► one process a session ──► x.mcap.part ──► x.mcap ──► manifest.json
```

A process of its own for every session: a game that crashes takes nothing else with it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from relive.errors import InputError
from relive.session.batch_manifest import Entry, Manifest, counts
from relive.session.batch_spec import Take
from relive.session.processes import (
    END_S,
    alone,
    cores,
    end,
    exit_text,
    reason_of,
    spawn,
    unwind_when_asked,
)
from relive.session.session import Session
from relive.session.sources.games import record_game

Report = Callable[[int, int, str], None]
"""Told the sessions done, the sessions in all, and a line on the last one."""

STALL_S = 600.0
"""A game that shows no frame for so long has hung; warm-ups count."""

_HANGS = f"no frame for {STALL_S:.0f} s; the game hangs"
_NEWS_S = 1.0  # between two signs of life of a process
_WAIT_S = 1.0


@dataclass
class _Job:
    """One session that is being recorded."""

    take: Take
    process: SpawnProcess
    news: Connection
    heard_s: float = field(default_factory=time.monotonic)


def record_batch(
    takes: Sequence[Take],
    folder: Path,
    *,
    splits: Sequence[str] = (),
    jobs: int | None = None,
    force: bool = False,
    report: Report | None = None,
) -> dict[str, Any]:
    """Record the sessions of a batch that are not there yet.

    Args:
        takes: The sessions of the corpus.
        folder: Where; sessions go to `SPLIT/GAME-SEED.mcap`, beside `manifest.json`.
        splits: Record only these; none for all.
        jobs: Processes at once; None for the number of cores.
        force: Record anew what is there but is not the session of the take.
        report: Told after every session.

    Returns:
        Counts of this batch: `ok`, `failed`, `frames`, `seconds`, `bytes`; `recorded` now and
        `skipped` as they were there; `splits`, the first five by split; `failures`, name and
        reason of each.

    Raises:
        InputError: There is no such split, another process works in the folder, or its manifest
            is not one.
        KeyboardInterrupt: Ctrl-C; what is whole stays, and the same call goes on.
    """
    wanted = _of_splits(takes, splits)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder, "records"):
        manifest = Manifest(folder)
        manifest.forget_lost({take.file for take in takes})
        run = _Run(folder, manifest, len(wanted), force, report)
        try:
            run.record(run.skip_whole(wanted), jobs or cores())
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"{run.num_ok} of {len(wanted)} sessions are in {folder}; the same command goes on"
            ) from None
        return run.result()


def _of_splits(takes: Sequence[Take], splits: Sequence[str]) -> list[Take]:
    known = {take.split for take in takes}
    for name in splits:
        if name not in known:
            raise InputError(f"there is no split {name!r}; there are {', '.join(sorted(known))}")
    return [take for take in takes if not splits or take.split in splits]


class _Run:
    """One run over a batch: what is done, what goes on, what is said about it."""

    def __init__(
        self, folder: Path, manifest: Manifest, total: int, force: bool, report: Report | None
    ) -> None:
        self._folder, self._manifest = folder, manifest
        self._total, self._force, self._report = total, force, report
        self._entries: list[Entry] = []
        self._skipped = 0
        self._jobs: list[_Job] = []

    @property
    def num_ok(self) -> int:
        """Sessions that are there."""
        return sum(entry.status == "ok" for entry in self._entries)

    def skip_whole(self, takes: Sequence[Take]) -> list[Take]:
        """Take into the manifest what is there; return what is to be recorded."""
        missing = []
        for take in takes:
            path = self._folder / take.file
            entry = _find(take, path)
            if entry is None or (entry.status == "failed" and self._force):
                missing.append(take)
                continue
            self._skipped += entry.status == "ok"
            self._add(entry, "there" if entry.status == "ok" else entry.reason)
        self._manifest.write()
        return missing

    def record(self, takes: list[Take], jobs: int) -> None:
        """Record takes, `jobs` at once; leaves no process behind."""
        waiting = list(reversed(takes))
        try:
            while waiting or self._jobs:
                while waiting and len(self._jobs) < jobs:
                    self._jobs.append(_start(waiting.pop(), self._folder))
                self._listen()
        finally:
            _end(self._jobs)

    def result(self) -> dict[str, Any]:
        """Return the counts of the batch."""
        splits = {entry.split: 0 for entry in self._entries}
        failed = [entry for entry in self._entries if entry.status == "failed"]
        return {
            **counts(self._entries),
            "recorded": self.num_ok - self._skipped,
            "skipped": self._skipped,
            "splits": {
                name: counts([e for e in self._entries if e.split == name]) for name in splits
            },
            "failures": [{"file": entry.file, "reason": entry.reason} for entry in failed],
        }

    def _listen(self) -> None:
        """Wait for news of the processes, and put away those that have ended."""
        wait([job.news for job in self._jobs], timeout=_WAIT_S)
        for job in list(self._jobs):
            said = _hear(job)
            if said is None:
                continue
            self._jobs.remove(job)
            _end([job], 0 if said == _HANGS else END_S)
            path = self._folder / job.take.file
            entry = _failed(job.take, said) if said else _find(job.take, path)
            self._add(entry or _failed(job.take, "the recording is not whole"), said or "recorded")
            self._manifest.write()

    def _add(self, entry: Entry, line: str) -> None:
        self._entries.append(entry)
        self._manifest.add(entry)
        if self._report is not None:
            failed = "FAILED: " if entry.status == "failed" else ""
            self._report(len(self._entries), self._total, f"{entry.file}: {failed}{line}")


def _find(take: Take, path: Path) -> Entry | None:
    """Look for a session that is there.

    Returns:
        Its entry; a failed one where it is whole but another session; None where it is not whole.
    """
    try:
        with Session.open(path) as session:
            frames, seconds = session.num_frames, round(session.duration_s, 3)
            if session.damaged:
                return None
            if session.game != take.game or frames != take.play.num_frames(session.fps):
                return _failed(
                    take,
                    f"{path} is another session ({session.game or 'no game'}, {frames} frames); "
                    "remove it, or record anew with --force",
                )
    except InputError:
        return None
    seed, size = take.play.seed, path.stat().st_size
    return Entry(take.file, take.split, take.game, seed, frames, seconds, size)


def _failed(take: Take, reason: str) -> Entry:
    return Entry(take.file, take.split, take.game, take.play.seed, status="failed", reason=reason)


def _start(take: Take, folder: Path) -> _Job:
    return _Job(take, *spawn(_work, take, folder, name=take.file))


def _hear(job: _Job) -> str | None:
    """Hear what a process has to say.

    Returns:
        None while it works, "" when the session is there, else why it failed.
    """
    try:
        while job.news.poll():
            said: str | None = job.news.recv()
            job.heard_s = time.monotonic()
            if said is not None:
                return said
    except (EOFError, OSError):
        job.process.join(END_S)
        return f"the process of the game ended ({exit_text(job.process.exitcode)})"
    if time.monotonic() - job.heard_s > STALL_S:
        return _HANGS
    return None


def _end(jobs: list[_Job], patience_s: float = 0) -> None:
    end([job.process for job in jobs], patience_s)
    for job in jobs:
        job.news.close()


def _work(take: Take, folder: Path, news: Connection) -> None:
    """Record one session: the body of its process. Says None while it works, then the outcome."""
    unwind_when_asked()
    out = folder / take.file
    part = out.with_name(f"{out.name}.part")
    said_s = time.monotonic()

    def progress(_done: int, _total: int) -> None:
        nonlocal said_s
        if time.monotonic() - said_s > _NEWS_S:
            said_s = time.monotonic()
            news.send(None)  # fails where nobody listens any more, and ends the game

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        record_game(take.game, part, take.play, force=True, progress=progress)
        part.replace(out)
        news.send("")
    except KeyboardInterrupt:
        part.unlink(missing_ok=True)
    except Exception as error:
        part.unlink(missing_ok=True)
        news.send(reason_of(error))
