"""Gymnasium: the wrapper and the source."""

import sys

import gymnasium
import numpy as np
import pytest

from relive.errors import InputError
from relive.session import RecordSession, Session, StateField, StateSchema
from relive.session.sources.gym import record_gym


class Walk(gymnasium.Env):
    """A dot walks to the right; the episode ends at the edge."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Discrete(4)

    def __init__(self, render_mode="rgb_array"):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = int(self.np_random.integers(3))
        return np.array([self.x, 0.5]), {"lives": 3}

    def step(self, action):
        self.x += int(action)
        done = self.x >= 15
        return np.array([self.x, 0.25]), 1.5, done, False, {"lives": 2}

    def render(self):
        picture = np.zeros((8, 16, 3), np.uint8)
        picture[3, min(self.x, 15)] = 255
        return picture


def test_wrapper_records_resets_and_steps(tmp_path):
    with RecordSession(Walk(), tmp_path / "s.mcap") as env:
        env.reset(seed=1)
        ended = 0
        for _ in range(30):
            _, _, terminated, _, _ = env.step(3)
            if terminated:
                ended += 1
                env.reset()
    with Session.open(tmp_path / "s.mcap") as session:
        assert not session.damaged
        assert (len(session), session.fps, session.width, session.height) == (31 + ended, 20, 16, 8)
        column = {field.name: i for i, field in enumerate(session.schema.fields)}
        assert list(column) == [
            "observation.0",
            "observation.1",
            "action",
            "reward",
            "return",
            "episode",
            "episode_step",
            "ended",
        ]
        states = session.states
        first = states[:, column["episode_step"]] == 0
        assert (states[:, column["action"]] == np.where(first, -1, 3)).all()
        assert states[:, column["ended"]].sum() == ended
        assert states[-1, column["episode"]] == ended
        first_end = int(np.argmax(states[:, column["ended"]]))
        assert states[first_end, column["episode_step"]] == first_end
        assert states[first_end, column["return"]] == 1.5 * first_end
        assert states[first_end + 1, column["episode_step"]] == 0
        for index in range(len(session)):
            x = min(int(states[index, 0]), 15)
            assert session.frame(index)[3, x].tolist() == [255] * 3


def test_wrapper_with_a_schema(tmp_path):
    schema = StateSchema((StateField("lives", kind="counter"), StateField("reward")))
    with RecordSession(Walk(), tmp_path / "s.mcap", fps=50, schema=schema) as env:
        env.reset(seed=1)
        env.step(1)
    with Session.open(tmp_path / "s.mcap") as session:
        assert session.schema == schema
        assert session.states.tolist() == [[3, 0], [2, 1.5]]
        assert session.times_ns.tolist() == [0, 20_000_000]


class Steered(Walk):
    """The same with other actions."""

    def __init__(self, action_space):
        super().__init__()
        self.action_space = action_space

    def step(self, action):
        return super().step(0)


@pytest.mark.parametrize(
    ("space", "action", "kind", "nothing"),
    [
        (gymnasium.spaces.Box(-1, 1, (2,)), [0.5, -0.25], "linear", 0),
        (gymnasium.spaces.MultiBinary(2), [1, 0], "category", 0),
        (gymnasium.spaces.MultiDiscrete([3, 5]), [2, 4], "category", -1),
    ],
)
def test_actions_of_several_numbers(space, action, kind, nothing, tmp_path):
    with RecordSession(Steered(space), tmp_path / "s.mcap") as env:
        env.reset(seed=1)
        env.step(np.array(action))
    with Session.open(tmp_path / "s.mcap") as session:
        fields = [field for field in session.schema.fields if field.name.startswith("action")]
        assert [(field.name, field.kind) for field in fields] == [
            ("action.0", kind),
            ("action.1", kind),
        ]
        assert session.states[:, 2:4].tolist() == [[nothing, nothing], action]


def test_actions_that_are_no_row_of_numbers_are_left_out(tmp_path):
    space = gymnasium.spaces.Dict(turn=gymnasium.spaces.Discrete(3))
    with RecordSession(Steered(space), tmp_path / "s.mcap") as env:
        env.reset(seed=1)
        env.step({"turn": 1})
    with Session.open(tmp_path / "s.mcap") as session:
        assert not [f for f in session.schema.fields if f.name.startswith("action")]


def test_wrapper_refuses(tmp_path):
    with pytest.raises(InputError, match="render_mode None"):
        RecordSession(Walk(None), tmp_path / "s.mcap")
    assert not (tmp_path / "s.mcap").exists()
    schema = StateSchema((StateField("mana"),))
    env = RecordSession(Walk(), tmp_path / "s.mcap", schema=schema)
    with env, pytest.raises(InputError, match="frame 0: there is no 'mana'"):
        env.reset()


def test_same_seed_same_session(tmp_path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        done = []
        count = record_gym(
            "CartPole-v1",
            tmp_path / name,
            seconds=0.6,
            seed=seed,
            progress=lambda i, n, done=done: done.append((i, n)),
        )
        assert count == 30
        assert done[-1] == (30, 30)
    a, b, c = (Session.open(tmp_path / name) for name in "abc")
    assert a.game == "gym:CartPole-v1"
    np.testing.assert_array_equal(a.frames(0, 30), b.frames(0, 30))
    np.testing.assert_array_equal(a.states, b.states)
    assert not np.array_equal(a.states, c.states)
    for session in (a, b, c):
        session.close()


def test_a_game_in_the_working_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "mine_of_test.py").write_text(
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "import gymnasium\n"
        "gymnasium.register('Mine-v0', CartPoleEnv)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    before = list(sys.path)
    assert record_gym("mine_of_test:Mine-v0", tmp_path / "s.mcap", seconds=0.1, seed=0) > 0
    assert sys.path == before


def test_source_refuses(tmp_path):
    out = tmp_path / "s.mcap"
    with pytest.raises(InputError, match="cannot make the environment 'Nothing-v0'") as caught:
        record_gym("Nothing-v0", out, seconds=1, seed=0)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="not a length"):
        record_gym("CartPole-v1", out, seconds=0, seed=0)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        record_gym("CartPole-v1", out, seconds=1, seed=0)
    assert out.read_text() == "mine"
