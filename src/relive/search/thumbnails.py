"""A small picture of every range that was found: the one place where a search decodes pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relive.errors import DamagedError, InputError, ReliveError
from relive.search.find import Found

if TYPE_CHECKING:
    from relive.codec import Bundle

Note = Callable[[str], None]


def check_folder(folder: Path) -> None:
    """Refuse a folder that thumbnails cannot go into.

    Raises:
        InputError: It holds anything already, is no folder, or has no name.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not an empty folder; name another one for thumbnails")
    if folder.name in ("", ".."):
        raise InputError(f"{folder}: give the folder for thumbnails a name")


def write_thumbnails(
    found: list[Found], folder: Path, bundle: Bundle, note: Note | None = None
) -> list[Path | None]:
    """Write a PNG of the best frame of every range, decoded from the first tier alone.

    Args:
        found: ranges.
        folder: to write into, once all are made; made where it is not there.
        bundle: model of the replays, or one that has grown out of it.
        note: told of every range whose picture cannot be had.

    Returns:
        One path a range; None where its replay is missing, damaged there, or of another model.

    Raises:
        InputError: The folder holds anything already.
        ReliveError: They cannot be written.
    """
    from relive.codec.output import beside  # brings torch

    check_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    names: list[str | None] = []
    with beside(folder, [], force=True, remove=Path.rmdir) as part:
        part.mkdir()
        for number, one in enumerate(found, 1):
            try:
                picture = _picture(one, bundle)
            except (ReliveError, OSError) as error:
                names.append(None)
                if note:
                    note(f"no thumbnail of {one.path} at {one.best_s:.2f} s: {error}")
                continue
            names.append(f"{number:03d}-{one.path.stem}-{one.best_s:.2f}s.png")
            _write_png(picture, part / str(names[-1]))
    return [None if name is None else folder / name for name in names]


def _picture(one: Found, bundle: Bundle) -> NDArray[np.uint8]:
    from relive.codec.growing import open_replay

    with open_replay(one.path, bundle, tiers=1) as replay:
        picture = replay.frame(one.best_frame)
        if not replay.present[one.best_frame] and replay.damaged:
            raise DamagedError(f"frame {one.best_frame} is damaged")
    return picture


def _write_png(picture: NDArray[np.uint8], path: Path) -> None:
    from relive.codec.output import ffmpeg

    with ffmpeg() as av, av.open(str(path), "w", format="image2") as file:
        stream = file.add_stream("png", rate=1)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "rgb24"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
