"""Crafter: survival in a small open world seen from above, played by a script.

```
 crafter:survival ──► crafter.Env ──► frame, state, time ──► Recorder ──► session.mcap
                        ▲    │
                 action │    ▼ what is in view (for the player only)
                     CrafterPlayer
```
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from relive.errors import InputError, MissingExtraError
from relive.session.recorder import Recorder
from relive.session.schema import StateField, StateSchema
from relive.session.sources.crafter_player import DIRECTIONS, CrafterPlayer
from relive.session.sources.play import Play

Progress = Callable[[int, int], None]

GAME = "survival"
STEPS_PER_S = 10
SIZE_PX = 288
"""Side of the picture: 9 tiles of 32 pixels, and a whole number of cubes."""
MIN_SIZE_PX, MAX_SIZE_PX = 63, 1152
_MAX_SEED = 2**31

_NEEDS = ("health", "food", "drink", "energy")
_GOODS = ("sapling", "wood", "stone", "coal", "iron", "diamond")
_TOOLS = (
    *(f"{material}_pickaxe" for material in ("wood", "stone", "iron")),
    *(f"{material}_sword" for material in ("wood", "stone", "iron")),
)

SCHEMA = StateSchema(
    (
        StateField("x", "tile", "linear", "actor.x", 1.0),
        StateField("y", "tile", "linear", "actor.y", 1.0),
        StateField("facing", "", "category", "other", 1.0),
        *(StateField(name, "", "linear", "other", 1.0) for name in _NEEDS),
        *(StateField(name, "", "counter", "other", 1.0) for name in (*_GOODS, *_TOOLS)),
        StateField("sleeping", "", "category", "mode", 1.0),
        StateField("daylight", "", "linear", "other", 1 / 256),
        StateField("achievements", "", "counter", "score", 1.0),
    )
)
"""x grows to the right, y downwards; facing is 0 left, 1 right, 2 up, 3 down."""

ACTING_SCHEMA = StateSchema((*SCHEMA.fields, StateField("action", "", "category", "other", 1.0)))
"""With what the player did to get there, by its number in Crafter; -1 where an episode begins."""
NO_ACTION = -1


class CrafterStep(NamedTuple):
    """What a session stores of one step.

    Attributes:
        frame: uint8 `[H, W, 3]`, RGB.
        state: float32 `[S]`, the fields of `SCHEMA`.
        time_ns: time since the start of the session.
        episode: number of the episode; it grows after a death.
        action: what the player did to get there, by its number; -1 where the episode begins.
    """

    frame: npt.NDArray[np.uint8]
    state: npt.NDArray[np.float32]
    time_ns: int
    episode: int
    action: int


def record_crafter(
    game: str,
    out: Path,
    play: Play,
    *,
    size_px: int = SIZE_PX,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Record Crafter, played by a script. Same seed, same session.

    Args:
        game: `survival`, the one there is.
        out: The recording to write; readable at any moment, finalised on Ctrl-C.
        play: Seed, length (10 steps a second), warm-up, and whether actions are kept.
        size_px: Side of the picture, 63 to 1152; multiples of 9 leave no border.
        force: Overwrite an existing file.
        progress: Called with the frames done and their total.

    Returns:
        Number of frames recorded.

    Raises:
        InputError: There is no such game, seed or size, or the file exists.
    """
    if game != GAME:
        raise InputError(f"crafter:{game}: no such game; there is crafter:{GAME}")
    world = CrafterGame(play.seed, size_px)
    total, warmup = play.num_frames(STEPS_PER_S), play.num_warmup(STEPS_PER_S)
    schema = ACTING_SCHEMA if play.keep_actions else SCHEMA
    with Recorder(out, schema, game=f"crafter:{GAME}", force=force) as recorder:
        episode = -1
        for step in islice(world.steps(warmup), total):
            state = np.append(step.state, step.action) if play.keep_actions else step.state
            recorder.add(step.frame, state, step.time_ns)
            if step.episode != episode:
                episode = step.episode
                recorder.event("episode", str(episode), step.time_ns)
            if progress is not None:
                progress(recorder.num_frames, total)
        return recorder.num_frames


class CrafterGame:
    """One world with its player.

    Args:
        seed: Of the world and of the player; same seed, same steps.
        size_px: Side of the picture.

    Raises:
        InputError: The seed or the size is out of range.
        MissingExtraError: Crafter is not installed.
    """

    def __init__(self, seed: int, size_px: int = SIZE_PX) -> None:
        if not 0 <= seed < _MAX_SEED:
            raise InputError(f"seed {seed} is not between 0 and {_MAX_SEED - 1}")
        if not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
            raise InputError(
                f"crafter: a picture of {size_px} pixels is not between {MIN_SIZE_PX} "
                f"and {MAX_SIZE_PX}"
            )
        self._env = _load_crafter().Env(size=(size_px, size_px), seed=seed)
        _keep_order(self._env._world)
        self._player = CrafterPlayer(seed)

    def steps(self, warmup: int = 0) -> Iterator[CrafterStep]:
        """Yield steps for ever; time goes on over the end of an episode.

        Args:
            warmup: Steps to play before the first one that is given out.
        """
        frame, episode, number, action = self._env.reset(), 0, -warmup, NO_ACTION
        while True:
            if number >= 0:
                time_ns = round(number * 1e9 / STEPS_PER_S)
                yield CrafterStep(frame, self._state(), time_ns, episode, action)
            number += 1
            name = self._player.act(self._env._player, self._env._world)
            action = self._env.action_names.index(name)
            frame, _, done, _ = self._env.step(action)
            if done:
                frame, episode, action = self._env.reset(), episode + 1, NO_ACTION

    def _state(self) -> npt.NDArray[np.float32]:
        player, world = self._env._player, self._env._world
        return np.array(
            [
                *player.pos,
                DIRECTIONS.index(tuple(player.facing)),
                *(player.inventory[name] for name in (*_NEEDS, *_GOODS, *_TOOLS)),
                player.sleeping,
                world.daylight,
                sum(count > 0 for count in player.achievements.values()),
            ],
            dtype=np.float32,
        )


class _Crowd(dict[Any, None]):
    """A set of creatures that keeps the order in which they came."""

    def add(self, creature: Any) -> None:
        self[creature] = None

    def remove(self, creature: Any) -> None:
        del self[creature]


def _keep_order(world: Any) -> None:
    """Let a world keep its creatures in order.

    Crafter keeps them in sets, whose order is that of memory addresses, and draws by it which one
    vanishes: without this the same seed gives another session in another process.
    """
    reset = world.reset

    def reset_in_order(seed: int | None = None) -> None:
        reset(seed)
        world._chunks = defaultdict(_Crowd)

    world.reset = reset_in_order


def _load_crafter() -> Any:
    try:
        import crafter
    except ModuleNotFoundError:
        raise MissingExtraError("crafter", "games") from None
    return crafter
