"""A Gymnasium wrapper that records what the environment shows while it is played."""

from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from numpy.typing import NDArray

from relive.errors import InputError
from relive.session.recorder import Recorder
from relive.session.schema import Kind, StateField, StateSchema

MAX_WIDTH = 64
NO_CHOICE = -1.0
DEFAULT_FPS = 30.0
COUNTERS = (
    StateField("reward"),
    StateField("return", role="score"),
    StateField("episode", kind="counter"),
    StateField("episode_step", kind="counter"),
    StateField("ended", kind="category"),
)

Environment = gymnasium.Env[Any, Any]


class RecordSession(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Streams a session to disk: one frame for every ``reset`` and every ``step``.

    Without a schema the state is the observation and the action that led to it, where these are
    numbers or rows of at most 64, followed by ``reward``, ``return`` (rewards of the episode so
    far), ``episode``, ``episode_step`` and ``ended`` (1 in the last frame of an episode). With a
    schema each field is looked up by its name among those, then in ``info``.

    ``action`` is a choice of a ``Discrete`` space, ``action.0``, … are those of the other spaces.
    Nothing led to the first frame of an episode: choices are -1 there, switches and amounts 0.

    Args:
        env: An environment made with ``render_mode="rgb_array"``.
        path: The recording to write.
        fps: Frames a second of the recorded clock; None for what the environment declares.
        schema: The fields of the state; None for the ones above.
        game: What is recorded; None for the id of the environment.
        force: Overwrite an existing file.

    Raises:
        InputError: The environment gives no pictures, or the file exists.
    """

    def __init__(
        self,
        env: Environment,
        path: Path | str,
        *,
        fps: float | None = None,
        schema: StateSchema | None = None,
        game: str | None = None,
        force: bool = False,
    ) -> None:
        super().__init__(env)
        if env.render_mode != "rgb_array":
            raise InputError(
                f"the environment has render_mode {env.render_mode!r}; "
                'make it with render_mode="rgb_array"'
            )
        self.fps = float(env.metadata.get("render_fps") or DEFAULT_FPS) if fps is None else fps
        if not 0 < self.fps <= 1e6:
            raise InputError(f"fps {self.fps} is not over 0")
        self._observed = _observation_names(env)
        names = tuple(StateField(name) for name in self._observed)
        self._acted = _action_fields(env.action_space)
        self._schema = StateSchema((*names, *self._acted, *COUNTERS)) if schema is None else schema
        spec_id = env.spec.id if env.spec else ""
        name = f"gym:{spec_id}" if game is None else game
        self.recorder = Recorder(path, self._schema, game=name, force=force)
        self._episode = -1
        self._episode_step = 0
        self._return = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode and record its first frame."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._episode += 1
        self._episode_step = 0
        self._return = 0.0
        self._record(observation, None, 0.0, False, info)
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Play a step and record the frame after it."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._episode_step += 1
        self._return += float(reward)
        self._record(observation, action, float(reward), terminated or truncated, info)
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """Finalise the recording and close the environment."""
        try:
            self.recorder.close()
        finally:
            super().close()

    def _record(
        self, observation: Any, action: Any, reward: float, ended: bool, info: dict[str, Any]
    ) -> None:
        values: dict[str, Any] = {
            "reward": reward,
            "return": self._return,
            "episode": self._episode,
            "episode_step": self._episode_step,
            "ended": ended,
        }
        if self._observed:
            values.update(zip(self._observed, np.ravel(observation), strict=True))
        values |= self._action_values(action)
        time_ns = round(self.recorder.num_frames * 1e9 / self.fps)
        state = np.array([self._value(field.name, values, info) for field in self._schema.fields])
        self.recorder.add(self._picture(), state, time_ns)

    def _action_values(self, action: Any) -> dict[str, float]:
        """Numbers of an action; of None, where nothing led to the frame."""
        names = [field.name for field in self._acted]
        if action is None:
            return dict.fromkeys(names, NO_CHOICE if _has_choices(self.env.action_space) else 0.0)
        return dict(zip(names, np.ravel(action), strict=True)) if names else {}

    def _value(self, name: str, values: dict[str, Any], info: dict[str, Any]) -> float:
        found = values.get(name, info.get(name))
        if found is None:
            raise InputError(
                f"frame {self.recorder.num_frames}: there is no {name!r} in the observation "
                "or in info"
            )
        try:
            return float(found)
        except (TypeError, ValueError):
            raise InputError(
                f"frame {self.recorder.num_frames}: {name!r} is not a number"
            ) from None

    def _picture(self) -> NDArray[np.uint8]:
        picture: Any = self.env.render()
        if not isinstance(picture, np.ndarray):
            raise InputError(
                f"frame {self.recorder.num_frames}: render() gave a {type(picture).__name__}, "
                "not a picture"
            )
        return picture


def _observation_names(env: Environment) -> list[str]:
    """Name the numbers of an observation that is one short row; [] for any other."""
    space = env.observation_space
    if not isinstance(space, gymnasium.spaces.Box) or not _is_short_row(space):
        return []
    return [f"observation.{number}" for number in range(space.shape[0])]


def _action_fields(space: gymnasium.Space[Any]) -> tuple[StateField, ...]:
    """Fields of an action that is a number or a short row of them; () for any other."""
    if isinstance(space, gymnasium.spaces.Discrete):
        return (StateField("action", kind="category"),)
    rows = gymnasium.spaces.MultiDiscrete, gymnasium.spaces.MultiBinary, gymnasium.spaces.Box
    if not isinstance(space, rows) or not _is_short_row(space):
        return ()
    kind: Kind = "linear" if isinstance(space, gymnasium.spaces.Box) else "category"
    return tuple(StateField(f"action.{number}", kind=kind) for number in range(space.shape[0]))


def _has_choices(space: gymnasium.Space[Any]) -> bool:
    return isinstance(space, gymnasium.spaces.Discrete | gymnasium.spaces.MultiDiscrete)


def _is_short_row(space: Any) -> bool:
    return len(space.shape) == 1 and 0 < space.shape[0] <= MAX_WIDTH
