"""Episodes of frames ◄──► episodes of steps at a fixed rate.

Relive has one row a frame, with the action that *led* to it; the layouts of others have one row a
step, with the action that was *taken* in it. An episode of N + 1 frames is N steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relive.codec import Replay
from relive.datasets.episodes import ENDED, EPISODE, REWARD, action_names, episode_spans
from relive.errors import DamagedError, InputError
from relive.session import Recorder

NS = 1_000_000_000
_JITTER = 0.1  # of an interval, at the rate of the replay itself
_WHOLE = 5e-4  # a rate so near to a whole number is that: 34.9999 is 35, 29.97 is no 30


@dataclass(frozen=True)
class Columns:
    """Which columns of the states are what.

    Attributes:
        states, actions: columns, in the order of the fields.
        reward, ended: columns; None where there is none.
    """

    states: tuple[int, ...]
    actions: tuple[int, ...]
    reward: int | None
    ended: int | None

    @classmethod
    def of(cls, replay: Replay, actions: Sequence[str]) -> Columns:
        """Sort the fields of a replay.

        Raises:
            InputError: One of the actions is no field of it.
        """
        names = [field.name for field in replay.schema.fields]
        acted = tuple(names.index(name) for name in action_names(replay, actions))
        marks = (REWARD, EPISODE, ENDED)
        kept = [n for n, name in enumerate(names) if n not in acted and name not in marks]
        reward, ended = (names.index(m) if m in names else None for m in (REWARD, ENDED))
        return cls(tuple(kept), acted, reward, ended)


@dataclass(frozen=True)
class Steps:
    """N steps of an episode.

    Attributes:
        held: int64 `[N + 1]`, frames of the replay; the last is the one after the last step.
        states: float32 `[N, S]`.
        actions: float32 `[N, A]`.
        rewards: float32 `[N]`.
        terminated: whether the game ended the episode.
    """

    held: NDArray[np.int64]
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    terminated: bool

    def __len__(self) -> int:
        return len(self.rewards)


def rate_of(replay: Replay) -> Fraction:
    """The rate of a replay: the median of its intervals, whole where it nearly is."""
    fps = replay.fps
    if fps and abs(fps - round(fps)) < _WHOLE * fps:
        return Fraction(round(fps))
    return Fraction(fps).limit_denominator(1001)


def steps_of(replay: Replay, span: range, columns: Columns, rate: Fraction, exact: bool) -> Steps:
    """Read the steps of an episode, without pictures.

    Args:
        replay: an open replay.
        span: frames of the episode.
        columns: of its states.
        rate: steps a second.
        exact: every frame is a step; otherwise each step holds the last frame at or before it.

    Raises:
        InputError: The frames do not follow each other at that rate, or one is missing.
    """
    held = _each(replay, span, rate) if exact else _held(replay, span, rate)
    rows = replay.states
    rewards = np.zeros(len(held) - 1)
    if columns.reward is not None:  # those of all frames until the one of the next step
        gained = rows[span.start + 1 : span.stop, columns.reward].astype(np.float64)
        rewards = np.add.reduceat(gained, held[:-1] - span.start) * (np.diff(held) > 0)
    return Steps(
        held,
        rows[held[:-1]][:, columns.states],
        rows[held[:-1] + 1][:, columns.actions],
        rewards.astype(np.float32),
        bool(columns.ended is not None and rows[span.stop - 1, columns.ended]),
    )


def _each(replay: Replay, span: range, rate: Fraction) -> NDArray[np.int64]:
    frames = np.arange(span.start, span.stop, dtype=np.int64)
    advice = f"name a rate at which frames are held, such as {max(1, round(rate))}: --fps (fps=…)"
    gone = frames[:-1][~replay.present[frames[:-1]]]
    if gone.size:
        raise InputError(f"{replay.path}: frame {gone[0]} is missing; {advice}")
    intervals = np.diff(replay.times_ns[frames])
    usual = float(NS / rate)
    odd = np.flatnonzero(np.abs(intervals - usual) > _JITTER * usual)
    if odd.size:
        raise InputError(
            f"{replay.path}: frame {frames[odd[0] + 1]} comes {intervals[odd[0]] / 1e6:.1f} ms "
            f"after the one before, the others every {usual / 1e6:.1f} ms; {advice}"
        )
    return frames


def _held(replay: Replay, span: range, rate: Fraction) -> NDArray[np.int64]:
    there = np.arange(span.start, span.stop - 1)[replay.present[span.start : span.stop - 1]]
    if not there.size:
        raise InputError(f"{replay.path}: frames {span.start} to {span.stop - 2} are missing")
    times = replay.times_ns
    length_ns = int(times[span.stop - 1] - times[span.start])
    ticks = max(1, round(length_ns * rate / NS))
    moments = times[span.start] + np.array([round(n * NS / rate) for n in range(ticks)])
    late_ns = 1000  # times are often cut to a nanosecond or a microsecond
    at = np.searchsorted(times[there], moments + late_ns, side="right") - 1
    return np.append(there[np.maximum(at, 0)], span.stop - 1).astype(np.int64)


def refuse_damage(replay: Replay) -> None:
    """Refuse a replay that is damaged, as far as that is known: before decoding and after.

    Raises:
        DamagedError: It is.
    """
    if replay.damaged:
        raise DamagedError(
            f"{replay.path} is damaged; nothing was written. Take what is whole: "
            "relive export … -o CUT.relive --start S --end S"
        )


def spans_of(replay: Replay) -> list[range]:
    """Frames of every episode.

    Raises:
        InputError: There is none of two frames, frames were generated, or a state is not known,
            which no other layout can say.
        DamagedError: The replay is damaged.
    """
    refuse_damage(replay)
    spans = episode_spans(replay)
    if not spans:
        raise InputError(f"{replay.path}: no episode of two frames")
    refuse_unsaid(replay)
    return spans


def refuse_unsaid(replay: Replay) -> None:
    """Refuse a replay of which another layout could not say what is true of single frames.

    Raises:
        InputError: Frames were generated, or a state is not known.
    """
    made = np.flatnonzero(replay.generated)
    if made.size:
        raise InputError(
            f"{replay.path}: frame {made[0]} was generated, and the dataset could not say so; "
            "take the replay before restore or interpolate"
        )
    unknown = np.flatnonzero(~replay.stated) if replay.schema.width else made
    if unknown.size:
        raise InputError(
            f"{replay.path}: the state of frame {unknown[0]} is not known, and the dataset could "
            "not say so; take a part: relive export … -o CUT.relive --start S --end S"
        )


@dataclass(frozen=True)
class Part:
    """Some columns of an episode of N rows.

    Attributes:
        values: `[N, W]`.
        after: whether a row tells of the time after its frame; it then belongs to the next one.
    """

    values: NDArray[Any]
    after: bool = False


def led_rows(parts: Sequence[Part], episode: int, ended: bool) -> NDArray[np.float32]:
    """Put columns side by side so that every row holds what led to its frame.

    Args:
        parts: of one episode.
        episode: its number.
        ended: whether the game ended it.

    Returns:
        float32 `[N, W + 2]`, or `[N + 1, W + 2]` where a part tells of the time after the last
        frame: the last row then is that of a frame that is not there, and other parts stand still
        in it. The last columns are `episode` and `ended`.
    """
    count = len(parts[0].values) + any(part.after for part in parts)
    columns = []
    for part in parts:
        rows = np.zeros((count, part.values.shape[1]), np.float64)
        at = slice(1, None) if part.after else slice(len(part.values))
        rows[at] = part.values
        if not part.after:
            rows[len(part.values) :] = part.values[-1:]
        columns.append(rows)
    marks = np.zeros((count, 2))
    marks[:, 0], marks[-1, 1] = episode, ended
    with np.errstate(over="ignore"):  # the recorder refuses what is no float32
        return np.concatenate([*columns, marks], axis=1).astype(np.float32)


def add_rows(
    recorder: Recorder,
    pictures: Iterable[NDArray[np.uint8] | None],
    rows: NDArray[np.float32],
    fps: Fraction,
    where: str,
) -> None:
    """Record an episode; a row without a picture becomes a missing frame.

    Raises:
        InputError: The recorder refuses a frame; the line begins with `where`.
    """
    for picture, row in zip_longest(pictures, rows):
        try:
            recorder.add(picture, row, round(recorder.num_frames * NS / fps))
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
