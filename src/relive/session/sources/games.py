"""One door to every game that can be recorded, by its name.

```
 doom:freedoom2/map01 ──► doom.py    ViZDoom with Freedoom
 crafter:survival     ──► crafter.py Crafter
 gym:ENV_ID           ──► gym.py     any Gymnasium environment that shows pictures
```
"""

from collections.abc import Callable
from pathlib import Path

from relive.errors import InputError
from relive.session.sources.play import Play

Progress = Callable[[int, int], None]

PLAYERS = {"doom": ("scripted",), "crafter": ("scripted",), "gym": ("random", "sticky")}
"""Kinds of games, and who can play them; the first is the usual one."""


def split_game(game: str) -> tuple[str, str]:
    """Split a game's name into its kind and its name inside the kind, in their one spelling.

    Raises:
        InputError: There is no such kind, or nothing follows it.
    """
    kind, _, name = game.strip().partition(":")
    if kind not in PLAYERS or not name or (kind != "gym" and ":" in name):
        raise InputError(
            f"unknown game {game!r}; write doom:deathmatch, doom:freedoom2/map01, "
            "crafter:survival or gym:ENV_ID"
        )
    return kind, name if kind == "gym" else name.lower()


def check_player(kind: str, player: str | None) -> None:
    """Refuse a player that a kind of game does not have.

    Raises:
        InputError: There is no such player.
    """
    if player is not None and player not in PLAYERS[kind]:
        raise InputError(
            f"player {player!r} does not play {kind} games; choose {', '.join(PLAYERS[kind])}"
        )


def record_game(
    game: str, out: Path, play: Play, *, force: bool = False, progress: Progress | None = None
) -> int:
    """Record a session of any game. Same game, same `play`, same session.

    Args:
        game: Such as `doom:deathmatch`, `crafter:survival` or `gym:CartPole-v1`.
        out: The recording to write.
        play: Seed, length, warm-up and player.
        force: Overwrite an existing file.
        progress: Called with the frames done and their total.

    Returns:
        Number of frames recorded.

    Raises:
        InputError: There is no such game or player, or the file exists.
        ReliveError: The game ends on its own, or the file cannot be written.
    """
    kind, name = split_game(game)
    check_player(kind, play.player)
    if (play.options or play.actions) and kind != "gym":
        raise InputError(f"{game}: only gym games take options and actions")
    if kind == "doom":
        return _record_doom(name, out, play, force, progress)
    if kind == "crafter":
        from relive.session.sources.crafter import record_crafter

        return record_crafter(name, out, play, force=force, progress=progress)
    from relive.session.sources.gym import play_gym

    return play_gym(name, out, play, force=force, progress=progress)


def _record_doom(name: str, out: Path, play: Play, force: bool, progress: Progress | None) -> int:
    from relive.session.sources.doom import TICS_PER_S, record_doom

    return record_doom(
        name,
        out,
        seconds=play.num_frames(TICS_PER_S) / TICS_PER_S,
        seed=play.seed,
        force=force,
        progress=progress,
        warmup_tics=play.num_warmup(TICS_PER_S),
        keep_actions=play.keep_actions,
    )
