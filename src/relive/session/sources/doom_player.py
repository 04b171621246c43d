"""A scripted Doom player that explores: it walks, turns away from walls, opens doors and shoots.

It sees what ViZDoom's depth and label buffers show, like a person sees the picture. Nothing of
that goes into the session. All its choices come from one seeded generator: same seed, same play.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BUTTONS = (
    "ATTACK",
    "USE",
    "SPEED",
    "MOVE_FORWARD",
    "MOVE_BACKWARD",
    "MOVE_LEFT",
    "MOVE_RIGHT",
    "TURN_LEFT",
    "TURN_RIGHT",
    "SELECT_NEXT_WEAPON",
    "TURN_LEFT_RIGHT_DELTA",
)
"""ViZDoom buttons, in the order of an action."""

DEPTH_UNIT, DEPTH_OFFSET = 7.0, 1.5
"""Map units of a depth value d: 7 (d + 1.5), along the axis of view (measured, docs/games.md)."""

FOCAL_PX = 192.0
"""Vertical focal length of the 3-D picture."""

EYE_UNITS = 41.0
"""Height of the player's eye over the floor."""

STEP_SHARE = 0.36
"""Where the depth is below this share of a level floor's depth, something higher than a step is."""

CELL_UNITS = 96.0
"""Side of a cell of the player's memory of where it has been, in map units."""

NUM_SECTORS = 16
"""Viewing directions that the player compares when it chooses where to go."""

STUCK_TICS = 7
"""Tics over which the player checks that it gets anywhere."""


DOOR_CHECK_TICS, DOOR_OPEN_TICS = 9, 45
"""Tics until a door is seen to move, and until one can walk through it."""

DOOR_ROWS, DOOR_COLUMNS = slice(70, 138), slice(120, 200)
"""Where the player looks for a door that moves: the middle, above the weapon."""


@dataclass(frozen=True)
class Sighting:
    """One labelled object on the screen."""

    name: str
    category: str
    centre_px: float
    width_px: float


@dataclass(frozen=True)
class View:
    """What the player knows at one tic.

    Attributes:
        depth: uint8 `[h, w]`, the depth buffer of the 3-D picture.
        sightings: the labelled objects on the screen.
        x, y: position in map units.
        yaw_deg: direction of view in degrees, growing to the left.
        weapon: slot of the weapon in hand; 1 is the fist.
    """

    depth: npt.NDArray[np.uint8]
    sightings: Sequence[Sighting]
    x: float
    y: float
    yaw_deg: float
    weapon: int


def turn_deg(target_deg: float, yaw_deg: float) -> float:
    """Return the short way from `yaw_deg` to `target_deg`, in -180..180, left positive."""
    return (target_deg - yaw_deg + 180.0) % 360.0 - 180.0


