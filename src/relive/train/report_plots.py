"""The plots of a run's report, as inline SVG whose colours are CSS variables of the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relive.errors import MissingExtraError
from relive.train.report_data import RunLog, curves, points, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
# Light-theme colours; each stands for a CSS variable of the same name in the page.
COLORS = {
    "ink": "#1c2127",
    "muted": "#5b6570",
    "grid": "#dde1e6",
    "band": "#eef1f4",
    "a": "#d4380d",
    "b": "#1668dc",
    "c": "#2f8132",
    "d": "#8a3ab9",
    "e": "#13848c",
    "f": "#9a6a00",
}
SERIES = tuple(COLORS[name] for name in "abcdef")
_DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)))
_MOST_POINTS = 400  # of one line: more makes a page heavy and shows nothing more
_SMOOTH = 25  # a bold line is the mean over this part of the run
_SET = {"learning_rate", "mask_ratio", "skipped"}  # set or counted, not measured: no mean
_WIDTH_IN = 10.4
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "relive",
    "text.color": COLORS["ink"],
    "axes.edgecolor": COLORS["muted"],
    "axes.labelcolor": COLORS["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.formatter.useoffset": False,
    "grid.color": COLORS["grid"],
    "grid.linewidth": 0.8,
    "xtick.color": COLORS["muted"],
    "ytick.color": COLORS["muted"],
    "xtick.labelcolor": COLORS["ink"],
    "ytick.labelcolor": COLORS["ink"],
    "legend.frameon": False,
    "legend.labelcolor": COLORS["ink"],
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def psnr_svg(log: RunLog) -> str:
    """Draw the PSNR of keyframes and deltas in training; "" without any."""
    lines = (("psnr_delta_db", "deltas"), ("psnr_keyframe_db", "keyframes"))
    found = [(*series(log.training, key), label) for key, label in lines]
    if not any(len(minutes) for minutes, _, _ in found):
        return ""

    def draw(axes: Sequence[Axes]) -> None:
        for color, (minutes, values, label) in zip(SERIES, found, strict=False):
            _draw_line(axes[0], minutes, values, color, label)
        _shade(axes[0], log, names=True)
        axes[0].set(xlabel="minutes", ylabel="PSNR (dB, RGB)")
        _legend_above(axes[0])

    return _figure(draw, 3.4, label="PSNR of keyframes and deltas over the minutes of training")


def grid_svg(log: RunLog, keys: Sequence[tuple[str, str]], label: str, columns: int = 3) -> str:
    """Draw small plots, one for each (key, title) that is not missing or 0 all the time.

    Returns:
        The SVG, or "" where that leaves none.
    """
    found = [(key, *series(log.training, key), title) for key, title in keys]
    found = [row for row in found if row[2].any()]
    if not found:
        return ""
    rows = -(-len(found) // columns)

    def draw(axes: Sequence[Axes]) -> None:
        for plot, (key, minutes, values, title) in zip(axes, found, strict=False):
            _draw_line(plot, minutes, values, SERIES[0], smooth=key not in _SET)
            _shade(plot, log)
            plot.set_title(title)
        for position, plot in enumerate(axes):
            plot.set_visible(position < len(found))
            if position + columns >= len(found):
                plot.set_xlabel("minutes")

    return _figure(draw, 1.75 * rows + 0.3, rows, columns, label)


def weights_svg(log: RunLog) -> str:
    """Draw the weight of every loss over time; "" where none is logged."""
    lines = [
        line["weights"] | {"minutes": line["minutes"]}
        for line in log.training
        if isinstance(line.get("weights"), dict)
    ]
    names = sorted({name for line in lines for name in line} - {"minutes"})
    found = [(name, *series(lines, name)) for name in names]
    found = [row for row in found if len(row[1])]
    if not found:
        return ""

    def draw(axes: Sequence[Axes]) -> None:
        every = np.concatenate([values for _, _, values in found])
        wide = every.min() > 0 and every.max() > 20 * every.min()
        for i, (name, minutes, values) in enumerate(found):
            dash = _DASHES[i // len(SERIES) % len(_DASHES)]
            x, y = _thin(minutes, values)
            axes[0].plot(x, y, color=SERIES[i % len(SERIES)], linestyle=dash, label=name, **_dot(x))
        _shade(axes[0], log)
        axes[0].set(xlabel="minutes", ylabel="weight", yscale="log" if wide else "linear")
        axes[0].legend(loc="center left", bbox_to_anchor=(1, 0.5))

    return _figure(draw, 3.0, label="Weight of every loss over the minutes of training")


def valid_svg(log: RunLog) -> str:
    """Draw the validation PSNR over time, and its first and last curve over the steps of a GOP."""
    rows = [(line["minutes"], curves(line)) for line in log.valid]
    names = sorted({name for _, found in rows for name in found})
    if not names:
        return ""

    def draw(axes: Sequence[Axes]) -> None:
        for i, name in enumerate(names):
            color = SERIES[i % len(SERIES)]
            seen = [(minutes, found[name]) for minutes, found in rows if name in found]
            minutes, means = [m for m, _ in seen], [float(np.mean(curve)) for _, curve in seen]
            axes[0].plot(minutes, means, "o-", color=color, markersize=3.5, label=name)
            if len(seen) > 1:
                _draw_curve(axes[1], seen[0][1], color, linewidth=1, dashes=(2, 2))
            _draw_curve(axes[1], seen[-1][1], color, marker="o", markersize=3.5, label=name)
        _shade(axes[0], log)
        axes[0].set(xlabel="minutes", ylabel="PSNR (dB, RGB)", title="Mean over the GOP")
        axes[1].set(xlabel="step of the GOP, 1 is the keyframe")
        axes[1].set_title(f"Step by step at minute {rows[-1][0]:.4g}")
        axes[1].locator_params(axis="x", integer=True)
        axes[0].legend(loc="best")

    return _figure(draw, 3.4, 1, 2, "Validation PSNR over time and over the steps of a GOP")


def rd_svg(log: RunLog) -> str:
    """Draw quality over rate, up to six times of the run; the latest is bold."""
    rows = [(line["minutes"], found) for line in log.rd if (found := points(line))]
    if not rows:
        return ""
    shown = sorted(set(np.linspace(0, len(rows) - 1, min(6, len(rows))).round().astype(int)))

    def draw(axes: Sequence[Axes]) -> None:
        for place, i in enumerate(shown):
            minutes, found = rows[i]
            last = i == shown[-1]
            axes[0].plot(
                [rate for rate, _ in found],
                [psnr for _, psnr in found],
                marker="o",
                markersize=5 if last else 3,
                linewidth=2.4 if last else 1.2,
                alpha=0.35 + 0.65 * (place + 1) / len(shown),
                color=SERIES[0] if last else SERIES[1],
                label=f"minute {minutes:.4g}",
            )
        axes[0].set(xlabel="bits per pixel", ylabel="PSNR (dB, RGB)")
        axes[0].legend(loc="lower right")

    return _figure(draw, 3.8, label="Rate-distortion points on the validation sessions over time")


def _figure(
    draw: Callable[[Sequence[Axes]], None],
    height_in: float,
    rows: int = 1,
    columns: int = 1,
    label: str = "",
) -> str:
    """Make a figure of the page's width, let it be drawn, and return it as SVG."""
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "train") from error
    with rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        FigureCanvasAgg(figure)
        draw(list(figure.subplots(rows, columns, squeeze=False).ravel()))
        return _to_svg(figure, label)


