"""What a LeRobot dataset says of itself: its rate and features, and where its episodes lie."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from relive.datasets import lerobot_layout as layout
from relive.errors import InputError

# v2.0 and v2.1: a file an episode
_OLD_DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
_OLD_VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
_OLD_EPISODES = "meta/episodes.jsonl"
_PATHS = {"v3.0": (layout.DATA, layout.VIDEO)} | dict.fromkeys(
    ("v2.1", "v2.0"), (_OLD_DATA, _OLD_VIDEO)
)


@dataclass(frozen=True)
class Info:
    """meta/info.json, as far as it is needed.

    Attributes:
        version: of the layout.
        fps: rows a second.
        features: by their keys.
        num_frames: rows in all.
        files_a_chunk: episodes a folder, in the older layouts.
    """

    version: str
    fps: Fraction
    features: dict[str, dict[str, Any]]
    num_frames: int
    files_a_chunk: int

    @property
    def cameras(self) -> list[str]:
        """Keys of pictures."""
        return [k for k, f in self.features.items() if f.get("dtype") in ("video", "image")]


@dataclass(frozen=True)
class Place:
    """Where an episode lies.

    Attributes:
        index: its number in the dataset.
        length: its rows.
        data: the file of its rows.
        video: the file of its pictures; None where they stand in the rows.
        from_s: its beginning in the video.
        task: what is to be done, in words.
    """

    index: int
    length: int
    data: Path
    video: Path | None
    from_s: Fraction
    task: str


def read_info(folder: Path) -> Info:
    """Read meta/info.json.

    Raises:
        InputError: There is none, or it is of another version or broken.
    """
    path = folder / layout.INFO
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = str(values["codebase_version"])
        if version not in _PATHS:
            raise InputError(f"{path}: version {version} is none of {', '.join(_PATHS)}")
        for key, expected in zip(("data_path", "video_path"), _PATHS[version], strict=True):
            if values.get(key) not in (None, expected):
                raise InputError(f"{path}: {key} is not that of {version}, {expected}")
        info = Info(
            version,
            Fraction(values["fps"]).limit_denominator(1001),
            {str(key): dict(value) for key, value in values["features"].items()},
            int(values["total_frames"]),
            int(values.get("chunks_size", layout.FILES_A_CHUNK)),
        )
    except OSError as error:
        raise InputError(f"{folder} is no LeRobot dataset: {error.strerror}: {path}") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} is not that of a LeRobot dataset: {what}") from None
    if not (0 < info.fps <= 10**6 and info.files_a_chunk > 0):
        raise InputError(f"{path}: fps and chunks_size have to be over 0")
    return info


def read_places(folder: Path, info: Info, key: str) -> list[Place]:
    """Read where the episodes lie, in their order.

    Args:
        folder: of the dataset.
        info: of it.
        key: of the pictures.

    Raises:
        InputError: The files that should say so are missing or broken.
    """
    in_video = info.features[key]["dtype"] == "video"
    read = _new_places if info.version == layout.VERSION else _old_places
    path = folder / ("meta/episodes" if info.version == layout.VERSION else _OLD_EPISODES)
    try:
        return list(read(folder, info, key if in_video else None))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} is not that of a LeRobot dataset: {what}") from None


def _new_places(folder: Path, info: Info, key: str | None) -> Iterator[Place]:
    pq = layout.load_pyarrow().parquet
    names = ["episode_index", "tasks", "length", "data/chunk_index", "data/file_index"]
    there = [f"videos/{key}/{n}" for n in ("chunk_index", "file_index", "from_timestamp")]
    paths = sorted((folder / "meta" / "episodes").glob("*/*.parquet"))
    if not paths:
        raise FileNotFoundError(2, "no such files")
    for path in paths:
        for row in pq.read_table(path, columns=names + (there if key else [])).to_pylist():
            data = layout.DATA.format(
                chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
            )
            video, from_s = None, Fraction(0)
            if key:
                chunk, file, start = (row[name] for name in there)
                name = layout.VIDEO.format(video_key=key, chunk_index=chunk, file_index=file)
                video, from_s = folder / name, Fraction(start)
            yield _place(row, folder / data, video, from_s)


def _old_places(folder: Path, info: Info, key: str | None) -> Iterator[Place]:
    for line in (folder / _OLD_EPISODES).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        number = int(row["episode_index"])
        words = {"episode_chunk": number // info.files_a_chunk, "episode_index": number}
        video = folder / _OLD_VIDEO.format(video_key=key, **words) if key else None
        yield _place(row, folder / _OLD_DATA.format(**words), video, Fraction(0))


def _place(row: dict[str, Any], data: Path, video: Path | None, from_s: Fraction) -> Place:
    tasks = "; ".join(str(task) for task in row["tasks"] or [])
    return Place(int(row["episode_index"]), int(row["length"]), data, video, from_s, tasks)
