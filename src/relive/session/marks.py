"""What is special about single frames: marks that travel with a session as events.

A mark is an event at the time of its frame. Events are kept by every step from recording to replay
and back, and a reader that does not know a name shows it as any other event.
"""

import json
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

GENERATED = "relive.generated"  # made by restore or interpolate, in whole or in part
UNSTATED = "relive.unstated"  # the state is not known; the last one that was stands in its place
MARKS = (GENERATED, UNSTATED)


class Timed(Protocol):
    """An event of a session or of a replay."""

    @property
    def time_ns(self) -> int:
        """When."""

    @property
    def name(self) -> str:
        """What."""


def generated_payload(by: str, share: float, confidence: float) -> str:
    """Write the payload of `GENERATED`.

    Args:
        by: the verb that made it.
        share: of the pixels of the frame that were made, over 0 to 1.
        confidence: mean over these pixels, 0 to 1.
    """
    return json.dumps({"by": by, "share": round(share, 4), "confidence": round(confidence, 4)})


def marked_frames(
    name: str, times_ns: NDArray[np.int64], events: Iterable[Timed]
) -> NDArray[np.bool_]:
    """Find the frames with a mark: bool `[T]`."""
    marked = [event.time_ns for event in events if event.name == name]
    return np.asarray(np.isin(times_ns, np.array(marked, np.int64)), np.bool_)
