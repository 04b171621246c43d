"""One run of an ablation, in a folder of its own: train, measure, keep both.

    plan.json ─► train/ (checkpoint, log) ─► evaluation-….json, one for each way to measure

`python -m relive.bench.ablation_run FOLDER` does what `plan.json` says. What is done already is not
done again; a training that broke off starts anew, so that a run is the same whether it broke or
not.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relive.bench.ablation_measure import evaluate
from relive.bench.ablation_plan import RunPlan
from relive.bench.provenance import write_json
from relive.errors import ReliveError
from relive.train import checkpoint
from relive.train.run import train

TRAINED = "trained.json"
Note = Callable[[str], None]
Row = dict[str, Any]


def read_result(plan: RunPlan) -> Row | None:
    """Read what the run of a plan gave; None if it has not been done just so."""
    wanted = _wanted(plan)
    for path in sorted(plan.folder.glob("evaluation*.json")):
        row: Row = json.loads(path.read_text())
        if row["plan"] == wanted:
            return row
    return None


def _wanted(plan: RunPlan) -> Row:
    """What a kept result must have been made for."""
    choices = {"state_variants", "revisit_variants"}  # whether this run is in them is what counts
    measured = {
        **plan.evaluation.model_dump(mode="json", exclude=choices),
        "valid": str(plan.settings.valid),
        "states": plan.with_states,
        "revisits": plan.with_revisits,
    }
    return {
        "variant": plan.variant,
        "seed": plan.seed,
        "training": _trained_by(plan),
        "evaluation": measured,
    }


def _result_name(wanted: Row) -> str:
    mark = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    return f"evaluation-{mark[:10]}.json"


def _trained_by(plan: RunPlan) -> Row:
    """The settings that a training depends on: not where it lies, nor what it is measured on."""
    return plan.settings.model_dump(mode="json", exclude={"out", "valid", "cache"})


def run_plan(plan: RunPlan, note: Note = lambda line: None) -> Row:
    """Train and measure, or take what is there.

    Args:
        plan: of the run.
        note: told what happens.

    Returns:
        The result, as in `evaluation-….json`.
    """
    plan.write()
    with _locked(plan.folder):
        kept = read_result(plan)
        if kept is not None:
            return kept
        trained = _train(plan, note)
        note("measuring")
        row = {"plan": _wanted(plan), "training": trained, **evaluate(plan)}
        write_json(plan.folder / _result_name(row["plan"]), row)
        return row


def training_source() -> str:
    """Hash of our own code that a training runs through, to know results of different code."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    rooms = (
        sorted((root / room).rglob("*.py")) for room in ("cubes", "model", "quantizer", "train")
    )
    for path in [root / "config.py", *(path for room in rooms for path in room)]:
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until no other process works in the folder; the lock falls with the process."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _train(plan: RunPlan, note: Note) -> Row:
    """Train from the beginning, unless the whole training is there with the same settings."""
    wanted, path = _trained_by(plan), plan.folder / TRAINED
    if path.exists():
        kept: Row = json.loads(path.read_text())
        if kept["settings"] == wanted:
            return kept
    shutil.rmtree(plan.settings.out, ignore_errors=True)
    path.unlink(missing_ok=True)

    def report(share: float, line: str) -> None:
        note(f"{share:.0%} {line}")

    began = time.monotonic()
    out = train(plan.settings, report=report)
    progress = checkpoint.read_progress(out)
    row = {
        "settings": wanted,
        "source": training_source(),
        "updates": progress["update"],
        "seconds": round(time.monotonic() - began, 1),
        "seconds_per_update": progress["seconds"] / max(1, progress["update"]),
        "cpu_seconds_per_update": progress["cpu_seconds"] / max(1, progress["update"]),
    }
    write_json(path, row)
    return row


def main() -> int:
    """Do the plan in the folder that the command line names."""
    folder, parent = Path(sys.argv[1]), os.getppid()

    def note(line: str) -> None:
        if os.getppid() != parent:
            raise ReliveError("the process that started this run is gone")
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    try:
        run_plan(RunPlan.read(folder), note)
    except ReliveError as error:
        note(f"error: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
