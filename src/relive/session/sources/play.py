"""How one session of a game is played: what the sources and the batches have in common."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relive.errors import InputError


@dataclass(frozen=True)
class Play:
    """What to play, apart from the game.

    Attributes:
        seed: Of the game and of its player; same seed, same session.
        seconds: Length of the session in seconds of game time; None where `frames` says it.
        frames: Length of the session in frames; None where `seconds` says it.
        warmup_s: Seconds to play before the recording begins.
        warmup_frames: Frames to play before the recording begins, beside `warmup_s`.
        player: Who plays, one of the game's players; None for its usual one.
        actions: Of a Gymnasium environment with numbered actions: those to draw from, with more
            weight on those that are there twice; none for all alike.
        options: Keyword arguments of a Gymnasium environment.
        keep_actions: Whether the state also tells what the player did to get there; of Gymnasium
            environments it always does.
    """

    seed: int
    seconds: float | None = None
    frames: int | None = None
    warmup_s: float = 0.0
    warmup_frames: int = 0
    player: str | None = None
    actions: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    keep_actions: bool = False

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.frames is None):
            raise InputError("the length of a session is given in seconds or in frames, one of it")
        length = self.frames if self.seconds is None else self.seconds
        if length is None or not 0 < length < math.inf:
            raise InputError(f"{length} seconds is not a length over 0")
        if not (0 <= self.warmup_s < math.inf and self.warmup_frames >= 0):
            raise InputError(f"a warm-up of {self.warmup_s} s is not from 0 up")

    def num_frames(self, fps: float) -> int:
        """Return the length in frames of a game of `fps` frames a second, at least 1."""
        return max(1, round((self.seconds or 0) * fps)) if self.frames is None else self.frames

    def num_warmup(self, fps: float) -> int:
        """Return the frames to play before the recording begins."""
        return self.warmup_frames + round(self.warmup_s * fps)
