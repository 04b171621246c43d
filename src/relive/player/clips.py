"""Clips out of the page: a part of a replay as a video file."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from relive.codec import Replay
from relive.codec.clips import write_clip
from relive.errors import DamagedError, InputError
from relive.player.catalogue import Watched

MAX_CLIP_FRAMES = 21_000  # ten minutes at 35 frames/s


class Clips:
    """Writes one clip at a time, so that watching goes on beside it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def write(self, watched: Watched, start: int, stop: int, kind: str) -> Path:
        """Write frames [start, stop) into a temporary file, which the caller removes.

        Raises:
            InputError: The range is empty, not in the replay or too long, or a clip is in work.
        """
        replay = watched.replay
        if not 0 <= start < stop <= replay.num_frames:
            raise InputError(f"frames {start} to {stop} are not in 0 to {replay.num_frames}")
        if stop - start > MAX_CLIP_FRAMES:
            raise InputError(f"a clip has at most {MAX_CLIP_FRAMES} frames; use relive export")
        if not self._lock.acquire(blocking=False):
            raise InputError("another clip is being written; try again when it is done")
        try:
            return self._write(watched, start, stop, kind)
        finally:
            self._lock.release()

    def _write(self, watched: Watched, start: int, stop: int, kind: str) -> Path:
        handle, name = tempfile.mkstemp(prefix="relive-clip-", suffix=f".{kind}")
        os.close(handle)
        out = Path(name)
        bundle = watched.replay.coder.bundle
        try:
            with Replay.open(watched.entry.path, bundle) as replay:
                write_clip(replay, out, start, stop, force=True)
        except DamagedError:
            if not out.stat().st_size:  # nothing of it could be saved
                out.unlink()
                raise
        except BaseException:
            out.unlink(missing_ok=True)
            raise
        return out
