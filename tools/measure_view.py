"""Measure `relive view` against the nearest recorded frame.

    python tools/measure_view.py TEST_FOLDER… -o results/view.json --plot results/view.png

Poses are left out: a frame is the target, and it and all frames up to `gap` frames before and after
it may not be used. What the view shows is compared with the true frame. *Seen* are pixels of the
scene that the view claims to have seen; *all* are all pixels of the scene, the unseen ones filled
(`--fill`). The weapon, by ViZDoom's labels of the target, and the status bar are no part of the
scene. *Picture* is the whole frame, with status bar and weapon of the nearest frame laid over
(`--fill --overlay`). The plain methods are the nearest frame, by position and direction, as it is,
and turned to where the target looks, as if all were far away (what it does not show is filled).
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from measure_restore import psnr_db

from relive.bench.metrics import flip_error
from relive.bench.provenance import provenance, write_json
from relive.cubes.states import camera_poses
from relive.restore import kernels as matching
from relive.restore.filling import smooth_filling
from relive.restore.sources import eye_between
from relive.session import Session
from relive.view.memory import angle_between
from relive.view.viewer import View, Viewer
from relive.view.viewing import usable_frames

GAPS = (1, 2, 4, 8, 16, 32)
HUD = 4  # labels from here on are fixed to the screen: status bar, weapon
NAMES = ("view", "nearest", "turned")


def targets(session: Session, count: int) -> list[int]:
    """Frames spread over the session, away from its ends."""
    return [int(i) for i in np.linspace(0, session.num_frames - 1, count + 2)[1:-1]]


def draw(session: Session, target: int, gap: int) -> tuple[View, View, Viewer]:
    """The view from the target's pose without the frames around it, and with the overlay."""
    usable = usable_frames(session)
    usable[max(0, target - gap) : target + gap + 1] = False
    viewer = Viewer(session, usable)
    pose = camera_poses(session.schema, session.states[target][None])[0]
    viewer.learn({index: session.frame(index) for index in viewer.lessons})
    plan = viewer.plan(pose, int(session.times_ns[target]))
    frames = {index: session.frame(index) for index in plan.frames}
    views = [viewer.view(plan, frames, fill=True, overlay=over) for over in (False, True)]
    return views[0], views[1], viewer


