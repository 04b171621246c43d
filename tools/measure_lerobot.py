"""What a LeRobot dataset made of a replay keeps of it, and how large it is (issue 7, point 7).

    python tools/measure_lerobot.py REPLAY.relive … -o results/lerobot.json [--action FIELD]

Each replay is written as a dataset with the default H.264 (4:4:4, crf 12) and without loss (crf 0),
and read back as a session. Pictures are compared with those of the replay, over all frames that the
dataset has; states, actions and rewards with its rows.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from relive.bench.provenance import provenance, write_json
from relive.codec import Replay
from relive.datasets import from_lerobot, to_lerobot
from relive.session import Session


def measure(path: Path, actions: list[str], crf: int) -> dict[str, Any]:
    """There and back: bytes, what the pictures lose, whether the numbers are the same."""
    with tempfile.TemporaryDirectory() as name, Replay.open(path) as replay:
        folder, began = Path(name), time.process_time()
        rows = to_lerobot([path], folder / "d", actions=actions, crf=crf)
        worked = time.process_time() - began
        from_lerobot(folder / "d", folder / "s.mcap")
        names = [field.name for field in replay.schema.fields]
        with Session.open(folder / "s.mcap") as back:
            order = [f.name for f in back.schema.fields if f.name in names]
            there = np.flatnonzero(back.present)  # an episode ends with a frame that is missing
            mine = back.states[there][:, [order.index(n) for n in order]]
            states = replay.states[there][:, [names.index(n) for n in order]]
            acted = [n for n, word in enumerate(order) if word in actions]
            starts = np.flatnonzero(np.diff(there, prepend=-2) > 1)
            states[np.ix_(starts, acted)] = 0  # that led to the first frame of an episode
            errors, worst = [], 0
            for number, frame in enumerate(replay.iter_frames(0, len(back.present))):
                if back.present[number]:
                    off = back.frame(number).astype(np.int32) - frame
                    errors.append(float((off**2).mean()))
                    worst = max(worst, int(np.abs(off).max()))
        size = sum(file.stat().st_size for file in (folder / "d").rglob("*") if file.is_file())
        mean = float(np.mean(errors))
    return {
        "rows": rows,
        "bytes": size,
        "psnr_db": round(10 * np.log10(255**2 / mean), 2) if mean else None,
        "worst_frame_db": round(10 * np.log10(255**2 / max(errors)), 2) if mean else None,
        "largest_difference": worst,
        "numbers_equal": bool(np.array_equal(mine, states)),
        "cpu_s_with_decoding": round(worked, 1),
    }


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("replays", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--action", action="append", default=[])
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for path in options.replays:
        with Replay.open(path) as replay:
            about = {
                "game": replay.header.game,
                "frames": replay.num_frames,
                "size": [replay.width, replay.height],
                "bytes": path.stat().st_size,
            }
            names = [field.name for field in replay.schema.fields]
        actions = [name for name in options.action if name in names]
        ways = {f"crf {crf}": measure(path, actions, crf) for crf in (12, 0)}
        found[path.stem] = about | {"actions": actions, "datasets": ways}
        print(path.stem, about, *ways.items(), sep="\n  ")
    write_json(options.out, {"replays": found} | provenance())


if __name__ == "__main__":
    main()
