"""Records ViZDoom: a real game with camera pose, player state and labelled regions.

```
 doom:freedoom2/map01 ──► DoomGame ──► (frame, state, regions, time) ──► Recorder ──► session.mcap
                             ▲   │
                     buttons │   ▼ depth, labels (for the player only)
                           DoomPlayer
```
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from relive.errors import InputError, MissingExtraError, ReliveError
from relive.session.sources.doom_player import BUTTONS, DoomPlayer, Sighting, View

TICS_PER_S = 35
FIRST_TIC = 14
"""Tics before the first frame: the player falls to the floor and raises the weapon."""

VARIABLES = (
    "CAMERA_POSITION_X",
    "CAMERA_POSITION_Y",
    "CAMERA_POSITION_Z",
    "CAMERA_ANGLE",
    "CAMERA_PITCH",
    "VELOCITY_X",
    "VELOCITY_Y",
    "VELOCITY_Z",
    "HEALTH",
    "SELECTED_WEAPON_AMMO",
    "ARMOR",
    "SELECTED_WEAPON",
    "KILLCOUNT",
)
"""ViZDoom variables, in the order of the state fields."""

STATUS_BAR_PX = 32
VIEW_WIDTH, VIEW_HEIGHT = 320, 208


class DoomTic(NamedTuple):
    """What a session stores of one tic.

    Attributes:
        frame: uint8 `[240, 320, 3]`, RGB.
        state: float32 `[S]`, as in `VARIABLES`.
        regions: uint8 `[240, 320]`, as in `REGIONS`.
        time_ns: time since the start of the session.
        episode: number of the episode; it grows after a death or a level's end.
    """

    frame: npt.NDArray[np.uint8]
    state: npt.NDArray[np.float32]
    regions: npt.NDArray[np.uint8]
    time_ns: int
    episode: int


class Scenario(NamedTuple):
    """One playable game: which files ViZDoom loads."""

    game_wad: Path
    scenario_wad: Path | None
    level: str
    skill: int
    arguments: str


def _vizdoom() -> Any:
    try:
        import vizdoom
    except ImportError as error:
        raise MissingExtraError("vizdoom", "games") from error
    return vizdoom


def list_games() -> dict[str, Scenario]:
    """Return every game that the installed ViZDoom can play, by its name after `doom:`."""
    folder = Path(_vizdoom().__file__).parent
    games = {
        f"freedoom1/e{e}m{m}": Scenario(folder / "freedoom1.wad", None, f"e{e}m{m}", 3, "")
        for e in range(1, 5)
        for m in range(1, 10)
    }
    games |= {
        f"freedoom2/map{m:02d}": Scenario(folder / "freedoom2.wad", None, f"map{m:02d}", 3, "")
        for m in range(1, 33)
    }
    for config in sorted((folder / "scenarios").glob("*.cfg")):
        values = _read_config(config)
        wad = config.parent / values.get("doom_scenario_path", "none.wad")
        if wad.exists():
            level = values.get("doom_map", "map01")
            skill = int(values.get("doom_skill", "3"))
            arguments = values.get("game_args", "")
            games[config.stem] = Scenario(folder / "freedoom2.wad", wad, level, skill, arguments)
    return games


def find_game(game: str) -> Scenario:
    """Return the scenario called `game`, with or without the leading `doom:`."""
    games = list_games()
    name = game.removeprefix("doom:").lower()
    if name not in games:
        scenarios = ", ".join(sorted(key for key in games if "/" not in key))
        raise InputError(
            f"doom:{name}: no such game; choose freedoom1/e1m1 … e4m9, freedoom2/map01 … map32, "
            f"or one of {scenarios}"
        )
    return games[name]


def _read_config(path: Path) -> dict[str, str]:
    values: dict[str, str] = {}
    for line in path.read_text().splitlines():
        key, equals, value = line.partition("#")[0].partition("=")
        if equals:
            values[key.strip().rstrip("+").strip()] = value.strip()
    return values


class DoomGame:
    """Plays one game with the scripted player. A context manager; iterate for the tics.

    Args:
        game: such as `freedoom2/map01` or `deathmatch`.
        seed: of the game and of the player; same seed, same tics.
        warmup_tics: played before the first tic that is given out.
    """

    def __init__(self, game: str, seed: int, warmup_tics: int = 0) -> None:
        self._scenario = find_game(game)
        self._name = game
        self._seed = seed
        self._warmup_tics = warmup_tics
        self._player = DoomPlayer(seed)
        self._episode = 0
        self._folder = tempfile.TemporaryDirectory(prefix="relive-doom-")
        self._game = self._start()

    def __enter__(self) -> "DoomGame":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the game's process and remove its folder."""
        self._game.close()
        self._folder.cleanup()

    def __iter__(self) -> Iterator[DoomTic]:
        """Yield tics for ever."""
        number = -self._warmup_tics
        while True:
            shot = self._game.get_state()
            if shot is None:
                self._new_episode()
                continue
            if number >= 0:
                yield self._tic(shot, number)
            number += 1
            self._game.make_action(self._player.act(_view(shot)))
            if self._game.is_episode_finished():
                self._new_episode()

    def _start(self) -> Any:
        vizdoom = _vizdoom()
        scenario = self._scenario
        game = vizdoom.DoomGame()
        game.set_doom_game_path(str(scenario.game_wad))
        if scenario.scenario_wad is not None:
            game.set_doom_scenario_path(str(scenario.scenario_wad))
        game.set_doom_map(scenario.level)
        game.set_doom_skill(scenario.skill)
        _set_picture(vizdoom, game)
        game.set_available_buttons([getattr(vizdoom.Button, name) for name in BUTTONS])
        variables = [getattr(vizdoom.GameVariable, name) for name in VARIABLES]
        game.set_available_game_variables(variables)
        game.set_mode(vizdoom.Mode.PLAYER)
        game.set_episode_timeout(0)
        game.set_episode_start_time(FIRST_TIC)
        game.set_sound_enabled(False)
        game.add_game_args(f"-nosound {scenario.arguments}".strip())
        game.set_seed(self._seed)
        self._init(vizdoom, game)
        return game

    def _init(self, vizdoom: Any, game: Any) -> None:
        """Start the process inside the temporary folder: ViZDoom writes where it stands."""
        before = Path.cwd()
        os.chdir(self._folder.name)
        try:
            game.init()
        except (vizdoom.ViZDoomErrorException, vizdoom.ViZDoomUnexpectedExitException) as error:
            raise ReliveError(f"doom:{self._name}: ViZDoom does not start: {error}") from error
        finally:
            os.chdir(before)

    def _new_episode(self) -> None:
        self._episode += 1
        self._game.set_seed(self._seed + 7919 * self._episode)
        self._game.new_episode()
        self._player.reset()

    def _tic(self, shot: Any, number: int) -> DoomTic:
        return DoomTic(
            frame=np.array(shot.screen_buffer, dtype=np.uint8),
            state=np.array(shot.game_variables, dtype=np.float32),
            regions=_regions(shot),
            time_ns=round(number * 1_000_000_000 / TICS_PER_S),
            episode=self._episode,
        )


