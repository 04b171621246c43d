"""What the shell offers after TAB: files by their suffix, games, presets (`--install-completion`).

typer writes the scripts of the shells and finds verbs and options. Added here are the values, and
the colon of `doom:deathmatch`, at which bash splits words.
"""

import io
import os
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from relive.errors import ReliveError

VARIABLE = "_RELIVE_COMPLETE"
PRESETS = ("fast", "medium", "slow")
_WORDS, _PLACE = "COMP_WORDS", "COMP_CWORD"


def files(*suffixes: str) -> Callable[[str], list[str]]:
    """Make a completion of files with these suffixes, and of folders on the way to them.

    Where nothing but one folder fits, nothing is offered: the shell then completes it itself, and
    sets no space behind it.
    """

    def complete(incomplete: str) -> list[str]:
        folder, _, start = incomplete.rpartition("/")
        found, folders = [], []
        try:
            for entry in os.scandir(f"{folder}/" if folder or incomplete[:1] == "/" else "."):
                if not entry.name.startswith(start) or (entry.name[0] == "." and not start):
                    continue
                name = incomplete[: len(incomplete) - len(start)] + entry.name
                if entry.is_dir():
                    folders.append(f"{name}/")
                elif entry.name.lower().endswith(suffixes):
                    found.append(name)
        except OSError:
            return []
        return sorted(found + folders) if len(found + folders) > 1 else found

    return complete


def games(incomplete: str) -> list[str]:
    """Complete the game of `record`; what is not installed is not offered."""
    kind, colon, _ = incomplete.partition(":")
    names = {"doom": _doom, "crafter": lambda: ["crafter:survival"], "gym": _gym}
    if colon:
        return [name for name in names.get(kind, list)() if name.startswith(incomplete)]
    return [f"{name}:" for name in names if name.startswith(incomplete)]


def presets(incomplete: str) -> list[str]:
    """Complete `--preset`."""
    return [name for name in PRESETS if name.startswith(incomplete)]


def _doom() -> list[str]:
    from relive.session.sources.doom_games import list_games

    try:
        return [f"doom:{name}" for name in list_games()]
    except ReliveError:
        return []


def _gym() -> list[str]:
    try:
        import gymnasium
    except ModuleNotFoundError:
        return []
    return [f"gym:{name}" for name in sorted(gymnasium.registry)]


def complete(command: Any) -> int:
    """Answer a shell that asks by `_RELIVE_COMPLETE`; nothing but the answer is printed.

    Returns:
        The exit code that the script of the shell expects.
    """
    given = ""
    if os.environ[VARIABLE] == "complete_bash" and _WORDS in os.environ:
        joined, given = joined_words(os.environ)
        os.environ.update(joined)
    answer = io.StringIO()
    try:
        with redirect_stdout(answer), redirect_stderr(io.StringIO()):
            command.main([], prog_name="relive")
        code = 0
    except SystemExit as leave:
        code = int(leave.code or 0)
    lines = answer.getvalue().splitlines()
    print("\n".join(line.removeprefix(given) for line in lines))
    return code


def joined_words(environment: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Put words together again that bash has split at colons.

    Returns:
        The two variables as if bash had not, and the part of the word that bash holds for another
        word, so that answers must not repeat it.
    """
    words = environment[_WORDS].split("\n")
    place = int(environment[_PLACE])
    joined: list[str] = []
    current, given = place, ""
    for number, word in enumerate(words[: place + 1]):
        glued = bool(joined) and (word == ":" or (number > 0 and words[number - 1] == ":"))
        if glued:
            given = joined[-1] + (word if word == ":" else "")
            joined[-1] += word
        else:
            joined.append(word)
            given = ""
        current = len(joined) - 1
    return {_WORDS: "\n".join(joined), _PLACE: str(current)}, given


SESSIONS, REPLAYS, BOTH = files(".mcap"), files(".relive"), files(".mcap", ".relive")
MODELS, TOML = files(".safetensors"), files(".toml")
