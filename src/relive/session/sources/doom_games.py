"""Which games the installed ViZDoom can play: the maps of Freedoom and the bundled scenarios."""

from pathlib import Path
from typing import Any, NamedTuple

from relive.errors import InputError, MissingExtraError

_SKILL = 3
_NETWORK = "-host 1 -deathmatch +sv_forcerespawn 1"
_MULTIPLAYER_ONLY = ("cig", "multi_duel")
"""These maps have no start for a single player: ViZDoom crashes without a host."""


class Scenario(NamedTuple):
    """One playable game: what ViZDoom loads."""

    game_wad: Path
    scenario_wad: Path | None
    level: str
    skill: int
    arguments: str


def load_vizdoom() -> Any:
    """Import ViZDoom, which is an extra.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import vizdoom
    except ModuleNotFoundError:
        raise MissingExtraError("vizdoom", "games") from None
    return vizdoom


def list_games() -> dict[str, Scenario]:
    """Return every game that can be played, by its name after `doom:`."""
    folder = Path(load_vizdoom().__file__).parent
    one, two = folder / "freedoom1.wad", folder / "freedoom2.wad"
    levels = [f"e{episode}m{number}" for episode in range(1, 5) for number in range(1, 10)]
    games = {f"freedoom1/{level}": Scenario(one, None, level, _SKILL, "") for level in levels}
    levels = [f"map{number:02d}" for number in range(1, 33)]
    games |= {f"freedoom2/{level}": Scenario(two, None, level, _SKILL, "") for level in levels}
    for config in sorted((folder / "scenarios").glob("*.cfg")):
        scenario = _read_scenario(config, two)
        if scenario is not None:
            games[config.stem] = scenario
    return games


def find_game(game: str) -> Scenario:
    """Return the scenario of a game's name, with or without the leading `doom:`.

    Raises:
        InputError: There is no such game; the line lists what there is.
    """
    games = list_games()
    name = game.removeprefix("doom:").lower()
    if name not in games:
        scenarios = ", ".join(sorted(key for key in games if "/" not in key))
        raise InputError(
            f"doom:{name}: no such game; choose freedoom1/e1m1 to e4m9, freedoom2/map01 to map32, "
            f"or one of {scenarios}"
        )
    return games[name]


def _read_scenario(config: Path, game_wad: Path) -> Scenario | None:
    """Read a ViZDoom configuration file; None where it has no map of its own."""
    values: dict[str, str] = {}
    for line in config.read_text().splitlines():
        key, equals, value = line.partition("#")[0].partition("=")
        if equals:
            values[key.rstrip(" +").strip()] = value.strip()
    wad = config.parent / values.get("doom_scenario_path", "")
    if not wad.is_file():
        return None
    network = _NETWORK if config.stem in _MULTIPLAYER_ONLY else ""
    return Scenario(
        game_wad,
        wad,
        values.get("doom_map", "map01"),
        int(values.get("doom_skill", _SKILL)),
        f"{values.get('game_args', '')} {network}".strip(),
    )
