"""The pictures of a report: plots as themed SVG, frames and error maps as PNG, all inline."""

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relive.bench.plots import (
    INK,
    MUTED,
    SERIES,
    draw_rate_distortion,
    new_figure,
    save_png,
    to_svg,
)
from relive.bench.report_data import ReportData
from relive.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ERROR_FULL_SCALE = 64.0  # mean absolute difference, in levels of 255, that is shown brightest
_STATE_COLUMNS = 3


def rate_distortion_svg(data: ReportData) -> str:
    """Draw our curve and those of the peers."""
    figure, axes = new_figure(8.2, 4.6)
    curves = {"ours": ("Relive", list(data.ours))} | {
        curve.peer.name: (curve.peer.label, curve.rate_points()) for curve in data.peers
    }
    draw_rate_distortion(axes[0], curves)
    axes[0].axvline(
        data.comparison.bits_per_pixel, color=SERIES["ours"], linewidth=1, dashes=(4, 3)
    )
    return to_svg(figure, "PSNR over bits per pixel of Relive and of the classical codecs")


def psnr_over_time_svg(data: ReportData) -> str:
    """Draw the PSNR of every frame, of ours and of the best peer at equal bytes."""
    figure, axes = new_figure(10.4, 3.1)
    numbers = np.asarray(data.comparison.frame_numbers)
    for keyframe in range(0, data.num_frames, data.keyframe_interval):
        axes[0].axvline(data.times_s[keyframe], color=MUTED, linewidth=0.7, dashes=(1, 3))
    axes[0].grid(visible=False, axis="x")
    if data.equal:
        values = np.asarray(data.equal.point.frame_psnr_db)
        axes[0].plot(
            data.times_s[: len(values)],
            values,
            color=SERIES[data.equal.peer.name],
            linewidth=1.2,
            label=f"{data.equal.peer.label}, {data.equal.point.bytes / 1000:.0f} kB",
        )
    axes[0].plot(
        data.times_s[numbers],
        data.comparison.frame_psnr_db,
        color=SERIES["ours"],
        linewidth=1.6,
        label=f"Relive, {data.comparison.bytes / 1000:.0f} kB",
    )
    for frame in data.frames:
        axes[0].annotate(
            frame.why,
            (frame.time_s, frame.psnr_db(frame.ours)),
            xytext=(0, 9 if frame.why != "worst" else -15),
            textcoords="offset points",
            ha="center",
            color=INK,
            fontsize=9,
        )
        axes[0].plot(
            [frame.time_s], [frame.psnr_db(frame.ours)], "o", color=SERIES["ours"], markersize=5
        )
    axes[0].set_xlabel("time (s)")
    axes[0].set_ylabel("PSNR of the frame (dB)")
    axes[0].margins(x=0.01, y=0.14)
    axes[0].legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=2,
        borderaxespad=0,
        frameon=False,
        labelcolor=INK,
    )
    return to_svg(figure, "PSNR of every frame over time")


def changing_fields(data: ReportData) -> list[int]:
    """Return the columns of the state that are not the same in every frame."""
    return [i for i in range(len(data.fields)) if np.ptp(data.states[:, i]) > 0]


def state_svg(data: ReportData) -> str:
    """Draw every changing field of the state over time, as read back from our file."""
    columns = changing_fields(data)
    if not columns:
        return ""
    rows = math.ceil(len(columns) / _STATE_COLUMNS)
    figure, axes = new_figure(10.4, 1.25 * rows + 0.4, rows, _STATE_COLUMNS)
    for position, plot in enumerate(axes):
        if position < len(columns):
            _draw_field(plot, data, columns[position])
            if position + _STATE_COLUMNS >= len(columns):
                plot.tick_params(labelbottom=True)
                plot.set_xlabel("time (s)", fontsize=9)
        else:
            plot.set_visible(False)
    return to_svg(figure, "Fields of the state over time")


def _draw_field(plot: "Axes", data: ReportData, column: int) -> None:
    field = data.fields[column]
    values = data.states[:, column].astype(np.float64)
    plot.plot(
        data.times_s,
        _break_turns(values, field.unit) if field.kind == "angle" else values,
        color=SERIES["x265"],
        linewidth=1.2,
        drawstyle="steps-post" if field.kind in ("category", "counter") else "default",
    )
    unit = f" ({field.unit})" if field.unit else ""
    plot.set_title(f"{field.name}{unit}", fontsize=9.5, pad=3, loc="left")
    plot.tick_params(labelsize=8)
    plot.margins(x=0.01, y=0.15)


def _break_turns(values: NDArray[np.float64], unit: str) -> NDArray[np.float64]:
    """Cut the line where an angle wraps around, so that no false jump is drawn."""
    turn = {"deg": 360.0, "rad": 2 * math.pi, "turn": 1.0}.get(unit, math.inf)
    broken = values.copy()
    broken[1:][np.abs(np.diff(values)) > turn / 2] = np.nan
    return broken


def error_map(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour the mean absolute difference of each pixel: black none, yellow `ERROR_FULL_SCALE`.

    Args:
        original: uint8 `[H, W, 3]`.
        decoded: uint8 `[H, W, 3]`.

    Returns:
        uint8 `[H, W, 3]`.
    """
    try:
        from matplotlib import colormaps
    except ImportError as error:
        raise MissingExtraError("matplotlib", "bench") from error
    difference = np.abs(original.astype(np.float32) - decoded).mean(axis=-1)  # [H, W]
    shown = colormaps["inferno"](np.clip(difference / ERROR_FULL_SCALE, 0, 1), bytes=True)
    return np.ascontiguousarray(np.asarray(shown, dtype=np.uint8)[..., :3])


def error_scale_css() -> str:
    """Return the colours of the error map as a CSS gradient from 0 to full scale."""
    levels = np.linspace(0, ERROR_FULL_SCALE, 9).round().astype(np.uint8)
    grey = np.repeat(levels[None, :, None], 3, axis=2)
    colors = error_map(grey, np.zeros_like(grey))[0]
    stops: Sequence[str] = [f"rgb({r},{g},{b})" for r, g, b in colors]
    return f"linear-gradient(to right, {', '.join(stops)})"


def save_side_by_side(data: ReportData, path: Path) -> None:
    """Save the shown frames as one PNG: recorded, ours, and the best peer at equal bytes."""
    columns = 3 if data.equal else 2
    height = 10.4 / columns * data.height / data.width + 0.28
    figure, axes = new_figure(10.4, height * len(data.frames), len(data.frames), columns)
    for row, frame in enumerate(data.frames):
        shown = [(f"recorded, frame {frame.number}", frame.original)]
        shown.append((f"Relive, {frame.psnr_db(frame.ours):.2f} dB", frame.ours))
        if frame.peer is not None and data.equal is not None:
            label = f"{data.equal.peer.label}, {frame.psnr_db(frame.peer):.2f} dB"
            shown.append((label, frame.peer))
        for column, (title, image) in enumerate(shown):
            plot = axes[row * columns + column]
            plot.imshow(image)
            plot.set_title(title, fontsize=9.5, pad=3, loc="left")
            plot.set_axis_off()
    save_png(figure, path)


def png_data_uri(image: NDArray[np.uint8]) -> str:
    """Return an image, uint8 `[H, W, 3]`, as a PNG data URI."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("pillow", "bench") from error
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
