"""Writes the report of a run: one HTML file with everything in it, readable in light and dark."""

from __future__ import annotations

import base64
import datetime
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from relive.train import report_plots as plots
from relive.train.monitor import LOSSES
from relive.train.report_data import (
    PhaseSpan,
    RunData,
    RunLog,
    curves,
    latest,
    number,
    points,
    read_run,
    series,
)

_LOSS_PLOTS = (("loss", "whole loss"), *((name, name) for name in LOSSES))
_RATE_PLOTS = (("bits_per_cube", "bits per cube"), ("mask_ratio", "share of cubes hidden"))
_WORK_PLOTS = (
    ("learning_rate", "learning rate"),
    ("skipped", "updates skipped"),
    ("updates_per_s", "updates a second"),
    ("loader_wait_share", "share of time waiting for data"),
)
_MOST_EVENTS = 20


def write_report(run: Path, out: Path | None = None) -> tuple[Path, RunLog]:
    """Write the report of a run as one self-contained HTML file.

    Args:
        run: Folder of the run, finished or in progress.
        out: The file, replaced when the new one is whole; RUN/report.html without it.

    Returns:
        The file, and the log that it shows.

    Raises:
        InputError: There is no log in the folder, or nothing in it.
        MissingExtraError: matplotlib is not installed.
    """
    data = read_run(run)
    out = out or run / "report.html"
    log = data.log
    template = Template(files("relive.train").joinpath("report.html").read_text(encoding="utf-8"))
    text = template.substitute(
        title=escape(f"Training run {run.resolve().name}"),
        subtitle=escape(_subtitle(data)),
        cards=_cards(log),
        sections="".join(_sections(data)),
    )
    _write_whole(out, text)
    return out, log


def _write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _subtitle(data: RunData) -> str:
    written = (data.run / "log.jsonl").stat().st_mtime
    when = datetime.datetime.fromtimestamp(written, datetime.UTC)
    phase = data.log.phases[-1].name if data.log.phases else ""
    stands = f" · in phase {phase}" if phase else ""
    stands = " · finished" if data.log.finished else stands
    return f"Last line of the log {when:%Y-%m-%d %H:%M} UTC{stands}"


def _cards(log: RunLog) -> str:
    return "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(more)}</span></div>"
        for name, value, more in _figures(log)
    )


def _figures(log: RunLog) -> Iterator[tuple[str, str, str]]:
    """Yield name, value and a remark of what stands on top."""
    speed = latest(log.training, "updates_per_s")
    more = "" if speed is None else f"{speed:.3g} a second now"
    yield "Time", f"{log.minutes:,.1f} min", f"phase {len(log.phases)}" if log.phases else ""
    yield "Updates", f"{log.updates:,}", more or _pace(log)
    if (loss := latest(log.training, "loss")) is not None:
        yield "Loss", f"{loss:.4g}", "mean of the last lines"
    delta, key = (latest(log.training, f"psnr_{kind}_db") for kind in ("delta", "keyframe"))
    if delta is not None or key is not None:
        yield "Training PSNR", _decibels(delta), f"deltas; keyframes {_decibels(key)}"
    if log.valid and (found := curves(log.valid[-1])):
        best = max(found.values(), key=lambda curve: sum(curve) / len(curve))
        yield "Validation PSNR", _decibels(sum(best) / len(best)), _drop(best)
    if (rate := latest(log.training, "bits_per_cube")) is not None:
        yield "Rate", f"{rate:.3g} bits", "a cube, in training"
    yield "Skipped updates", str(log.skipped), "not finite"


def _pace(log: RunLog) -> str:
    return f"{log.updates / log.minutes:.3g} a minute" if log.minutes else ""


def _drop(curve: Sequence[float]) -> str:
    """Say what the chain costs, from the first delta to the last."""
    if len(curve) < 3:
        return "mean over the GOP"
    return f"step {len(curve)} against step 2: {curve[-1] - curve[1]:+.2f} dB".replace("-", "−")


def _decibels(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} dB"


def _sections(data: RunData) -> Iterator[str]:
    """Yield the sections that there is something to show in."""
    log = data.log
    bands = "Bands are phases; thin what was logged, bold its running mean."
    yield _section("Quality in training", bands, plots.psnr_svg(log))
    held_out = "Whole frames of sessions that are never trained on; dashed the first measurement."
    yield _section("Validation", held_out, plots.valid_svg(log))
    yield _section("Quality for the bytes", _rd_text(log), plots.rd_svg(log))
    yield _section("Pictures", "Frames of validation sessions.", _pictures(data.pictures))
    yield _section("Phases", "PSNR is the mean of the last lines of a phase.", _phases(log))
    losses = plots.grid_svg(log, _LOSS_PLOTS, "Every part of the loss over the minutes")
    yield _section("Loss", _loss_text(log), losses)
    weights = plots.weights_svg(log)
    yield _section("Weights of the losses", "As the dynamic weighting set them.", weights)
    rate = plots.grid_svg(log, _RATE_PLOTS, "Rate and mask ratio over the minutes", columns=2)
    yield _section("Rate and masks", "", rate)
    work = plots.grid_svg(log, _WORK_PLOTS, "Learning rate, skipped updates and speed", columns=2)
    yield _section("The work", "", work)
    yield _section("Events", "", _events(log))
    yield _section("Sessions", "", _manifest(data.manifest))
    yield _section("Settings", "", _settings(data.settings))


def _section(title: str, sub: str, body: str) -> str:
    if not body:
        return ""
    text = f'<p class="sub">{escape(sub)}</p>' if sub else ""
    return f"<section><h2>{escape(title)}</h2>{text}{body}</section>"