def _to_svg(figure: Figure, label: str) -> str:
    buffer = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for name, color in COLORS.items():
        text = text.replace(color, f"var(--{name})")
    # The page decides the size; the viewBox keeps the shape.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _draw_line(
    axes: Axes, minutes: Floats, values: Floats, color: str, label: str = "", smooth: bool = True
) -> None:
    """Draw what was measured thin, and its running mean bold."""
    x, y = _thin(minutes, values)
    if len(x) < _SMOOTH or not smooth:
        axes.plot(x, y, color=color, linewidth=1.6, label=label, **_dot(x))
        return
    axes.plot(x, y, color=color, linewidth=0.8, alpha=0.35)
    axes.plot(
        x, _running_mean(y, max(3, len(y) // _SMOOTH)), color=color, linewidth=1.8, label=label
    )


def _draw_curve(axes: Axes, curve: Sequence[float], color: str, **style: Any) -> None:
    axes.plot(np.arange(1, len(curve) + 1), curve, color=color, **style)


def _dot(x: Floats) -> dict[str, Any]:
    """A line through one point is not seen; a dot is."""
    return {"marker": "o", "markersize": 3} if len(x) < 3 else {}


def _thin(minutes: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Take means of neighbours until a line has few enough points."""
    parts = max(1, min(_MOST_POINTS, len(minutes)))
    x = [float(part.mean()) for part in np.array_split(minutes, parts) if len(part)]
    y = [float(part.mean()) for part in np.array_split(values, parts) if len(part)]
    return np.array(x), np.array(y)


def _running_mean(values: Floats, size: int) -> Floats:
    """Mean over the `size` values around each, fewer at both ends."""
    kernel = np.ones(size)
    ones = np.convolve(np.ones_like(values), kernel, mode="same")
    return np.convolve(values, kernel, mode="same") / ones


def _shade(axes: Axes, log: RunLog, names: bool = False) -> None:
    """Shade every second phase; name those that are wide enough, number the others."""
    phases = log.phases
    if len(phases) < 2:
        return
    begins = [0.0, *(span.begin_minutes for span in phases[1:])]
    ends = [*begins[1:], log.minutes]
    axes.set_xlim(0, max(log.minutes, 1e-3))
    for i, (span, begin, end) in enumerate(zip(phases, begins, ends, strict=True)):
        if i % 2:
            axes.axvspan(begin, end, color=COLORS["band"], zorder=0, linewidth=0)
        if names:
            fits = (end - begin) / log.minutes > 0.012 * len(span.name)
            text = span.name if fits else str(i + 1)
            place: dict[str, Any] = {
                "ha": "center",
                "va": "bottom",
                "fontsize": 8.5,
                "color": COLORS["muted"],
            }
            at = axes.get_xaxis_transform()
            axes.text((begin + end) / 2, 0.01, text, transform=at, **place)


def _legend_above(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=9, borderaxespad=0, handlelength=1.6)
