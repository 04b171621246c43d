"""Kill a catalogue at work with SIGKILL at random moments and check what is left (issue 7, h).

    python tools/kill_catalog.py REPLAY.relive -o results/kill-catalog.json

Small replays are cut from the given one. `relive catalog add`, `update` (after files were moved,
overwritten, removed and added) and `verify` run once to their end, which gives the true tables.
Then they run again and are killed at a random moment between their first write and their last;
where one has ended before its kill, the next kills come earlier.
What is left must open, hold every file whole or not at all, none twice, and nothing that was there
before may be lost; the same command, run again, must then give the true tables. Leaves with 1 where
it does not. Every run is a process of its own, forked from one that has loaded torch already.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from relive.bench.provenance import provenance, write_json
from relive.catalog import Catalog
from relive.cli.run import run
from relive.container import cut
from relive.errors import InputError, ReliveError

POLL_S, COPIES = 0.001, 15
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch", "relive.codec", "relive.catalog", "relive.cli.run"])
COLUMNS = "path, bytes, sha256, condition, verified, missing, game, frames, states, descriptors"

Json = dict[str, Any]


def cut_replays(replay: Path, folder: Path) -> None:
    """Cut pieces of different lengths and tiers, so that no two files are alike."""
    folder.mkdir()
    second, number = 0, 0
    while number < 24:
        for end in (second + 1, second + 2, second + 3):
            out = folder / f"{number:03d}.relive"
            try:
                cut(replay, out, tiers=1 + number % 2, start_s=second, end_s=end)
            except InputError:
                return
            number += 1
        second += 1


def change(folder: Path) -> None:
    """Move, overwrite, remove, break and copy some of the files."""
    files = sorted(folder.glob("*.relive"))
    (folder / "moved").mkdir()
    for place, file in enumerate(files):
        if place % 5 == 0:
            file.rename(folder / "moved" / file.name)
        elif place % 5 == 1:
            shutil.copyfile(files[place + 1 - 5], file) if place > 5 else file.unlink()
        elif place % 5 == 2:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def multiply(folder: Path, database: Path) -> None:
    """Copy all files several times, and add them: `verify` of a few is through before any kill."""
    for number in range(COPIES):
        copy = folder.with_name(f"copies-{number}")
        shutil.copytree(folder, copy)
        start(["catalog", "add", str(database), str(copy)], database)[0].join()


def relive(args: list[str]) -> None:
    """Run the command line, without a word."""
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
        sys.exit(run([*args, "-q"]))


def start(args: list[str], database: Path) -> tuple[BaseProcess, float]:
    """Start a command; return it and the moment of its first write."""
    before = stamps(database)
    child = FORKS.Process(target=relive, args=(args,))
    child.start()
    while stamps(database) == before and child.is_alive():
        time.sleep(POLL_S)
    return child, time.perf_counter()


def stamps(database: Path) -> list[tuple[int, int]]:
    """Sizes and ages of the catalogue and of its log."""
    files = (database, database.with_name(database.name + ".wal"))
    return [(s.st_size, s.st_mtime_ns) for f in files if f.exists() for s in (f.stat(),)]


def contents(database: Path) -> dict[str, tuple[Any, ...]]:
    """Everything that is in a catalogue, by path, but for the numbers of files.

    Raises:
        ValueError: A file is in it twice, or rows belong to no file or are not all there.
    """
    with Catalog.open(database) as catalog:
        files = catalog.rows(f"SELECT file, {COLUMNS} FROM files ORDER BY path")  # noqa: S608
        if len({row[1] for row in files}) != len(files):
            raise ValueError("a path is there twice")
        tables = ["gops", "events", *catalog.tables("states"), *catalog.tables("descriptors")]
        rows: dict[int, list[Any]] = {row[0]: [] for row in files}
        for table in tables:
            names = [row[0] for row in catalog.rows(f"DESCRIBE {table}") if row[0] != "file"]
            hashed = ", ".join(f'"{name}"' for name in names)
            sql = f"SELECT file, count(*), bit_xor(hash({hashed})) FROM {table} GROUP BY file"  # noqa: S608
            for number, count, digest in catalog.rows(sql):
                if number not in rows:
                    raise ValueError(f"{table} has rows of no file")
                rows[number].append((table, count, digest))
        for number, frames in catalog.rows("SELECT file, frames FROM files"):
            kept = [count for table, count, _ in rows[number] if table.startswith("states_")]
            if sum(kept) != frames:
                raise ValueError(f"{sum(kept)} of {frames} frames of a file are there")
    return {row[1]: (*row[2:], tuple(sorted(rows[row[0]]))) for row in files}


def run_once(task: Json, base: Path, work: Path, after_s: float | None) -> Json:
    """Run a task on a copy of its catalogue, to the end or until it is killed."""
    database = work / "c.duckdb"
    for file in work.glob("c.duckdb*"):
        file.unlink()
    shutil.copyfile(base, database)
    args = ["catalog", task["verb"], str(database), *task["places"], *task["options"]]
    before = contents(database)
    child, began = start(args, database)
    if after_s is None:
        seconds, seen = 0.0, stamps(database)
        while child.is_alive():
            time.sleep(POLL_S)
            if seen != (seen := stamps(database)):
                seconds = time.perf_counter() - began
        return {"seconds": seconds, "now": contents(database)}
    time.sleep(max(0.0, began + after_s - time.perf_counter()))
    running = child.is_alive()
    child.kill()
    child.join()
    killed = running and child.exitcode == -signal.SIGKILL
    result: Json = {"verb": task["verb"], "after_s": round(after_s, 4), "failure": None}
    try:
        left = contents(database)
        done = sum(left.get(path) == row for path, row in task["true"].items())
        strange = [p for p, r in left.items() if r not in (task["true"].get(p), before.get(p))]
        lost = [] if task["verb"] == "update" else [p for p in before if p not in left]
        result |= {"files": len(left), "done": done, "of": len(task["true"])}
        if strange or lost:
            result["failure"] = f"{len(strange)} strange rows, {len(lost)} lost"
        start(args, database)[0].join()
        if contents(database) != task["true"]:
            result["failure"] = "run again, it does not give the true tables"
    except (ReliveError, ValueError) as error:
        result["failure"] = f"{type(error).__name__}: {error}"
    return result if killed else {}


def main() -> int:
    """Run all tasks, kill them, write the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("replay", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    chance, kills = random.Random(options.seed), []
    with tempfile.TemporaryDirectory(prefix="relive-kill-") as name:
        folder, work = Path(name) / "replays", Path(name) / "work"
        work.mkdir()
        cut_replays(options.replay, folder)
        empty, added, updated = (work / f"{n}.duckdb" for n in ("empty", "added", "updated"))
        Catalog.open(empty, write=True, create=True).close()
        tasks: list[Json] = []
        for verb, base in (("add", empty), ("update", added), ("verify", updated)):
            if verb == "update":
                change(folder)
            if verb == "verify":
                multiply(folder, updated)
            places = [str(folder)] if verb == "add" else []
            task: Json = {"verb": verb, "places": places, "options": [], "base": base}
            whole = run_once(task, base, work, None)
            task |= {"true": whole["now"], "seconds": whole["seconds"]}
            if verb != "verify":  # which is killed over what is not verified
                shutil.copyfile(work / "c.duckdb", added if verb == "add" else updated)
            share = (options.kills + 2 - len(tasks)) // 3
            tasks.append(task)
            tries, latest = 0, whole["seconds"]
            found: list[Json] = []
            while len(found) < share and tries < 3 * share:
                tries += 1
                after_s = chance.uniform(0, latest)
                killed = run_once(task, base, work, after_s)
                latest = latest if killed else after_s
                found += [killed] if killed else []
                print(killed or "ended before the kill", file=sys.stderr, flush=True)
            kills += found
    failures = sum(kill["failure"] is not None for kill in kills)
    seconds = {task["verb"]: round(task["seconds"], 3) for task in tasks}
    report = {"kills": len(kills), "failures": failures, "seconds_whole": seconds, "each": kills}
    write_json(options.out, {**report, **provenance()})
    print(f"{len(kills)} kills, {failures} failures")
    return int(failures > 0)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
