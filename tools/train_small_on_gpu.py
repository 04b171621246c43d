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
wheels of vizdoom, gymnasium, farama-notifications, constriction, mcap, zstandard, pydantic,
pydantic_core and annotated-types, 48 MB in all, for the first call; av is not needed.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PIECE_BYTES = 15 * 2**20
LIST = "SHA256SUMS"
RECORD_SHARE, TRAIN_SHARE, EXPORT_SHARE = 0.1, 0.68, 0.1  # of the budget; start-up has the rest
LEAST_SESSIONS = {"train": 2, "valid": 1}
END_S = 60.0  # for a child that was asked to end
LEAST_LEFT_S = 5.0  # for what comes after the export
LEAST_RESERVE_S = 30.0  # from the end of training to that of the command
REHEARSAL_MINUTES = 10.0  # a smaller budget is a rehearsal, on a machine that may be slow
REHEARSAL_LIMIT = 30.0  # minutes
CPU_BATCHES = 96  # batches are for a large GPU; a CPU rehearses with so much less
MEMORY_SHARE = 0.85  # of the GPU that a batch may need
COUNTED = 2  # updates whose operations are counted, of each phase

Json = dict[str, Any]


# Pieces: whole or not there.


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _put(path: Path, data: bytes) -> None:
    """Write beside the name, then rename: a kill leaves no half file."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def split_file(path: Path, folder: Path, wanted: slice, first: int = 0) -> list[tuple[str, str]]:
    """Write the pieces of a file, and tell the hashes of all of them and of the file.

    Args:
        path: what is split.
        folder: where pieces go: `NAME.000`, `NAME.001`, …
        wanted: which pieces of the set are written; the others are only hashed.
        first: number in the set of the first piece of this file.

    Returns:
        Hash and name, of each piece and last of the whole file.
    """
    rows: list[tuple[str, str]] = []
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(PIECE_BYTES):
            whole.update(data)
            name = f"{path.name}.{len(rows):03d}"
            if first + len(rows) in range(10**6)[wanted]:
                _put(folder / name, data)
            rows.append((hashlib.sha256(data).hexdigest(), name))
    return [*rows, (whole.hexdigest(), path.name)]


def write_pieces(paths: Sequence[Path], folder: Path, wanted: slice = slice(None)) -> int:
    """Write files as a set of pieces; the list comes last, and makes the set whole.

    Returns:
        Number of pieces in the set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str]] = []
    count = 0
    for path in paths:
        added = split_file(path, folder, wanted, count)
        count += len(added) - 1
        rows += added
    _put(folder / LIST, "".join(f"{digest}  {name}\n" for digest, name in rows).encode())
    return count


def join_pieces(folders: Sequence[Path], out: Path) -> list[Path]:
    """Put a set of pieces together again, after every hash was checked.

    Args:
        folders: where its pieces lie; they may have come in several parts.
        out: where the files go.

    Raises:
        InputError: A piece is missing or damaged, or there is no list.
    """
    from relive.errors import InputError

    lists = [folder / LIST for folder in folders if (folder / LIST).exists()]
    if not lists:
        raise InputError(f"{folders[0]} has no {LIST}; is it a folder of pieces?")
    rows = [line.split("  ", 1) for line in lists[0].read_text().splitlines()]
    pieces: list[Path] = []
    joined: list[Path] = []
    out.mkdir(parents=True, exist_ok=True)
    for digest, name in rows:
        if name.rpartition(".")[2].isdigit():
            found = next((f / name for f in folders if (f / name).exists()), None)
            if found is None:
                raise InputError(f"piece {name} is missing in {', '.join(map(str, folders))}")
            if _sha256(found) != digest:
                raise InputError(f"piece {found} is damaged: it does not have the hash of {LIST}")
            pieces.append(found)
        else:
            joined.append(_join(pieces, out / name, digest))
            pieces = []
    if pieces or not joined:
        raise InputError(f"{lists[0]} is cut; copy it again")
    return joined


def _join(pieces: Sequence[Path], path: Path, digest: str) -> Path:
    from relive.errors import InputError

    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        for piece in pieces:
            file.write(piece.read_bytes())
    if _sha256(part) != digest:
        part.unlink()
        raise InputError(f"{path.name} is not what its pieces were made of; copy {LIST} again")
    part.replace(path)
    return path


def find_sets(folders: Iterable[Path]) -> list[Path]:
    """Folders of the newest set of checkpoint pieces, which may be spread over several."""
    found = [path for folder in folders for path in [folder, *folder.rglob("checkpoint-*")]]
    named = [path for path in found if path.name.startswith("checkpoint-") and path.is_dir()]
    whole = [path.name for path in named if (path / LIST).exists()]
    return [path for path in named if path.name == max(whole, default=None)]


# The steps that need torch, each in a process of its own.


