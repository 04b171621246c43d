"""Train `small` on one large GPU inside 25 minutes, data and all (issue 4, point 10).

    python tools/train_small_on_gpu.py

```
 record ─► unpack ─► plan ───────────► train ────────► export ─► summary.json
 parallel  parallel  FLOPs, batches      │               │
 players             that fit            ▼ every 3 min   ▼
                                 OUT/checkpoint-NNN/  OUT/model/
                                 pieces under 16 MiB, SHA256SUMS
```

The same command goes on where an earlier one was stopped, while WORK is there. On another machine
`--resume-from OUT` puts the pieces together again; plain tools can too:

    cd OUT/checkpoint-NNN && sha256sum -c --ignore-missing SHA256SUMS
    cat NNN.safetensors.0* > NNN.safetensors

`--budget-minutes 1 --size tiny` rehearses it on a CPU: minutes shrink in proportion, batches too.
Recording and the export then take longer than their share: training needs a few sessions.

Where a command may run 10 minutes, and 64 MiB in 8 files may come back from it, call it three
times in a row, so that the machine keeps WORK; the model comes back each time (3 pieces):

    python3 tools/train_small_on_gpu.py --stop-after 9 --out "$OUT" --most-mib 60

A checkpoint of `small` is larger (16 bytes a parameter, and what its chains left); it comes with
`--fetch 0:4`, `--fetch 4:8`, … Where nothing can be fetched, the machine needs besides PyTorch the
wheels of vizdoom, gymnasium, farama-notifications, mcap, zstandard, pydantic,
pydantic_core and annotated-types, some 45 MB in all, for the first call; av is not needed.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gpu_pieces import LIST, find_sets, join_pieces, put, write_pieces
from gpu_steps import Json, Place, export, plan, summarise, train

ROOT = Path(__file__).resolve().parents[1]
RECORD_SHARE, EXPORT_SHARE = 0.1, 0.1  # of the budget; training has 0.68, start-up the rest
LEAST_SESSIONS = {"train": 2, "valid": 1}
END_S = 60.0  # for a child that was asked to end
LEAST_LEFT_S = 5.0  # for what comes after the export
LEAST_RESERVE_S = 30.0  # from the end of training to that of the command
REHEARSAL_MINUTES = 10.0  # a smaller budget is a rehearsal, on a machine that may be slow
REHEARSAL_LIMIT = 30.0  # minutes

# No torch here, so that a child that dies takes nothing with it.


class Conductor:
    """Starts the steps, watches the clock, writes pieces."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.place = options, Place(options.work)
        self.began = time.monotonic()
        self.seconds: dict[str, float] = {}
        self.pieced, self.pieced_at = "", time.monotonic()

    @property
    def left_s(self) -> float:
        """Seconds until this command shall end."""
        return float(self.options.stop_after * 60 - (time.monotonic() - self.began))

    def record(self) -> None:
        """Let players play at once, for their share of the time and until there is enough."""
        mark, corpus = self.place.corpus / "recorded.json", self.place.corpus
        if mark.exists():
            return
        enough_at = time.monotonic() + 60 * RECORD_SHARE * self.options.budget_minutes
        command = ["-m", "relive", "record", "--batch", str(self.options.spec), "-o", str(corpus)]
        child = start([*command, "--jobs", str(self.options.jobs)], single=True)
        while child.poll() is None:
            time.sleep(0.2)
            counts = {name: len(list(corpus.glob(f"{name}/*.mcap"))) for name in LEAST_SESSIONS}
            enough = all(counts[name] >= least for name, least in LEAST_SESSIONS.items())
            if enough and time.monotonic() > enough_at:
                end(child)
        counts = {name: len(list(corpus.glob(f"{name}/*.mcap"))) for name in LEAST_SESSIONS}
        if any(counts[name] < least for name, least in LEAST_SESSIONS.items()):
            raise SystemExit(f"too few sessions were recorded: {counts}")
        put(mark, json.dumps(counts).encode())

    def child(self, step: str, until_left_s: float, *more: str) -> int:
        """Run a step as a child; ask it to end when so many seconds are left."""
        options = self.options
        command = [str(Path(__file__).resolve()), "--step", step, "--work", str(options.work)]
        command += ["--config", str(options.config), "--size", options.size]
        command += ["--jobs", str(options.jobs), "--budget-minutes", str(options.budget_minutes)]
        child = start([*command, *more])
        try:
            while child.poll() is None:
                time.sleep(0.2)
                if step == "train":
                    self.every_few_minutes()
                if self.left_s < until_left_s:
                    end(child)
        finally:
            if child.poll() is None:
                end(child)
        return child.returncode

    def every_few_minutes(self) -> None:
        """Copy the newest checkpoint if it is time."""
        if time.monotonic() - self.pieced_at >= 60 * self.options.pieces_minutes:
            self.copy_checkpoint()
            self.pieced_at = time.monotonic()

    def copy_checkpoint(self) -> str:
        """Write the newest checkpoint as pieces into OUT and remove the set before.

        Returns:
            What became of it, for the summary.
        """
        out, most = self.options.out, self.options.most_mib
        try:
            files = self.place.checkpoint_files()
            if not files:
                return "none"
            size = sum(path.stat().st_size for path in files)
            name = f"checkpoint-{files[0].stem}"
            if most and size + self.model_bytes() > most * 2**20:
                return f"{size >> 20} MiB stay in {self.place.run}; get them with --fetch 0:3, …"
            if name != self.pieced:
                write_pieces(files, out / name)
                self.pieced = name
        except FileNotFoundError:  # training removed it meanwhile; there is a newer one
            return self.pieced or "none"
        for old in out.glob("checkpoint-*"):
            if old.name != name:
                shutil.rmtree(old)
        return name

    def model_bytes(self) -> int:
        """Size of the exported model, or 0."""
        path = self.place.run / "model.safetensors"
        return path.stat().st_size if path.exists() else 0

    def copy_model(self) -> None:
        """Write the model as pieces."""
        if self.model_bytes():
            write_pieces([self.place.run / "model.safetensors"], self.options.out / "model")

    def finished(self) -> bool:
        """Whether training has come to its end."""
        pointer = self.place.run / "checkpoint.json"
        if not pointer.exists() or not self.place.settings.exists():
            return False
        done = json.loads(pointer.read_text())["progress"]["phase"]
        return bool(done >= len(json.loads(self.place.settings.read_text())["phase"]))

    def take(self) -> Json:
        """Do it all."""
        options = self.options
        minutes = min(options.budget_minutes, options.stop_after)
        reserve_s = max(LEAST_RESERVE_S, 60 * EXPORT_SHARE * minutes)
        options.work.mkdir(parents=True, exist_ok=True)
        options.out.mkdir(parents=True, exist_ok=True)
        for name, step in (
            ("join", self.resume),
            ("record", self.record),
            ("plan", lambda: self.must("plan", 0)),
            ("train", lambda: None if self.finished() else self.must("train", reserve_s)),
            ("pieces", self.copy_checkpoint),
            ("export", self.export),
        ):
            before = time.monotonic()
            step()
            self.seconds[name] = round(time.monotonic() - before, 1)
        summary = summarise(self.place) | {
            "seconds": self.seconds | {"all": round(time.monotonic() - self.began, 1)},
            "finished": self.finished(),
            "checkpoint": self.copy_checkpoint(),
            "jobs": options.jobs,
        }
        put(options.out / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
        return summary

    def resume(self) -> None:
        """Put the pieces of an earlier run together, if they are named and not here already."""
        from relive.errors import InputError

        if not self.options.resume_from or self.place.checkpoint_files():
            return
        sets = find_sets(self.options.resume_from)
        if not sets:
            where = ", ".join(map(str, self.options.resume_from))
            raise InputError(f"{where}: no checkpoint-NNN with {LIST} in it")
        run = self.place.run
        (run / "checkpoints").mkdir(parents=True, exist_ok=True)
        for path in join_pieces(sets, run / "joined"):
            path.replace(run / ("checkpoints" if path.suffix == ".safetensors" else "") / path.name)
        (run / "joined").rmdir()

    def must(self, step: str, until_left_s: float) -> None:
        """Run a step; it may be ended by the clock, but not fail."""
        code = self.child(step, until_left_s)
        if code not in (0, 130, -signal.SIGTERM, -signal.SIGKILL):
            self.copy_checkpoint()
            raise SystemExit(f"{step} failed with exit code {code}, see above")

    def export(self) -> None:
        """Export the model as it is; with tables where training is over."""
        if not self.place.checkpoint_files():
            return
        self.child("export", LEAST_LEFT_S)
        self.copy_model()
        if self.finished():
            self.child("export", LEAST_LEFT_S, "--whole")
            self.copy_model()


def start(arguments: Sequence[str], single: bool = False) -> "subprocess.Popen[bytes]":
    """Start a Python program that finds our code; its output is our error output."""
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    if single:  # many at once, one thread each
        environment |= {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *arguments], stdout=sys.stderr, env=environment)


