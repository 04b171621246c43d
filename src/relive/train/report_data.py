"""Reads what a run left: log, settings, manifest; of a finished run or of one in progress."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.errors import InputError

Line = dict[str, Any]
LATEST = 5  # lines, of which the mean stands for "now"


@dataclass(frozen=True)
class PhaseSpan:
    """A stretch of the run in one phase."""

    name: str
    lines: tuple[Line, ...]

    @property
    def begin_minutes(self) -> float:
        """Minutes of the run at the first line of the phase."""
        return float(self.lines[0]["minutes"])

    @property
    def end_minutes(self) -> float:
        """Minutes of the run at the last line of the phase."""
        return float(self.lines[-1]["minutes"])


@dataclass(frozen=True)
class RunLog:
    """The lines of a log by their kind; every line has `minutes`, a finite number."""

    training: tuple[Line, ...]
    valid: tuple[Line, ...]
    rd: tuple[Line, ...]
    events: tuple[Line, ...]

    @property
    def updates(self) -> int:
        """The latest update that any line names; 0 where none does."""
        lines = (*self.training, *self.valid, *self.rd, *self.events)
        return max(
            (int(x) for line in lines if (x := number(line, "update")) is not None), default=0
        )

    @property
    def minutes(self) -> float:
        """How long the run has learnt so far."""
        lines = (*self.training, *self.valid, *self.rd, *self.events)
        return max((line["minutes"] for line in lines), default=0.0)

    @property
    def skipped(self) -> int:
        """How many updates were left out because something was not finite."""
        return round(sum(number(line, "skipped") or 0.0 for line in self.training))

    @property
    def finished(self) -> bool:
        """Whether the run came to its end, and did not go on after it."""
        ends = [line["minutes"] for line in self.events if line["event"] == "finished"]
        return bool(ends) and all(line["minutes"] <= ends[-1] for line in self.training)

    @property
    def phases(self) -> list[PhaseSpan]:
        """The phases in their order."""
        spans: list[PhaseSpan] = []
        for line in self.training:
            name = str(line.get("phase") or "")
            if spans and spans[-1].name == name:
                spans[-1] = PhaseSpan(name, (*spans[-1].lines, line))
            else:
                spans.append(PhaseSpan(name, (line,)))
        return [span for span in spans if span.name]


@dataclass(frozen=True)
class RunData:
    """Everything that the report shows."""

    run: Path
    log: RunLog
    settings: dict[str, Any] | None
    manifest: dict[str, Any] | None
    pictures: tuple[Path, ...]


def read_run(run: Path, num_pictures: int = 4) -> RunData:
    """Read a run folder.

    Args:
        run: The folder that `relive train` writes into.
        num_pictures: Most picture sheets wanted; the newest, and others over the time.

    Raises:
        InputError: There is no log in it, or not one line that can be read.
    """
    log = read_log(run)
    sheets = sorted((run / "pictures").glob("update-*.png"))
    shown = np.linspace(0, len(sheets) - 1, min(num_pictures, len(sheets))).round().astype(int)
    return RunData(
        run,
        log,
        _read_table(run / "settings.json"),
        _read_table(run / "manifest.json"),
        tuple(sheets[i] for i in shown[::-1]),
    )


def read_log(run: Path) -> RunLog:
    """Read `log.jsonl` of a run.

    Half lines are passed over. Where a resumed run made some updates again, the later lines count.

    Raises:
        InputError: There is no log, or not one line that can be read.
    """
    path = run / "log.jsonl"
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{run} holds no log.jsonl; give the folder of a training run") from error
    lines = _newest(list(_lines(text)))
    if not lines:
        raise InputError(f"{path} holds no line yet that can be read")
    kinds: dict[str, list[Line]] = {"training": [], "valid": [], "rd": [], "event": []}
    for line in lines:
        kinds[_kind(line)].append(line)
    return RunLog(*(tuple(found) for found in kinds.values()))


def _kind(line: Line) -> str:
    return next((kind for kind in ("valid", "rd", "event") if kind in line), "training")


def _lines(text: str) -> Iterator[Line]:
    """Yield the lines that are whole; what names no minutes or update has those of before."""
    minutes, update = 0.0, 0.0
    for row in text.splitlines():
        try:
            line = json.loads(row)
        except ValueError:
            continue
        if not isinstance(line, dict) or not line:
            continue
        minutes = minutes if (found := number(line, "minutes")) is None else found
        update = update if (found := number(line, "update")) is None else found
        carried = {} if _kind(line) == "training" else {"update": update}
        yield line | {"minutes": minutes} | carried


def _newest(lines: list[Line]) -> list[Line]:
    """Drop lines of updates that a resumed run made again."""
    kept: list[Line] = []
    last = -1.0
    for line in lines:
        update = number(line, "update")
        if update is not None and _kind(line) == "training":
            if update <= last:
                kept = [old for old in kept if (number(old, "update") or 0.0) < update]
            last = update
        kept.append(line)
    return kept


def number(line: Line, key: str) -> float | None:
    """Return a finite number of a line, or None."""
    value = line.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def series(lines: Sequence[Line], key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return minutes and values of the lines that have a finite number under `key`."""
    found = [(line["minutes"], value) for line in lines if (value := number(line, key)) is not None]
    table = np.array(found, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def latest(lines: Sequence[Line], key: str) -> float | None:
    """Return the mean of the last few values under `key`, or None without any."""
    _, values = series(lines, key)
    return float(values[-LATEST:].mean()) if len(values) else None


def curves(line: Line) -> dict[str, list[float]]:
    """Return the validation curves of a line: PSNR in dB of every step, by name."""
    found = line.get("valid")
    if not isinstance(found, dict):
        return {}
    return {str(name): curve for name, curve in found.items() if _are_numbers(curve) and curve}


def points(line: Line) -> list[tuple[float, float]]:
    """Return (bits per pixel, PSNR in dB) of a rate-distortion line, by rising rate."""
    found = line.get("rd")
    rows = [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    pairs = [(number(row, "bits_per_pixel"), number(row, "psnr_db")) for row in rows]
    return sorted((rate, psnr) for rate, psnr in pairs if rate is not None and psnr is not None)


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(x, int | float) for x in values)


def _read_table(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None where there is none, or one that is just being written."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
