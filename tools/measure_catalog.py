"""How `relive catalog` does with thousands of replays: time, memory and size (issue 7, 8).

    python tools/measure_catalog.py REPLAY.relive … -o results/catalog.json

Pieces of the given replays, seconds of them, of one or two tiers, are copied under thousands of
names, a folder for every hundred. The verbs run one after the other, each in a process of its own,
with Python, torch and the model loaded anew: `add`; `update` with nothing to do; `update` after a
hundredth was moved, changed and removed; `stats`; `verify`; a search by state and one by place.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from typing import Any

from relive.bench.provenance import provenance, write_json
from relive.codec import Replay
from relive.container import cut
from relive.errors import InputError

IN_A_FOLDER = 100
LONGEST_S = 3
WHERE = "health < 50 and frame % 35 = 0"


def cut_pieces(replays: list[Path], folder: Path) -> list[Path]:
    """Cut pieces of one to three seconds, of either number of tiers; empty ones are left out."""
    pieces = []
    for replay in replays:
        with Replay.open(replay) as opened:
            seconds = int((opened.times_ns[-1] - opened.times_ns[0]) / 1e9)
        for start in range(seconds):
            for length in range(1, LONGEST_S + 1):
                out = folder / f"{replay.stem}-{start}-{length}.relive"
                try:
                    cut(replay, out, tiers=1 + start % 2, start_s=start, end_s=start + length)
                except InputError:
                    continue
                pieces.append(out)
    return pieces


def spread(pieces: list[Path], folder: Path, count: int) -> None:
    """Copy pieces under so many names."""
    for number, piece in zip(range(count), cycle(pieces), strict=False):
        out = folder / f"{number // IN_A_FOLDER:03d}" / f"{number:05d}.relive"
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(piece, out)


def change(folder: Path) -> dict[str, int]:
    """Move, change and remove one file in three hundred each."""
    files = sorted(folder.rglob("*.relive"))
    done = {"moved": 0, "changed": 0, "removed": 0}
    (folder / "moved").mkdir()
    for number, file in enumerate(files):
        if number % 300 == 10:
            file.rename(folder / "moved" / file.name)
            done["moved"] += 1
        elif number % 300 == 110:
            shutil.copyfile(files[number + 1], file)
            done["changed"] += 1
        elif number % 300 == 210:
            file.unlink()
            done["removed"] += 1
    return done


def timed(*args: str) -> dict[str, Any]:
    """Run a verb; its seconds, its processor time and the most memory that it took."""
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "relive", *args, "-q"],
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(child.pid, 0)
    return {
        "command": " ".join(["relive", *(Path(arg).name if "/" in arg else arg for arg in args)]),
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": used.ru_maxrss // 1024,
        "exit_code": os.waitstatus_to_exitcode(status),
    }


def main() -> None:
    """Make the tree, run the verbs, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("replays", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--files", type=int, default=3000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relive-catalog-") as name:
        pieces, tree = Path(name) / "pieces", Path(name) / "tree"
        pieces.mkdir()
        cuts = cut_pieces(options.replays, pieces)
        spread(cuts, tree, options.files)
        held = sum(file.stat().st_size for file in tree.rglob("*.relive"))
        database = str(Path(name) / "c.duckdb")
        runs = {"add": timed("catalog", "add", database, str(tree))}
        size = Path(database).stat().st_size
        runs["update, nothing to do"] = timed("catalog", "update", database)
        changes = change(tree)
        runs["update, some changed"] = timed("catalog", "update", database)
        runs["stats"] = timed("catalog", "stats", database)
        runs["verify"] = timed("catalog", "verify", database)
        runs["search by state"] = timed("search", database, "--where", WHERE)
        near = f"{options.replays[0]}@1"
        runs["search by place"] = timed("search", database, "--place", near)
    report = {
        "command": " ".join(["python", *sys.argv]),
        "files": options.files,
        "different_files": len(cuts),
        "bytes": held,
        "catalog_bytes": size,
        "changes": changes,
        "runs": runs,
    }
    write_json(options.out, report | provenance())
    for verb, run in runs.items():
        print(verb, run, flush=True)


if __name__ == "__main__":
    main()
