"""Region maps from an NPZ file, one at a time: ``regions`` uint8 [T, H, W].

A second array ``schema``, one text with the JSON of `RegionSchema.to_dict`, may name them.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from relive.errors import InputError
from relive.session.regions import RegionSchema

MAX_SCHEMA_BYTES = 1 << 20
BROKEN_NPZ = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, OSError)
"""What reading a damaged NPZ file raises."""


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
        with ExitStack() as stack:
            try:
                self._zip = stack.enter_context(zipfile.ZipFile(path))
                self.schema = self._read_schema()
                self._file = stack.enter_context(self._zip.open("regions.npy"))
                self.shape = self._read_header()
            except FileNotFoundError:
                raise InputError(f"cannot read {path}: no such file") from None
            except KeyError:
                raise InputError(f"{path}: the array 'regions' is missing") from None
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
            except BROKEN_NPZ as error:
                reason = " ".join(str(error).split())
                raise InputError(f"{path} is not an NPZ file: {reason}") from None
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

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """List the maps, uint8 [H, W].

        Raises:
            InputError: The file ends early or is damaged.
        """
        _, height, width = self.shape
        for number in range(self.shape[0]):
            try:
                data = self._file.read(height * width)
            except BROKEN_NPZ as error:
                raise InputError(f"{self.path}, map {number}: {error}") from None
            if len(data) != height * width:
                raise InputError(f"{self.path}, map {number}: the file ends early")
            yield np.frombuffer(data, np.uint8).reshape(height, width)

    def _read_header(self) -> tuple[int, int, int]:
        version = np.lib.format.read_magic(self._file)
        if version[0] not in (1, 2):
            raise InputError("the array 'regions' is of an unknown version")
        read = (
            np.lib.format.read_array_header_1_0
            if version[0] == 1
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(self._file)
        if dtype != np.uint8 or len(shape) != 3 or 0 in shape or fortran:
            raise InputError(
                f"'regions' is {dtype} {list(shape)}, not uint8 [frames, height, width] in C order"
            )
        return shape

    def _read_schema(self) -> RegionSchema | None:
        if "schema.npy" not in self._zip.namelist():
            return None
        if self._zip.getinfo("schema.npy").file_size > MAX_SCHEMA_BYTES:
            raise InputError("the array 'schema' is too large")
        with self._zip.open("schema.npy") as file:
            text = str(np.lib.format.read_array(file, allow_pickle=False))
        values = json.loads(text)
        if not isinstance(values, dict):
            raise InputError("'schema' is not the JSON of a region schema")
        return RegionSchema.from_dict(values)
