"""Two plots of `bench speed`: cost over pixels beside VideoMAE, and what masking saves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from relive.bench.plots import INK, MUTED, SERIES, new_figure, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = dict[str, Any]
_OURS, _OTHER = SERIES["ours"], SERIES["x265"]
_SIZE_COLORS = {
    "tiny": SERIES["av1"],
    "small": SERIES["av1-slow"],
    "base": SERIES["ours"],
    "large": SERIES["vvc"],
}
_LEGEND: Any = {"frameon": False, "labelcolor": INK, "fontsize": 8}


def draw_speed(result: Values, path: Path) -> None:
    """Draw what a result holds, beside its JSON: `…-scaling.png` and `…-masking.png`."""
    scaling = [(name, run) for name, run in result["runs"].items() if "videomae" in run["parts"]]
    masking = [(name, _throughputs(run["parts"])) for name, run in result["runs"].items()]
    masking = [(name, parts) for name, parts in masking if parts]
    if scaling:
        figure, axes = new_figure(6.4 * len(scaling), 4.4, columns=len(scaling))
        for place, (name, run) in zip(axes, scaling, strict=True):
            _draw_scaling(place, name, run["parts"]["videomae"])
        save_png(figure, path.with_name(f"{path.stem}-scaling.png"))
    if masking:
        figure, axes = new_figure(10, 3.4 * len(masking), rows=len(masking), columns=2)
        for row, (name, parts) in enumerate(masking):
            for place, side in zip(
                axes[2 * row : 2 * row + 2], ("encoder", "decoder"), strict=True
            ):
                _draw_masking(place, side, parts)
                place.set_title(f"{name}: {side}", fontsize=9)
        save_png(figure, path.with_name(f"{path.stem}-masking.png"))


def _throughputs(parts: Values) -> Values:
    """The throughput parts of a run, by size."""
    names = (key.partition("/") for key in parts)
    return {size: parts[f"{part}/{size}"] for part, _, size in names if part == "throughput"}


def _draw_scaling(axes: Axes, name: str, part: Values) -> None:
    """Seconds of a clip over the pixels of a frame, log-log."""
    rows = part["sizes"]
    pixels = [row["pixels"] for row in rows]
    slopes = [part.get(key, {}).get("time") for key in ("exponent", "videomae_exponent")]
    for label, column, color, slope in (
        (f"HST-MAE ({part['size']}), encoder side", "encoder_side_s", _OURS, slopes[0]),
        ("VideoMAE-B", "videomae_s", _OTHER, slopes[1]),
    ):
        with_slope = label if slope is None else f"{label}: pixels^{slope:.2f}"
        seconds = [row[column] for row in rows]
        axes.plot(pixels, seconds, color=color, marker="o", linewidth=2, label=with_slope)
    for row in rows:
        above = max(row["encoder_side_s"], row["videomae_s"])
        axes.annotate(
            f"{row['times_faster']:.2f}×",
            (row["pixels"], above),
            textcoords="offset points",
            xytext=(0, 7),
            ha="center",
            color=INK,
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    seconds = [row[column] for row in rows for column in ("encoder_side_s", "videomae_s")]
    ticks = [m * 10.0**e for e in range(-4, 4) for m in (1, 2, 5)]
    ticks = [t for t in ticks if min(seconds) / 2 < t < max(seconds) * 2]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xticks(pixels, [f"{row['width']}×{row['height']}" for row in rows])
    axes.minorticks_off()
    axes.set_xlabel("pixels of a frame")
    axes.set_ylabel("seconds of a 16-frame clip")
    axes.set_title(name, fontsize=9)
    axes.legend(loc="upper left", **_LEGEND)


def _draw_masking(axes: Axes, side: str, parts: Values) -> None:
    """How many times faster than dense, over the mask ratio, a line for every size."""
    for size, part in parts.items():
        rows = part[side]
        ratios, gains = [float(r) for r in rows], [row["times_faster"] for row in rows.values()]
        label = f"{size}, dense {rows['0.0']['frames_per_s']:.3g} frames/s"
        color = _SIZE_COLORS.get(size, MUTED)
        axes.plot(ratios, gains, color=color, marker="o", linewidth=2, label=label)
    axes.set_xlabel("share of hidden cubes")
    axes.set_ylabel("times the dense throughput")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", **_LEGEND)
