"""Measure `relive interpolate`: every second frame is left out and made again.

    python tools/measure_interpolate.py TEST_FOLDER… -o results/interpolate.json

17.5 to 35 frames a second for Doom, 5 to 10 for the others. The states of what is left out are left
out, too; `ours_with_states` is what a recording gives that has states at the full rate. Beside it:
the frame before, the mean of both neighbours, and ffmpeg's `minterpolate` (motion-compensated,
overlapped blocks, bidirectional), which reads the whole clip.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
from measure_restore import psnr_db

from relive.bench.provenance import provenance
from relive.restore.completing import complete_between
from relive.restore.gaps import SessionGaps
from relive.restore.opening import state_at
from relive.session import Session

FIRST, FRAMES = 40, 80
FILTER = "minterpolate=fps=35:mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1"


def minterpolate(kept: np.ndarray) -> np.ndarray:
    """What ffmpeg makes of frames at half the rate, uint8 `[n, H, W, 3]`."""
    height, width = kept.shape[1:3]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo"]
    command += ["-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "35/2", "-i", "-"]
    command += ["-vf", f"format=yuv444p,{FILTER}", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, input=kept.tobytes(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)


def measure(session: Session, every: int, pictures: Path | None) -> dict[str, Any]:
    """Leave out every second frame of a part, and make it again."""
    span = range(FIRST, min(FIRST + FRAMES + 1, session.num_frames))
    kept = np.stack([session.frame(i) for i in span[::2]])
    clip = minterpolate(kept)
    shift = best_shift(clip, kept)
    lost = np.ones(session.num_frames, np.bool_)
    lost[span[::2]] = False
    there = np.flatnonzero(~lost)
    gaps = SessionGaps(session, lost, {})
    errors: dict[str, list[float]] = {}
    seconds, count = 0.0, 0
    for number, index in list(enumerate(span))[1:-1:2]:
        if (number // 2) % every or number + shift >= len(clip):
            continue
        truth, time_ns = session.frame(index).astype(np.float64), int(session.times_ns[index])
        began = time.process_time()
        state = state_at(session.schema, session.times_ns[there], session.states[there], time_ns)
        made = complete_between(gaps.between(time_ns, state)).pixels
        seconds += time.process_time() - began
        before, after = session.frame(index - 1), session.frame(index + 1)
        blend = np.rint((before.astype(float) + after) / 2)
        stated = complete_between(gaps.between(time_ns, session.states[index], False)).pixels
        said = {
            "ours": made,
            "ours_with_states": stated,
            "copy_last": before,
            "linear_blend": blend,
            "minterpolate": clip[number + shift],
        }
        for name, picture in said.items():
            errors.setdefault(name, []).append(float(np.square(picture - truth).mean()))
        count += 1
        if pictures and count == 6:
            row = np.concatenate([truth, made, said["minterpolate"], blend], 1).astype(np.uint8)
            cv2.imwrite(
                str(pictures / f"{session.path.stem}-{index}.png"),
                cv2.cvtColor(row, cv2.COLOR_RGB2BGR),
            )
    psnr = {name: psnr_db(values) for name, values in errors.items()}
    best = max((name for name in psnr if not name.startswith("ours")), key=lambda name: psnr[name])
    return {
        "frames": f"every {2 * every}th from {span[1]} to {span[-2]}, {count} in all",
        "psnr_db": {name: round(value, 2) for name, value in psnr.items()},
        "gain_db": round(psnr["ours"] - psnr[best], 2),
        "gain_with_states_db": round(psnr["ours_with_states"] - psnr[best], 2),
        "best_plain": best,
        "cpu_s_a_frame": round(seconds / count, 2),
    }


def best_shift(clip: np.ndarray, kept: np.ndarray) -> int:
    """Frames that ffmpeg puts before the first; found where its output equals what it was given."""

    def apart(shift: int) -> float:
        numbers = [n for n in range(2, len(kept) - 2) if 0 <= 2 * n + shift < len(clip)]
        return float(
            np.mean(
                [np.square(clip[2 * n + shift] - kept[n].astype(float)).mean() for n in numbers]
            )
        )

    return min(range(-3, 4), key=apart)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--only", default="*", help="pattern of the names of sessions")
    parser.add_argument("--every", type=int, default=1, help="of the frames that were left out")
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"provenance": provenance(), "argv": sys.argv[1:], "sessions": {}}
    for folder in arguments.folders:
        for path in sorted(folder.glob(f"{arguments.only}.mcap")):
            with Session.open(path) as session:
                row = measure(session, arguments.every, arguments.pictures)
            results["sessions"][f"{folder.name}/{path.stem}"] = row
            print(folder.name, path.stem, row["psnr_db"], f"{row['gain_db']:+.2f}", flush=True)
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