def _rd_text(log: RunLog) -> str:
    found = points(log.rd[-1]) if log.rd else []
    shown = ", ".join(f"{psnr:.2f} dB at {rate:.3g} bits per pixel" for rate, psnr in found[:4])
    split = log.rd[-1].get("split") if log.rd else None
    where = f" Split: {split}." if split else ""
    return f"Latest: {shown}.{where}" if shown else ""


def _loss_text(log: RunLog) -> str:
    """Name the parts that are not drawn, because they are 0."""
    logged = [(name, series(log.training, name)[1]) for name in LOSSES]
    zero = [name for name, values in logged if len(values) and not values.any()]
    text = "The whole, and each part before its weight."
    return f"{text} Always 0: {', '.join(zero)}." if zero else text


def _pictures(sheets: Sequence[Path]) -> str:
    """Show the newest sheet; older ones open at a click."""
    if not sheets:
        return ""
    older = "".join(_sheet(path) for path in sheets[1:])
    return _sheet(sheets[0]) + (_details("Earlier pictures", older) if older else "")


def _sheet(path: Path) -> str:
    update = path.stem.removeprefix("update-").lstrip("0") or "0"
    source = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img src="data:image/png;base64,{source}" alt="Pictures of update {update}">'
        f"<figcaption>Update {int(update):,}</figcaption></figure>"
    )


def _phases(log: RunLog) -> str:
    head = ("", "phase", "minutes", "updates", "keyframes", "deltas")
    return _table(head, [_phase_row(i, span) for i, span in enumerate(log.phases, start=1)])


def _phase_row(place: int, span: PhaseSpan) -> Sequence[str]:
    updates = [value for line in span.lines if (value := number(line, "update")) is not None]
    key, delta = (latest(span.lines, f"psnr_{kind}_db") for kind in ("keyframe", "delta"))
    return (
        str(place),
        span.name,
        f"{span.begin_minutes:.1f} to {span.end_minutes:.1f}",
        f"{updates[0]:,.0f} to {updates[-1]:,.0f}" if updates else "–",
        _decibels(key),
        _decibels(delta),
    )


def _events(log: RunLog) -> str:
    """Show what happened, the newest first; checkpoints are only counted."""
    told = [line for line in log.events if line["event"] != "checkpoint"]
    rows = [
        (
            f"{line['minutes']:.1f}",
            f"{number(line, 'update') or 0:,.0f}",
            str(line["event"]),
            str(line.get("detail") or ""),
        )
        for line in reversed(told[-_MOST_EVENTS:])
    ]
    checkpoints = len(log.events) - len(told)
    left = [f"{checkpoints} checkpoints written"] if checkpoints else []
    left += [f"{len(told) - len(rows)} earlier events not shown"] if len(told) > len(rows) else []
    note = f'<p class="note">{"; ".join(left)}.</p>' if left else ""
    return (_table(("minute", "update", "event", ""), rows) if rows else "") + note


def _manifest(manifest: Mapping[str, Any] | None) -> str:
    """Show which sessions of each split were used and which skipped, and why."""
    splits = {name: corpus for name, corpus in (manifest or {}).items() if _is_corpus(corpus)}
    return "".join(_corpus(name, corpus) for name, corpus in splits.items())


def _is_corpus(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("sessions"), list)


def _corpus(name: str, corpus: Mapping[str, Any]) -> str:
    """Show one split, as `relive.cubes.corpus` counts it."""
    used, skipped = corpus["sessions"], corpus.get("skipped_sessions") or []
    frames = number(dict(corpus), "frames")
    more = "" if frames is None else f"; {frames:,.0f} frames"
    games = corpus.get("games") or {}
    named = "".join(f", {escape(str(game))} {count}" for game, count in games.items())
    parts = [
        f"<h3>{escape(name)}</h3>",
        f"<p>{len(used)} sessions used, {len(skipped)} skipped{more}{named}.</p>",
        _table(("skipped", "why"), [(_short(x["name"]), _short(x["reason"])) for x in skipped]),
    ]
    if used:
        parts.append(_details(f"All {len(used)} used", escape(", ".join(map(_short, used)))))
    return "".join(parts)


def _settings(settings: Mapping[str, Any] | None) -> str:
    """Show the settings; lists of tables, such as the phases, as tables."""
    if not settings:
        return ""
    tables = {key: value for key, value in settings.items() if _is_rows(value)}
    plain = {key: value for key, value in settings.items() if key not in tables}
    parts = [_facts(plain)] + [
        f"<h3>{escape(key)}</h3>{_rows_table(rows)}" for key, rows in tables.items()
    ]
    return _details("All settings", "".join(parts))


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, Mapping) for x in value)


def _rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = [key for key in dict.fromkeys(k for row in rows for k in row) if _any(rows, key)]
    return _table(names, [[_short(row.get(name)) for name in names] for row in rows])


def _any(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    return any(row.get(key) is not None for row in rows)


def _facts(values: Mapping[str, Any]) -> str:
    body = "".join(
        f"<dt>{escape(str(name))}</dt><dd>{escape(_short(value))}</dd>"
        for name, value in values.items()
    )
    return f"<dl>{body}</dl>"


def _short(value: object) -> str:
    """Write a value of JSON for people."""
    if isinstance(value, str):
        return value
    if value is None:
        return "–"
    return json.dumps(value, ensure_ascii=False).replace('"', "").strip("{}")


def _details(summary: str, body: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'