def end(child: "subprocess.Popen[bytes]") -> None:
    """Ask a child to end, as a scheduler does; do not wait for ever."""
    child.terminate()
    try:
        child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    add("--work", type=Path, default=ROOT / "runs" / "gpu", help="corpus, cache and run")
    add("--out", type=Path, help="pieces and summary.json; by default $OUT, else WORK/out")
    add("--budget-minutes", type=float, default=25.0, help="of everything; all parts follow it")
    add("--stop-after", type=float, help="minutes of this command; by default the budget")
    add("--size", default="small")
    add("--config", type=Path, default=ROOT / "configs" / "small.toml")
    add("--spec", type=Path, default=ROOT / "configs" / "corpus-gpu.toml")
    add("--jobs", type=int, default=cores, help="players at once")
    add("--pieces-minutes", type=float, default=3.0, help="from checkpoint to checkpoint in OUT")
    add("--most-mib", type=float, default=0.0, help="what OUT may hold; 0: anything")
    add("--resume-from", type=Path, nargs="+", default=[], metavar="DIR", help="where pieces lie")
    add("--fetch", metavar="A:B", help="only copy pieces A to B-1 of the newest checkpoint to OUT")
    add("--step", choices=("plan", "train", "export"), help=argparse.SUPPRESS)
    add("--whole", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.work = options.work.resolve()
    if options.stop_after is None:
        rehearsal = options.budget_minutes < REHEARSAL_MINUTES
        options.stop_after = REHEARSAL_LIMIT if rehearsal else options.budget_minutes
    options.out = options.out or Path(os.environ.get("OUT", options.work / "out"))
    return options


def fetch(options: argparse.Namespace) -> Json:
    """Copy some pieces of the newest checkpoint."""
    first, _, last = options.fetch.partition(":")
    files = Place(options.work).checkpoint_files()
    if not files:
        raise SystemExit(f"there is no checkpoint in {options.work}")
    folder = options.out / f"checkpoint-{files[0].stem}"
    count = write_pieces(files, folder, slice(int(first), int(last)))
    return {"folder": str(folder), "pieces": count}


def main() -> int:
    """Run one step as a child, or conduct all of them."""
    sys.path.insert(0, str(ROOT / "src"))
    from relive.errors import ReliveError

    options = parse(sys.argv[1:])
    try:
        if options.step:
            {"plan": plan, "train": train, "export": export}[options.step](options)
            return 0
        done = fetch(options) if options.fetch else Conductor(options).take()
        print(json.dumps(done, indent=1))
    except ReliveError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt as error:
        sys.stderr.write(f"{error}\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
