"""A session or a replay, opened alike: what it has, what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relive.codec import Replay
from relive.cubes.states import between
from relive.errors import InputError
from relive.restore.gaps import SessionGaps
from relive.restore.sources import Mask
from relive.session import Event, RegionSchema, Session, StateSchema
from relive.session.marks import GENERATED

REPLAY_SUFFIX = ".relive"


@dataclass(frozen=True)
class Opened:
    """A recording, or a replay, and what is known of it.

    Attributes:
        recording: where frames come from.
        lost: frames that are missing or damaged, bool `[T]`.
        states: with guesses where they are not known, or a GOP took them along, float32 `[T, S]`.
        stated: bool `[T]`; False where a state is such a guess.
    """

    recording: Session | Replay
    lost: NDArray[np.bool_]
    states: NDArray[np.float32]
    stated: NDArray[np.bool_]

    @property
    def path(self) -> Path:
        """The file."""
        return self.recording.path

    @property
    def game(self) -> str:
        """What was recorded."""
        return (
            self.recording.game
            if isinstance(self.recording, Session)
            else self.recording.header.game
        )

    @property
    def region_schema(self) -> RegionSchema | None:
        """The meaning of the region maps."""
        if isinstance(self.recording, Session):
            return self.recording.region_schema
        regions = self.recording.header.region_schema
        return None if regions is None else RegionSchema.from_dict(regions)

    def events(self) -> list[Event]:
        """What happened, by time."""
        return [Event(e.time_ns, e.name, e.payload) for e in self.recording.events]

    def generated(self, index: int) -> Event | None:
        """The mark of a frame that an earlier run generated."""
        return self._generated.get(int(self.recording.times_ns[index]))

    @cached_property
    def _generated(self) -> dict[int, Event]:
        return {event.time_ns: event for event in self.events() if event.name == GENERATED}

    def regions(self, index: int) -> NDArray[np.uint8] | None:
        """The region map of a frame that is there; a replay has none."""
        if self.lost[index] or not isinstance(self.recording, Session):
            return None
        maps = self.recording.regions(index, index + 1)
        return None if maps is None else maps[0]

    def gaps(self, hidden: dict[int, Mask]) -> SessionGaps:
        """Surround what is lost, and what is hidden."""
        return SessionGaps(self.recording, self.lost, hidden, self.states, self.stated)


@contextmanager
def open_recording(path: Path, model: Path | None = None) -> Iterator[Opened]:
    """Open a session (every frame is read and checked) or a replay.

    Raises:
        InputError: There is no such file, it is empty, or all of its frames are missing.
        FormatError: It is something else.
    """
    if path.suffix.lower() != REPLAY_SUFFIX:
        with Session.open(path, verify=True) as session:
            states = fill_states(session.schema, session.times_ns, session.states, session.stated)
            yield Opened(session, ~session.present, states, session.stated)
        return
    with Replay.open(path, model) as replay:
        stated = replay.stated.copy()
        for number, span in enumerate(replay.spans):
            stated[span.start : span.stop] &= replay.condition(number) not in ("damaged", "lost")
        for _ in replay.iter_frames():  # what does not decode is found by decoding
            pass
        if not replay.present.any():
            raise InputError(f"{path}: all frames are missing; there is nothing to restore from")
        states = fill_states(replay.schema, replay.times_ns, replay.states, stated)
        yield Opened(replay, ~replay.present, states, stated)


def fill_states(
    schema: StateSchema,
    times_ns: NDArray[np.int64],
    states: NDArray[np.float32],
    stated: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Guess states that are lost from those before and after; at an end the nearest one stands.

    Args:
        schema: of the states.
        times_ns: `[T]`.
        states: `[T, S]`.
        stated: where they are known, bool `[T]`.
    """
    there, filled = np.flatnonzero(stated), states.copy()
    if not len(there):
        return filled
    for index in np.flatnonzero(~stated):
        filled[index] = state_at(schema, times_ns[there], states[there], int(times_ns[index]))
    return filled


def state_at(
    schema: StateSchema, times_ns: NDArray[np.int64], states: NDArray[np.float32], time_ns: int
) -> NDArray[np.float32]:
    """Guess the state at a moment, `[S]`: straight on, angles the short way, choices stay."""
    after = int(np.searchsorted(times_ns, time_ns))
    first, last = max(0, after - 1), min(after, len(times_ns) - 1)
    span = int(times_ns[last] - times_ns[first])
    share = (time_ns - int(times_ns[first])) / span if span else 0.0
    shares = np.array([min(1.0, max(0.0, share))])
    if shares[0] == 1.0:
        return np.asarray(states[last])
    return np.asarray(between(schema, states[first], states[last], shares)[0])
