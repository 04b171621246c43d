"""Any Gymnasium environment that shows pictures, played at random."""

import warnings
from collections.abc import Callable
from pathlib import Path

from relive.errors import InputError, MissingExtraError

try:
    import gymnasium
    from gymnasium.error import DependencyNotInstalled
except ModuleNotFoundError:
    raise MissingExtraError("gymnasium", "games") from None

from relive.session.wrapper import Environment, RecordSession

Progress = Callable[[int, int], None]


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
    if not 0 < seconds < float("inf"):
        raise InputError(f"{seconds} seconds is not a length over 0")
    # A package that registers environments when it is imported may warn about itself.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = _make(env_id)
        try:
            recorded = RecordSession(env, out, force=force, game=f"gym:{env_id}")
        except BaseException:
            env.close()
            raise
        try:
            return _play(recorded, max(1, round(seconds * recorded.fps)), seed, progress)
        finally:
            recorded.close()
            if not recorded.recorder.num_frames:
                out.unlink(missing_ok=True)


def _make(env_id: str) -> Environment:
    try:
        env: Environment = gymnasium.make(env_id, render_mode="rgb_array")
    except DependencyNotInstalled as error:
        raise InputError(f"{env_id} needs a package that is not there: {_line(error)}") from None
    except (gymnasium.error.Error, ModuleNotFoundError, ValueError, TypeError) as error:
        raise InputError(f"cannot make the environment {env_id!r}: {_line(error)}") from None
    return env


def _play(env: RecordSession, total: int, seed: int, progress: Progress | None) -> int:
    env.action_space.seed(seed)
    env.reset(seed=seed)
    while env.recorder.num_frames < total:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if (terminated or truncated) and env.recorder.num_frames < total:
            env.reset()
        if progress is not None:
            progress(min(env.recorder.num_frames, total), total)
    return env.recorder.num_frames


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