class Place:
    """Where things are in the folder of work."""

    def __init__(self, work: Path) -> None:
        self.work, self.run, self.cache = work, work / "run", work / "cache"
        self.corpus, self.settings, self.plan = (
            work / "corpus",
            work / "settings.json",
            work / "plan.json",
        )

    def checkpoint_files(self) -> list[Path]:
        """What another machine needs to go on."""
        pointer = self.run / "checkpoint.json"
        if not pointer.exists():
            return []
        newest = self.run / "checkpoints" / json.loads(pointer.read_text())["file"]
        files = [newest, pointer, self.run / "settings.json", self.run / "log.jsonl"]
        return [path for path in files if path.exists()] if newest.exists() else []


def scaled(values: Json, place: Place, size: str, budget_minutes: float) -> Json:
    """Fit a recipe to the budget, the folders and the machine."""
    import torch

    phases = [dict(phase) for phase in values["phase"]]
    total = sum(phase.get("minutes") or 0 for phase in phases)
    factor = TRAIN_SHARE * budget_minutes / total
    for phase in phases:
        if phase.get("minutes"):
            phase["minutes"] *= factor
        if not torch.cuda.is_available() and not phase.get("probability"):
            phase["batch"] = max(1, phase["batch"] // CPU_BATCHES)
    cores = len(os.sched_getaffinity(0))
    return {
        **values,
        "data": place.corpus / "train",
        "valid": place.corpus / "valid",
        "out": place.run,
        "cache": place.cache,
        "model": size,
        "workers": max(1, min(14, cores - 2)),
        "checkpoint_minutes": min(2.0, 0.08 * budget_minutes),
        "phase": phases,
    }


def plan(options: argparse.Namespace) -> None:
    """Unpack the sessions; count operations and find batches that fit, on a run that is dropped."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from relive.train.settings import check_settings, read_json, read_toml

    place = Place(options.work)
    recordings = sorted(place.corpus.rglob("*.mcap"))
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        list(pool.map(_unpack, recordings, [place.cache] * len(recordings)))
    known = place.run / "settings.json"
    if known.exists():  # of the run that goes on: same phases, folders of this machine
        folders = {"data": place.corpus / "train", "valid": place.corpus / "valid"}
        values = read_json(known) | folders | {"out": place.run, "cache": place.cache}
    else:
        values = scaled(read_toml(options.config), place, options.size, options.budget_minutes)
    settings, rows, peak = _probe(check_settings(values, str(options.config)), place)
    _put(place.settings, settings.model_dump_json(indent=1).encode())
    _put(place.plan, json.dumps({"phases": rows, **peak}, indent=1).encode())


def _unpack(path: Path, cache: Path) -> None:
    from relive.cubes.store import unpack
    from relive.errors import InputError

    try:
        unpack(path, cache)
    except InputError as error:  # training names it again and leaves it out
        sys.stderr.write(f"{error}\n")


def _probe(settings: Any, place: Place) -> tuple[Any, list[Json], Json]:
    """Settings with batches that fit; operations of an update by phase; what the device can do."""
    from relive.bench.speed_device import DTYPES, Setting, describe_device
    from relive.bench.speed_flops import measure_peak
    from relive.train.setup import open_run

    folder = place.work / "probe"
    shutil.rmtree(folder, ignore_errors=True)
    run = open_run(settings.model_copy(update={"out": folder}))
    run.progress.started = (True, True)
    rows = [_probe_phase(run, number) for number in range(len(settings.phase))]
    shutil.rmtree(folder)
    names = {dtype: name for name, dtype in DTYPES.items()}
    setting = Setting(
        run.processes.device.type,
        names.get(run.arithmetic.dtype, "float32"),  # type: ignore[arg-type]
        settings.threads,
    )
    with setting.with_threads():
        peak = measure_peak(setting)["flops_per_s"]
    phases = run.settings.phase
    about = {"peak_flops_per_s": peak, "dtype": setting.dtype}
    device = describe_device(setting.device)
    return settings.model_copy(update={"phase": phases}), rows, about | {"device": device}


def _probe_phase(run: Any, number: int) -> Json:
    """Count the operations of a phase; halve its batch, twice the batches, until one fits."""
    import torch

    run.progress.phase, run.lefts = number, {}
    while not run.phase.probability:
        phase = run.phase
        try:
            return {"name": phase.name, "batch": phase.batch, **_count(run, number)}
        except torch.OutOfMemoryError as error:
            if phase.batch == 1:
                raise SystemExit(f"phase {phase.name}: not even one chain fits: {error}") from error
        run.stepper.optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        half = {"batch": phase.batch // 2, "accumulate": 2 * phase.accumulate}
        phases = list(run.settings.phase)
        phases[number] = phase.model_copy(update=half)
        run.settings = run.settings.model_copy(update={"phase": tuple(phases)})
    return {"name": run.phase.name}


def _count(run: Any, number: int) -> Json:
    """Operations and frames of an update: what the forward pass counts, three times."""
    from functools import partial

    import torch

    from relive.bench.speed_flops import count_flops
    from relive.train.loader import Updates
    from relive.train.run import make_request
    from relive.train.setup import weighting_of

    phase, on_gpu = run.phase, run.processes.device.type == "cuda"
    weights = weighting_of(run.settings, phase).weights()
    reads = Updates(run.stores, run.names, run.settings, number, run.processes.share)
    requests = [make_request(run, reads, reads[n], weights) for n in range(COUNTED)]
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        run.stepper.backward(run.objective(requests[0]).loss)
        run.stepper.optimizer.zero_grad(set_to_none=True)
    needed = torch.cuda.max_memory_allocated() if on_gpu else 0
    if on_gpu and needed > MEMORY_SHARE * torch.cuda.get_device_properties(0).total_memory:
        raise torch.OutOfMemoryError(f"{needed} bytes are more than {MEMORY_SHARE:.0%} of the GPU")
    forward = [count_flops(partial(run.objective, request)) for request in requests]
    return {
        "flops_per_update": 3 * phase.accumulate * sum(forward) / len(forward),
        "frames_per_update": 2 * phase.batch * phase.span * phase.accumulate,
        "accumulate": phase.accumulate,
        "memory_bytes": needed or None,
    }


def train(options: argparse.Namespace) -> None:
    """Train, from the newest checkpoint where there is one."""
    from relive.train.run import train as train_model
    from relive.train.settings import check_settings, read_json

    place = Place(options.work)
    settings = check_settings(read_json(place.settings), str(place.settings))
    resume = place.run if place.checkpoint_files() else None

    def report(share: float, line: str) -> None:
        sys.stderr.write(f"{share:.1%} {line}\n")

    train_model(settings, resume, report, fit=lambda run: _export(options, run))


def export(options: argparse.Namespace) -> None:
    """Write the averaged weights as a model: first without tables, which takes no time."""
    from relive.codec.bundle import save_bundle
    from relive.train.checkpoint import load_averaged

    place = Place(options.work)
    if not (place.run / "model.safetensors").exists() or not options.whole:
        save_bundle(place.run / "model.safetensors", *load_averaged(place.run))
    if options.whole:
        _export(options, place.run)


def _export(options: argparse.Namespace, run: Path) -> None:
    """Fit the tables of the bitstream on a few sessions, as many as the budget allows."""
    from relive.codec.export import export_model
    from relive.cubes.corpus import open_corpus
    from relive.train.checkpoint import load_averaged

    place = Place(options.work)
    stores = open_corpus(place.corpus / "train", place.cache).stores
    few = max(2, round(options.budget_minutes / 4))
    chosen = stores[:: max(1, len(stores) // few)][:few]
    export_model(load_averaged(run), chosen, run / "model.safetensors")


# The conductor: no torch in it, so that a child that dies takes nothing with it.


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
        _put(mark, json.dumps(counts).encode())

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
        _put(options.out / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
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


def summarise(place: Place) -> Json:
    """Updates, speed and share of the peak, from the log, the plan and the newest checkpoint."""
    if not place.checkpoint_files() or not place.plan.exists():
        return {"updates": 0}
    pointer = json.loads((place.run / "checkpoint.json").read_text())["progress"]
    planned = json.loads(place.plan.read_text())
    log = [json.loads(line) for line in (place.run / "log.jsonl").read_text().splitlines()]
    peak, rows = planned["peak_flops_per_s"], list(_phases(log, planned, pointer["update"]))
    flops = sum(row["updates"] * row["flops_per_update"] for row in rows)
    frames = sum(row["updates"] * row["frames_per_update"] for row in rows)
    seconds = max(pointer["seconds"], 1e-9)
    return {
        "updates": pointer["update"],
        "train_seconds": round(seconds, 1),
        "frames": frames,
        "frames_per_s": frames / seconds,
        "flops_per_s": flops / seconds,
        "share_of_peak": flops / seconds / peak,
        "skipped": pointer["skipped"],
        "best_db": pointer["best_db"],
        **{name: planned[name] for name in ("peak_flops_per_s", "dtype", "device")},
        "phases": rows,
        "what": "operations of an update: torch's flop counter over the forward pass, times three; "
        "seconds of updates, waiting for data included; peak: fastest square matrix product in the "
        "same number format (relive.bench.speed_flops.measure_peak)",
    }


def _phases(log: Sequence[Json], planned: Json, last: int) -> Iterator[Json]:
    """What is known of every phase that began."""
    starts: dict[str, int] = {}
    for line in log:
        if line.get("event") == "phase":
            starts.setdefault(line["detail"], line["update"])
    known = [row for row in planned["phases"] if row["name"] in starts and len(row) > 1]
    ends = [starts[row["name"]] for row in known[1:]] + [last]
    for row, ended in zip(known, ends, strict=True):
        lines = [x for x in log if x.get("phase") == row["name"] and "updates_per_s" in x]
        rates = sorted(line["updates_per_s"] for line in lines)
        rate = rates[len(rates) // 2] if rates else None
        waited = [line["loader_wait_share"] for line in lines]
        yield row | {
            "updates": ended - starts[row["name"]],
            "updates_per_s": rate,
            "share_of_peak": rate and rate * row["flops_per_update"] / planned["peak_flops_per_s"],
            "loader_wait_share": sum(waited) / len(waited) if waited else None,
        }


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