class DoomPlayer:
    """Decides the buttons of every tic.

    Args:
        seed: everything the player does by chance comes from it.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._visits: dict[tuple[int, int], float] = {}
        self.reset()

    def reset(self) -> None:
        """Forget the plan of the last episode; the memory of the map stays."""
        self._tic = 0
        self._trail: list[tuple[float, float]] = []
        self._goal_deg: float | None = None
        self._plan_until = 0
        self._back_until = 0
        self._use_until = 0
        self._use_ready = 0
        self._used_at = -1
        self._door = np.zeros(0, np.int16)
        self._probe_until = 0
        self._failures = 0
        self._side = 0
        self._side_until = 0
        self._fight_until = 0
        self._style()

    def act(self, view: View) -> list[float]:
        """Return the action of this tic: one value per entry of `BUTTONS`."""
        self._tic += 1
        self._remember(view)
        buttons = dict.fromkeys(BUTTONS, 0.0)
        if self._tic >= self._style_until:
            self._style()
        if view.weapon == 1 and self._rng.random() < 0.02:
            buttons["SELECT_NEXT_WEAPON"] = 1.0
        enemy = self._enemy(view)
        if enemy is not None and self._tic >= self._back_until:
            self._fight(view, enemy, buttons)
        else:
            self._explore(view, buttons)
        return [buttons[name] for name in BUTTONS]

    def _style(self) -> None:
        """Draw a way of playing for the next second or two: hand, pace and speed of turning."""
        rng = self._rng
        self._style_until = self._tic + int(rng.integers(20, 90))
        self._keyboard = bool(rng.random() < 0.35)
        self._run = bool(rng.random() < 0.55)
        self._max_turn = float(
            rng.choice([2.0, 3.5, 5.0, 8.0, 12.0], p=[0.2, 0.3, 0.25, 0.17, 0.08])
        )
        self._sway_deg = float(rng.uniform(0.0, 14.0))
        self._sway_tics = float(rng.uniform(25.0, 90.0))
        self._sway_phase = float(rng.uniform(0.0, 2.0 * math.pi))
        self._turn_now = 0.0

    def _remember(self, view: View) -> None:
        cell = _cell(view.x, view.y)
        self._visits[cell] = self._visits.get(cell, 0.0) + 1.0
        self._trail.append((view.x, view.y))
        del self._trail[: -STUCK_TICS - 1]

    def _stuck(self) -> bool:
        if len(self._trail) <= STUCK_TICS:
            return False
        (x0, y0), (x1, y1) = self._trail[0], self._trail[-1]
        return math.hypot(x1 - x0, y1 - y0) < 1.5 * STUCK_TICS

    def _explore(self, view: View, buttons: dict[str, float]) -> None:
        free = sector_depths(view.depth)
        ahead = float(free[NUM_SECTORS // 2 - 1 : NUM_SECTORS // 2 + 1].min())
        if self._tic < self._back_until:
            self._escape(view, buttons)
            return
        if self._stuck() and self._tic >= self._use_until:
            self._unstick(view, buttons)
        elif self._plan_ends(ahead):
            self._choose_goal(view, free)
        self._try_door(view, ahead, buttons)
        self._steer(view, buttons)
        error = abs(turn_deg(self._goal_deg or 0.0, view.yaw_deg))
        if error < 60.0 or ahead > 150.0:
            buttons["MOVE_FORWARD"] = 1.0
        buttons["SPEED"] = float(self._run and error < 45.0)
        self._strafe(buttons, chance=0.012)

    def _plan_ends(self, ahead: float) -> bool:
        if self._goal_deg is None or self._tic >= self._plan_until:
            return True
        return ahead < 64.0 and self._tic >= self._probe_until

    def _unstick(self, view: View, buttons: dict[str, float]) -> None:
        """Try a door first; then back off, remember the obstacle and take another way."""
        self._failures += 1
        self._trail.clear()
        self._avoid(view)
        if self._failures % 3 == 1:
            self._plan_until = self._use_until = self._tic + DOOR_CHECK_TICS
            self._use_ready = min(self._use_ready, self._tic)
            return
        away = float(self._rng.uniform(70.0, 180.0)) * float(self._rng.choice([-1.0, 1.0]))
        self._goal_deg = view.yaw_deg + away
        self._back_until = self._tic + int(self._rng.integers(6, 16))
        self._plan_until = self._back_until + int(self._rng.integers(20, 50))

    def _try_door(self, view: View, ahead: float, buttons: dict[str, float]) -> None:
        """Press use once in front of anything, and wait if it begins to move: it is a door.

        A second press would close it again.
        """
        patch = view.depth[DOOR_ROWS, DOOR_COLUMNS].astype(np.int16)
        if ahead < 90.0 and self._tic >= self._use_ready:
            buttons["USE"] = 1.0
            self._use_ready = self._tic + DOOR_OPEN_TICS
            self._used_at = self._tic
            self._door = patch
        elif self._checks_door() and np.abs(patch - self._door).mean() > 0.2:
            self._use_until = self._plan_until = self._probe_until = self._use_ready

    def _checks_door(self) -> bool:
        return self._tic == self._used_at + DOOR_CHECK_TICS and self._stuck()

    def _avoid(self, view: View) -> None:
        """Count the cells ahead as seen often: the way there is blocked, by a sill or a window."""
        heading = math.radians(view.yaw_deg)
        for distance in (0.7, 1.4, 2.5, 4.0, 6.0):
            x = view.x + distance * CELL_UNITS * math.cos(heading)
            y = view.y + distance * CELL_UNITS * math.sin(heading)
            cell = _cell(x, y)
            self._visits[cell] = self._visits.get(cell, 0.0) + 8.0

    def _escape(self, view: View, buttons: dict[str, float]) -> None:
        buttons["MOVE_BACKWARD"] = 1.0
        self._steer(view, buttons)

    def _choose_goal(self, view: View, free: npt.NDArray[np.float64]) -> None:
        """Head for the direction that is open and leads to where the player has been least."""
        rng = self._rng
        angles = sector_angles_deg()
        scores = np.empty(NUM_SECTORS)
        for k in range(NUM_SECTORS):
            scores[k] = self._score(view, view.yaw_deg + angles[k], free[k])
        scores *= rng.uniform(0.6, 1.4, NUM_SECTORS)
        best = int(np.argmax(scores))
        if scores[best] < 60.0 and rng.random() < 0.4:
            self._probe(view, angles)
            return
        if free[best] < 110.0 or rng.random() < 0.06:
            away = float(rng.uniform(80.0, 180.0)) * float(rng.choice([-1.0, 1.0]))
            self._goal_deg = view.yaw_deg + away
            self._plan_until = self._tic + int(rng.integers(18, 40))
            return
        self._goal_deg = view.yaw_deg + float(angles[best]) + float(rng.normal(0.0, 4.0))
        self._plan_until = self._tic + int(rng.integers(12, 55))

    def _probe(self, view: View, angles: npt.NDArray[np.float64]) -> None:
        """Walk up to any wall of a place that is known by now: it may be a door."""
        self._goal_deg = view.yaw_deg + float(self._rng.choice(angles))
        self._plan_until = self._probe_until = self._tic + int(self._rng.integers(25, 60))

    def _score(self, view: View, heading_deg: float, free_units: float) -> float:
        reach = min(free_units, 700.0)
        heading = math.radians(heading_deg)
        seen = 0.0
        for part in (0.35, 0.7, 0.95):
            x = view.x + part * reach * math.cos(heading)
            y = view.y + part * reach * math.sin(heading)
            seen += self._visits.get(_cell(x, y), 0.0)
        return reach / (1.0 + 0.05 * seen)

    def _steer(self, view: View, buttons: dict[str, float]) -> None:
        """Turn towards the goal, swaying a little, with a keyboard's or a mouse's speeds."""
        sway = self._sway_deg * math.sin(
            2.0 * math.pi * self._tic / self._sway_tics + self._sway_phase
        )
        self._turn(turn_deg((self._goal_deg or 0.0) + sway, view.yaw_deg), buttons)

    def _turn(self, error_deg: float, buttons: dict[str, float]) -> None:
        if self._keyboard:
            if abs(error_deg) > 4.0:
                buttons["TURN_LEFT" if error_deg > 0.0 else "TURN_RIGHT"] = 1.0
            return
        wanted = max(-self._max_turn, min(self._max_turn, 0.22 * error_deg))
        self._turn_now += 0.45 * (wanted - self._turn_now)
        buttons["TURN_LEFT_RIGHT_DELTA"] = -self._turn_now

    def _strafe(self, buttons: dict[str, float], chance: float) -> None:
        if self._tic >= self._side_until:
            self._side = 0
            if self._rng.random() < chance:
                self._side = int(self._rng.choice([-1, 1]))
                self._side_until = self._tic + int(self._rng.integers(6, 22))
        if self._side:
            buttons["MOVE_RIGHT" if self._side > 0 else "MOVE_LEFT"] = 1.0

    def _enemy(self, view: View) -> Sighting | None:
        """Return the largest living monster in view, for at most a few seconds at a time."""
        alive = [
            seen
            for seen in view.sightings
            if seen.category == "Monster" and not seen.name.startswith("Dead")
        ]
        if not alive:
            return None
        if self._tic >= self._fight_until + 60:
            self._fight_until = self._tic + int(self._rng.integers(40, 140))
        if self._tic >= self._fight_until:
            return None
        return max(alive, key=lambda seen: seen.width_px)

    def _fight(self, view: View, enemy: Sighting, buttons: dict[str, float]) -> None:
        half = view.depth.shape[1] / 2
        error = math.degrees(math.atan((half - enemy.centre_px) / half))
        self._turn(error, buttons)
        if abs(error) < max(3.0, enemy.width_px / 8):
            buttons["ATTACK"] = 1.0
        if abs(error) < 25.0:
            buttons["MOVE_FORWARD" if enemy.width_px < 40 else "MOVE_BACKWARD"] = 1.0
        self._strafe(buttons, chance=0.15)
        self._goal_deg = None
        if self._rng.random() < 0.004:
            buttons["SELECT_NEXT_WEAPON"] = 1.0


def sector_depths(depth: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return how far each viewing direction is open, in map units, float64 `[NUM_SECTORS]`.

    Looks at a band below the horizon. What is much nearer there than a level floor would be is an
    obstacle: a wall, a monster, a sill; a step is not.
    """
    below = np.arange(2, 35, 4)
    band = (depth[depth.shape[0] // 2 + below] + DEPTH_OFFSET) * DEPTH_UNIT
    floor = EYE_UNITS * FOCAL_PX / below[:, None]
    columns = np.where(band < STEP_SHARE * floor, band, np.inf).min(axis=0)
    columns = np.minimum(columns, 255 * DEPTH_UNIT)
    sectors = columns[: columns.size // NUM_SECTORS * NUM_SECTORS].reshape(NUM_SECTORS, -1)
    nearest: npt.NDArray[np.float64] = sectors.min(axis=1)
    return nearest


def sector_angles_deg() -> npt.NDArray[np.float64]:
    """Return the turn to the left to each sector's centre, float64 `[NUM_SECTORS]`."""
    across = (np.arange(NUM_SECTORS) + 0.5) / NUM_SECTORS * 2.0 - 1.0
    return np.degrees(np.arctan(-across))


def _cell(x: float, y: float) -> tuple[int, int]:
    return math.floor(x / CELL_UNITS), math.floor(y / CELL_UNITS)
