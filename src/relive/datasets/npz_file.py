"""One NPZ file of an episode, its pictures read one at a time; nothing is unpickled."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from relive.errors import InputError
from relive.session import StateSchema
from relive.session.sources.region_maps import BROKEN_NPZ

FPS, SCHEMA = "fps", "schema"
MAX_WIDTH = 256
_MAX_TEXT_BYTES = 1 << 22


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


class NpzEpisode:
    """An open NPZ file.

    Attributes:
        path: of the file.
        pictures_key: name of its pictures.
        num_frames: T of the pictures.
        size: height and width.

    Raises:
        InputError: It is no NPZ file, holds Python objects, no pictures, or several and `frame` is
            None.
    """

    def __init__(self, path: Path, frame: str | None = None) -> None:
        self.path = path
        with ExitStack() as stack:
            try:
                self._zip = stack.enter_context(zipfile.ZipFile(path))
                names = [n for n in self._zip.namelist() if n.endswith(".npy")]
                self._headers = {name.removesuffix(".npy"): self._header(name) for name in names}
            except FileNotFoundError:
                raise InputError(f"cannot read {path}: no such file") from None
            except BROKEN_NPZ as error:
                reason = " ".join(str(error).split())
                raise InputError(f"{path} is not an NPZ file: {reason}") from None
            self.pictures_key = self._find_pictures(frame)
            shape = self._headers[self.pictures_key].shape
            self.num_frames, self.size = shape[0], shape[1:3]
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    @property
    def fps(self) -> float | None:
        """What the file says of its rate."""
        if FPS not in self._headers or self._headers[FPS].shape:
            return None
        value = float(self._read(FPS))
        if not 0 < value <= 1e6:
            raise InputError(f"{self.path}: fps {value} is not over 0")
        return value

    @property
    def schema(self) -> StateSchema:
        """What `to_npz` said of the fields; none otherwise."""
        header = self._headers.get(SCHEMA)
        if header is None or header.shape or header.dtype.kind != "U":
            return StateSchema()
        try:
            return StateSchema.from_dict(json.loads(str(self._read(SCHEMA))))
        except (ValueError, AttributeError, InputError) as error:
            raise InputError(f"{self.path}: 'schema' is not that of states: {error}") from None

    def columns(self) -> dict[str, NDArray[Any]]:
        """Read everything else with a row a frame, or one for each frame but the first.

        Returns:
            `[T, W]` for each name, or `[T]` where the array has one number a row; an array of T − 1
            rows begins with a row of zeros. Single values and pictures are left out.

        Raises:
            InputError: An array has another length, is no number, or is too wide for a state.
        """
        found = {}
        for name, header in self._headers.items():
            if name == self.pictures_key or not header.shape:
                continue
            what = f"{self.path}: {name!r} is {header}"
            if header.dtype.kind not in "biuf":
                raise InputError(f"{what}, and a state holds numbers")
            if header.shape[0] not in (self.num_frames, self.num_frames - 1):
                raise InputError(
                    f"{what}, but there are {self.num_frames} pictures: one row a frame"
                )
            if int(np.prod(header.shape[1:], dtype=object)) > MAX_WIDTH:
                raise InputError(f"{what}: over {MAX_WIDTH} numbers a frame are no state")
            values = self._read(name)
            values = values if values.ndim == 1 else values.reshape(len(values), -1)
            late = self.num_frames - len(values)
            found[name] = np.concatenate([np.zeros_like(values, shape=(late, *values.shape[1:])),
                                          values])  # fmt: skip
        return found

    def pictures(self) -> Generator[NDArray[np.uint8]]:
        """Read the pictures, uint8 `[H, W, 3]`, one at a time.

        Raises:
            InputError: The file ends early or is damaged.
        """
        height, width = self.size
        count = height * width * 3
        with self._zip.open(f"{self.pictures_key}.npy") as file:
            _read_header(file)
            for number in range(self.num_frames):
                try:
                    data = file.read(count)
                except BROKEN_NPZ as error:
                    raise InputError(f"{self.path}, picture {number}: {error}") from None
                if len(data) != count:
                    raise InputError(f"{self.path}, picture {number}: the file ends early")
                yield np.frombuffer(data, np.uint8).reshape(height, width, 3)

    def _header(self, name: str) -> _Header:
        with self._zip.open(name) as file:
            header = _read_header(file)
        if header.dtype.hasobject:
            key = name.removesuffix(".npy")
            raise InputError(f"{self.path}: {key!r} holds Python objects, which are not unpickled")
        return header

    def _find_pictures(self, frame: str | None) -> str:
        if frame is not None and frame not in self._headers:
            raise InputError(f"{self.path}: no array {frame!r}; there are {self._list()}")
        if frame is not None and not _is_pictures(self._headers[frame]):
            raise InputError(f"{self.path}: {frame!r} is {self._headers[frame]}, not pictures: "
                             "uint8 [frames, height, width, 3] in C order")  # fmt: skip
        found = [name for name, header in self._headers.items() if _is_pictures(header)]
        if frame is None and len(found) > 1:
            raise InputError(
                f"{self.path}: several arrays are pictures; name one: --frame {found[0]} "
                f"(frame=…), out of {', '.join(found)}"
            )
        if not found:
            raise InputError(
                f"{self.path}: no array is pictures: uint8 [frames, height, width, 3] in C order; "
                f"there are {self._list()}"
            )
        return frame or found[0]

    def _list(self) -> str:
        if not self._headers:
            return "none"
        shown = [f"{name} ({header})" for name, header in list(self._headers.items())[:8]]
        return ", ".join(shown) + (", …" if len(self._headers) > len(shown) else "")

    def _read(self, name: str) -> NDArray[Any]:
        header = self._headers[name]
        if not header.shape and header.dtype.itemsize > _MAX_TEXT_BYTES:
            raise InputError(f"{self.path}: {name!r} is too large")
        try:
            with self._zip.open(f"{name}.npy") as file:
                return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
        except (*BROKEN_NPZ, MemoryError) as error:
            raise InputError(f"{self.path}: {name!r} cannot be read: {error}") from None


def _read_header(file: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(file)
    if version[0] not in (1, 2):
        raise ValueError(f"an array of version {version[0]}")
    read = (
        np.lib.format.read_array_header_1_0
        if version[0] == 1
        else np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read(file)
    return _Header(tuple(shape), dtype, fortran)


def _is_pictures(header: _Header) -> bool:
    return (
        header.dtype == np.uint8
        and len(header.shape) == 4
        and header.shape[3] == 3
        and 0 not in header.shape
        and not header.fortran
    )
