"""A game that Relive does not know, and how it is recorded: docs/newcomer.md.

    python examples/own_game.py meadow.mcap                  # through RecordSession
    python examples/own_game.py meadow.mp4 meadow.csv        # a video and a CSV, for relive import

A cart drives over a meadow, seen from above, and gathers coins. For a game of your own, keep
`record` and replace `Meadow`.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import av
import gymnasium
import numpy as np
from numpy.typing import NDArray

import relive

WIDTH, HEIGHT, FPS, SIDE = 256, 192, 30, 1024
DISC = np.array([(x, y) for x in range(-6, 7) for y in range(-6, 7) if x * x + y * y < 36])
SCHEMA = relive.StateSchema(
    (
        relive.StateField("x", "px", role="actor.x", step=0.1),
        relive.StateField("y", "px", role="actor.y", step=0.1),
        relive.StateField("heading", "rad", "angle", "actor.yaw", step=0.001),
        relive.StateField("speed", "px/s", role="velocity.forward", step=0.1),
        relive.StateField("coins", kind="counter", role="score", step=1.0),
    )
)


class Meadow(gymnasium.Env[NDArray[np.float32], int]):
    """Steer left (0), straight on (1) or right (2), and gather coins."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": FPS}
    action_space = gymnasium.spaces.Discrete(3)
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)

    def __init__(self, render_mode: str = "rgb_array") -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Lay out a meadow; the same seed, the same one."""
        super().reset(seed=seed)
        coarse = self.np_random.integers(0, 60, (SIDE // 16, SIDE // 16, 1)).repeat(16, 0)
        noise = self.np_random.integers(0, 16, (SIDE, SIDE, 1))
        self.ground = (coarse.repeat(16, 1) + noise + (30, 110, 20)).astype(np.uint8)
        self.place = np.full(2, SIDE / 2)
        self.coins = self.np_random.uniform(0, SIDE, (60, 2))
        self.heading, self.speed, self.found = 0.0, 90.0, 0
        return self._seen(), self._told()

    def step(self, action: int) -> Any:
        """Drive for one frame."""
        self.heading = (self.heading + 0.08 * (action - 1)) % (2 * np.pi)
        ahead = np.array([np.cos(self.heading), np.sin(self.heading)])
        self.place = (self.place + ahead * self.speed / FPS) % SIDE
        near = np.hypot(*(self.coins - self.place).T) < 12
        self.coins, self.found = self.coins[~near], self.found + int(near.sum())
        return self._seen(), float(near.sum()), not len(self.coins), False, self._told()

    def render(self) -> Any:
        """Draw what lies around the cart: uint8 [HEIGHT, WIDTH, 3]."""
        left, top = np.rint(self.place).astype(int) - (WIDTH // 2, HEIGHT // 2)
        rows, columns = np.arange(top, top + HEIGHT) % SIDE, np.arange(left, left + WIDTH) % SIDE
        picture = self.ground[np.ix_(rows, columns)].copy()
        spots = (self.coins[:, None].astype(int) + DISC - (left, top)) % SIDE
        x, y = spots[(spots < (WIDTH, HEIGHT)).all(2)].T
        picture[y, x] = (250, 210, 40)
        dy, dx = np.mgrid[:HEIGHT, :WIDTH] - np.array([HEIGHT // 2, WIDTH // 2])[:, None, None]
        along = dx * np.cos(self.heading) + dy * np.sin(self.heading)
        across = dy * np.cos(self.heading) - dx * np.sin(self.heading)
        picture[(abs(along) < 10) & (abs(across) < 6)] = (200, 40, 40)
        return picture

    def _seen(self) -> NDArray[np.float32]:
        return np.array([*self.place, self.heading], np.float32)

    def _told(self) -> dict[str, float]:
        x, y = self.place
        values = {"x": x, "y": y, "heading": self.heading, "speed": self.speed, "coins": self.found}
        return {name: float(value) for name, value in values.items()}


gymnasium.register("Meadow-v0", Meadow)


def actions(frames: int, seed: int) -> Iterator[int]:
    """Steer now to the left and now to the right, each for a while."""
    chance = np.random.default_rng(seed)
    while frames > 0:
        action, count = int(chance.integers(3)), int(chance.integers(5, 25))
        yield from [action] * min(count, frames)
        frames -= count


def record(path: Path, frames: int, seed: int) -> None:
    """Record a session while the game is played."""
    with relive.RecordSession(Meadow(), path, schema=SCHEMA, game="meadow", force=True) as env:
        env.reset(seed=seed)
        for action in actions(frames - 1, seed):
            if env.step(action)[1]:
                env.recorder.event("coin")


def film(video: Path, table: Path, frames: int, seed: int) -> None:
    """Write a video and, for every frame of it, a row of what the game knew."""
    game = Meadow()
    _, told = game.reset(seed=seed)
    with av.open(video, "w") as out, table.open("w", newline="", encoding="utf-8") as file:
        stream = out.add_stream("libx264", FPS, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        rows = csv.writer(file)
        rows.writerow(["time_s", *told])
        for number, action in enumerate(actions(frames, seed)):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(game.render(), format="rgb24")))
            rows.writerow([number / FPS, *told.values()])
            *_, told = game.step(action)
        out.mux(stream.encode())


def main() -> None:
    """Play the game by chance, and keep what was played."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help=".mcap, or .mp4 with a CSV")
    parser.add_argument("table", type=Path, nargs="?", help="the CSV")
    parser.add_argument("--frames", type=int, default=300, help="[300]")
    parser.add_argument("--seed", type=int, default=1, help="[1]")
    options = parser.parse_args()
    if options.table:
        film(options.out, options.table, options.frames, options.seed)
    else:
        record(options.out, options.frames, options.seed)


if __name__ == "__main__":
    main()
