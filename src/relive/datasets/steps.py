"""A replay as rows of training data: codes, states and events, one row a step of two frames."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.codec import Replay
from relive.codec.output import events_of
from relive.codec.stored import StoredCodes
from relive.container import ReplayEvent


@dataclass(frozen=True)
class StepData:
    """Steps of one replay.

    Attributes:
        codes: of the steps.
        times_ns: int64 `[n, 2]`, of both frames; where a step has one frame it stands twice.
        present: bool `[n, 2]`.
        stated: bool `[n, 2]`; False where a state is not known, and the last one that was stands.
        states: float32 `[n, 2, S]`.
        events: from the first step, or before the replay begins, to the step after the last, or
            behind the end of the replay; in their order.
        about: what else there is to know: game, model, size, schema, as plain values.
    """

    codes: StoredCodes
    times_ns: NDArray[np.int64]
    present: NDArray[np.bool_]
    stated: NDArray[np.bool_]
    states: NDArray[np.float32]
    events: list[ReplayEvent]
    about: dict[str, Any]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything with a row for each step, by name."""
        return {
            **vars(self.codes),
            "times_ns": self.times_ns,
            "present": self.present,
            "stated": self.stated,
            "states": self.states,
        }

    def about_json(self) -> str:
        """`about` and the events as JSON."""
        events = [[e.time_ns, e.name, e.payload] for e in self.events]
        return json.dumps({**self.about, "events": events})


def read_steps(
    replay: Replay, start: int = 0, stop: int | None = None, *, begun: bool = True
) -> StepData:
    """Read codes, states and events of the steps that show frames [start, stop).

    Args:
        replay: an open replay.
        start: first frame.
        stop: one past the last frame; None for all.
        begun: with the step that began the frame before `start`, where one did.
    """
    codes = replay.codes(start, stop)
    if not begun:
        codes = codes[codes.first_frame >= start]
    first = codes.first_frame
    pairs = np.stack([first, first + codes.num_frames - 1], axis=1)
    about = {
        "format": "relive-steps-1",
        "game": replay.header.game,
        "model_id": replay.header.model_id,
        "codebook_size": replay.header.codebook_size,
        "width": replay.width,
        "height": replay.height,
        "fps": replay.fps,
        "schema": replay.schema.to_dict(),
    }
    span = range(int(pairs[0, 0]), int(pairs[-1, 1]) + 1) if len(pairs) else range(0)
    stated = (replay.stated & replay.has_states)[pairs]
    return StepData(
        codes,
        replay.times_ns[pairs],
        replay.present[pairs],
        stated,
        replay.states[pairs],
        events_of(replay, span) if span else [],
        about,
    )
