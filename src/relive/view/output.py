"""Write views: a picture that says that it was generated, or a film, with maps of confidence."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.codec.output import ffmpeg
from relive.errors import InputError, ReliveError
from relive.restore.confidence import FULL, ConfidenceFile
from relive.restore.output import SESSION_SUFFIX, Output, check_output, finish
from relive.session import Recorder, StateSchema
from relive.session.marks import GENERATED, generated_payload
from relive.view.camera import numbers_of, pose_schema
from relive.view.viewer import View
from relive.view.viewing import Opened, Progress, Seen, Wanted, open_view, views

PICTURE_SUFFIX = ".png"
_AFTER_HEADER = 33  # bytes of a PNG: signature and IHDR


@dataclass
class Tally:
    """What was written.

    Attributes:
        frames: in all.
        seen: share of the pixels of the scene that a recorded frame shows, mean of all frames.
        confidence: mean over the pixels that are seen.
        camera: x, y, z, yaw, pitch, roll of the first frame, in the units of the session.
        sources: frames that the first one was made of, the best one first.
        nearest: the frame whose pose is nearest to the first one.
    """

    frames: int = 0
    seen: float = 0.0
    confidence: float = 0.0
    camera: tuple[float, ...] = ()
    sources: tuple[int, ...] = ()
    nearest: int = 0

    def add(self, seen: Seen, schema: StateSchema) -> None:
        """Count a view."""
        view = seen.view
        if not self.frames:
            self.camera = tuple(round(n, 4) for n in numbers_of(view.plan.pose, schema))
            self.sources, self.nearest = view.plan.sources, view.plan.nearest
        self.frames += 1
        self.seen += (view.share - self.seen) / self.frames
        self.confidence += (view.mean_confidence - self.confidence) / self.frames


def view(
    source: Path | str,
    out: Path | str | Output,
    wanted: Wanted,
    *,
    fill: bool = False,
    overlay: bool = False,
    model: Path | None = None,
    progress: Progress | None = None,
) -> Tally:
    """Write what another camera would have seen.

    Args:
        source: a session or a replay.
        out: where to write, or a path alone: `.png`; for a path of cameras also `.mp4`, `.mkv`,
            `.mcap`, `.relive` or a folder.
        wanted: the camera, or the path of cameras.
        fill: paint what no frame shows, smoothly; else it shows a pattern of squares.
        overlay: put over it what is fixed to the screen in the nearest recorded frame.
        model: that the replay needs; None for the bundled one.
        progress: told frames done and frames in all.

    Returns:
        What was written.

    Raises:
        InputError: `out` exists, or there is no such camera, or nothing is known of what it sees.
    """
    path = Path(source)
    output = out if isinstance(out, Output) else Output(Path(out), by="view")
    is_picture = output.path.suffix.lower() == PICTURE_SUFFIX
    if is_picture and wanted.path is not None:
        raise InputError(f"{output.path}: a path of cameras goes into a film or a folder")
    _check(output, path, is_picture)
    with open_view(path, model) as opened:
        seen = views(opened, wanted, fill=fill, overlay=overlay, progress=progress)
        write = _write_picture if is_picture else _write_film
        try:
            with TemporaryDirectory(prefix=".relive-", dir=output.path.parent) as folder:
                return write(opened, seen, output, Path(folder))
        except OSError as error:
            raise ReliveError(f"cannot write {output.path}: {error.strerror or error}") from error


def _check(output: Output, source: Path, is_picture: bool) -> None:
    """Refuse, before any work, what could not be written."""
    if not is_picture:
        check_output(output, source)
        return
    if output.confidence == output.path:
        raise InputError(f"{output.path} cannot be the picture and its map of confidence")
    for path in filter(None, (output.path, output.confidence)):
        if path.suffix.lower() != PICTURE_SUFFIX:
            raise InputError(f"{path}: the map of confidence of a picture is a .png, too")
        if not path.parent.is_dir():
            raise InputError(f"cannot write {path}: there is no folder {path.parent}")
        if path.exists() and not output.force:
            raise InputError(f"{path} exists; add --force to overwrite it")
        if path.is_dir():
            raise InputError(f"cannot write {path}: Is a directory")


def payload_of(view: View, by: str) -> str:
    """The payload of a view's mark: all of its scene was made."""
    return generated_payload(by, float(view.scene.mean()), view.mean_confidence)


def text_of(view: View, schema: StateSchema, by: str) -> dict[str, Any]:
    """What a picture says of itself: its mark, its camera, the share that was seen."""
    camera = [round(number, 4) for number in numbers_of(view.plan.pose, schema)]
    said: dict[str, Any] = json.loads(payload_of(view, by))
    return said | {"camera": camera, "seen": round(view.share, 4)}


def marked_png(view: View, schema: StateSchema, by: str) -> bytes:
    """A view as PNG that says that it was generated."""
    return png(view.pixels, text_of(view, schema, by))


def _write_picture(opened: Opened, seen: Iterable[Seen], output: Output, folder: Path) -> Tally:
    tally, schema = Tally(), opened.recording.schema
    parts: list[tuple[Path, Path]] = []
    for one in seen:
        tally.add(one, schema)
        files = [(output.path, marked_png(one.view, schema, output.by))]
        if output.confidence is not None:
            grey = (one.view.confidence * FULL).round().clip(0, FULL).astype(np.uint8)
            files.append((output.confidence, png(grey, text_of(one.view, schema, output.by))))
        for number, (path, data) in enumerate(files):
            parts.append((folder / f"{number}{PICTURE_SUFFIX}", path))
            parts[-1][0].write_bytes(data)
    for part, path in parts:
        part.replace(path)
    return tally


def png(pixels: NDArray[np.uint8], said: dict[str, Any]) -> bytes:
    """A PNG of `[H, W, 3]` or, grey, `[H, W]`; its text `relive.generated` says what made it."""
    with ffmpeg() as av:
        coder: Any = av.CodecContext.create("png", "w")
        coder.height, coder.width = pixels.shape[:2]
        coder.pix_fmt = "rgb24" if pixels.ndim == 3 else "gray"
        coder.time_base = Fraction(1)
        picture = av.VideoFrame.from_ndarray(pixels, format=coder.pix_fmt)
        data = b"".join(bytes(p) for p in [*coder.encode(picture), *coder.encode(None)])
    body = b"tEXt" + GENERATED.encode() + b"\0" + json.dumps(said).encode("ascii")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return data[:_AFTER_HEADER] + chunk + data[_AFTER_HEADER:]


def _write_film(opened: Opened, seen: Iterable[Seen], output: Output, folder: Path) -> Tally:
    recording, tally = opened.recording, Tally()
    schema = pose_schema(recording.schema)
    game = recording.game if hasattr(recording, "game") else recording.header.game
    session = folder / f"made{SESSION_SUFFIX}"
    with ConfidenceFile(output.confidence, folder) as maps:
        with Recorder(session, schema, game=game) as recorder:
            for one in seen:
                state = np.array(numbers_of(one.view.plan.pose, recording.schema), np.float32)
                recorder.add(one.view.pixels, state, one.time_ns)
                recorder.event(GENERATED, payload_of(one.view, output.by), one.time_ns)
                maps.add(tally.frames, one.view.confidence)
                tally.add(one, recording.schema)
        maps.finish()
        finish(session, output)
    return tally
