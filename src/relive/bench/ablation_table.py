"""What the runs say: every variant against the baseline at equal bits, seed by seed.

Between measured depths a curve is linear in dB over the logarithm of the rate; nothing is
extrapolated. All depths count, also one that is worse than a cheaper one: what is compared is a
model at a rate, not what an encoder would choose. A variant is compared with the baseline of its
own seed, which saw the same data in the same order.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from relive.bench.ablation_plan import BASELINE
from relive.bench.curves import RatePoint

Row = dict[str, Any]
MARGIN = 1.001  # a common rate stays this factor inside every curve
GRID = 65  # rates over which a difference is averaged


def curve(points: Sequence[Row]) -> list[RatePoint]:
    """Bits per pixel and dB of measured depths, by rising rate."""
    return sorted((p["bpp"], -10 * math.log10(max(p["mse"], 1e-12))) for p in points)


def mean_points(sessions: Sequence[Row]) -> list[Row]:
    """Mean of the sessions at each depth; every session counts the same."""
    depths = zip(*(row["points"] for row in sessions), strict=True)
    return [
        {
            "depth": points[0]["depth"],
            **{k: statistics.fmean(p[k] for p in points) for k in ("mse", "bpp", "motion_bpp")},
        }
        for points in depths
    ]


def common_rate(curves: Sequence[Sequence[RatePoint]], wanted: float) -> float | None:
    """The rate nearest to the wanted one that every curve covers; None where there is none."""
    if not curves or not all(curves):
        return None
    low = max(points[0][0] for points in curves) * MARGIN
    high = min(points[-1][0] for points in curves) / MARGIN
    return min(max(wanted, low), high) if low < high else None


def psnr_at(points: Sequence[RatePoint], rate: float | None) -> float | None:
    """The dB of a curve at a rate; None outside what was measured."""
    if rate is None or not points or not points[0][0] <= rate <= points[-1][0]:
        return None
    rates, levels = zip(*points, strict=True)
    return float(np.interp(math.log(rate), np.log(rates), levels))


def mean_db(points: Sequence[RatePoint], base: Sequence[RatePoint]) -> float | None:
    """Mean difference in dB over all rates that both cover, even in the logarithm (BD-PSNR)."""
    low, high = max(points[0][0], base[0][0]), min(points[-1][0], base[-1][0])
    if not low < high:
        return None
    grid = np.linspace(math.log(low), math.log(high), GRID)
    ours, theirs = (np.array(curve) for curve in (points, base))
    levels = (np.interp(grid, np.log(curve[:, 0]), curve[:, 1]) for curve in (ours, theirs))
    return float(np.subtract(*levels).mean())


def difference(points: Sequence[RatePoint], base: Sequence[RatePoint], rate: float | None) -> Row:
    """A curve against another at a rate: dB (positive: better) and MSE in percent."""
    ours, theirs = psnr_at(points, rate), psnr_at(base, rate)
    if ours is None or theirs is None:
        return {"psnr_db": ours, "mse": None, "db": None, "mse_percent": None, "mean_db": None}
    return {
        "psnr_db": ours,
        "mse": 10 ** (-ours / 10),
        "db": ours - theirs,
        "mse_percent": 100 * (10 ** ((theirs - ours) / 10) - 1),
        "mean_db": mean_db(points, base),
    }


def spread(values: Sequence[float | None]) -> Row:
    """Mean, lowest and highest of what was measured."""
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "low": None, "high": None, "seeds": 0}
    ends = {"low": min(known), "high": max(known)}
    return {"mean": statistics.fmean(known), **ends, "seeds": len(known)}


@dataclass(frozen=True)
class Noise:
    """How far a variant's difference moves from seed to seed, pooled over all variants.

    Two seeds of one variant say little of their spread; those of twenty variants together say it.

    Attributes:
        deviation_db: standard deviation of a difference; None where no variant has two seeds.
        degrees: degrees of freedom.
    """

    deviation_db: float | None
    degrees: int

    def margin(self, seeds: int) -> float | None:
        """Half of the 95 % interval of a mean over seeds, in dB (Student's t)."""
        if self.deviation_db is None or not seeds:
            return None
        from scipy.stats import t

        return float(t.ppf(0.975, self.degrees)) * self.deviation_db / math.sqrt(seeds)


def measure_noise(differences: Sequence[Sequence[float | None]]) -> Noise:
    """Pool the variance over the seeds of every variant but the baseline."""
    squares, degrees = 0.0, 0
    for values in differences:
        known = [value for value in values if value is not None]
        if len(known) >= 2:
            squares += statistics.variance(known) * (len(known) - 1)
            degrees += len(known) - 1
    return Noise(math.sqrt(squares / degrees) if degrees else None, degrees)


def verdict(values: Sequence[float | None], noise: Noise) -> str:
    """Whether a variant is better or worse: zero lies outside the 95 % interval of its mean."""
    known = [value for value in values if value is not None]
    margin = noise.margin(len(known))
    if len(known) < 2 or margin is None:
        return "not enough seeds"
    mean = statistics.fmean(known)
    if abs(mean) <= margin:
        return "within the noise"
    return "better" if mean > 0 else "worse"


def by_seed(rows: Sequence[Row]) -> dict[int, dict[str, Row]]:
    """Results by seed and variant."""
    table: dict[int, dict[str, Row]] = {}
    for row in rows:
        table.setdefault(row["plan"]["seed"], {})[row["plan"]["variant"]] = row
    return table


def summarise(rows: Sequence[Row], wanted: float, about: Mapping[str, str]) -> Row:
    """Put all results together.

    Args:
        rows: results of runs.
        wanted: bits per pixel at which to compare.
        about: what each variant changes.
    """
    curves = {id(row): curve(mean_points(row["sessions"])) for row in rows}
    rate = common_rate(list(curves.values()), wanted)
    table, found = by_seed(rows), dict[str, dict[int, Row]]()
    for name in about:
        seeds = {}
        for seed, runs in table.items():
            if name in runs:
                base = curves.get(id(runs.get(BASELINE)), [])
                seeds[seed] = difference(curves[id(runs[name])], base, rate)
        if seeds:
            found[name] = seeds
    noise = measure_noise(
        [[row["db"] for row in seeds.values()] for name, seeds in found.items() if name != BASELINE]
    )
    variants = {
        name: _variant(
            about[name], seeds, [row for row in rows if row["plan"]["variant"] == name], noise
        )
        for name, seeds in found.items()
    }
    return {
        "noise_db": noise.deviation_db,
        "noise_degrees": noise.degrees,
        "rate_bpp": rate,
        "wanted_bpp": wanted,
        "rates_bpp": sorted({r for points in curves.values() for r, _ in points}),
        "variants": variants,
        "sessions": _sessions(table, wanted),
        "states": _states(rows, wanted),
        "revisits": _revisits(table, wanted),
    }


def _variant(about: str, seeds: dict[int, Row], rows: Sequence[Row], noise: Noise) -> Row:
    db = [row["db"] for row in seeds.values()]
    return {
        "about": about,
        "seeds": seeds,
        "psnr_db": spread([row["psnr_db"] for row in seeds.values()]),
        "db": spread(db),
        "mean_db": spread([row["mean_db"] for row in seeds.values()]),
        "mse_percent": spread([row["mse_percent"] for row in seeds.values()]),
        "margin_db": noise.margin(sum(value is not None for value in db)),
        "verdict": verdict(db, noise),
        "parameters": rows[0]["parameters"],
        "seconds_per_update": statistics.fmean(
            row["training"]["cpu_seconds_per_update"] for row in rows
        ),
        "seconds_per_encode_step": statistics.fmean(row["encode_step_seconds"] for row in rows),
    }


def _sessions(table: Mapping[int, Mapping[str, Row]], wanted: float) -> Row:
    """Each held-out session alone: dB against the baseline, over the seeds, by variant."""
    differences: dict[str, dict[str, list[float | None]]] = {}
    for runs in table.values():
        for place, session in enumerate(runs[BASELINE]["sessions"] if BASELINE in runs else ()):
            curves = {name: curve(r["sessions"][place]["points"]) for name, r in runs.items()}
            rate = common_rate(list(curves.values()), wanted)
            rows = differences.setdefault(session["session"], {})
            for name, points in curves.items():
                db = difference(points, curves[BASELINE], rate)["db"]
                rows.setdefault(name, []).append(db)
    return {s: {n: spread(db) for n, db in rows.items()} for s, rows in differences.items()}


def _states(rows: Sequence[Row], wanted: float) -> Row:
    """True, no and shuffled states of the same model, by variant and seed."""
    result: Row = {}
    for row in rows:
        if "states" not in row:
            continue
        curves = {"true": curve(mean_points(row["sessions"]))}
        curves |= {kind: curve(mean_points(s)) for kind, s in row["states"].items()}
        rate = common_rate(list(curves.values()), wanted)
        seeds = result.setdefault(row["plan"]["variant"], {})
        seeds[row["plan"]["seed"]] = {
            "rate_bpp": rate,
            **{kind: difference(points, curves["true"], rate) for kind, points in curves.items()},
        }
    return result


def _revisits(table: Mapping[int, Mapping[str, Row]], wanted: float) -> Row:
    """Steps after a return, and all other deltas of the same GOPs, against the baseline."""
    result: Row = {"moments": 0, "windows": [], "variants": {}}
    for seed, runs in table.items():
        measured = {name: r["revisits"] for name, r in runs.items() if "revisits" in r}
        if BASELINE not in measured or not measured[BASELINE]["moments"]:
            continue
        result |= {key: measured[BASELINE][key] for key in ("moments", "windows")}
        for part in ("first_steps", "other_steps"):
            curves = {name: curve(row[part]) for name, row in measured.items()}
            rate = common_rate(list(curves.values()), wanted)
            for name, points in curves.items():
                seeds = result["variants"].setdefault(name, {}).setdefault(part, {})
                seeds[seed] = {"rate_bpp": rate, **difference(points, curves[BASELINE], rate)}
    return result
