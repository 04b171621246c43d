"""The ablation for people: a page of tables (Markdown) and a plot."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relive.bench.ablation_plan import BASELINE
from relive.bench.plots import GRID, INK, MUTED, SERIES, new_figure, save_png

Row = dict[str, Any]
FEW_MOMENTS = 8
_BETTER, _WORSE, _UNCLEAR = SERIES["av1"], SERIES["ours"], MUTED


def to_markdown(result: Row) -> str:
    """Write the page."""
    summary = result["summary"]
    parts = [_head(result), _variants(summary["variants"])]
    if summary["sessions"]:
        parts.append(_sessions(summary["sessions"]))
    if summary["states"]:
        parts.append(_states(summary["states"]))
    if any("revisits" in row for row in result["runs"]):
        parts.append(_revisits(summary["revisits"]))
    if result["failed"]:
        lines = [
            f"- {row['variant']}, seed {row['seed']}: {row['error']}" for row in result["failed"]
        ]
        parts.append("\n".join(["## Failed", "", *lines]))
    return "\n\n".join(parts) + "\n"


def _head(result: Row) -> str:
    summary, how = result["summary"], result["evaluation"]
    rate = summary["rate_bpp"]
    at = "no rate that all cover" if rate is None else f"{rate:.4f} bits per pixel"
    sources = {row["training"]["source"] for row in result["runs"]}
    mixed = (
        "" if len(sources) < 2 else f"\n\n**The runs are of {len(sources)} versions of the code.**"
    )
    return (
        f"# Ablation: {len(result['runs'])} runs of {result['updates']} updates\n\n"
        f"Every variant differs from `{BASELINE}` in what its row says, and in nothing else; a "
        f"seed's runs see the same data in the same order. Measured on {len(result['sessions'])} "
        f"held-out sessions ({', '.join(map(plain, result['sessions']))}), {how['gops']} GOP of "
        f"{how['steps']} steps each, all cubes at depth {', '.join(map(str, how['depths']))}; bits "
        "are the cross-entropy of codes and motion indices under frequencies counted on training "
        "sessions. "
        f"Compared at {at}. dB and MSE are of the variant against `{BASELINE}` of the same seed: "
        "negative dB means that the change makes the model worse. `worse` and `better` are said "
        f"where zero lies outside the 95 % interval of the mean. {_noise(summary)}{mixed}"
    )


def _margin(row: Row) -> str:
    return "" if row["margin_db"] is None else f" ± {row['margin_db']:.2f}"


def _noise(summary: Row) -> str:
    if summary["noise_db"] is None:
        return "No variant has two seeds yet."
    return (
        f"From seed to seed a difference moves by {summary['noise_db']:.2f} dB (standard "
        f"deviation, pooled over all variants, {summary['noise_degrees']} degrees of freedom)."
    )


def _variants(variants: Row) -> str:
    lines = [
        "| variant | what differs | dB by seed | dB, mean | MSE, mean | verdict | "
        "dB, mean of all rates | CPU s per update | CPU s per encode step | parameters |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in variants.items():
        seeds = ", ".join(_signed(seed["db"]) for seed in row["seeds"].values())
        verdict = row["verdict"]
        if name == BASELINE:
            seeds = ", ".join(_db(seed["psnr_db"]) for seed in row["seeds"].values())
            verdict, row = "the baseline", {**row, "margin_db": None}
        lines.append(
            f"| `{name}` | {row['about']} | {seeds} | {_signed(row['db']['mean'])}{_margin(row)} | "
            f"{_percent(row['mse_percent']['mean'])} | {verdict} | "
            f"{_signed(row['mean_db']['mean'])} | "
            f"{row['seconds_per_update']:.3f} | {row['seconds_per_encode_step']:.3f} | "
            f"{row['parameters'] / 1e6:.2f}M |"
        )
    return "\n".join(lines)


def _sessions(sessions: Row) -> str:
    lines = [
        "## Each held-out session",
        "",
        f"dB against `{BASELINE}`, mean of the seeds, at a rate that all variants cover there.",
        "",
        f"| variant | {' | '.join(map(plain, sessions))} |",
        "|---|" + "---|" * len(sessions),
    ]
    names = dict.fromkeys(name for rows in sessions.values() for name in rows)
    for name in names:
        cells = [_signed(rows[name]["mean"]) if name in rows else "" for rows in sessions.values()]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _states(states: Row) -> str:
    lines = [
        "## True, no and shuffled states, the same weights",
        "",
        "Against true states at equal bits; `none` has no camera either. Each kind of states has "
        "frequencies counted with its own kind.",
        "",
        "| variant | seed | true | none | shuffled |",
        "|---|---|---|---|---|",
    ]
    for name, seeds in states.items():
        for seed, row in seeds.items():
            cells = (
                f"{_signed(row[kind]['db'])} ({_percent(row[kind]['mse_percent'])} MSE)"
                for kind in ("none", "shuffled")
            )
            lines.append(
                f"| `{name}` | {seed} | {_db(row['true']['psnr_db'])} | {' | '.join(cells)} |"
            )
    return "\n".join(lines)


def _revisits(revisits: Row) -> str:
    count = revisits["moments"]
    few = f" That is too few to say much (fewer than {FEW_MOMENTS})." if count < FEW_MOMENTS else ""
    lines = [
        "## Returns to a place",
        "",
        f"n = {count} moments in {len(revisits['windows'])} GOPs: the camera is back within 64 "
        "units and 20 degrees of a pose that it left for at least a second, in one GOP. First "
        f"steps after the return, and all other deltas of these GOPs, against `{BASELINE}`.{few}",
    ]
    if count:
        lines += ["", "| variant | first steps, dB by seed | MSE, mean | other steps, dB by seed |"]
        lines.append("|---|---|---|---|")
    for name, parts in revisits["variants"].items():
        first, other = ([*parts[p].values()] for p in ("first_steps", "other_steps"))
        known = [row["mse_percent"] for row in first if row["mse_percent"] is not None]
        mean = _percent(statistics.fmean(known) if known else None)
        cells = [", ".join(_signed(row["db"]) for row in rows) for rows in (first, other)]
        lines.append(f"| `{name}` | {cells[0]} | {mean} | {cells[1]} |")
    return "\n".join(lines)


def plain(session: str) -> str:
    """Name of a session without the mark of its unpacked copy."""
    return re.sub(r"-[0-9a-f]{12}$", "", session)


def _db(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f} dB"


def _signed(value: float | None) -> str:
    return "not measured" if value is None else f"{value:+.2f}"


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{value:+.1f} %"


def draw(result: Row, path: Path) -> None:
    """Plot the difference of every variant, a dot for each seed; worst at the top."""
    variants = {n: v for n, v in result["summary"]["variants"].items() if n != BASELINE}
    known = {n: v for n, v in variants.items() if v["db"]["mean"] is not None}
    names = sorted(known, key=lambda name: -known[name]["db"]["mean"])
    figure, (axes,) = new_figure(7.5, 1.4 + 0.3 * max(1, len(names)))
    axes.axvline(0, color=INK, linewidth=1)
    for place, name in enumerate(names):
        _dots(axes, place, known[name])
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, max(0, len(names) - 1) + 0.6)
    axes.grid(axis="x", color=GRID)
    axes.set_xlabel(f"dB against {BASELINE} at equal bits, one dot for each seed")
    rate = result["summary"]["rate_bpp"]
    axes.set_title(
        "" if rate is None else f"{result['updates']} updates, {rate:.3f} bits per pixel"
    )
    save_png(figure, path)


def _dots(axes: Any, place: int, row: Row) -> None:
    colors = {"better": _BETTER, "worse": _WORSE}
    color = colors.get(row["verdict"], _UNCLEAR)
    values: Sequence[float] = [s["db"] for s in row["seeds"].values() if s["db"] is not None]
    axes.plot([0, row["db"]["mean"]], [place, place], color=color, linewidth=2)
    axes.plot(values, [place] * len(values), "o", color=color, markersize=6)
