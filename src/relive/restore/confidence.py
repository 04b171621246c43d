"""Maps of confidence beside the output: one `.npz`, or a folder of grey PNG."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from relive.codec.output import ffmpeg
from relive.errors import InputError

FULL = 255  # as good as recorded


class ConfidenceFile:
    """Takes the maps of the frames that were generated, and renames when whole.

    An `.npz` has an array for every such frame, named by its number in the output: `000012`, uint8
    `[H, W]`, 255 where the pixel was recorded and 0 where nothing is known. A folder has
    `000012.png` of the same values.

    Args:
        path: `.npz` or a folder; None to write nothing.
        work: folder for what is not whole yet.
    """

    def __init__(self, path: Path | None, work: Path) -> None:
        self._path = path
        self._part = work / ("confidence.npz" if path and path.suffix else "confidence")
        self._zip: zipfile.ZipFile | None = None

    def __enter__(self) -> Self:
        if self._path and self._path.suffix:
            self._zip = zipfile.ZipFile(self._part, "w", zipfile.ZIP_DEFLATED)
        elif self._path:
            self._part.mkdir()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._zip is not None:
            self._zip.close()

    def add(self, index: int, confidence: NDArray[np.float32]) -> None:
        """Write the map of a frame, 0..1 `[H, W]`."""
        values = (confidence * FULL).round().clip(0, FULL).astype(np.uint8)
        if self._zip is not None:
            with self._zip.open(f"{index:06d}.npy", "w") as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
        elif self._path:
            _write_png(self._part / f"{index:06d}.png", values)

    def finish(self) -> None:
        """Put the whole file or folder in its place."""
        if self._path is None:
            return
        if self._zip is not None:
            self._zip.close()
        elif self._path.exists():
            refuse_foreign(self._path)
            shutil.rmtree(self._path)
        self._part.replace(self._path)


def _write_png(path: Path, values: NDArray[np.uint8]) -> None:
    with ffmpeg() as av, av.open(str(path), "w", format="image2") as file:
        stream = file.add_stream("png", rate=1)
        stream.height, stream.width = values.shape
        stream.pix_fmt = "gray"
        file.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="gray")))
        file.mux(stream.encode(None))


def refuse_foreign(folder: Path) -> None:
    """Refuse to write in place of a folder that holds something else than pictures.

    Raises:
        InputError: It does.
    """
    foreign = next((file for file in folder.iterdir() if file.suffix != ".png"), None)
    if foreign is not None:
        raise InputError(f"{folder} holds {foreign.name}, which is no picture; name another folder")
