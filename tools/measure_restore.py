"""Measure `relive restore` against what anybody would try first.

    python tools/measure_restore.py TEST_FOLDER… -o results/restore.json

Lost are: a random tenth of the frames; a random 30 % of the cubes (16x16 pixels of two frames); a
whole GOP of 32 frames, with its states as a damaged replay loses them, and with the states kept as
a session with missing frames keeps them. PSNR is that of the pixels that were filled, over all of
them. The plain methods get the same inputs; blends weigh a pixel by how near in time it was known.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fit_restore import hide_cubes

from relive.bench.provenance import provenance
from relive.restore.completing import complete
from relive.restore.gaps import SessionGaps
from relive.restore.opening import fill_states
from relive.session import Session

FIRST, FRAMES, SEED = 40, 64, 7
GOP = range(72, 104)
FOREVER_S = 1e9
CASES = ("frames", "cubes", "gop", "gop_with_states")


def lose(session: Session, case: str, rng: np.random.Generator) -> tuple[SessionGaps, list[int]]:
    """Take something away: what is left, and the frames to fill."""
    lost = np.zeros(session.num_frames, np.bool_)
    hidden: dict[int, np.ndarray] = {}
    wanted = range(FIRST, FIRST + FRAMES)
    states, stated = None, np.ones(session.num_frames, np.bool_)
    if case == "frames":
        lost[rng.choice(np.arange(1, session.num_frames - 1), session.num_frames // 10, False)] = (
            True
        )
    elif case == "cubes":
        hidden = hide_cubes(session, rng)
    else:
        lost[GOP.start : GOP.stop] = True
        if case == "gop":
            stated = ~lost
            states = fill_states(session.schema, session.times_ns, session.states, stated)
    if case == "cubes":
        chosen = list(wanted)[::8]
    elif case == "frames":
        chosen = [i for i in wanted if lost[i]]
    else:
        chosen = list(GOP)[3::8]
    return SessionGaps(session, lost, hidden, states, stated), chosen


def plain(gaps: SessionGaps, session: Session, index: int) -> Iterator[tuple[str, np.ndarray]]:
    """What the plain methods make of a frame."""
    known, there = gaps.known(index), np.flatnonzero(~gaps.lost)
    own = gaps.source(index).pixels
    before, after = there[there < index][-1], there[there > index][0]
    share = (session.times_ns[index] - session.times_ns[before]) / (
        session.times_ns[after] - session.times_ns[before]
    )
    copy, spans = nearest_known(gaps, session, index)
    yield "copy_last", np.where(known[..., None], own, copy[0])
    if known.any():
        near = 1 / spans.clip(max=FOREVER_S)
        near /= near.sum(0)
        mix = near[0, ..., None] * copy[0] + near[1, ..., None] * copy[1]
    else:
        mix = (1 - share) * session.frame(int(before)) + share * session.frame(int(after)).astype(
            float
        )
    yield "linear_blend", np.where(known[..., None], own, np.rint(mix).astype(np.uint8))
    if known.any():  # inpainting needs something in the frame
        for name, method in (("telea", cv2.INPAINT_TELEA), ("ns", cv2.INPAINT_NS)):
            yield f"opencv_{name}", cv2.inpaint(own, (~known).astype(np.uint8), 5, method)


def nearest_known(
    gaps: SessionGaps, session: Session, index: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """The last known value of every pixel before and the first one after, and their spans.

    Returns:
        Two pictures, and seconds from the frame to where each pixel was known `[2, H, W]`;
        infinite where it never was.
    """
    out, spans = [], []
    for step in (-1, 1):
        shape = session.height, session.width
        picture, done = np.full((*shape, 3), 128, np.uint8), np.zeros(shape, np.bool_)
        span_s = np.full(shape, np.inf)
        place = index + step
        while 0 <= place < session.num_frames and not done.all():
            new = gaps.known(place) & ~done
            if new.any():
                picture[new] = session.frame(place)[new]
                span_s[new] = abs(int(session.times_ns[place] - session.times_ns[index])) / 1e9
                done |= new
            place += step
        out.append(picture)
        spans.append(span_s)
    return out, np.stack(spans)


def measure(session: Session, case: str, pictures: Path | None) -> dict[str, Any]:
    """Fill what a case has lost, and compare with the truth."""
    gaps, chosen = lose(session, case, np.random.default_rng(SEED))
    errors: dict[str, list[float]] = {}
    sure, wrong, seconds = [], [], 0.0
    for index in chosen:
        truth = session.frame(index).astype(np.float64)
        unknown = ~gaps.known(index)
        began = time.process_time()
        made = complete(gaps, index)
        seconds += time.process_time() - began
        for name, picture in [("ours", made.pixels), *plain(gaps, session, index)]:
            errors.setdefault(name, []).append(float(np.square(picture - truth)[unknown].mean()))
        sure.append(made.confidence[unknown][::17])
        wrong.append(np.square(made.pixels - truth).mean(-1)[unknown][::17])
        if pictures and index == chosen[len(chosen) // 2]:
            save_pictures(
                pictures / f"{session.path.stem}-{case}-{index}.png",
                session,
                gaps,
                index,
                made.pixels,
            )
    psnr = {name: psnr_db(values) for name, values in errors.items()}
    best = max((name for name in psnr if name != "ours"), key=lambda name: psnr[name])
    s, w = np.concatenate(sure), np.concatenate(wrong)
    half = s >= np.median(s)
    return {
        "frames": chosen,
        "psnr_db": {name: round(value, 2) for name, value in psnr.items()},
        "gain_db": round(psnr["ours"] - psnr[best], 2),
        "best_plain": best,
        "gain_db_by_frame": [
            round(psnr_db([own]) - psnr_db([other]), 2)
            for own, other in zip(errors["ours"], errors[best], strict=True)
        ],
        "surer_half_psnr_db": round(psnr_db([float(w[half].mean())]), 2),
        "less_sure_half_psnr_db": round(psnr_db([float(w[~half].mean())]), 2)
        if (~half).any()
        else None,
        "cpu_s_a_frame": round(seconds / len(chosen), 2),
    }


def psnr_db(squares: list[float]) -> float:
    """PSNR of mean squared errors of frames, over all of them."""
    return 10 * math.log10(255**2 / max(1e-3, float(np.mean(squares))))


def save_pictures(
    path: Path, session: Session, gaps: SessionGaps, index: int, made: np.ndarray
) -> None:
    """The truth, what was left, ours, and linear blend, side by side."""
    blend = dict(plain(gaps, session, index))["linear_blend"]
    row = [
        session.frame(index),
        gaps.source(index).pixels * gaps.known(index)[..., None],
        made,
        blend,
    ]
    cv2.imwrite(str(path), cv2.cvtColor(np.concatenate(row, 1), cv2.COLOR_RGB2BGR))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--only", default="*", help="pattern of the names of sessions")
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"provenance": provenance(), "argv": sys.argv[1:], "sessions": {}}
    for folder in arguments.folders:
        for path in sorted(folder.glob(f"{arguments.only}.mcap")):
            with Session.open(path) as session:
                rows = {
                    case: measure(session, case, arguments.pictures) for case in arguments.cases
                }
            results["sessions"][f"{folder.name}/{path.stem}"] = rows
            for case, row in rows.items():
                print(
                    folder.name,
                    path.stem,
                    case,
                    row["psnr_db"],
                    f"{row['gain_db']:+.2f}",
                    row["gain_db_by_frame"],
                    flush=True,
                )
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