def turned(viewer: Viewer, picture: np.ndarray, pose: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The nearest frame turned to where the target looks; the rest filled smoothly."""
    colours = np.empty((*viewer.scene.shape, 3), np.float32)
    seen, far = np.empty_like(viewer.scene), np.zeros(viewer.scene.shape, np.float32)
    eye = eye_between(viewer.camera, own, np.concatenate([own[:3], pose[3:]]))
    matching.look((picture, viewer.scene), eye, far, seen, colours)
    out = colours.round().clip(0, 255).astype(np.uint8)
    if not seen.all():
        out[~seen] = smooth_filling(out, seen)[~seen]
    out[~viewer.scene] = picture[~viewer.scene]
    return out


def measure(session: Session, target: int, gap: int) -> dict[str, Any]:
    """One view and the plain methods, against the truth."""
    began = time.process_time()
    view, overlaid, viewer = draw(session, target, gap)
    seconds = time.process_time() - began
    plan, memory, truth = view.plan, viewer.memory, session.frame(target)
    nearest = session.frame(plan.nearest)
    own = memory.poses[plan.nearest]
    pictures = {
        "view": view.pixels,
        "nearest": nearest,
        "turned": turned(viewer, nearest, plan.pose, own),
    }
    labels = session.regions(target, target + 1)
    scene = viewer.scene & (labels[0] < HUD if labels is not None else True)
    covered = scene & (view.confidence > 0)
    axis = memory.axes[target, 2]
    row: dict[str, Any] = {
        "target": target,
        "gap": gap,
        "sources": list(plan.sources),
        "distance": round(float(np.linalg.norm(own[:3] - plan.pose[:3])), 1),
        "angle_deg": round(float(np.degrees(angle_between(memory.axes[plan.nearest, 2], axis))), 1),
        "seen": round(float(covered[scene].mean()), 4),
        "cpu_s": round(seconds, 2),
    }
    for name, picture in pictures.items():
        error = np.square(picture.astype(np.float64) - truth).mean(-1)
        row[name] = {
            "seen": float(error[covered].mean()) if covered.any() else None,
            "all": float(error[scene].mean()),
            "picture": float(error.mean()),
        }
    whole = np.square(overlaid.pixels.astype(np.float64) - truth).mean()
    row["view"]["picture"] = float(whole)
    error = np.square(view.pixels.astype(np.float64) - truth).mean(-1)[covered]
    error = error[view.confidence[covered].argsort(kind="stable")]
    half = len(error) // 2
    row["surer_half"] = float(error[half:].mean()) if half else None
    row["less_sure_half"] = float(error[:half].mean()) if half else None
    pictures["view"] = overlaid.pixels
    return row | {"flip": {name: flip_error(truth, pictures[name]) for name in pictures}}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """PSNR over all views together, gains, FLIP."""
    out: dict[str, Any] = {
        "views": len(rows),
        "better_than_nearest": sum(r["view"]["all"] < r["nearest"]["all"] for r in rows),
        "seen_share": round(float(np.mean([r["seen"] for r in rows])), 4),
    }
    for part in ("seen", "all", "picture"):
        db = {n: psnr_db([r[n][part] for r in rows if r[n][part] is not None]) for n in NAMES}
        told = [r for r in rows if r["view"][part] is not None]
        gains = [psnr_db([r["nearest"][part]]) - psnr_db([r["view"][part]]) for r in told]
        out[part] = {
            "psnr_db": {n: round(value, 2) for n, value in db.items()},
            "gain_db": round(db["view"] - db["nearest"], 2),
            "gain_over_turned_db": round(db["view"] - db["turned"], 2),
            "mean_gain_by_view_db": round(-float(np.mean(gains)), 2),
        }
    out["flip"] = {n: round(float(np.mean([r["flip"][n] for r in rows])), 4) for n in NAMES}
    for half in ("surer_half", "less_sure_half"):
        out[f"{half}_psnr_db"] = round(psnr_db([r[half] for r in rows if r[half]]), 2)
    out["cpu_s"] = round(float(np.median([r["cpu_s"] for r in rows])), 2)
    return out


def sessions(folders: list[Path], only: str) -> list[Path]:
    """Sessions with a camera."""
    found = []
    for path in [p for folder in folders for p in sorted(folder.glob(f"{only}.mcap"))]:
        with Session.open(path) as session:
            if session.schema.camera is not None:
                found.append(path)
    return found


def plot(results: dict[str, Any], out: Path) -> None:
    """Error over distance: of frames that were left out, and of the nearest pose."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    colours = {"view": "#1f5fcc", "nearest": "#c4342d", "turned": "#b06a00"}
    said = {"view": "relive view", "nearest": "nearest frame", "turned": "nearest frame, turned"}
    rows = [row for rows in results["views"].values() for row in rows]
    gaps = sorted({row["gap"] for row in rows})
    for name in NAMES:
        by_gap = [psnr_db([r[name]["all"] for r in rows if r["gap"] == gap]) for gap in gaps]
        axes[0].plot(gaps, by_gap, "o-", color=colours[name], label=said[name])
        far = np.array([r["distance"] for r in rows])
        edges = np.quantile(far, np.linspace(0, 1, 8))
        middles, values = [], []
        for low, high in pairwise(edges):
            inside = [r for r in rows if low <= r["distance"] <= high]
            middles.append(float(np.median([r["distance"] for r in inside])))
            values.append(psnr_db([r[name]["all"] for r in inside]))
        axes[1].plot(middles, values, "o-", color=colours[name], label=said[name])
    axes[0].set_xscale("log", base=2)
    axes[0].set_xticks(gaps, [str(gap) for gap in gaps])
    axes[0].set_xlabel("frames left out before and after the target")
    axes[1].set_xlabel("distance to the nearest pose that may be used, map units")
    for axis in axes:
        axis.set_ylabel("PSNR of the scene, dB")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(out, dpi=110)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--only", default="*", help="pattern of the names of sessions")
    parser.add_argument("--targets", type=int, default=6, help="of each session and gap")
    parser.add_argument("--gaps", type=int, nargs="+", default=GAPS)
    arguments = parser.parse_args()
    results: dict[str, Any] = {
        "provenance": provenance(),
        "argv": sys.argv[1:],
        "summary": {},
        "views": {},
    }
    for path in sessions(arguments.folders, arguments.only):
        name = f"{path.parent.name}/{path.stem}"
        with Session.open(path) as session:
            results["views"][name] = [
                measure(session, target, gap)
                for gap in arguments.gaps
                for target in targets(session, arguments.targets)
            ]
        report(results, name)
        write_json(arguments.out, results)
    if arguments.plot:
        plot(results, arguments.plot)


def report(results: dict[str, Any], name: str) -> None:
    """Sum up by session, by split and by gap, and print what is new."""
    views, sums = results["views"], results["summary"]
    sums[name] = summary(views[name])
    print(name, {part: sums[name][part] for part in ("seen", "all", "picture", "flip")}, flush=True)
    for split in sorted({key.partition("/")[0] for key in views}):
        rows = [row for key, part in views.items() if key.startswith(f"{split}/") for row in part]
        sums[split] = summary(rows)
        for gap in sorted({row["gap"] for row in rows}):
            sums[f"{split}, {gap} left out"] = summary([r for r in rows if r["gap"] == gap])


if __name__ == "__main__":
    main()
