"""A scripted Crafter player: walks on, gathers what it meets, eats, drinks, sleeps, builds.

It looks at the 9×7 tiles of the picture, as a person does, and at its own inventory.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

DIRECTIONS = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""Left, right, up, down, as Crafter has them: y grows downwards."""
MOVES = ("move_left", "move_right", "move_up", "move_down")

Position = tuple[int, int]

_VIEW_X, _VIEW_Y = 4, 3  # tiles to each side of the player
_HUNGRY, _THIRSTY, _TIRED, _RESTED = 6, 6, 3, 8
_ENOUGH = 5  # of any good
_GOAL_STEPS = 24
_BARE = {"grass", "sand", "path"}


class CrafterPlayer:
    """Decides one action a step.

    Args:
        seed: Of what it draws; same seed and same world, same actions.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._heading = 0
        self._stride = 0
        self._pause = 0
        self._goal: Position | None = None
        self._goal_steps = 0

    def act(self, player: Any, world: Any) -> str:
        """Return the name of the next action.

        Args:
            player: Crafter's player.
            world: Crafter's world.
        """
        have = player.inventory
        if player.sleeping or (have["energy"] <= _TIRED and not _hunted(player, world)):
            return "sleep" if have["energy"] < _RESTED else "noop"
        ahead = (player.pos[0] + player.facing[0], player.pos[1] + player.facing[1])
        if self._wants(ahead, have, world):
            return "do"
        return self._build(ahead, player, world) or self._walk(player, world)

    def _wants(self, place: Position, have: dict[str, int], world: Any) -> bool:
        """Say whether it is worth to act on what lies there."""
        material, creature = world[place]
        if creature is not None:
            kind = type(creature).__name__
            return kind in {"Zombie", "Skeleton"} or (kind == "Cow" and have["food"] < _HUNGRY)
        return {
            "tree": have["wood"] < _ENOUGH,
            "water": have["drink"] < _THIRSTY,
            "stone": have["wood_pickaxe"] > 0 and have["stone"] < _ENOUGH,
            "coal": have["wood_pickaxe"] > 0,
            "iron": have["stone_pickaxe"] > 0,
            "diamond": have["iron_pickaxe"] > 0,
        }.get(material, False)

    def _build(self, ahead: Position, player: Any, world: Any) -> str | None:
        """Return what can be made here and now and is not there yet."""
        have = player.inventory
        material, creature = world[ahead]
        free = creature is None and material in _BARE
        near, _ = world.nearby(player.pos, 1)
        if "table" in near:
            tools = [("wood_pickaxe", "wood"), ("wood_sword", "wood")]
            tools += [("stone_pickaxe", "stone"), ("stone_sword", "stone")]
            for tool, stuff in tools:
                if not have[tool] and have["wood"] > 0 and have[stuff] > 0:
                    return f"make_{tool}"
        elif free and have["wood"] >= _ENOUGH and not have["stone_pickaxe"]:
            return "place_table"
        if free and material == "grass" and have["sapling"] > 0:
            return "place_plant"
        return None

    def _walk(self, player: Any, world: Any) -> str:
        """Walk to a goal in view, or straight on until the stride ends or something blocks."""
        here = (int(player.pos[0]), int(player.pos[1]))
        self._choose_goal(here, player.inventory, world)
        if self._goal is not None:
            self._goal_steps -= 1
            return MOVES[self._towards(here, self._goal, player, world)]
        if self._pause > 0:
            self._pause -= 1
            return "noop"
        if self._stride <= 0 or not self._open(here, self._heading, player):
            self._turn(here, player)
        self._stride -= 1
        return MOVES[self._heading]

    def _turn(self, here: Position, player: Any) -> None:
        """Take another direction, for 3 to 14 steps; sometimes stand for a moment first."""
        ways = [way for way in range(4) if way != self._heading and self._open(here, way, player)]
        self._heading = int(self._rng.choice(ways)) if ways else int(self._rng.integers(4))
        self._stride = int(self._rng.integers(3, 15))
        self._pause = int(self._rng.integers(1, 4)) if self._rng.random() < 0.2 else 0

    def _choose_goal(self, here: Position, have: dict[str, int], world: Any) -> None:
        """Keep a goal that is still wanted; else look for the nearest one now and then."""
        if self._goal is not None:
            if self._goal_steps > 0 and self._wants(self._goal, have, world):
                return
            self._goal = None
            self._stride = int(self._rng.integers(4, 10))  # get away from what was not reached
            return
        if self._stride > 0 and self._rng.random() > 0.3:
            return
        wanted = [place for place in _in_view(here) if self._wants(place, have, world)]
        if wanted:
            self._goal = min(wanted, key=lambda place: _distance(here, place))
            self._goal_steps = _GOAL_STEPS

    def _towards(self, here: Position, goal: Position, player: Any, world: Any) -> int:
        """Return the direction that comes nearer, around what blocks if it must."""
        dx, dy = goal[0] - here[0], goal[1] - here[1]
        sideways, upright = int(dx > 0), 2 + int(dy > 0)
        if _distance(here, goal) == 1:
            return sideways if dx else upright
        ways = [sideways, upright] if abs(dx) >= abs(dy) else [upright, sideways]
        ways = [way for way in ways if (dx if way < 2 else dy)]
        for way in ways:
            if self._open(here, way, player):
                return way
        return int(self._rng.integers(4))

    def _open(self, here: Position, way: int, player: Any) -> bool:
        """Say whether a step leads somewhere; lava is walkable and deadly."""
        step = DIRECTIONS[way]
        return bool(player.is_free((here[0] + step[0], here[1] + step[1]), list(_BARE)))


def _in_view(here: Position) -> Iterator[Position]:
    for dy in range(-_VIEW_Y, _VIEW_Y + 1):
        for dx in range(-_VIEW_X, _VIEW_X + 1):
            yield here[0] + dx, here[1] + dy


def _distance(a: Position, b: Position) -> int:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _hunted(player: Any, world: Any) -> bool:
    """Say whether a zombie or a skeleton is in view."""
    here = (int(player.pos[0]), int(player.pos[1]))
    creatures = (world[place][1] for place in _in_view(here))
    return any(type(creature).__name__ in {"Zombie", "Skeleton"} for creature in creatures)
