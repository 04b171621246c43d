"""Which frames were made and not recorded: marks that travel with a session as events.

A frame that `relive restore` or `relive interpolate` made, in whole or in part, has an event
`relive.generated` at its own time. Events are kept by every step from recording to replay and
back, and a reader that does not know this name shows them as any other.
"""

import json
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

GENERATED = "relive.generated"


class Timed(Protocol):
    """An event of a session or of a replay."""

    @property
    def time_ns(self) -> int:
        """When."""

    @property
    def name(self) -> str:
        """What."""


def mark(by: str, share: float, confidence: float) -> str:
    """Write the payload of a mark.

    Args:
        by: the verb that made it.
        share: of the pixels of the frame that were made, over 0 to 1.
        confidence: mean over these pixels, 0 to 1.
    """
    return json.dumps({"by": by, "share": round(share, 4), "confidence": round(confidence, 4)})


def generated_frames(times_ns: NDArray[np.int64], events: Iterable[Timed]) -> NDArray[np.bool_]:
    """Find the frames that are marked, in whole or in part: bool `[T]`."""
    marked = [event.time_ns for event in events if event.name == GENERATED]
    return np.asarray(np.isin(times_ns, np.array(marked, np.int64)), np.bool_)
