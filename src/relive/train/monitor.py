"""What a run leaves to be looked at while it works: log.jsonl, TensorBoard and picture sheets.

values ──► OUT/log.jsonl          one JSON object a line; `relive report` reads it
       └─► OUT/tensorboard/       the same numbers, where tensorboard is installed
rows   ──► OUT/pictures/update-00001234.png
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from relive.errors import MissingExtraError
from relive.train.pictures import PictureRow, draw_sheet

__all__ = ["LOSSES", "Monitor", "PictureRow"]

LOSSES = (
    "reconstruction",
    "spatial",
    "temporal",
    "state",
    "commitment",
    "multiview",
    "photometric",
    "consistency",
    "rate",
)
_TAGS = {
    "loss": "loss/total",
    "psnr_keyframe_db": "psnr/keyframe_db",
    "psnr_delta_db": "psnr/delta_db",
    "bits_per_cube": "rate/bits_per_cube",
    "learning_rate": "optimizer/learning_rate",
    "skipped": "optimizer/skipped_updates",
    "updates_per_s": "speed/updates_per_s",
    "loader_wait_share": "speed/loader_wait_share",
    "mask_ratio": "mask/ratio",
} | {name: f"loss/{name}" for name in LOSSES}
_NOT_FIGURES = {"update", "minutes"}
_log = logging.getLogger(__name__)


class Monitor:
    """Writes down how a run goes.

    Lines of the log, by their keys (any may be missing or null):
        training: `update minutes phase loss psnr_keyframe_db psnr_delta_db bits_per_cube`, one key
            for each of `LOSSES`, `weights` {loss: weight}, `learning_rate`, `skipped` (updates
            left out since the line before), `updates_per_s loader_wait_share mask_ratio`
        validation: `update minutes valid` {"depth 3": PSNR in dB of every step of a GOP, …}
        rate-distortion: `update minutes split rd` [{depth, bits_per_pixel, psnr_db}, …]
        events: `update event detail`; resumed, non-finite, checkpoint, phase
            or finished

    Args:
        out: Folder of the run; made if missing.
        tensorboard: Write to TensorBoard too. Without the package that is noted once, and left.
    """

    def __init__(self, out: Path, tensorboard: bool = True) -> None:
        self.out = out
        self._tensorboard = tensorboard
        self._writer: Any = None
        self._purge_step: int | None = None
        self._draws = True
        out.mkdir(parents=True, exist_ok=True)
        self._end_last_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def log(self) -> Path:
        """The file of the lines."""
        return self.out / "log.jsonl"

    def line(self, values: Mapping[str, object]) -> None:
        """Append one line to the log, and its numbers to TensorBoard at step `update`.

        Args:
            values: Numbers, text, None, or lists and tables of them; a number that is not finite
                becomes null.
        """
        with self.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(_plain(values), allow_nan=False, ensure_ascii=False) + "\n")
        update = values.get("update")
        if not isinstance(update, int) or not self._open_writer():
            return
        for tag, value in scalars(values):
            self._writer.add_scalar(tag, value, update)
        if "event" in values:
            text = f"{values['event']}: {values.get('detail', '')}"
            self._writer.add_text("events", text, update)

    def pictures(self, update: int, rows: Sequence[PictureRow]) -> None:
        """Write a sheet of pictures, one row a session, and show it in TensorBoard.

        Without Pillow (it comes with matplotlib) that is noted once, and left.
        """
        if not rows or not self._draws:
            return
        try:
            sheet = draw_sheet(rows, f"update {update:,}")
        except MissingExtraError as error:
            _log.warning("no pictures: %s", error)
            self._draws = False
            return
        path = self.out / "pictures" / f"update-{update:08d}.png"
        path.parent.mkdir(exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        try:
            sheet.save(part, format="png", optimize=True)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        if self._open_writer():
            self._writer.add_image("pictures", np.asarray(sheet), update, dataformats="HWC")

    def truncate_after(self, update: int) -> None:
        """Forget what was seen after an update, for a run that goes on from its checkpoint.

        Lines and pictures of later updates go; TensorBoard is told to drop its own.
        """
        if self.log.exists():
            kept = list(_until(self.log.read_text(encoding="utf-8", errors="replace"), update))
            part = self.log.with_name(f".{self.log.name}.part")
            with part.open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in kept)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.log)
        for picture in (self.out / "pictures").glob("update-*.png"):
            number = picture.stem.removeprefix("update-")
            if number.isdecimal() and int(number) > update:
                picture.unlink()
        self.close()
        self._purge_step = update + 1

    def close(self) -> None:
        """Write out what TensorBoard still holds back. The log itself is always whole."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _end_last_line(self) -> None:
        """End a line that a killed run left half, so that the next is not lost with it."""
        if not self.log.exists() or not self.log.stat().st_size:
            return
        with self.log.open("rb+") as log:
            log.seek(-1, os.SEEK_END)
            if log.read(1) != b"\n":
                log.write(b"\n")

    def _open_writer(self) -> bool:
        """Open TensorBoard at the first need: importing it takes seconds."""
        if self._writer is not None or not self._tensorboard:
            return self._writer is not None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            _log.warning("%s", MissingExtraError("tensorboard", "train"))
            self._tensorboard = False
            return False
        folder = str(self.out / "tensorboard")
        self._writer = SummaryWriter(folder, purge_step=self._purge_step)
        return True


def scalars(values: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    """Yield the finite numbers of a log line, each under its tag of TensorBoard."""
    split = str(values.get("split", "valid")).replace(" ", "_")
    for key, value in values.items():
        if key == "weights" and isinstance(value, Mapping):
            found = [(f"weight/{name}", weight) for name, weight in value.items()]
        elif key == "valid" and isinstance(value, Mapping):
            found = [pair for name, curve in value.items() for pair in _of_curve(name, curve)]
        elif key == "rd" and isinstance(value, Sequence):
            found = [pair for point in value for pair in _of_point(split, point)]
        elif key not in _NOT_FIGURES:
            found = [(_TAGS.get(key, f"other/{key}"), value)]
        else:
            continue
        for tag, number in found:
            if isinstance(number, int | float) and math.isfinite(number):
                yield tag, float(number)


def _of_curve(name: str, curve: Sequence[float]) -> Iterator[tuple[str, float]]:
    """Yield mean, keyframe, first delta and last step of a GOP."""
    tag = f"valid/{name.replace(' ', '_')}"
    if curve:
        yield f"{tag}/mean_db", sum(curve) / len(curve)
    for step in sorted({1, 2, len(curve)}):
        if step <= len(curve):
            yield f"{tag}/step_{step:02d}_db", curve[step - 1]


def _of_point(split: str, point: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for key in ("bits_per_pixel", "psnr_db"):
        yield f"rd_{split}/depth_{point['depth']}/{key}", point[key]


def _until(text: str, update: int) -> Iterator[str]:
    """Yield the lines of a log up to an update; one that names none belongs to the one before."""
    last = 0
    for line in text.splitlines():
        try:
            last = int(json.loads(line).get("update", last))
        except (ValueError, TypeError, AttributeError):
            continue  # half a line of a killed run
        if last <= update:
            yield line


def _plain(value: object) -> object:
    """Turn a value into what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)
