"""ViZDoom: a real game, played by a script, with camera pose, player state and labelled regions.

```
 doom:freedoom2/map01 ──► DoomGame ──► frame, state, regions, time ──► Recorder ──► session.mcap
                            ▲   │
                    buttons │   ▼ depth, labels (for the player only)
                          DoomPlayer
```
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from relive.errors import InputError, ReliveError
from relive.session.recorder import Recorder
from relive.session.sources.doom_games import find_game, load_vizdoom
from relive.session.sources.doom_player import BUTTONS, DoomPlayer, Sighting, View
from relive.session.sources.doom_state import (
    REGIONS,
    VARIABLES,
    read_regions,
    read_state,
    state_schema,
    view_height,
)
from relive.session.sources.doom_watcher import Watcher, newest_child

Progress = Callable[[int, int], None]

TICS_PER_S = 35
FIRST_TIC = 14
"""The tic an episode starts at: by then the player stands and raises the weapon."""

_EPISODE_SEED_STRIDE = 7919
_PLAYER_ROWS, _PLAYER_COLUMNS = 208, 320
"""The player sees 320×208 depths whatever the size of the picture, so that it plays alike."""


class DoomTic(NamedTuple):
    """What a session stores of one tic.

    Attributes:
        frame: uint8 `[H, W, 3]`, RGB.
        state: float32 `[S]`, the fields of `state_schema`.
        regions: uint8 `[H, W]`, the ids of `REGIONS`.
        time_ns: time since the start of the session.
        episode: number of the episode; it grows after a death or a level's end.
        action: what the player did to get there, float32 `[A]`, the fields of `ACTION_FIELDS`; 0
            where the episode begins.
    """

    frame: npt.NDArray[np.uint8]
    state: npt.NDArray[np.float32]
    regions: npt.NDArray[np.uint8]
    time_ns: int
    episode: int
    action: npt.NDArray[np.float32]


def record_doom(
    game: str,
    out: Path,
    *,
    seconds: float,
    seed: int,
    width: int = 320,
    height: int = 240,
    force: bool = False,
    progress: Progress | None = None,
    warmup_tics: int = 0,
    keep_actions: bool = False,
) -> int:
    """Record a game that the scripted player plays. Same seed, same session.

    Args:
        game: Such as `freedoom2/map01` or `deathmatch`, with or without `doom:`.
        out: The recording to write; readable at any moment, finalised on Ctrl-C.
        seconds: Length in seconds of game time, 35 tics each.
        seed: Of the game and of the player, 0 to 2^31 - 1.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels; all sizes are 4:3.
        force: Overwrite an existing file.
        progress: Called with the frames done and their total.
        warmup_tics: Tics to play before the recording begins.
        keep_actions: Let the state also tell what the player did to get there.

    Returns:
        Number of frames recorded.

    Raises:
        InputError: There is no such game or size, or the file exists.
        ReliveError: ViZDoom does not start, or ends on its own.
    """
    if not 0 < seconds < float("inf"):
        raise InputError(f"{seconds} seconds is not a length over 0")
    total = max(1, round(seconds * TICS_PER_S))
    name = f"doom:{game.removeprefix('doom:').lower()}"
    schema = state_schema(width, height, keep_actions)
    with (
        DoomGame(game, seed, width=width, height=height, warmup_tics=warmup_tics) as doom,
        Recorder(out, schema, REGIONS, game=name, force=force) as recorder,
    ):
        episode = -1
        for tic in islice(doom, total):
            state = np.append(tic.state, tic.action) if keep_actions else tic.state
            recorder.add(tic.frame, state, tic.time_ns, tic.regions)
            if tic.episode != episode:
                episode = tic.episode
                recorder.event("episode", str(episode), tic.time_ns)
            if progress is not None:
                progress(recorder.num_frames, total)
        return recorder.num_frames


class DoomGame:
    """Plays one game with the scripted player. A context manager; iterate it for the tics.

    Args:
        game: Such as `freedoom2/map01` or `deathmatch`.
        seed: Of the game and of the player; same seed, same tics.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        warmup_tics: Tics to play before the first one that is given out.

    Raises:
        InputError: There is no such game or size, or the seed is out of range.
        ReliveError: ViZDoom does not start.
    """

    def __init__(
        self, game: str, seed: int, *, width: int = 320, height: int = 240, warmup_tics: int = 0
    ) -> None:
        if not 0 <= seed < 2**31:
            raise InputError(f"seed {seed} is not between 0 and {2**31 - 1}")
        self._scenario = find_game(game)
        self._name = f"doom:{game.removeprefix('doom:')}"
        self._size = (width, height)
        self._view_height = view_height(width, height)
        self._seed = seed
        self._warmup_tics = warmup_tics
        self._player = DoomPlayer(seed)
        self._episode = 0
        self._action = [0.0] * len(BUTTONS)
        self._errors = _vizdoom_errors()
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="relive-doom-"))
            self._game = self._start(Path(folder))
            stack.callback(self._game.close)
            instance = str(self._game.get_instance_id())
            stack.enter_context(Watcher(newest_child("vizdoom"), Path(folder), instance))
            self._stack = stack.pop_all()

    def __enter__(self) -> "DoomGame":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the game's process and remove its folder."""
        self._stack.close()

    def __iter__(self) -> Iterator[DoomTic]:
        """Yield tics for ever; time goes on over the end of an episode.

        Raises:
            ReliveError: ViZDoom ends on its own.
        """
        number = -self._warmup_tics
        while True:
            shot = self._next_shot()
            if number >= 0:
                yield self._tic(shot, number)
            number += 1
            self._act(shot)

    def _next_shot(self) -> Any:
        shot = self._game.get_state()
        if shot is None:
            self._new_episode()
            shot = self._game.get_state()
        if shot is None:
            raise ReliveError(f"{self._name}: the level ends as soon as it starts")
        return shot

    def _act(self, shot: Any) -> None:
        self._action = self._player.act(self._view(shot))
        try:
            self._game.make_action(self._action)
        except self._errors as error:
            raise ReliveError(f"{self._name}: ViZDoom ended: {_line(error)}") from None

    def _new_episode(self) -> None:
        self._episode += 1
        self._game.set_seed((self._seed + _EPISODE_SEED_STRIDE * self._episode) % 2**31)
        try:
            self._game.new_episode()
        except self._errors as error:
            raise ReliveError(f"{self._name}: ViZDoom ended: {_line(error)}") from None
        self._player.reset()
        self._action = [0.0] * len(BUTTONS)

    def _start(self, folder: Path) -> Any:
        """Start the process with its folder as working directory: it writes files there."""
        vizdoom = load_vizdoom()
        game = vizdoom.DoomGame()
        _set_picture(vizdoom, game, self._size)
        self._set_game(vizdoom, game)
        game.set_doom_config_path(str(folder / "vizdoom.ini"))
        before = Path.cwd()
        os.chdir(folder)
        try:
            game.init()
        except self._errors as error:
            raise ReliveError(f"{self._name}: ViZDoom does not start: {_line(error)}") from None
        finally:
            os.chdir(before)
        return game

    def _set_game(self, vizdoom: Any, game: Any) -> None:
        scenario = self._scenario
        game.set_doom_game_path(str(scenario.game_wad))
        if scenario.scenario_wad is not None:
            game.set_doom_scenario_path(str(scenario.scenario_wad))
        game.set_doom_map(scenario.level)
        game.set_doom_skill(scenario.skill)
        game.set_available_buttons([getattr(vizdoom.Button, name) for name in BUTTONS])
        variables = [getattr(vizdoom.GameVariable, name) for name in VARIABLES]
        game.set_available_game_variables(variables)
        game.set_mode(vizdoom.Mode.PLAYER)
        game.set_episode_timeout(0)
        game.set_episode_start_time(FIRST_TIC)
        # With its sound on ViZDoom crashes on some maps.
        game.set_sound_enabled(False)
        game.add_game_args(f"-nosound {scenario.arguments}".strip())
        game.set_seed(self._seed)

    def _tic(self, shot: Any, number: int) -> DoomTic:
        return DoomTic(
            frame=np.array(shot.screen_buffer, dtype=np.uint8),
            state=read_state(shot),
            regions=read_regions(shot, self._view_height),
            time_ns=round(number * 1_000_000_000 / TICS_PER_S),
            episode=self._episode,
            action=np.array(self._action, np.float32),
        )

    def _view(self, shot: Any) -> View:
        variables = dict(zip(VARIABLES, shot.game_variables, strict=True))
        rows = np.arange(_PLAYER_ROWS) * self._view_height // _PLAYER_ROWS
        columns = np.arange(_PLAYER_COLUMNS) * self._size[0] // _PLAYER_COLUMNS
        scale = _PLAYER_COLUMNS / self._size[0]
        sightings = [
            Sighting(
                name=label.object_name,
                category=label.object_category,
                centre_px=(label.x + label.width / 2) * scale,
                width_px=label.width * scale,
            )
            for label in shot.labels
        ]
        return View(
            depth=shot.depth_buffer[rows][:, columns],
            sightings=sightings,
            x=float(variables["CAMERA_POSITION_X"]),
            y=float(variables["CAMERA_POSITION_Y"]),
            yaw_deg=float(variables["CAMERA_ANGLE"]),
            weapon=int(variables["SELECTED_WEAPON"]),
        )


def _set_picture(vizdoom: Any, game: Any, size: tuple[int, int]) -> None:
    resolution = f"RES_{size[0]}X{size[1]}"
    game.set_screen_resolution(getattr(vizdoom.ScreenResolution, resolution))
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_window_visible(False)
    game.set_render_hud(True)
    game.set_render_minimal_hud(False)
    game.set_render_weapon(True)
    game.set_render_crosshair(False)
    game.set_depth_buffer_enabled(True)
    game.set_labels_buffer_enabled(True)


def _vizdoom_errors() -> tuple[type[Exception], ...]:
    vizdoom = load_vizdoom()
    names = [name for name in dir(vizdoom) if name.endswith("Exception")]
    return tuple(getattr(vizdoom, name) for name in names if name != "SignalException")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
