"""Record Gymnasium's CarRacing-v3 with the state that the game knows: docs/adapting.md.

    pip install "gymnasium[box2d]"
    python examples/record_carracing.py runs/carracing

writes 8 sessions into `runs/carracing/train` and 3, on other tracks, into `runs/carracing/test`.
For a game of your own, replace `start`, `drive` and `state_of`; `record` stays as it is.
"""

import argparse
import math
import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

import relive

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame shall look for no screen

TRAIN_SEEDS = range(100, 108)  # a seed is a track and the way it is driven
TEST_SEEDS = range(900, 903)
FPS = 50
ZOOM_IN_FRAMES = 60  # every episode begins with the camera flying in

# The picture turns and moves with the car, seen from above: no camera is declared, because the
# codec warps by cameras that look along the ground. How the car moves is told in its own axes,
# which mean the same on every track.
SCHEMA = relive.StateSchema(
    (
        relive.StateField("x", "m", role="actor.x", step=0.01),
        relive.StateField("y", "m", role="actor.y", step=0.01),
        relive.StateField("yaw", "rad", "angle", role="actor.yaw", step=0.001),
        relive.StateField("forward", "m/s", role="velocity.forward", step=0.01),
        relive.StateField("sideways", "m/s", role="velocity.sideways", step=0.01),
        relive.StateField("turning", "rad/s", role="velocity.turn", step=0.001),
        relive.StateField("steering", "rad", step=0.001),
        relive.StateField("score", role="score", step=0.1),
    )
)


class Driver:
    """Follows the road, now faster and now slower, now left and now right of its middle.

    Args:
        game: The environment, without wrappers.
        seed: Of its moods.
    """

    def __init__(self, game: Any, seed: int) -> None:
        self.game = game
        self.rng = np.random.default_rng(seed)
        self.new_mood()

    def new_mood(self) -> None:
        """Draw how fast to drive, and how far from the middle of the road."""
        self.speed = self.rng.uniform(15, 50)  # m/s
        self.offset = self.rng.uniform(-7, 7)  # m; the road is 13 m wide

    def act(self) -> NDArray[np.float32]:
        """Return steering (−1 left, 1 right), gas and brake."""
        if self.rng.random() < 1 / FPS:  # about once a second
            self.new_mood()
        to_right, ahead = self.game.car.hull.GetLocalPoint(self.target())
        angle = math.atan2(to_right, ahead)
        speed = self.game.car.hull.linearVelocity.length
        wanted = self.speed * max(0.4, 1 - abs(angle))  # slower in a bend
        gas, brake = 0.5 * (speed < wanted), 0.3 * (speed > 1.3 * wanted)
        return np.array([np.clip(1.5 * angle, -1, 1), gas, brake], np.float32)

    def target(self) -> tuple[float, float]:
        """Find the point to head for: on the road, a few steps ahead of the car."""
        track = np.array(self.game.track)  # of each piece: angle around, heading, x, y
        x, y = self.game.car.hull.position
        nearest = int(np.argmin(np.hypot(track[:, 2] - x, track[:, 3] - y)))
        _, heading, x, y = track[(nearest + 6) % len(track)]
        return x + self.offset * math.cos(heading), y + self.offset * math.sin(heading)


def state_of(game: Any) -> list[float]:
    """Read the fields of `SCHEMA` from the physics of the game."""
    hull = game.car.hull
    sideways, forward = hull.GetLocalVector(hull.linearVelocity)
    steering = game.car.wheels[0].joint.angle
    motion = [forward, sideways, hull.angularVelocity, steering]
    return [*hull.position, hull.angle, *motion, game.reward]


def picture_of(env: gymnasium.Env[Any, Any]) -> NDArray[np.uint8]:
    """Draw the game at half its size: 300×200, which quarters the time of everything."""
    frame: Any = env.render()  # uint8 [400, 600, 3]
    half: NDArray[np.float64] = frame.reshape(200, 2, 300, 2, 3).mean((1, 3))
    return np.rint(half).astype(np.uint8)  # [200, 300, 3]


def start(env: gymnasium.Env[Any, Any], seed: int) -> Driver:
    """Start an episode, and play until the camera has flown in."""
    env.reset(seed=seed)
    driver = Driver(env.unwrapped, seed)
    for _ in range(ZOOM_IN_FRAMES):
        env.step(driver.act())
    return driver


def record(path: Path, seed: int, num_frames: int) -> None:
    """Record one session, on one track; under its name only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with (
        gymnasium.make("CarRacing-v3", render_mode="rgb_array") as env,
        relive.Recorder(part, SCHEMA, game="carracing", force=True) as recorder,
    ):
        driver = start(env, seed)
        for number in range(num_frames):
            recorder.add(picture_of(env), state_of(env.unwrapped), round(number * 1e9 / FPS))
            _, _, terminated, truncated, _ = env.step(driver.act())
            if terminated or truncated:
                recorder.event("episode")
                driver = start(env, seed + number)
    part.rename(path)


def main() -> None:
    """Record the sessions to learn from and the ones to test on; what is there, is kept."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=300, help="of each session [300]")
    options = parser.parse_args()
    for split, seeds in (("train", TRAIN_SEEDS), ("test", TEST_SEEDS)):
        for seed in seeds:
            path = options.folder / split / f"{seed}.mcap"
            if not path.exists():
                record(path, seed, options.frames)
            print(path)


if __name__ == "__main__":
    main()
