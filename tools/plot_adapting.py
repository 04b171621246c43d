"""Draw the curve of a model before and after training on a game, and keep both as one JSON.

    python tools/plot_adapting.py BEFORE/rd.json AFTER/rd.json -o results/adapting.json

Both come from `relive bench rd` on the same held-out sessions. Curves are means over the sessions,
setting by setting (mean rate, mean PSNR); the plot lies beside the JSON.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from relive.bench.plots import draw_rate_distortion, new_figure, save_png
from relive.bench.provenance import write_json

Point = tuple[float, float]
BEFORE_COLOR = "#c78a00"


def mean_curve(sessions: list[dict[str, Any]]) -> list[Point]:
    """Mean of our points over the sessions, quality by quality."""
    rows = [[(p["bits_per_pixel"], p["psnr_db"]) for p in s["ours"]["points"]] for s in sessions]
    return [(float(r), float(d)) for r, d in np.mean(rows, axis=0)]


def peer_curve(sessions: list[dict[str, Any]], peer: str) -> list[Point]:
    """Mean of a peer's best points over the sessions that share a setting, by rising rate."""
    found: dict[tuple[str, float], list[Point]] = {}
    for session in sessions:
        values = session["peers"][peer]
        best = {(name, crf) for name, crf in values["envelope"]}
        for p in values["points"]:
            key = (p["candidate"], p["crf"])
            if key in best:
                found.setdefault(key, []).append((p["bits_per_pixel"], p["psnr_db"]))
    whole = [np.mean(points, axis=0) for points in found.values() if len(points) == len(sessions)]
    return sorted((float(r), float(d)) for r, d in whole)


def main() -> None:
    """Read both results, write JSON and PNG."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("results/adapting.json"))
    arguments = parser.parse_args()
    before, after = (json.loads(p.read_text()) for p in (arguments.before, arguments.after))
    names = [s["session"] for s in before["sessions"]]
    if names != [s["session"] for s in after["sessions"]]:
        raise SystemExit("the two results are of different sessions")
    curves = {"before": mean_curve(before["sessions"]), "after": mean_curve(after["sessions"])}
    peers = {name: peer_curve(before["sessions"], name) for name in before["sessions"][0]["peers"]}
    figure, (axes,) = new_figure(7, 4.4)
    drawn = {name: (name, points) for name, points in peers.items() if points}
    draw_rate_distortion(axes, {"ours": ("adapted, 20 minutes", curves["after"]), **drawn})
    rates, psnr = zip(*curves["before"], strict=True)
    axes.plot(rates, psnr, "o-", color=BEFORE_COLOR, linewidth=2.4, label="bundled tiny")
    low = min(r for points in [*curves.values(), *peers.values()] for r, _ in points)
    axes.set_xlim(low / 1.15, 0.2)
    axes.legend(loc="center right", frameon=False)
    axes.set_title(f"CarRacing-v3, {len(names)} held-out tracks")
    save_png(figure, arguments.out.with_suffix(".png"))
    kept = {
        name: {
            **{key: result[key] for key in ("date", "machine", "versions", "model", "settings")},
            "sessions": {s["session"]: s["ours"]["points"] for s in result["sessions"]},
            "mean": curves[name],
        }
        for name, result in (("before", before), ("after", after))
    }
    write_json(arguments.out, {"kind": "adapting", **kept, "peers": peers})


if __name__ == "__main__":
    main()
