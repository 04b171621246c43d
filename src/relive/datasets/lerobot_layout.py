"""The layout of LeRobot datasets, v3.0, which `lerobot` 0.4 to 0.6 reads.

```
 meta/info.json                               rate, features and their names
 meta/tasks.parquet                           what is to be done, in words
 meta/stats.json                              of every feature, over all episodes
 meta/episodes/chunk-000/file-000.parquet     a row an episode: where its rows and pictures lie
 data/chunk-000/file-000.parquet              a row a frame, many episodes a file
 videos/KEY/chunk-000/file-000.mp4            the same for pictures
```

Source: `lerobot/datasets/utils.py`, `dataset_metadata.py` and `dataset_writer.py` of lerobot 0.6.1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from relive.errors import MissingExtraError

VERSION = "v3.0"
FILES_A_CHUNK = 1000
DATA_FILE_MB, VIDEO_FILE_MB = 100, 200
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
EPISODES = f"meta/episodes/{FILE}.parquet"
DATA, VIDEO = f"data/{FILE}.parquet", f"videos/{{video_key}}/{FILE}.mp4"

FRAME, STATE, ACTION = "observation.image", "observation.state", "action"
NEXT_REWARD, NEXT_DONE, NEXT_TRUNCATED = "next.reward", "next.done", "next.truncated"
BOOKS = {  # what every dataset has beside its own features
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
SCHEMA_KEY = "relive.schema"  # under `info` of the pictures, where other programs keep their own


def load_pyarrow() -> Any:
    """The module `pyarrow`.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "data") from error
    import pyarrow

    return pyarrow


def feature(dtype: str, names: Sequence[str] | None = None) -> dict[str, Any]:
    """How info.json describes a number, or a row of named numbers."""
    shape = [1 if names is None else len(names)]
    return {"dtype": dtype, "shape": shape, "names": None if names is None else list(names)}


def video_feature(
    size: tuple[int, int], fps: float, pixels: str, schema: Mapping[str, Any]
) -> dict[str, Any]:
    """How info.json describes pictures in a video.

    Args:
        size: height and width.
        fps: frames a second.
        pixels: FFmpeg's name of the pixel format.
        schema: fields of the states, as `StateSchema.to_dict` writes them.
    """
    height, width = size
    info = {
        "video.height": height,
        "video.width": width,
        "video.codec": "h264",
        "video.pix_fmt": pixels,
        "video.fps": fps,
        "video.channels": 3,
        "has_audio": False,
        "is_depth_map": False,
        SCHEMA_KEY: dict(schema),
    }
    shape, names = [height, width, 3], ["height", "width", "channels"]
    return {"dtype": "video", "shape": shape, "names": names, "info": info}


def info_of(features: Mapping[str, Any], fps: float, counts: tuple[int, int, int]) -> str:
    """info.json; counts of episodes, frames and tasks."""
    episodes, frames, tasks = counts
    values = {
        "codebase_version": VERSION,
        "robot_type": None,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": FILES_A_CHUNK,
        "data_files_size_in_mb": DATA_FILE_MB,
        "video_files_size_in_mb": VIDEO_FILE_MB,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": DATA,
        "video_path": VIDEO,
        "features": dict(features),
    }
    return json.dumps(values, indent=4, ensure_ascii=False)


def tasks_table(tasks: Sequence[str]) -> Any:
    """tasks.parquet: the words are the index of a pandas frame, which its metadata say."""
    pa = load_pyarrow()
    column: dict[str, Any] = {
        "name": "task_index",
        "field_name": "task_index",
        "pandas_type": "int64",
        "numpy_type": "int64",
        "metadata": None,
    }
    words = {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object"}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [column, {**words, "metadata": None}],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.3.3",
    }
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": list(tasks)})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
