"""Any Gymnasium environment that shows pictures, played by chance."""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from relive.errors import InputError, MissingExtraError

try:
    import gymnasium
    from gymnasium.error import DependencyNotInstalled
except ModuleNotFoundError:
    raise MissingExtraError("gymnasium", "games") from None

from relive.session.sources.play import Play
from relive.session.wrapper import Environment, RecordSession

Progress = Callable[[int, int], None]

LONGEST_HOLD = 8
"""Steps for which the sticky player holds an action, at most."""


def record_gym(
    env_id: str,
    out: Path,
    *,
    seconds: float,
    seed: int,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Record an environment that is played with random actions. Same seed, same session.

    Args:
        env_id: Its registered name, such as ``CartPole-v1``.
        out: The recording to write; readable at any moment, finalised on Ctrl-C.
        seconds: Length in seconds of game time.
        seed: Of the environment and of the actions.
        force: Overwrite an existing file.
        progress: Called with the frames done and their total.

    Returns:
        Number of frames recorded.

    Raises:
        InputError: There is no such environment, it shows no pictures, or the file exists.
    """
    return play_gym(env_id, out, Play(seed, seconds), force=force, progress=progress)


def play_gym(
    env_id: str, out: Path, play: Play, *, force: bool = False, progress: Progress | None = None
) -> int:
    """Record an environment as `play` says: its length, warm-up, player and options.

    The player ``random`` draws every action anew; ``sticky`` holds each for 1 to 8 steps, so that
    it gets somewhere. ``play.actions`` are those that it draws from; ``play.options`` go to the
    environment when it is made.

    Returns:
        Number of frames recorded.

    Raises:
        InputError: There is no such environment, it shows no pictures, or the file exists.
    """
    # A package that registers environments when it is imported may warn about itself.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = _make(env_id, play.options)
        try:
            hand = _Hand(env, play)
            recorded = RecordSession(_WarmUp(env, hand), out, force=force, game=f"gym:{env_id}")
            hand.warmup = play.num_warmup(recorded.fps)
        except BaseException:
            env.close()
            raise
        try:
            return _play(recorded, hand, play, progress)
        finally:
            recorded.close()
            if not recorded.recorder.num_frames:
                out.unlink(missing_ok=True)


class _Hand:
    """Draws the actions: anew at every step, or held for 1 to 8 steps."""

    def __init__(self, env: Environment, play: Play) -> None:
        self.warmup = 0
        self._space = env.action_space
        self._space.seed(play.seed)
        self._rng = np.random.default_rng(play.seed)
        self._sticky = play.player == "sticky"
        self._actions = play.actions
        for action in play.actions:
            if not self._space.contains(np.int64(action)):
                raise InputError(f"action {action} is not one of {self._space}")
        self._left = 0
        self._action: Any = None

    def act(self) -> Any:
        """Return the next action."""
        if self._left == 0:
            self._action = self._draw()
            self._left = int(self._rng.integers(1, LONGEST_HOLD + 1)) if self._sticky else 1
        self._left -= 1
        return self._action

    def _draw(self) -> Any:
        if not self._actions:
            return self._space.sample()
        return self._actions[int(self._rng.integers(len(self._actions)))]


class _WarmUp(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Plays some steps inside the first reset, where no wrapper outside sees them."""

    def __init__(self, env: Environment, hand: _Hand) -> None:
        super().__init__(env)
        self._hand = hand

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        seen = self.env.reset(seed=seed, options=options)
        while self._hand.warmup > 0:
            self._hand.warmup -= 1
            observation, _, terminated, truncated, info = self.env.step(self._hand.act())
            seen = self.env.reset() if terminated or truncated else (observation, info)
        return seen


def _make(env_id: str, options: Mapping[str, Any]) -> Environment:
    try:
        with _own_modules(":" in env_id):
            env: Environment = gymnasium.make(env_id, render_mode="rgb_array", **options)
    except DependencyNotInstalled as error:
        raise InputError(f"{env_id} needs a package that is not there: {_line(error)}") from None
    except (gymnasium.error.Error, ModuleNotFoundError, ValueError, TypeError) as error:
        raise InputError(f"cannot make the environment {env_id!r}: {_line(error)}") from None
    return env


@contextmanager
def _own_modules(wanted: bool) -> Iterator[None]:
    """Find modules of the working folder, too, after all others: `relive` is not run by `-m`."""
    here = str(Path.cwd())
    if not wanted or here in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _play(env: RecordSession, hand: _Hand, play: Play, progress: Progress | None) -> int:
    total = play.num_frames(env.fps)
    env.reset(seed=play.seed)
    while env.recorder.num_frames < total:
        _, _, terminated, truncated, _ = env.step(hand.act())
        if (terminated or truncated) and env.recorder.num_frames < total:
            env.reset()
        if progress is not None:
            progress(min(env.recorder.num_frames, total), total)
    return env.recorder.num_frames


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
