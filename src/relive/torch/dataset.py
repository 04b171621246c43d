"""Random windows of replays as a map-style dataset of PyTorch.

```
 index, epoch, seed ──► replay, first step ──► codes (from a cache, or decoded), states, pictures
```

What an index gives depends on nothing but the seed, the epoch and the index, so any number of
workers gives the same windows in the same order; `DataLoader` needs no shuffling of its own.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from relive.codec import Bundle, Replay, load_bundle
from relive.codec.growing import open_replay
from relive.codec.stored import StoredCodes
from relive.errors import InputError
from relive.torch.cache import Cache
from relive.torch.pictures import resized

MAX_OPEN = 64
GOPS_KEPT = 256


class Window(TypedDict):
    """Steps of one replay, t of them, each of two frames.

    Attributes:
        codes: int16 `[t, h, w, K]`.
        depths: uint8 `[t, h, w]`.
        motion: uint8 `[t, h, w, 2]`.
        keyframe: bool `[t]`.
        readable: bool `[t]`.
        states: float32 `[t, 2, S]`.
        stated: bool `[t, 2]`; False where a state is not known, and the last one that was stands.
        times_s: float32 `[t, 2]`, from the first frame of the window.
        frame: int64 `[]`, the first frame.
        replay: int64 `[]`, place of the replay among `paths`.
        pixels: uint8 `[t, 2, H, W, 3]`, where asked for; H and W are `size` of the dataset.
    """

    codes: Tensor
    depths: Tensor
    motion: Tensor
    keyframe: Tensor
    readable: Tensor
    states: Tensor
    stated: Tensor
    times_s: Tensor
    frame: Tensor
    replay: Tensor
    pixels: NotRequired[Tensor]


def split_sessions(
    paths: Sequence[Path | str], held_out: float = 0.1, seed: int = 0
) -> tuple[list[Path], list[Path]]:
    """Split replays into those to train on and those held out: whole sessions, never parts.

    Args:
        paths: of replays; their order does not matter, and one that stands there twice counts once.
        held_out: share of the replays, 0 … 1; at least one where it is not 0.
        seed: another one gives another split.

    Raises:
        InputError: Nothing would be left to train on.
    """
    named = sorted(map(Path, paths), reverse=True)
    ordered = sorted({path.resolve(): path for path in named}.values())
    count = 0 if held_out == 0 else max(1, round(held_out * len(ordered)))
    if not 0 <= held_out < 1 or count >= len(ordered):
        raise InputError(f"{held_out} of {len(ordered)} replays leave none to train on")
    chosen = set(np.random.default_rng(seed).permutation(len(ordered))[:count].tolist())
    return (
        [path for n, path in enumerate(ordered) if n not in chosen],
        [path for n, path in enumerate(ordered) if n in chosen],
    )


class ReplayDataset(Dataset[Window]):
    """Random windows of replays.

    Args:
        paths: of replays, of one size and one schema.
        steps: length of a window, in steps of two frames.
        windows: how many an epoch has, from 1 up; None for as many as lie end to end.
        pixels: decode the pictures of the window, too.
        tiers: of the pictures: 1 from the codes alone, faster and coarser.
        size: height and width of the pictures, averaged by area; None for that of the replays.
        cache: folder to keep decoded codes and pictures in; a replay is decoded when its first
            window is read, by one worker, and mapped by all. None to decode again and again.
        keyframes: begin windows at keyframes alone.
        seed: of the windows.
        model: weights; None for the bundled ones. A grown model also reads replays of those that it
            has grown from.

    Attributes:
        size: height and width of the pictures.
        schema: of the states.

    Raises:
        InputError: The replays do not go together, none is long enough, or a number or `size` is
            none that there is.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        steps: int = 16,
        *,
        windows: int | None = None,
        pixels: bool = False,
        tiers: int | None = None,
        size: tuple[int, int] | None = None,
        cache: Path | str | None = None,
        keyframes: bool = False,
        seed: int = 0,
        model: Bundle | Path | str | None = None,
    ) -> None:
        if steps < 1:
            raise InputError(f"a window of {steps} steps is none")
        if windows is not None and windows < 1:
            raise InputError(f"an epoch of {windows} windows is none")
        self.paths = [Path(path) for path in paths]
        self.steps, self.pixels, self.tiers, self.seed = steps, pixels, tiers, seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # with all workers
        self._model = model if isinstance(model, Bundle) else load_bundle(model)
        self._cache = None if cache is None else Cache(Path(cache))
        self._process = os.getpid()
        self._open: OrderedDict[int, Replay] = OrderedDict()
        self._gops: OrderedDict[tuple[int, int], StoredCodes] = OrderedDict()
        self._starts = [self._windows_of(n, keyframes) for n in range(len(self.paths))]
        self._ends = np.cumsum([len(starts) for starts in self._starts])
        if not len(self._ends) or not self._ends[-1]:
            raise InputError(f"no replay of {len(self.paths)} has {steps} steps in a row")
        self.windows = windows or max(1, self._num_steps // steps)
        self.size = self._size_of_pictures(size)

    def _windows_of(self, number: int, keyframes: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
        """First frames of all windows of a replay; a GOP with an odd end has none across it."""
        replay = self._replay(number)
        shape = (replay.height, replay.width, replay.schema)
        if number == 0:
            self.schema, self._of_frames, self._num_steps = replay.schema, shape[:2], 0
        elif shape != (*self._of_frames, self.schema):
            raise InputError(f"{replay.path}: other size or state fields than {self.paths[0]}")
        firsts = [np.arange(s.start, s.stop, 2) for s in replay.spans]
        first = np.concatenate([np.zeros(0, np.int64), *firsts])
        self._num_steps += len(first)
        ends = first[self.steps - 1 :] + 2
        starts = first[: len(ends)]
        whole = (ends - starts == 2 * self.steps) & (ends <= replay.num_frames)
        if keyframes:
            whole &= np.isin(starts, [span.start for span in replay.spans])
        return np.asarray(starts[whole])

    def _size_of_pictures(self, size: tuple[int, int] | None) -> tuple[int, int]:
        if size is None:
            return self._of_frames
        if not self.pixels:
            raise InputError("size is that of the pictures; ask for them with pixels=True")
        height, width = map(int, size)
        most = self._of_frames
        if not (0 < height <= most[0] and 0 < width <= most[1]):
            raise InputError(
                f"size {height}, {width} (height, width) is not within the frames, "
                f"{most[0]}, {most[1]}"
            )
        return height, width

    @property
    def epoch(self) -> int:
        """Which windows are drawn."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw other windows from now on, in all workers; call it before an epoch begins."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return self.windows

    def __getitem__(self, index: int) -> Window:
        """Read a window."""
        if not 0 <= index < self.windows:
            raise IndexError(index)
        draw = np.random.default_rng((self.seed, self.epoch, index)).integers(self._ends[-1])
        number = int(np.searchsorted(self._ends, draw, side="right"))
        start = int(self._starts[number][draw - self._ends[number]])
        return self.window(number, start)

    def window(self, number: int, start: int) -> Window:
        """Read the window of replay `number` that begins at frame `start`.

        Raises:
            InputError: There is no such replay, or no window of the dataset begins there.
        """
        if not 0 <= number < len(self.paths):
            raise InputError(f"replay {number} is not one of 0 to {len(self.paths) - 1}")
        replay = self._replay(number)
        starts = self._starts[number]
        if start not in starts:
            raise InputError(
                f"{replay.path}: no window of {self.steps} steps begins at frame {start}; "
                f"{len(starts)} do" + (f", from {starts[0]} to {starts[-1]}" if len(starts) else "")
            )
        stop = start + 2 * self.steps
        codes = self._codes(number, start, stop)
        times = (replay.times_ns[start:stop] - replay.times_ns[start]) / 1e9
        known = (replay.stated & replay.has_states)[start:stop]
        window: Window = {
            "codes": _tensor(codes.codes),
            "depths": _tensor(codes.depths),
            "motion": _tensor(codes.motion),
            "keyframe": _tensor(codes.keyframe),
            "readable": _tensor(codes.readable),
            "states": _tensor(replay.states[start:stop].reshape(self.steps, 2, -1)),
            "stated": _tensor(known.reshape(self.steps, 2)),
            "times_s": _tensor(times.astype(np.float32).reshape(self.steps, 2)),
            "frame": torch.tensor(start),
            "replay": torch.tensor(number),
        }
        if self.pixels:
            frames = self._pictures(replay, start, stop)
            window["pixels"] = _tensor(frames.reshape(self.steps, 2, *frames.shape[1:]))
        return window

    def _pictures(self, replay: Replay, start: int, stop: int) -> np.ndarray[Any, Any]:
        if self._cache is not None:
            return self._cache.pictures(replay, self.size, start, stop)
        return resized(replay.frames(start, stop), self.size)

    def _codes(self, number: int, start: int, stop: int) -> StoredCodes:
        replay = self._replay(number)
        if self._cache is not None:
            return self._cache.codes(replay, start, stop)
        spans = [n for n, s in enumerate(replay.spans) if s.start < stop and s.stop > start]
        steps = StoredCodes.join([self._gop(number, span) for span in spans])
        return steps[(steps.first_frame >= start) & (steps.first_frame < stop)]

    def _gop(self, number: int, span: int) -> StoredCodes:
        """Codes of a GOP; the last ones that were read are kept."""
        key = (number, span)
        codes = self._gops.pop(key, None)
        if codes is None:
            replay = self._replay(number)
            frames = replay.spans[span]
            codes = replay.codes(frames.start, frames.stop)
        self._gops[key] = codes
        while len(self._gops) > GOPS_KEPT:
            self._gops.popitem(last=False)
        return codes

    def _replay(self, number: int) -> Replay:
        """An open replay; a forked worker opens its own, because files have one place."""
        if self._process != os.getpid():
            self.close()
            self._process = os.getpid()
        if number not in self._open:
            self._open[number] = open_replay(self.paths[number], self._model, self.tiers)
            while len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(number)
        return self._open[number]

    def close(self) -> None:
        """Close the replays."""
        while self._open:
            self._open.popitem()[1].close()

    def __del__(self) -> None:
        if "_open" in self.__dict__:  # the constructor may have refused its arguments
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files and what was read of them to this process; name the model's file.

        A worker that spawns loads the model itself.
        """
        model = self._model.path or self._model
        return {**self.__dict__, "_open": OrderedDict(), "_gops": OrderedDict(), "_model": model}

    def __setstate__(self, state: dict[str, Any]) -> None:
        model = state["_model"]
        bundle = model if isinstance(model, Bundle) else load_bundle(model)
        self.__dict__.update(state, _model=bundle)


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor of its own memory."""
    return torch.from_numpy(np.array(array))
