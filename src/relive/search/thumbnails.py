"""A small picture of every range that was found: the one place where a search decodes pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relive.errors import DamagedError, InputError
from relive.search.find import Found

if TYPE_CHECKING:
    from relive.codec import Bundle


def write_thumbnails(found: list[Found], folder: Path, bundle: Bundle) -> list[Path]:
    """Write a PNG of the best frame of every range, decoded from the first tier alone.

    Args:
        found: ranges.
        folder: to write into; made where it is not there.
        bundle: model of the replays.

    Returns:
        One path a range.

    Raises:
        InputError: The folder holds anything already.
    """
    from relive.codec.growing import open_replay  # brings torch

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not an empty folder; name another one for thumbnails")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, one in enumerate(found, 1):
        with open_replay(one.path, bundle, tiers=1) as replay:
            picture = replay.frame(one.best_frame)
            if not replay.present[one.best_frame] and replay.damaged:
                raise DamagedError(f"{one.path}: frame {one.best_frame} is damaged")
        paths.append(folder / f"{number:03d}-{one.path.stem}-{one.best_s:.2f}s.png")
        _write_png(picture, paths[-1])
    return paths


def _write_png(picture: NDArray[np.uint8], path: Path) -> None:
    from relive.codec.output import ffmpeg

    with ffmpeg() as av, av.open(str(path), "w", format="image2") as file:
        stream = file.add_stream("png", rate=1)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "rgb24"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
