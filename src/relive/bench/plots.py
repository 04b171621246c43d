"""Plots, drawn once and saved twice: PNG for `results/`, and SVG that follows a page's theme.

The SVG holds CSS variables in place of colours, so the report is readable in light and dark.
"""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relive.bench.curves import RatePoint
from relive.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Light-theme colours and the CSS variables that stand for them in a page.
INK, MUTED, GRID = "#1c2127", "#5b6570", "#dde1e6"
SERIES = {
    "ours": "#d4380d",
    "x264": "#7a818a",
    "x265": "#1668dc",
    "av1": "#2f8132",
    "av1-slow": "#13848c",
    "vvc": "#8a3ab9",
}
CSS_NAMES = {INK: "ink", MUTED: "muted", GRID: "grid"} | {
    color: f"series-{name}" for name, color in SERIES.items()
}
_MARKERS = {"ours": "o", "x264": "s", "x265": "^", "av1": "D", "av1-slow": "v", "vvc": "P"}
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "relive",
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1
) -> "tuple[Figure, list[Axes]]":
    """Return an empty figure of `width` × `height` inches and its axes, row by row.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "bench") from error
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    return figure, list(axes.ravel())


def draw_rate_distortion(
    axes: "Axes", curves: Mapping[str, tuple[str, Sequence[RatePoint]]], title: str = ""
) -> None:
    """Draw curves of dB over bits per pixel (logarithmic).

    Args:
        axes: Where to draw.
        curves: By series name ("ours" or that of a peer): its label and its points by rising rate.
        title: Title of the plot.
    """
    for name, (label, points) in curves.items():
        ours = name == "ours"
        axes.plot(
            [rate for rate, _ in points],
            [quality for _, quality in points],
            color=SERIES[name],
            marker=_MARKERS[name],
            markersize=6 if ours else 4.5,
            linewidth=2.4 if ours else 1.5,
            zorder=3 if ours else 2,
            label=label,
        )
    axes.set_xscale("log")
    axes.set_xlabel("bits per pixel (whole file)")
    axes.set_ylabel("PSNR (dB, RGB)")
    _label_rates(axes, [rate for _, points in curves.values() for rate, _ in points])
    axes.set_title(title)
    axes.legend(loc="lower right", frameon=False, labelcolor=INK)


def _label_rates(axes: "Axes", rates: Sequence[float]) -> None:
    """Write the rates as plain numbers, such as 0.01, 0.02, 0.05."""
    steps = [m * 10.0**e for e in range(-5, 3) for m in (1, 2, 5)]
    low, high = min(rates, default=0.01) / 1.15, max(rates, default=1.0) * 1.15
    ticks = [step for step in steps if low <= step <= high]
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def save_png(figure: "Figure", path: Path) -> None:
    """Save a figure as PNG on white, written beside its name and renamed when whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        figure.savefig(part, format="png", dpi=130, facecolor="white")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def to_svg(figure: "Figure", label: str) -> str:
    """Return a figure as an inline SVG element whose colours are CSS variables.

    Args:
        figure: The figure.
        label: What it shows, for people who cannot see it.
    """
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context(_STYLE):
        metadata: dict[str, Any] = {"Date": None, "Creator": None}
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for color, name in CSS_NAMES.items():
        text = text.replace(color, f"var(--{name})")
    # The page decides the size; the viewBox keeps the shape.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