def _set_picture(vizdoom: Any, game: Any) -> None:
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_320X240)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_window_visible(False)
    game.set_render_hud(True)
    game.set_render_minimal_hud(False)
    game.set_render_weapon(True)
    game.set_render_crosshair(False)
    game.set_depth_buffer_enabled(True)
    game.set_labels_buffer_enabled(True)


def _view(shot: Any) -> View:
    variables = dict(zip(VARIABLES, shot.game_variables, strict=True))
    sightings = [
        Sighting(label.object_name, label.object_category, label.x + label.width / 2, label.width)
        for label in shot.labels
    ]
    return View(
        depth=shot.depth_buffer[:VIEW_HEIGHT],
        sightings=sightings,
        x=float(variables["CAMERA_POSITION_X"]),
        y=float(variables["CAMERA_POSITION_Y"]),
        yaw_deg=float(variables["CAMERA_ANGLE"]),
    )


WALL, FLOOR, ACTOR, THING, HUD, WEAPON = range(6)


def _regions(shot: Any) -> npt.NDArray[np.uint8]:
    """Turn ViZDoom's label buffer into region ids, uint8 `[240, 320]`."""
    ids = np.full(256, THING, np.uint8)
    ids[0], ids[1] = WALL, FLOOR
    for label in shot.labels:
        ids[label.value] = _region_of(label.object_category)
    regions = ids[shot.labels_buffer]
    regions[-STATUS_BAR_PX:] = HUD
    return regions


def _region_of(category: str) -> int:
    return {"Monster": ACTOR, "Player": ACTOR, "Self": WEAPON}.get(category, THING)
