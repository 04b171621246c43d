"""Ablation: short trainings of equal budget, one mechanism changed at a time, at equal bits.

    plan ─┬─► full-0      train ─► measure ─┐
          ├─► no-state-0  train ─► measure ─┼─► ablation.json, .md, .png
          └─► …  (--jobs processes)         ┘

Every run has a folder; what is done is kept, so the bench can be stopped and started again. The
results are written anew after each run.
"""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from relive.bench.ablation_plan import (
    AblationConfig,
    RunPlan,
    choose_variants,
    plan_runs,
    read_config,
)
from relive.bench.ablation_run import Row, read_result, run_plan
from relive.bench.ablation_table import summarise
from relive.bench.ablation_text import draw, to_markdown
from relive.bench.cache import write_text_whole
from relive.bench.compare import Progress
from relive.bench.provenance import machine, result_path, versions, write_json
from relive.cubes.store import open_folder
from relive.errors import ReliveError

DEFAULT_CONFIG = Path("configs/ablation.toml")
RUNS = Path("runs/ablation")
LOG = "log.txt"


def bench_ablation(
    folders: tuple[Path, Path],
    out: Path,
    *,
    config: Path = DEFAULT_CONFIG,
    variants: Sequence[str] | None = None,
    seeds: Sequence[int] = (0, 1),
    jobs: int = 1,
    root: Path = RUNS,
    rate_bpp: float | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train and measure every variant with every seed, and write JSON, a page and a plot.

    Args:
        folders: Of training sessions, and of held-out ones; recordings or stores.
        out: A folder (gets `ablation.json`), or a `.json` file; page and plot lie beside it.
        config: Schedule and variants (TOML).
        variants: Names of some of them; all when None.
        seeds: Of weights and data order.
        jobs: Processes side by side, each with the threads of the configuration; with 1 the runs
            are done in this process.
        root: Where the runs are kept.
        rate_bpp: Bits per pixel of the comparison; that of the configuration when None.
        progress: Called with (runs done, runs in all).

    Returns:
        What was written.

    Raises:
        InputError: The configuration is wrong, or a folder has no sessions.
        ReliveError: A run failed; the results of the others are written.
    """
    chosen = read_config(config)
    names = choose_variants(chosen, variants)
    plans = plan_runs(chosen, names, seeds, folders, root)
    for folder in folders:  # unpacked once, here, and not by all processes at the same time
        open_folder(folder, plans[0].settings.cache)
    rate = chosen.rate_bpp if rate_bpp is None else rate_bpp
    rows, failed = list[Row](), list[Row]()
    for outcome in _outcomes(plans, jobs):
        (rows if "error" not in outcome else failed).append(outcome)
        result = _write(result_path(out, "ablation.json"), chosen, plans, rows, failed, rate)
        if progress:
            progress(len(rows) + len(failed), len(plans))
    if failed:
        first = failed[0]
        raise ReliveError(
            f"{len(failed)} of {len(plans)} runs failed, first {first['variant']}, seed "
            f"{first['seed']}: {first['error']}; start again to try these anew"
        )
    return result


def _outcomes(plans: Sequence[RunPlan], jobs: int) -> Iterator[Row]:
    """Do the runs; yield each as it ends, those that are done already first."""
    kept = {plan.folder: read_result(plan) for plan in plans}
    for plan in plans:
        if (row := kept[plan.folder]) is not None:
            yield row
    missing = [plan for plan in plans if kept[plan.folder] is None]
    if jobs <= 1:
        for plan in missing:
            yield _run_here(plan)
        return
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_run_apart, plan) for plan in missing]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _failure(plan: RunPlan, error: str) -> Row:
    return {"variant": plan.variant, "seed": plan.seed, "error": error}


def _run_here(plan: RunPlan) -> Row:
    """Do a run in this process; one that breaks must not take the others with it."""
    plan.write()
    try:
        return run_plan(plan)
    except Exception as error:
        (plan.folder / LOG).write_text(traceback.format_exc())
        return _failure(plan, f"{type(error).__name__}: {str(error).splitlines()[0]}")


def _run_apart(plan: RunPlan) -> Row:
    """Do a run in a process of its own, its words in `log.txt`."""
    plan.write()
    threads = {"OMP_NUM_THREADS": str(plan.settings.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "relive.bench.ablation_run", str(plan.folder)]
    with (plan.folder / LOG).open("w") as log:
        code = subprocess.run(
            command, stdout=log, stderr=log, env=os.environ | threads, check=False
        ).returncode
    row = read_result(plan)
    if code == 0 and row is not None:
        return row
    lines = (plan.folder / LOG).read_text(errors="replace").strip().splitlines()
    return _failure(plan, f"process left with {code}: {lines[-1] if lines else 'no word'}")


def _write(
    path: Path,
    config: AblationConfig,
    plans: Sequence[RunPlan],
    rows: Sequence[Row],
    failed: Sequence[Row],
    rate: float,
) -> dict[str, Any]:
    """Write JSON, page and plot of the runs so far."""
    order = {(plan.variant, plan.seed): place for place, plan in enumerate(plans)}
    ordered = sorted(rows, key=lambda row: order[row["plan"]["variant"], row["plan"]["seed"]])
    about = {plan.variant: config.variant[plan.variant].about for plan in plans}
    result = {
        "kind": "bench_ablation",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "planned": len(plans),
        "updates": sum(phase.updates or 0 for phase in plans[0].settings.phase),
        "evaluation": config.evaluate.model_dump(mode="json"),
        "sessions": [s["session"] for s in ordered[0]["sessions"]] if ordered else [],
        "summary": summarise(ordered, rate, about),
        "failed": list(failed),
        "runs": ordered,
    }
    write_json(path, result)
    write_text_whole(path.with_suffix(".md"), to_markdown(result))
    draw(result, path.with_suffix(".png"))
    return result
