"""The session that a replay was made from: exact frames and regions beside the decoded ones."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from relive.codec import Replay
from relive.errors import InputError
from relive.session import Session


class Original:
    """A session that fits its replay frame by frame."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self.labelled = session.num_frames > 0 and session.regions(0, 1) is not None
        self.present = session.present

    @classmethod
    def open(cls, path: Path, replay: Replay) -> Self:
        """Open the session and check that it is the one.

        Raises:
            InputError: It has other frames, another size or other times.
        """
        session = Session.open(path)
        same = (session.num_frames, session.width, session.height)
        if same != (replay.num_frames, replay.width, replay.height):
            session.close()
            raise InputError(
                f"{path}: {same[0]} frames of {same[1]}x{same[2]}, but {replay.path} has "
                f"{replay.num_frames} of {replay.width}x{replay.height}: not its original"
            )
        whole = replay.present
        if not np.array_equal(session.times_ns[whole], replay.times_ns[whole]):
            session.close()
            raise InputError(f"{path}: its times are not those of {replay.path}: not its original")
        return cls(session)

    @property
    def regions_schema(self) -> list[dict[str, Any]]:
        """Regions that were declared, as plain values."""
        schema = self._session.region_schema
        return [] if schema is None else list(schema.to_dict()["regions"])

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Exact frame; a missing one repeats its neighbour."""
        with self._lock:
            picture: NDArray[np.uint8] = self._session.frames(index, index + 1)[0]
            return picture

    def regions(self, index: int) -> NDArray[np.uint8]:
        """Region map of a frame, zeros where it has none."""
        with self._lock:
            maps = self._session.regions(index, index + 1)
        if maps is None:
            raise InputError("the original has no regions")
        labels: NDArray[np.uint8] = maps[0]
        return labels
