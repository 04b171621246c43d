"""Windows a second for training: stored codes against decoding video (issue 7, g).

    python tools/measure_replay_loader.py REPLAY.relive -o results/loader-replays.json

One replay, one core, no workers. The same random windows are read by `ReplayDataset` as codes with
states, from packets (nothing is kept between windows) and from its cache, and with pictures,
decoded anew and from its cache, in full and 64×64; and by PyAV from an x264 file of the same frames
(crf 23, preset medium, a keyframe every 250 frames, x264's own default; and one every 32, as in the
replay), sought to the keyframe before and decoded from there. The x264 file is made of the decoded
replay: the pictures of the session, coded once more.

`filling` is the processor time that the first window of a cache takes, for the whole replay.
`epochs_until_paid` says from which epoch on filling and reading together have taken less than
reading video in every epoch; an epoch has as many windows as lie end to end. All files are in
memory by then (the page cache): a cache that is larger than that is bound by the disk, which is
not measured here.
"""

import argparse
import math
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from relive.bench.provenance import provenance, write_json
from relive.codec import Replay
from relive.torch import ReplayDataset, dataset

SMALL = (64, 64)
VIDEO = "x264, keyframe every 32, by PyAV"


def write_x264(frames: list[np.ndarray[Any, Any]], out: Path, interval: int) -> None:
    """Encode the first frames as video, one frame a second of its clock."""
    with av.open(str(out), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(1))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "23", "preset": "medium", "g": str(interval)}
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = number
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))


class VideoWindows:
    """Windows of a video by PyAV, which is kept open; in full, or averaged by area to a size."""

    def __init__(self, path: Path, size: tuple[int, int] | None = None) -> None:
        height, width = size or (None, None)
        self._format = {"format": "rgb24", "height": height, "width": width}
        self._format |= {"interpolation": "AREA"} if size else {}
        self._file = av.open(str(path))
        self._stream = self._file.streams.video[0]
        self._stream.thread_count = 1

    def read(self, start: int, count: int) -> np.ndarray[Any, Any]:
        """Frames [start, start + count) as RGB."""
        base = self._stream.time_base
        self._file.seek(round(start / base), stream=self._stream)
        frames = []
        for frame in self._file.decode(self._stream):
            if round(frame.pts * base) >= start:
                frames.append(frame.to_ndarray(**self._format))
            if len(frames) == count:
                break
        if len(frames) != count:
            raise SystemExit(f"{len(frames)} of {count} frames at {start}")
        return np.stack(frames)


def rate(read: Any, starts: list[int], most_s: float) -> dict[str, float]:
    """Windows a second, wall clock and processor, over at most some seconds."""
    read(starts[0])
    began, worked, done = time.perf_counter(), time.process_time(), 0
    for start in starts:
        read(start)
        done += 1
        if time.perf_counter() - began > most_s:
            break
    wall, worked = time.perf_counter() - began, time.process_time() - worked
    return {
        "windows": done,
        "windows_per_s": round(done / wall, 1),
        "windows_per_cpu_s": round(done / worked, 1),
    }


def filling(replay: Path, steps: int, settings: dict[str, Any]) -> tuple[ReplayDataset, float]:
    """Read the first window of an empty cache; return the processor time beside the dataset."""
    data = ReplayDataset([replay], steps, **settings)
    data.window(0, 0)["codes"].sum()  # loads what is loaded once
    with Replay.open(replay) as warm:
        warm.frame(0)
    for path in settings["cache"].iterdir():
        path.unlink()
    data = ReplayDataset([replay], steps, **settings)
    began = time.process_time()
    data.window(0, 0)
    return data, time.process_time() - began


def bytes_in(folder: Path) -> int:
    """Count the bytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.iterdir())


def until_paid(fill_s: float, windows: float, cached: float, video: float) -> int | None:
    """First epoch after which the cache has taken less; rates in windows a second."""
    saved_s = windows / video - windows / cached
    return math.floor(fill_s / saved_s) + 1 if saved_s > 0 else None


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("replay", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=2000, help="of the replay, at most")
    parser.add_argument("--steps", type=int, default=16, help="of two frames")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each way")
    options = parser.parse_args()
    count = 2 * options.steps
    with tempfile.TemporaryDirectory() as name, Replay.open(options.replay) as replay:
        folder, frames = Path(name), min(options.frames, replay.num_frames)
        chance = np.random.default_rng(0)
        starts = (2 * chance.integers(0, (frames - count) // 2, 4000)).tolist()
        ways: dict[str, Any] = {}
        shown = list(replay.iter_frames(0, frames))
        dataset.GOPS_KEPT = 0
        for interval in (250, 32):
            path = folder / f"{interval}.mp4"
            write_x264(shown, path, interval)
            video = VideoWindows(path)
            ways[f"x264, keyframe every {interval}, by PyAV"] = {
                **rate(lambda s, v=video: v.read(s, count), starts, options.seconds),
                "bytes": path.stat().st_size,
            }
        path = folder / "32.mp4"
        video = VideoWindows(path, SMALL)
        ways[f"{VIDEO}, to 64×64"] = rate(lambda s: video.read(s, count), starts, options.seconds)
        for label, settings in (
            ("codes and states, from packets", {}),
            ("codes and states, from the cache", {"cache": folder / "codes"}),
            ("codes, states and pictures of tier 1", {"pixels": True, "tiers": 1}),
            ("codes, states and pictures", {"pixels": True}),
        ):
            data = ReplayDataset([options.replay], options.steps, **settings)
            data.window(0, 0)
            ways[label] = rate(lambda s, d=data: d.window(0, s), starts, options.seconds)
        for label, versus, settings in (
            ("codes, states and pictures of tier 1, from the cache", VIDEO, {"tiers": 1}),
            ("codes, states and pictures, from the cache", VIDEO, {}),
            (
                "codes, states and pictures 64×64, from the cache",
                f"{VIDEO}, to 64×64",
                {"size": SMALL},
            ),
        ):
            settings |= {"pixels": True, "cache": folder / label}
            data, fill_s = filling(options.replay, options.steps, settings)
            way = rate(lambda s, d=data: d.window(0, s), starts, options.seconds)
            speeds = way["windows_per_cpu_s"], ways[versus]["windows_per_cpu_s"]
            way |= {"bytes": bytes_in(folder / label), "filling_cpu_s": round(fill_s, 2)}
            way["epochs_until_paid"] = until_paid(fill_s, frames / count, *speeds)
            ways[label] = way
        cache = bytes_in(folder / "codes")
        size = [replay.width, replay.height]
    report = {
        "replay": {"frames": frames, "size": size, "bytes": options.replay.stat().st_size},
        "window_frames": count,
        "cache_bytes": cache,
        "ways": ways,
    }
    write_json(options.out, report | provenance())
    print(*(f"{label}: {way}" for label, way in ways.items()), sep="\n")


if __name__ == "__main__":
    main()
