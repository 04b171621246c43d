"""Record the Doom corpus of the bundled model: `python tools/record_corpus.py OUT`.

Writes `OUT/SPLIT/GAME-SEED.mcap`. What exists is skipped, so that it can be interrupted and
continued. Same plan, same seeds, same data. The reserved maps (design, section 6) are not in it.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from relive.session.sources.doom import TICS_PER_S, record_doom

TRAIN_FRAMES, VALID_FRAMES, TEST_FRAMES = 400, 200, 300
SCENARIOS = ("deathmatch", "my_way_home", "defend_the_center", "take_cover", "health_gathering")
TRAIN_GAMES = (
    *(f"freedoom2/map{number:02d}" for number in range(1, 17)),
    *(f"freedoom1/e1m{number}" for number in range(1, 9)),
    *(f"freedoom1/e2m{number}" for number in range(1, 7)),
    *SCENARIOS,
)
VALID = (
    ("freedoom2/map03", 0),
    ("freedoom2/map10", 500),
    ("freedoom1/e1m4", 300),
    ("deathmatch", 0),
)
VALID_UNKNOWN = (
    ("freedoom2/map17", 0),
    ("freedoom2/map19", 200),
    ("freedoom1/e3m1", 0),
    ("freedoom1/e3m4", 300),
)
TEST_KNOWN = (
    ("freedoom2/map01", 0),
    ("deathmatch", 0),
    ("my_way_home", 0),
    ("freedoom2/map05", 400),
    ("freedoom1/e1m1", 0),
    ("freedoom1/e2m3", 400),
)
TEST_UNKNOWN = (("freedoom2/map18", 0), ("freedoom1/e3m2", 0), ("freedoom2/map20", 200))
"""Game and tics of warm-up; the maps of the unknown splits are in no other split. What is on by
default is chosen on the validation splits, never on the test splits."""


@dataclass(frozen=True)
class Take:
    """One session to record."""

    split: str
    game: str
    seed: int
    frames: int
    warmup_tics: int

    @property
    def name(self) -> str:
        """Name of the session inside its split."""
        return f"{self.game.replace('/', '-')}-{self.seed}"


def plan() -> list[Take]:
    """Return all takes: two of each training game, one from the start and one from later on."""
    rng = np.random.default_rng(7)
    takes = []
    for number, game in enumerate(TRAIN_GAMES):
        later = int(rng.integers(200, 1500))
        takes.append(Take("train", game, 1000 + number, TRAIN_FRAMES, 0))
        takes.append(Take("train", game, 2000 + number, TRAIN_FRAMES, later))
    for split, games, seed, frames in (
        ("valid", VALID, 5000, VALID_FRAMES),
        ("valid_unknown", VALID_UNKNOWN, 5500, TEST_FRAMES),
        ("test_known", TEST_KNOWN, 9000, TEST_FRAMES),
        ("test_unknown", TEST_UNKNOWN, 9500, TEST_FRAMES),
    ):
        for number, (game, warmup) in enumerate(games):
            takes.append(Take(split, game, seed + number, frames, warmup))
    return takes


def record(take: Take, folder: Path) -> bool:
    """Record one take, unless it is there.

    Returns:
        Whether it was recorded now.
    """
    out = folder / take.split / f"{take.name}.mcap"
    if out.exists():
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    # A recording grows under its name; only whole ones may be skipped next time.
    part = out.with_suffix(".mcap.part")
    record_doom(
        take.game,
        part,
        seconds=take.frames / TICS_PER_S,
        seed=take.seed,
        force=True,
        warmup_tics=take.warmup_tics,
    )
    part.rename(out)
    return True


def main() -> None:
    """Record what is missing, one line for each session."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the corpus")
    parser.add_argument("--split", help="only this split")
    arguments = parser.parse_args()
    takes = [take for take in plan() if arguments.split in (None, take.split)]
    for number, take in enumerate(takes, 1):
        done = "recorded" if record(take, arguments.out) else "there"
        print(f"{number}/{len(takes)} {take.split}/{take.name}: {done}", flush=True)


if __name__ == "__main__":
    main()
