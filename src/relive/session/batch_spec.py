"""What a corpus is made of: a TOML file of takes, and the sessions that follow from it.

```
 corpus.toml ──read_batch──► BatchSpec ──takes──► Take, Take, Take, …   one a session
```

The file is documented in docs/games.md. The same file gives the same sessions, for ever: what is
drawn, is drawn from the game's name and the seed of the session, not from its place in the file.
"""

import tomllib
import zlib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from relive.errors import InputError
from relive.session.sources.games import check_player, split_game
from relive.session.sources.play import Play

SplitName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
_Seed = Annotated[int, Field(ge=0, lt=2**31)]
_Frames = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitSpec(_Frozen):
    """What holds for a split."""

    unknown: bool = Field(default=False, description="shares no game with any other split")


class TakeSpec(_Frozen):
    """Sessions of one kind: each of the games, with each of the seeds."""

    split: SplitName
    games: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[_Seed, ...] | None = Field(default=None, description="each game gets all of them")
    sessions: int | None = Field(default=None, ge=1, description="of each game")
    seed: _Seed | None = Field(default=None, description="of the first; the others count on")
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    frames: int | None = Field(default=None, ge=1)
    warmup_s: _Seconds | tuple[_Seconds, _Seconds] = Field(default=0.0, description="or a range")
    warmup_frames: _Frames | tuple[_Frames, ...] = Field(default=0, description="or one a session")
    player: str | None = None
    actions: tuple[int, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    keep_actions: bool = Field(default=False, description="the state tells them")

    @model_validator(mode="after")
    def _one_of_each(self) -> "TakeSpec":
        if (self.seconds is None) == (self.frames is None):
            raise ValueError("give either seconds or frames")
        if self.seeds is not None and (self.seed is not None or self.sessions is not None):
            raise ValueError("give either seeds, or sessions and seed")
        if self.seeds == ():
            raise ValueError("seeds is empty")
        if isinstance(self.warmup_s, tuple) and self.warmup_s[0] > self.warmup_s[1]:
            raise ValueError("warmup_s is a range [least, most]")
        if isinstance(self.warmup_frames, tuple) and len(self.warmup_frames) != len(self.pairs()):
            raise ValueError(
                f"warmup_frames has {len(self.warmup_frames)} numbers, "
                f"the sessions are {len(self.pairs())}"
            )
        return self

    def pairs(self) -> list[tuple[str, int]]:
        """Return game and seed of each session: game after game, its seeds in their order."""
        if self.seeds is not None:
            return [(game, seed) for game in self.games for seed in self.seeds]
        count, first = self.sessions or 1, self.seed or 0
        games = [game for game in self.games for _ in range(count)]
        return [(game, first + number) for number, game in enumerate(games)]


class BatchSpec(_Frozen):
    """A corpus: takes, what holds for the splits, and the games that are never recorded."""

    rng: int = Field(default=0, ge=0, description="seed of the warm-ups that are drawn")
    reserved: tuple[str, ...] = Field(default=(), description="patterns of games")
    split: dict[SplitName, SplitSpec] = Field(default_factory=dict)
    take: tuple[TakeSpec, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Take:
    """One session to record.

    Attributes:
        split: The split that it belongs to.
        game: Its name in full, such as `doom:freedoom2/map01`.
        play: Seed, length, warm-up and player.
    """

    split: str
    game: str
    play: Play

    @property
    def file(self) -> str:
        """Path of the session inside the folder of the corpus."""
        name = self.game.removeprefix("doom:").replace("/", "-").replace(":", "-")
        return f"{self.split}/{name}-{self.play.seed}.mcap"


def read_batch(path: Path) -> tuple[Take, ...]:
    """Read the file of a batch.

    Returns:
        Its takes, in the order of the file.

    Raises:
        InputError: The file is missing or not TOML; a key is unknown or wrong; two sessions have
            one name; a split shares what it must not share, or a game is reserved.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    try:
        return _plan(BatchSpec(**values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the batch"
        message = str(first["msg"]).removeprefix("Value error, ")
        raise InputError(f"{path}: {where}: {message}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _plan(spec: BatchSpec) -> tuple[Take, ...]:
    takes = [take for number in range(len(spec.take)) for take in _takes(spec, number)]
    _refuse_reserved(spec, takes)
    _refuse_twins(takes)
    _refuse_shared_games(spec, takes)
    return tuple(takes)


def _takes(spec: BatchSpec, number: int) -> list[Take]:
    """Return the sessions of one `[[take]]`."""
    row = spec.take[number]
    takes = []
    for index, (game, seed) in enumerate(row.pairs()):
        kind, name = split_game(game)
        full_name = f"{kind}:{name}"
        frames = row.warmup_frames
        play = Play(
            seed,
            seconds=row.seconds,
            frames=row.frames,
            warmup_s=_draw(row.warmup_s, spec.rng, f"{row.split}/{full_name}", seed),
            warmup_frames=frames[index] if isinstance(frames, tuple) else frames,
            player=row.player,
            actions=row.actions,
            options=row.options,
            keep_actions=row.keep_actions,
        )
        _check_play(kind, full_name, play)
        takes.append(Take(row.split, full_name, play))
    return takes


def _check_play(kind: str, game: str, play: Play) -> None:
    try:
        check_player(kind, play.player)
    except InputError as error:
        raise InputError(f"{game}: {error}") from None
    if kind != "gym" and (play.options or play.actions):
        raise InputError(f"{game}: only gym games take options and actions")


def _draw(seconds: float | tuple[float, float], rng: int, game: str, seed: int) -> float:
    """Return a length, drawn where a range is given: the same for ever for one session."""
    if not isinstance(seconds, tuple):
        return seconds
    generator = np.random.default_rng([rng, seed, zlib.crc32(game.encode())])
    return round(float(generator.uniform(*seconds)), 2)


def _refuse_reserved(spec: BatchSpec, takes: list[Take]) -> None:
    for take in takes:
        for pattern in spec.reserved:
            if fnmatchcase(take.game, pattern):
                raise InputError(
                    f"{take.game} is reserved by {pattern!r} and may not be in {take.split}"
                )


def _refuse_twins(takes: list[Take]) -> None:
    """Refuse two sessions with one file, and one session in two splits."""
    files: dict[str, Take] = {}
    places: dict[tuple[str, int], Take] = {}
    for take in takes:
        if take.file in files:
            raise InputError(f"two sessions would be {take.file}; give them different seeds")
        files[take.file] = take
        other = places.setdefault((take.game, take.play.seed), take)
        if other.split != take.split:
            raise InputError(
                f"{take.game} with seed {take.play.seed} is in {other.split} and in {take.split}; "
                "give them different seeds"
            )


def _refuse_shared_games(spec: BatchSpec, takes: list[Take]) -> None:
    """Refuse a game of an unknown split that is in another split too."""
    splits_of: dict[str, list[str]] = {}
    for take in takes:
        splits = splits_of.setdefault(take.game, [])
        if take.split not in splits:
            splits.append(take.split)
    used = {take.split for take in takes}
    for name, split in spec.split.items():
        if name not in used:
            raise InputError(f"split.{name}: no take belongs to it")
        for game, splits in splits_of.items():
            if split.unknown and name in splits and len(splits) > 1:
                other = next(other for other in splits if other != name)
                raise InputError(f"{game} is in {other}, but {name} is a split of unknown games")
