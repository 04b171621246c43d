"""A run over a folder: hand out tasks, take results, try again what may pass, report."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from relive.batch.manifest import Manifest
from relive.batch.on_ray import RayPool
from relive.batch.plan import find_sessions, settle
from relive.batch.pool import LocalPool, Pool
from relive.batch.rows import Row, line_of, row_of
from relive.batch.task import PART, Outcome, Settings, Task
from relive.session.processes import alone, cores, reason_of

Report = Callable[[int, int, str], None]
"""Told the sessions done, the sessions in all, and a line on the last one."""

TRIES = 3
"""Of a session whose failures may pass."""

REPORT = "report.json"


def encode_batch(
    folder: Path,
    out: Path,
    settings: Settings | None = None,
    *,
    workers: int | None = None,
    ray: str | None = None,
    force: bool = False,
    report: Report | None = None,
) -> dict[str, Any]:
    """Encode every session below a folder; the same call goes on where one was stopped.

    A session that fails never stops the others. One whose failure may pass, such as a killed
    process, is tried three times. A replay is whole or absent, and not made again where session,
    settings and model are the same by their hashes.

    Args:
        folder: with sessions in it and below.
        out: folder of the replays, in the same tree, beside `batch.jsonl` and `report.json`.
        settings: of the encodings; None for those of `relive encode`.
        workers: sessions at once; None for the number of cores, with Ray for those of the cluster.
        ray: address of a Ray cluster, or `local`; None for processes of this machine.
        force: replace files that are there and that no batch has made.
        report: told after every session.

    Returns:
        What `report.json` holds: `sessions`, `ok`, `damaged`, `failed`, `encoded` in this run,
        `skipped` as they were there, `frames` and `bytes` of all, `seconds` and `cpu_seconds` of
        this run, `encode_fps`, `settings`, `model_id`, and `files`, a row each.

    Raises:
        InputError: There is no session, a setting is wrong, or another process works in `out`.
        MissingExtraError: Ray is not installed.
        ModelMismatchError: The model is missing.
        KeyboardInterrupt: Ctrl-C; what is whole stays, and the same call goes on.
    """
    files = find_sessions(folder)
    folder, out = folder.resolve(), out.resolve()
    settings, model_id = settle(settings or Settings())
    out.mkdir(parents=True, exist_ok=True)
    with alone(out, "encodes"), Manifest(out) as manifest:
        _sweep(out)
        tasks = deque(
            Task(
                file,
                folder / file,
                (out / file).with_suffix(".relive"),
                settings,
                model_id,
                manifest.of(file),
                force,
            )
            for file in files
        )
        run = _Run(manifest, len(files), report)
        pool = RayPool(ray, workers) if ray else LocalPool(min(workers or cores(), len(files)))
        try:
            run.encode(tasks, pool)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"{len(run.rows)} of {len(files)} sessions are done; the same command goes on"
            ) from None
        finally:
            pool.close()
            _sweep(out)
            result = {**run.result(), "settings": settings.facts(), "model_id": model_id}
            result["files"] = [asdict(row) for row in sorted(run.rows, key=lambda row: row.file)]
            _write_whole(out / REPORT, json.dumps(result, indent=1) + "\n")
        return result


class _Run:
    """What is done of a batch, and what is said about it."""

    def __init__(self, manifest: Manifest, total: int, report: Report | None) -> None:
        self._manifest, self._total, self._report = manifest, total, report
        self._began = time.perf_counter()
        self._tries: dict[str, int] = {}
        self.rows: list[Row] = []

    def encode(self, tasks: deque[Task], pool: Pool) -> None:
        """Do all tasks."""
        while len(self.rows) < self._total:
            for _ in range(min(pool.room(), len(tasks))):
                task = tasks.popleft()
                self._tries[task.file] = self._tries.get(task.file, 0) + 1
                pool.start(task)
            for task, outcome in pool.ended():
                kept = self._keep(task, outcome)
                if kept.again and self._tries[task.file] < TRIES:
                    tasks.append(task)
                    self._say(f"{task.file}: {kept.reason}; once more")
                else:
                    self._add(task, kept)

    def result(self) -> dict[str, Any]:
        """Return the counts."""
        made = [row for row in self.rows if row.encoded]
        seconds = time.perf_counter() - self._began
        return {
            "sessions": self._total,
            "ok": sum(row.status == "ok" for row in self.rows),
            "damaged": sum(row.status == "damaged" for row in self.rows),
            "failed": sum(row.status == "failed" for row in self.rows),
            "encoded": len(made),
            "skipped": sum(row.status != "failed" for row in self.rows) - len(made),
            "frames": sum(row.frames for row in self.rows),
            "bytes": sum(row.bytes for row in self.rows),
            "seconds": round(seconds, 3),
            "cpu_seconds": round(sum(row.cpu_seconds for row in made), 3),
            "encode_fps": round(sum(row.frames for row in made) / seconds, 3),
        }

    def _keep(self, task: Task, outcome: Outcome) -> Outcome:
        """Note a result and give it its name; the two only writers of a batch are these lines."""
        if outcome.made is None or outcome.part is None:
            return outcome
        try:
            self._manifest.add(outcome.made)
            outcome.part.replace(task.out)
        except OSError as error:
            return Outcome(reason=reason_of(error), again=True)
        return outcome

    def _add(self, task: Task, outcome: Outcome) -> None:
        made, tries = outcome.made, self._tries[task.file]
        if made is None:
            row = Row(task.file, "failed", tries=tries, reason=outcome.reason)
        else:
            row = row_of(made, outcome.part is not None, tries)
        self.rows.append(row)
        self._say(f"{task.file}: {line_of(row)}")

    def _say(self, line: str) -> None:
        if self._report is not None:
            self._report(len(self.rows), self._total, " ".join(line.splitlines()))


def _sweep(out: Path) -> None:
    """Remove what killed workers have left."""
    for part in out.rglob(f".*{PART}"):
        part.unlink(missing_ok=True)


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
