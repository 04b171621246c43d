"""Search by picture: the keyframes whose codes are most like those of a picture.

```
 picture ──encoder, as a keyframe without state──► latent ──describe──► vector ──► distances
```
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relive.catalog import Catalog
from relive.catalog.descriptor import WHOLE, coverage, describe
from relive.catalog.tables import descriptor_table
from relive.errors import InputError
from relive.search.hits import Hits

if TYPE_CHECKING:
    from relive.codec import Bundle

Part = tuple[int, int, int, int]
MIN_PX, MAX_PX = 16, 4096
KINDS = (
    "png", "mjpeg", "jpeg2000", "jpegxl", "webp", "bmp", "tiff", "gif", "ppm", "pgm", "targa", "qoi"
)  # fmt: skip
"""What ffmpeg calls pictures; it also draws texts as pictures."""


@dataclass(frozen=True)
class Description:
    """A picture as one model describes it.

    Attributes:
        vector: float32 `[cells * D]`, its descriptor.
        cells: bool `[cells]`, the cells of the grid that count.
    """

    vector: NDArray[np.float32]
    cells: NDArray[np.bool_]


@dataclass(frozen=True)
class Like:
    """A picture to look for.

    Attributes:
        picture: uint8 `[H, W, 3]`.
        bundle: the model; replays of models that it has grown from are compared with it, too.
        part: x, y, w, h in pixels: what of the picture counts; None for all of it.
    """

    picture: NDArray[np.uint8]
    bundle: Bundle
    part: Part | None = None
    _known: dict[str, Description | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, picture: NDArray[np.uint8], bundle: Bundle, part: Part | None = None) -> Like:
        """Look for a picture uint8 `[H, W, 3]`; with a part, only that part of it counts.

        Raises:
            InputError: The picture or the part is too small or too large, or it is not in it.
        """
        height, width = picture.shape[:2]
        if not (min(height, width) >= MIN_PX and max(height, width) <= MAX_PX):
            raise InputError(
                f"a picture of {width}x{height} cannot be searched for; sides of "
                f"{MIN_PX} to {MAX_PX} pixels can"
            )
        x, y, w, h = part or (0, 0, width, height)
        if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
            raise InputError(f"{x},{y},{w},{h} does not lie in a picture of {width}x{height}")
        if min(w, h) < MIN_PX:
            raise InputError(f"{x},{y},{w},{h} is too small; parts from {MIN_PX}x{MIN_PX} up can")
        return cls(picture, bundle, part)

    def described(self, model_id: str) -> Description | None:
        """Describe the picture with the model of some id, once.

        Returns:
            None where that is neither the model nor one that it has grown from.
        """
        if model_id not in self._known:
            from relive.codec.growing import bundle_for  # brings torch

            bundle = bundle_for(model_id, self.bundle)
            self._known[model_id] = None if bundle is None else self._describe(bundle)
        return self._known[model_id]

    def _describe(self, bundle: Bundle) -> Description:
        from relive.codec.step import Geometry  # brings torch
        from relive.search.coding import code_keyframe

        part = WHOLE
        if self.part is not None:
            x, y, w, h = self.part
            high, wide = Geometry(self.picture.shape[1], self.picture.shape[0]).padded
            part = (x / wide, y / high, (x + w) / wide, (y + h) / high)
        covered = coverage(part)
        sent = code_keyframe(self.picture, bundle)[None]
        return Description(describe(sent, part)[0], covered >= covered.max() / 2)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture file.

    Raises:
        InputError: It is missing, or no picture.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such picture")
    import av

    try:
        with av.open(str(path)) as file:
            kind = file.streams.video[0].codec_context.name
            if kind in KINDS:
                return np.asarray(next(file.decode(video=0)).to_ndarray(format="rgb24"), np.uint8)
    except (av.FFmpegError, IndexError, StopIteration, ValueError) as error:
        raise InputError(f"{path} is not a picture that can be read") from error
    raise InputError(
        f"{path} is not a picture but {kind}; give a PNG, JPEG, WebP, BMP, TIFF or GIF"
    )


def alike(catalog: Catalog, like: Like) -> Hits:
    """Rank all keyframes by their distance from a picture.

    Raises:
        InputError: No replay was described by the model of the picture.
    """
    tables = _tables(catalog, like)
    if not tables:
        raise InputError(
            f"no replay that is searched has codes of model {like.bundle.model_id}; "
            "add them with --model, and search with the same"
        )
    return Hits.join([_distances(catalog, *described) for described in tables.items()])


def passed_over(catalog: Catalog, like: Like) -> int:
    """Count the replays with frames that a search by picture cannot see."""
    ((count,),) = catalog.rows(
        "SELECT count(*) FROM files WHERE NOT missing AND frames > 0 "
        "AND (descriptors IS NULL OR NOT list_contains(?, descriptors))",
        [list(_tables(catalog, like))],
    )
    return int(count)


def _tables(catalog: Catalog, like: Like) -> dict[str, Description]:
    """Tables whose models are known, and the picture as each of them describes it."""
    tables = catalog.tables("descriptors")
    described = {
        table: like.described(table.removeprefix(descriptor_table(""))) for table in tables
    }
    return {table: found for table, found in described.items() if found is not None}


def _distances(catalog: Catalog, table: str, wanted: Description) -> Hits:
    """Rank the keyframes of one model."""
    size = len(wanted.vector)
    kept = np.flatnonzero(wanted.cells.repeat(size // len(wanted.cells)))
    vector, target = "vector", wanted.vector[kept]
    if len(kept) < size:
        vector = f"[{', '.join(f'vector[{n + 1}]' for n in kept)}]::FLOAT[{len(kept)}]"
    distance = f"array_distance({vector}, ?::FLOAT[{len(kept)}])"
    sql = (
        f"SELECT d.file, d.frame, coalesce((g.start_ns - f.start_ns) / 1e9, 0) AS time_s, "  # noqa: S608  names of ours
        "d.frame + coalesce(g.num_frames - 1, 0) AS last, "
        "coalesce((g.end_ns - f.start_ns) / 1e9, 0) AS end_s, "
        f"{distance} AS cost FROM {table} d JOIN files f ON f.file = d.file AND NOT f.missing "
        "LEFT JOIN gops g ON g.file = d.file AND g.first_frame = d.frame"
    )
    found = catalog.run(sql, [target.tolist()]).fetchnumpy()
    names = ("file", "frame", "time_s", "cost", "last", "end_s")
    return Hits.join([Hits(*(found[name] for name in names))])
