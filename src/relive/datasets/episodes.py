"""Episodes as Gymnasium counts them ◄──► replays and sessions.

An episode of N actions has N + 1 observations. A replay has one row a frame: its last frame is the
observation after the last action, so actions and rewards of a frame are those that led to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.codec import Replay
from relive.codec.output import beside
from relive.errors import InputError
from relive.session import Recorder, StateField, StateSchema

EPISODE, ENDED, REWARD = "episode", "ended", "reward"
_ACTION = re.compile(r"action(\d+|[.\[].*)?")


@dataclass(frozen=True)
class Episode:
    """One episode of N actions.

    Attributes:
        frames: uint8 `[N + 1, H, W, 3]`, or None where pixels are not wanted.
        states: float32 `[N + 1, S]`, without the actions.
        actions: float32 `[N, A]`.
        rewards: float32 `[N]`; 0 where the replay has none.
        terminated: whether the game ended it; otherwise it was cut.
        times_ns: int64 `[N + 1]`.
        seed: of the episode, where it is known.
    """

    frames: NDArray[np.uint8] | None
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    terminated: bool
    times_ns: NDArray[np.int64]
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def terminations(self) -> NDArray[np.bool_]:
        """True after the last action of an episode that the game ended, bool `[N]`."""
        return np.asarray((np.arange(len(self)) == len(self) - 1) & self.terminated)

    @property
    def truncations(self) -> NDArray[np.bool_]:
        """True after the last action of an episode that was cut, bool `[N]`."""
        return np.asarray((np.arange(len(self)) == len(self) - 1) & (not self.terminated))


def action_names(replay: Replay, actions: Sequence[str] | None = None) -> tuple[str, ...]:
    """Fields of a replay that are actions.

    Args:
        replay: an open replay.
        actions: names; None for those that say so, as `RecordSession` and importers write them:
            `action`, `action0`, `action.…`, `action[…]`.

    Raises:
        InputError: The replay has no such field.
    """
    names = [field.name for field in replay.schema.fields]
    if actions is None:
        return tuple(name for name in names if _ACTION.fullmatch(name))
    for name in actions:
        if name not in names:
            raise InputError(f"{replay.path}: its states have no field {name!r}")
    return tuple(actions)


def episodes(
    replay: Replay, actions: Sequence[str] | None = None, pixels: bool = True
) -> Iterator[Episode]:
    """Cut a replay into episodes, one in memory at a time.

    An episode ends where the field `episode` changes, or after a frame whose `ended` is not 0;
    a replay without these fields is one episode. Episodes of one frame are left out.

    Args:
        replay: an open replay.
        actions: names of state fields that are actions, and no states then; None as in
            `action_names`.
        pixels: decode the pictures, too.

    Raises:
        InputError: The replay has no such field.
    """
    names = [field.name for field in replay.schema.fields]
    acted = [names.index(name) for name in action_names(replay, actions)]
    kept = [n for n in range(len(names)) if n not in acted]
    for span in episode_spans(replay):
        rows = replay.states[span.start : span.stop]
        rewards = rows[1:, names.index(REWARD)] if REWARD in names else np.zeros(len(span) - 1)
        yield Episode(
            replay.frames(span.start, span.stop) if pixels else None,
            rows[:, kept],
            rows[1:, acted],
            rewards.astype(np.float32),
            bool(ENDED in names and rows[-1, names.index(ENDED)]),
            replay.times_ns[span.start : span.stop],
        )


def episode_spans(replay: Replay) -> list[range]:
    """Frames of every episode of two or more frames."""
    names = [field.name for field in replay.schema.fields]
    ends = np.zeros(replay.num_frames, np.bool_)
    if EPISODE in names:
        ends[:-1] |= np.diff(replay.states[:, names.index(EPISODE)]) != 0
    if ENDED in names:
        ends |= replay.states[:, names.index(ENDED)] != 0
    bounds = [0, *(np.flatnonzero(ends) + 1).tolist(), replay.num_frames]
    spans = [range(low, high) for low, high in pairwise(bounds)]
    return [span for span in spans if len(span) > 1]


def write_session(
    episodes_: Iterator[Episode] | Sequence[Episode],
    out: Path | str,
    *,
    names: Sequence[str] = (),
    action_names: Sequence[str] = (),
    game: str = "",
    fps: float = 30.0,
    force: bool = False,
) -> int:
    """Write episodes with pictures as a session, to be encoded; the inverse of `episodes`.

    Args:
        episodes_: with frames of one size.
        out: `.mcap` to write.
        names: of the states; None of them for `state0`, `state1`, …
        action_names: of the actions; none for `action0`, …
        game: what was played.
        fps: frames a second, where the episodes follow each other without times of their own.
        force: overwrite `out`.

    Returns:
        Number of frames written.

    Raises:
        InputError: There are no episodes or no pictures, or names do not fit.
    """
    recorder: Recorder | None = None
    with beside(Path(out), [], force) as part, ExitStack() as stack:
        for number, episode in enumerate(episodes_):
            if episode.frames is None:
                raise InputError(f"episode {number} has no pictures; a session needs them")
            if recorder is None:
                schema = StateSchema(_fields(episode, names, action_names))
                recorder = stack.enter_context(Recorder(part, schema, game=game, force=True))
            for n, state in enumerate(_rows(episode, number)):
                recorder.add(episode.frames[n], state, round(recorder.num_frames * 1e9 / fps))
        if recorder is None:
            raise InputError(f"{out}: there is no episode to write")
    return recorder.num_frames


def _rows(episode: Episode, number: int) -> NDArray[np.float32]:
    """States, actions, rewards, and what marks the episode, `[N + 1, S + A + 3]`."""
    count = len(episode) + 1
    led = np.zeros((count, episode.actions.shape[1] + 1), np.float32)
    led[1:, :-1], led[1:, -1] = episode.actions, episode.rewards
    marks = np.zeros((count, 2), np.float32)
    marks[:, 0], marks[-1, 1] = number, episode.terminated
    return np.concatenate([episode.states, led, marks], axis=1).astype(np.float32)


def _fields(
    episode: Episode, names: Sequence[str], action_names: Sequence[str]
) -> tuple[StateField, ...]:
    width, acts = episode.states.shape[1], episode.actions.shape[1]
    names = names or [f"state{n}" for n in range(width)]
    action_names = action_names or [f"action{n}" for n in range(acts)]
    if (len(names), len(action_names)) != (width, acts):
        raise InputError(
            f"{len(names)} names of states and {len(action_names)} of actions do not fit "
            f"{width} states and {acts} actions"
        )
    marks: list[Any] = [
        StateField(REWARD),
        StateField(EPISODE, kind="counter"),
        StateField(ENDED, kind="category"),
    ]
    return (*map(StateField, names), *map(StateField, action_names), *marks)
