"""Region maps from an NPZ file, one at a time: ``regions`` uint8 [T, H, W].

A second array ``schema``, one text with the JSON of `RegionSchema.to_dict`, may name them.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from relive.errors import InputError
from relive.session.regions import RegionSchema

MAX_SCHEMA_BYTES = 1 << 20
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, OSError)


class RegionMaps:
    """Reads the region maps of an NPZ file in order, without loading it.

    Attributes:
        shape: T, H, W.
        schema: The meaning of the maps, None if the file does not say.

    Raises:
        InputError: It is no NPZ file, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise InputError(f"cannot read {path}: no such file") from None
        except _BROKEN as error:
            raise InputError(f"{path} is not an NPZ file: {error}") from None
        try:
            self.schema = self._read_schema()
            self._file, self.shape = self._open_maps()
        except KeyError:
            self._zip.close()
            raise InputError(f"{path}: the array 'regions' is missing") from None
        except InputError:
            self._zip.close()
            raise
        except _BROKEN as error:
            self._zip.close()
            raise InputError(f"{path}: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._zip.close()

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """List the maps, uint8 [H, W].

        Raises:
            InputError: The file ends early or is damaged.
        """
        _, height, width = self.shape
        for number in range(self.shape[0]):
            try:
                data = self._file.read(height * width)
            except _BROKEN as error:
                raise InputError(f"{self.path}, map {number}: {error}") from None
            if len(data) != height * width:
                raise InputError(f"{self.path}, map {number}: the file ends early")
            yield np.frombuffer(data, np.uint8).reshape(height, width)

    def _open_maps(self) -> tuple[IO[bytes], tuple[int, int, int]]:
        file = self._zip.open("regions.npy")
        version = np.lib.format.read_magic(file)
        if version[0] not in (1, 2):
            raise InputError(f"{self.path}: the array 'regions' is of an unknown version")
        read = (
            np.lib.format.read_array_header_1_0
            if version[0] == 1
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
        if dtype != np.uint8 or len(shape) != 3 or 0 in shape or fortran:
            raise InputError(
                f"{self.path}: 'regions' is {dtype} {list(shape)}, "
                "not uint8 [frames, height, width] in C order"
            )
        return file, shape

    def _read_schema(self) -> RegionSchema | None:
        if "schema.npy" not in self._zip.namelist():
            return None
        if self._zip.getinfo("schema.npy").file_size > MAX_SCHEMA_BYTES:
            raise InputError(f"{self.path}: the array 'schema' is too large")
        with self._zip.open("schema.npy") as file:
            text = str(np.lib.format.read_array(file, allow_pickle=False))
        values = json.loads(text)
        if not isinstance(values, dict):
            raise InputError(f"{self.path}: 'schema' is not the JSON of a region schema")
        return RegionSchema.from_dict(values)
