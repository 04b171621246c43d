"""The files of a LeRobot dataset, written episode by episode; one picture is in memory at a time.

```
 steps, pictures ──► data/…/file-000.parquet, videos/…/file-000.mp4   (both begin anew together)
      └─ where, stats ──► meta/episodes, meta/stats.json, meta/info.json, meta/tasks.parquet
```
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.codec import Replay
from relive.codec.output import ffmpeg
from relive.datasets import lerobot_layout as layout
from relive.datasets.episodes import action_names
from relive.datasets.lerobot_stats import PictureStats, Stats, merged, plain, stats_of
from relive.datasets.rows import Columns, Steps

# LeRobot looks pictures up by their time in single precision, to a ten-thousandth of a second.
_MAX_VIDEO_S = 900
_KEYFRAME_INTERVAL = 10


@dataclass(frozen=True)
class Kind:
    """What all replays of a dataset share.

    Attributes:
        size: height and width.
        states, actions: their names.
        rate: rows a second.
        schema: of the replay, as plain values.
    """

    size: tuple[int, int]
    states: tuple[str, ...]
    actions: tuple[str, ...]
    rate: Fraction
    schema: dict[str, Any]

    @classmethod
    def of(cls, replay: Replay, actions: Sequence[str] | None, rate: Fraction) -> Kind:
        """Read it from a replay; `actions` as in `action_names`."""
        fields = replay.schema.fields
        acted = action_names(replay, actions)
        states = tuple(fields[n].name for n in Columns.of(replay, acted).states)
        size = (replay.height, replay.width)
        return cls(size, states, acted, rate, replay.schema.to_dict())

    @property
    def fps(self) -> float:
        """Rows a second, a whole number where it is one."""
        return self.rate.numerator if self.rate.denominator == 1 else float(self.rate)


class DatasetWriter:
    """Writes a dataset into a new folder.

    Args:
        folder: to make.
        kind: of the replays.
        crf: of the videos; 0 without loss.
    """

    def __init__(self, folder: Path, kind: Kind, crf: int) -> None:
        self.folder, self.kind, self.num_rows = folder, kind, 0
        self._crf = crf
        self._pa = layout.load_pyarrow()
        self._tasks: list[str] = []
        self._episodes: list[dict[str, Any]] = []
        self._stats: dict[str, list[Stats]] = {}
        self._file = -1  # of data and video
        self._video: _Video | None = None
        self._data: Any = None
        (folder / "meta").mkdir(parents=True)

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Close what is open when something goes wrong."""
        try:
            yield
        except BaseException:
            self._close()
            raise

    def add(
        self,
        steps: Steps,
        pictures: Iterable[NDArray[np.uint8]],
        task: str,
        done: Callable[[], None],
    ) -> None:
        """Write an episode.

        Args:
            steps: its rows.
            pictures: one for each.
            task: what is to be done, in words.
            done: told after every picture.
        """
        if self._video is None or self._video.is_full(len(steps)):
            self._begin_file()
        video = self._video
        assert video is not None  # noqa: S101  just begun
        first, seen = video.num_frames, PictureStats(len(steps))
        start_row = self.num_rows
        for number, picture in enumerate(pictures):
            video.add(picture)
            seen.look(number, picture)
            self.num_rows += 1
            done()
        columns = self._columns(steps, start_row, self._task(task))
        if self._data is None:
            path = self._place(layout.DATA)
            self._data = self._pa.parquet.ParquetWriter(path, self._table(columns).schema)
        self._data.write_table(self._table(columns))
        stats = [(key, stats_of(rows)) for key, rows in columns.items()]
        stats.append((layout.FRAME, seen.stats()))
        for key, found in stats:
            self._stats.setdefault(key, []).append(found)
        span = (Fraction(first) / self.kind.rate, Fraction(video.num_frames) / self.kind.rate)
        self._episodes.append(self._episode_row((start_row, self.num_rows), span, task, stats))

    def finish(self) -> int:
        """Write what is about the whole dataset; the number of rows."""
        self._close()
        pq = self._pa.parquet
        pq.write_table(layout.tasks_table(self._tasks), self.folder / layout.TASKS)
        path = self.folder / layout.EPISODES.format(chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        pq.write_table(self._pa.Table.from_pylist(self._episodes), path)
        stats = plain((key, merged(parts)) for key, parts in self._stats.items())
        (self.folder / layout.STATS).write_text(json.dumps(stats, indent=4), encoding="utf-8")
        counts = (len(self._episodes), self.num_rows, len(self._tasks))
        info = layout.info_of(self._features(), self.kind.fps, counts)
        (self.folder / layout.INFO).write_text(info, encoding="utf-8")
        return self.num_rows

    def _columns(self, steps: Steps, start_row: int, task: int) -> dict[str, NDArray[Any]]:
        """Rows of every feature but the pictures, `[n, W]`."""
        count = len(steps)
        last = np.arange(count) == count - 1
        number = np.arange(count, dtype=np.int64)
        columns: dict[str, NDArray[Any]] = {}
        if self.kind.states:
            columns[layout.STATE] = steps.states
        if self.kind.actions:
            columns[layout.ACTION] = steps.actions
        single = {
            layout.NEXT_REWARD: steps.rewards,
            layout.NEXT_DONE: last,
            layout.NEXT_TRUNCATED: last & (not steps.terminated),
            "timestamp": (number / float(self.kind.rate)).astype(np.float32),
            "frame_index": number,
            "episode_index": np.full(count, len(self._episodes), np.int64),
            "index": start_row + number,
            "task_index": np.full(count, task, np.int64),
        }
        return columns | {key: rows[:, None] for key, rows in single.items()}

    def _table(self, columns: dict[str, NDArray[Any]]) -> Any:
        arrays = {}
        for key, rows in columns.items():
            flat = self._pa.array(np.ascontiguousarray(rows).reshape(-1))
            width = rows.shape[1]
            arrays[key] = (
                flat if width == 1 else self._pa.FixedSizeListArray.from_arrays(flat, width)
            )
        return self._pa.table(arrays)

    def _episode_row(
        self,
        rows: tuple[int, int],
        span_s: tuple[Fraction, Fraction],
        task: str,
        stats: Sequence[tuple[str, Stats]],
    ) -> dict[str, Any]:
        """What meta/episodes says of one."""
        place = dict(zip(("chunk_index", "file_index"), self._indices(), strict=True))
        row: dict[str, Any] = {
            "episode_index": len(self._episodes),
            "tasks": [task],
            "length": rows[1] - rows[0],
            "dataset_from_index": rows[0],
            "dataset_to_index": rows[1],
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        for key, number in place.items():
            row[f"data/{key}"] = row[f"videos/{layout.FRAME}/{key}"] = number
        row[f"videos/{layout.FRAME}/from_timestamp"] = float(span_s[0])
        row[f"videos/{layout.FRAME}/to_timestamp"] = float(span_s[1])
        for key, found in plain(stats).items():
            row.update({f"stats/{key}/{name}": value for name, value in found.items()})
        return row

    def _features(self) -> dict[str, Any]:
        kind = self.kind
        pixels = _pixels(self._crf)
        features = {layout.FRAME: layout.video_feature(kind.size, kind.fps, pixels, kind.schema)}
        if kind.states:
            features[layout.STATE] = layout.feature("float32", kind.states)
        if kind.actions:
            features[layout.ACTION] = layout.feature("float32", kind.actions)
        features[layout.NEXT_REWARD] = layout.feature("float32")
        features[layout.NEXT_DONE] = layout.feature("bool")
        features[layout.NEXT_TRUNCATED] = layout.feature("bool")
        return features | {key: layout.feature(dtype) for key, dtype in layout.BOOKS.items()}

    def _task(self, words: str) -> int:
        if words not in self._tasks:
            self._tasks.append(words)
        return self._tasks.index(words)

    def _indices(self) -> tuple[int, int]:
        return divmod(self._file, layout.FILES_A_CHUNK)

    def _place(self, pattern: str) -> Path:
        chunk, file = self._indices()
        name = pattern.format(video_key=layout.FRAME, chunk_index=chunk, file_index=file)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _begin_file(self) -> None:
        self._close()
        self._file += 1
        self._video = _Video(self._place(layout.VIDEO), self.kind, self._crf)

    def _close(self) -> None:
        if self._data is not None:
            self._data.close()
        if self._video is not None:
            self._video.close()
        self._data = self._video = None


def _pixels(crf: int) -> str:
    return "yuv444p" if crf else "gbrp"


class _Video:
    """An MP4 of the pictures of some episodes, one after the other."""

    def __init__(self, path: Path, kind: Kind, crf: int) -> None:
        self.path, self.num_frames, self._rate = path, 0, kind.rate
        with ffmpeg() as av:
            self._file = av.open(str(path), "w", format="mp4")
            codec = "libx264" if crf else "libx264rgb"
            self._stream = self._file.add_stream(codec, rate=kind.rate)
        self._stream.height, self._stream.width = kind.size
        self._stream.pix_fmt = "yuv444p" if crf else "rgb24"
        self._stream.options = {"crf": str(crf), "preset": "fast", "g": str(_KEYFRAME_INTERVAL)}
        self._stream.codec_context.time_base = 1 / kind.rate

    def is_full(self, more: int) -> bool:
        """Whether so many frames more belong into another file."""
        if not self.num_frames:
            return False
        long = self.num_frames + more > _MAX_VIDEO_S * self._rate
        written = self.path.stat().st_size if self.path.exists() else 0  # x264 may wait
        return long or written > layout.VIDEO_FILE_MB << 20

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Write a picture, uint8 `[H, W, 3]`."""
        with ffmpeg() as av:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = self.num_frames, 1 / self._rate
            self._mux(self._stream.encode(frame))
        self.num_frames += 1

    def close(self) -> None:
        """Write the end."""
        with ffmpeg():
            self._mux(self._stream.encode(None))
            self._file.close()

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            packet.duration = 1  # x264 leaves it out, and the last frame would be lost to players
            self._file.mux(packet)
