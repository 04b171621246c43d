"""Search by picture: the keyframes whose codes are most like those of a picture.

```
 picture ──encoder, as a keyframe without state──► latent ──describe──► vector ──► distances
```
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relive.catalog import Catalog
from relive.catalog.descriptor import describe, weights
from relive.catalog.tables import descriptor_table
from relive.errors import InputError
from relive.search.hits import Hits

if TYPE_CHECKING:
    from relive.codec import Bundle

Part = tuple[int, int, int, int]
MIN_PX, MAX_PX = 16, 4096


@dataclass(frozen=True)
class Like:
    """A picture to look for.

    Attributes:
        vector: float32 `[cells * D]`, its descriptor.
        cells: bool `[cells]`, the cells of the grid that count.
        model_id: of the model that described it.
    """

    vector: NDArray[np.float32]
    cells: NDArray[np.bool_]
    model_id: str

    @classmethod
    def of(cls, picture: NDArray[np.uint8], bundle: Bundle, part: Part | None = None) -> Like:
        """Describe a picture uint8 `[H, W, 3]`; with a part, only that part of it counts.

        Raises:
            InputError: The picture is too small or too large, or the part is not in it.
        """
        from relive.search.coding import code_keyframe  # brings torch

        height, width = picture.shape[:2]
        if not (min(height, width) >= MIN_PX and max(height, width) <= MAX_PX):
            raise InputError(
                f"a picture of {width}x{height} cannot be searched for; sides of "
                f"{MIN_PX} to {MAX_PX} pixels can"
            )
        x, y, w, h = part or (0, 0, width, height)
        if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
            raise InputError(f"{x},{y},{w},{h} does not lie in a picture of {width}x{height}")
        vector = describe(code_keyframe(picture, bundle)[None])[0]
        covered = weights((x, y, w, h), width, height)
        return cls(vector, covered >= covered.max() / 2, bundle.model_id)


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
            return np.asarray(next(file.decode(video=0)).to_ndarray(format="rgb24"), np.uint8)
    except (av.FFmpegError, IndexError, StopIteration, ValueError) as error:
        raise InputError(f"{path} is not a picture that can be read") from error


def alike(catalog: Catalog, like: Like) -> Hits:
    """Rank all keyframes by their distance from a picture.

    Raises:
        InputError: No replay was described by the model of the picture.
    """
    table = descriptor_table(like.model_id)
    if table not in catalog.tables("descriptors"):
        raise InputError(
            f"no replay that is searched has codes of model {like.model_id}; "
            "add them with --model, and search with the same"
        )
    size = len(like.vector)
    kept = np.flatnonzero(like.cells.repeat(size // len(like.cells)))
    vector, target = "vector", like.vector[kept]
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
