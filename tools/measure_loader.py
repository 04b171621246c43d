"""How much faster the loader reads than `tiny` learns: `python tools/measure_loader.py SESSIONS`.

One core, one thread, CPU seconds of this process: what an update reads, made by the loader itself,
against the whole update with the same data. Written to results/loader.json.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from relive.bench.provenance import machine
from relive.train.loader import Updates
from relive.train.run import update
from relive.train.settings import check_settings
from relive.train.setup import Run, open_run

WARM_UP = 3
PHASES: dict[str, dict[str, Any]] = {
    "chains of 128x128, batch 8": {"crop": (128, 128), "batch": 8},
    "crops of 224x224, batch 4": {"crop": (224, 224), "batch": 4},
    "the same, mirrored and with jittered colours": {
        "crop": (224, 224),
        "batch": 4,
        "augment": {"mirror": 0.5, "colour": True, "stride": "auto"},
    },
}


def measure(data: Path, cache: Path, phase: dict[str, Any], count: int) -> dict[str, float]:
    """CPU seconds of reading and of learning, median of an update."""
    with tempfile.TemporaryDirectory(prefix="relive-loader-") as folder:
        settings = check_settings(
            {
                "data": data,
                "valid": data,
                "out": Path(folder) / "run",
                "cache": cache,
                "workers": 0,
                "tensorboard": False,
                "phase": ({"name": "p", "updates": 1 << 20, "chain": 16, **phase},),
            },
            "measure_loader",
        )
        run = open_run(settings)
        run.progress.started = (True, True)
        reads = Updates(run.stores, run.names, settings, 0, run.processes.share)
        reading, learning = _times(run, reads, count)
    return {
        "reading_s": round(reading, 4),
        "learning_s": round(learning, 4),
        "times": round(learning / reading, 1),
    }


def _times(run: Run, reads: Updates, count: int) -> tuple[float, float]:
    reading, learning = [], []
    for number in range(WARM_UP + count):
        began = time.process_time()
        work = reads[number]
        read = time.process_time()
        update(run, reads, [work])
        reading.append(read - began)
        learning.append(time.process_time() - read)
        run.progress.update += 1
        run.progress.phase_update += 1
    return float(np.median(reading[WARM_UP:])), float(np.median(learning[WARM_UP:]))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of sessions")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--count", type=int, default=12, help="updates of each")
    parser.add_argument("-o", "--out", type=Path, default=Path("results/loader.json"))
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    rows = {n: measure(options.data, options.cache, p, options.count) for n, p in PHASES.items()}
    for name, row in rows.items():
        print(f"{name}: {row}", flush=True)
    result = {"kind": "loader", "model": "tiny", "machine": machine(), "updates": rows}
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
