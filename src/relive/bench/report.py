"""Writes the report: one HTML file with everything in it, readable in light and dark."""

from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from relive.bench.cache import write_text_whole
from relive.bench.report_data import ReportData, ShownFrame, Standing
from relive.bench.report_figures import (
    ERROR_FULL_SCALE,
    changing_fields,
    error_map,
    error_scale_css,
    png_data_uri,
    psnr_over_time_svg,
    rate_distortion_svg,
    state_svg,
)
from relive.bench.report_text import (
    chip,
    decibels,
    kilobytes,
    rate_text,
    standings_note,
    verdict,
)

_PART_COLORS = (
    "var(--series-ours)",
    "var(--series-x265)",
    "var(--series-av1)",
    "var(--series-vvc)",
    "var(--series-av1-slow)",
    "var(--series-x264)",
)


def write_report(out_html: Path, data: ReportData) -> None:
    """Write the report as one self-contained HTML file.

    Args:
        out_html: The file; it is replaced when the new one is whole.
        data: What to show.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    template = Template(files("relive.bench").joinpath("report.html").read_text(encoding="utf-8"))
    text = template.substitute(
        title=escape(f"Replay of {data.game}"),
        subtitle=escape(_subtitle(data)),
        verdict=verdict(data),
        cards=_cards(data),
        quality=data.quality,
        keyframe_interval=data.keyframe_interval,
        standings=_standings(data),
        standings_note=standings_note(data),
        rate_distortion=rate_distortion_svg(data),
        points=_points(data),
        columns=3 if data.equal else 2,
        error_scale=error_scale_css(),
        frames_note=_frames_note(data),
        frames="".join(_frame_rows(data, frame) for frame in data.frames),
        psnr_over_time=psnr_over_time_svg(data),
        parts=_parts(data),
        states=_states(data),
        method=_method(data),
    )
    write_text_whole(out_html, text)


def _subtitle(data: ReportData) -> str:
    seconds = data.num_frames / data.fps if data.fps else 0.0
    return (
        f"{seconds:.1f} s, {data.num_frames} frames of {data.width}×{data.height} at "
        f"{data.fps:.3g} frames/s · measured {data.provenance['date'][:10]}"
    )


def _cards(data: ReportData) -> str:
    c = data.comparison
    flip = "" if c.flip is None else f" · FLIP {c.flip:.3f}"
    ms_ssim = "" if c.ms_ssim is None else f"MS-SSIM {c.ms_ssim:.3f}"
    cards = (
        ("File", kilobytes(c.bytes), f"{rate_text(data)}, states and index included"),
        ("Quality", f"{c.psnr_db:.2f} dB", f"PSNR (RGB) · {ms_ssim}{flip}"),
        (
            "Smaller than raw video",
            f"{c.compression_ratio:.0f}×",
            f"raw: {kilobytes(data.raw_bytes)}",
        ),
        (
            "Speed, this machine",
            f"{c.decode_fps:.0f} fps",
            f"decoding; encoding {data.encode_fps:.0f} fps",
        ),
    )
    return "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(more)}</span></div>"
        for name, value, more in cards
    )


def _standings(data: ReportData) -> str:
    c = data.comparison
    head = (
        "",
        "PSNR at<br>our bytes",
        "Relive at<br>equal bytes",
        "bytes for<br>our PSNR",
        "Relive’s bytes<br>at equal PSNR",
        "whole curve<br>(BD-rate)",
        "PSNR if the states<br>must fit in too",
    )
    rows = [
        f'<tr class="ours"><td>Relive</td><td>{c.psnr_db:.2f} dB</td><td></td>'
        f"<td>{kilobytes(c.bytes)}</td><td></td><td></td><td>{c.psnr_db:.2f} dB</td></tr>"
    ]
    rows += [_standing_row(standing) for standing in data.standings]
    return f"<table><tr>{''.join(f'<th>{h}</th>' for h in head)}</tr>{''.join(rows)}</table>"


def _standing_row(standing: Standing) -> str:
    num_bytes = "–" if standing.bytes is None else kilobytes(standing.bytes)
    ratio = "–" if standing.bytes_ratio is None else f"×{standing.bytes_ratio:.2f}"
    bd = "–"
    if standing.bd.percent is not None and standing.bd.overlap_db is not None:
        low, high = standing.bd.overlap_db
        bd = f"{standing.bd.percent:+.0f} %<br><small>{low:.1f} to {high:.1f} dB</small>"
    cells = (
        decibels(standing.psnr_db),
        chip(standing),
        num_bytes,
        ratio,
        bd,
        decibels(standing.with_state_db),
    )
    return f"<tr><td>{escape(standing.label)}</td>{''.join(f'<td>{c}</td>' for c in cells)}</tr>"


def _points(data: ReportData) -> str:
    rows = [("Relive", "", rate, quality) for rate, quality in data.ours]
    for curve in data.peers:
        rows += [
            (curve.peer.label, f"{p.candidate} crf {p.crf}", p.bits_per_pixel, p.psnr_db)
            for p in curve.envelope
        ]
    body = "".join(
        f"<tr><td>{escape(label)}</td><td>{escape(setting)}</td><td>{rate:.4f}</td>"
        f"<td>{quality:.2f}</td></tr>"
        for label, setting, rate, quality in rows
    )
    head = "<tr><th>codec</th><th>setting</th><th>bits per pixel</th><th>PSNR (dB)</th></tr>"
    return f"<table>{head}{body}</table>"


def _frames_note(data: ReportData) -> str:
    text = "Our best, median and worst frame by PSNR, as recorded and as decoded."
    if data.equal:
        share = data.equal.point.bytes / data.comparison.bytes
        text += (
            f" Beside it {escape(data.equal.peer.label)}, the best of the others at these bytes, "
            f"at crf {data.equal.point.crf} with ×{share:.2f} of our bytes."
        )
    return text


def _frame_rows(data: ReportData, frame: ShownFrame) -> str:
    versions = [("Relive", frame.ours)]
    if frame.peer is not None and data.equal is not None:
        versions.append((data.equal.peer.label, frame.peer))
    cells = [_figure(frame.original, "<b>Recorded</b>", f"frame {frame.number} as recorded")]
    for label, image in versions:
        caption = f"<b>{escape(label)}</b> {frame.psnr_db(image):.2f} dB"
        cells.append(_figure(image, caption, f"frame {frame.number} by {label}"))
    key = (
        f'<div class="key">Error&nbsp;0<i></i>{ERROR_FULL_SCALE:.0f} of 255'
        "<span>mean absolute difference of a pixel</span></div>"
    )
    cells.append(key)
    for label, image in versions:
        errors = error_map(frame.original, image)
        cells.append(_figure(errors, "", f"error of {label} in frame {frame.number}"))
    head = f"{frame.why.capitalize()} frame: number {frame.number}, at {frame.time_s:.2f} s"
    return f'<div class="frames"><h3>{head}</h3>{"".join(cells)}</div>'


def _figure(image: NDArray[np.uint8], caption: str, alt: str) -> str:
    source = png_data_uri(image)
    text = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><img src="{source}" alt="{escape(alt)}">{text}</figure>'


def _parts(data: ReportData) -> str:
    total = max(1, sum(data.parts.values()))
    parts = sorted(data.parts.items(), key=lambda item: -item[1])
    colored = [
        (name, size, _PART_COLORS[i % len(_PART_COLORS)]) for i, (name, size) in enumerate(parts)
    ]
    bar = "".join(
        f'<i style="flex:{size} 0 0;background:{color}" title="{escape(name)}"></i>'
        for name, size, color in colored
        if size
    )
    rows = "".join(
        f'<tr><td><span class="swatch" style="background:{color}"></span>{escape(name)}</td>'
        f"<td>{size:,} bytes</td><td>{size / total:.1%}</td></tr>"
        for name, size, color in colored
    )
    note = ""
    if data.fields:
        note = (
            f'<p class="note">The states of {len(data.fields)} fields are part of our file. '
            f"As a zipped CSV beside a video they take {data.state_csv_bytes:,} bytes.</p>"
        )
    return f'<div class="bar">{bar}</div><table>{rows}</table>{note}'


def _states(data: ReportData) -> str:
    if not data.fields:
        return ""
    # 0.5 of a step is rounding; float32 adds a little at large values
    exact = data.state_deviation_steps <= 0.51
    said = (
        "equal to what was recorded, to the declared step"
        if exact
        else f"off by up to {data.state_deviation_steps:.2f} declared steps"
    )
    changing = changing_fields(data)
    constant = [
        f"{field.name} {data.states[0, i]:g} {field.unit}".strip()
        for i, field in enumerate(data.fields)
        if i not in changing
    ]
    note = f'<p class="note">The same in every frame: {escape(", ".join(constant))}.</p>'
    return (
        "<section><h2>The state, as read back from the file</h2>"
        f'<p class="sub">{len(data.fields)} fields a frame, {said}.</p>{state_svg(data)}'
        f"{note if constant else ''}</section>"
    )


def _method(data: ReportData) -> str:
    versions = data.provenance["versions"]
    machine = data.provenance["machine"]
    model = "{path}, id {id}".format(**data.provenance["model"])
    facts = {
        "PSNR": "RGB, from the mean squared error over all frames",
        "Bytes, Relive": "the whole file",
        "Bytes, others": "the elementary stream, without container and without the states",
        "MS-SSIM, FLIP": f"on {data.comparison.structural_frames} and "
        f"{data.comparison.flip_frames} frames spread over the session",
        "Others": "tuned for PSNR, 4:4:4 and 4:2:0 where they can, the better counts",
        "Model": model,
        "Machine": f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
        "ffmpeg": versions["ffmpeg"],
        "Libraries": ", ".join(f"{k} {v}" for k, v in versions.items() if k != "ffmpeg"),
    }
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
    commands = "".join(
        f"<p><code>{escape(curve.envelope[len(curve.envelope) // 2].encode_command)}</code></p>"
        for curve in data.peers
        if curve.envelope
    )
    details = f"<details><summary>Commands, one point each</summary>{commands}</details>"
    return f"<dl>{rows}</dl>{details}"
