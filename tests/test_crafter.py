"""Crafter and MiniGrid: the source, its player, and the players of Gymnasium games."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from relive.errors import InputError
from relive.session import Session
from relive.session.sources.crafter import ACTING_SCHEMA, SCHEMA, record_crafter
from relive.session.sources.games import record_game
from relive.session.sources.play import Play

STEPS = 90


@pytest.fixture(scope="module", name="session")
def _session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    path = tmp_path_factory.mktemp("crafter") / "s.mcap"
    assert record_game("crafter:survival", path, Play(4, frames=STEPS)) == STEPS
    with Session.open(path) as session:
        yield session


def _column(session: Session, name: str) -> np.ndarray:
    return session.states[:, [field.name for field in session.schema.fields].index(name)]


def test_a_session_is_what_it_says(session: Session) -> None:
    assert session.game == "crafter:survival"
    assert (session.width, session.height, session.fps) == (288, 288, 10)
    assert session.schema == SCHEMA
    assert not session.damaged
    assert session.events[0].payload == "0"
    assert session.states[0, :2].tolist() == [32, 32]
    for name in ("health", "food", "drink", "energy"):
        assert _column(session, name)[0] == 9
    assert _column(session, "wood")[0] == 0
    assert set(_column(session, "facing")) <= {0, 1, 2, 3}
    assert ((_column(session, "daylight") >= 0) & (_column(session, "daylight") <= 1)).all()


def test_the_player_gets_about_and_does_something(session: Session) -> None:
    steps = np.abs(np.diff(session.states[:, :2], axis=0)).sum(axis=1)
    assert steps.max() == 1  # no jump without a new episode
    assert (steps > 0).mean() > 0.3
    frames = session.frames(0, STEPS)
    assert (frames[1:] != frames[:-1]).any(axis=(1, 2, 3)).mean() > 0.7
    facing = _column(session, "facing")
    assert 0.02 < (np.diff(facing) != 0).mean() < 0.6
    assert _column(session, "achievements")[-1] > 0


def test_the_position_is_that_of_the_picture(session: Session) -> None:
    """A step to the right moves the ground one tile of 32 pixels to the left."""
    rights = [i for i, move in enumerate(np.diff(session.states[:, :2], axis=0)) if move[0] == 1]
    pairs = [[session.frame(k)[:96].astype(int) for k in (i, i + 1)] for i in rights]
    shifted = np.mean([np.abs(before[:, 32:] - after[:, :-32]).mean() for before, after in pairs])
    still = np.mean([np.abs(before[:, 32:] - after[:, 32:]).mean() for before, after in pairs])
    assert len(rights) > 5
    assert shifted < still / 2  # what is left are the creatures, which walk, and the daylight


def test_same_seed_same_session(tmp_path: Path, session: Session) -> None:
    record_crafter("survival", tmp_path / "a", Play(4, frames=30, warmup_frames=20))
    record_crafter("survival", tmp_path / "b", Play(5, frames=30, warmup_frames=20))
    with Session.open(tmp_path / "a") as a, Session.open(tmp_path / "b") as b:
        assert np.array_equal(a.frames(0, 30), session.frames(20, 50))
        assert np.array_equal(a.states, session.states[20:50])
        assert a.times_ns[0] == 0
        assert not np.array_equal(a.states, b.states)


def test_actions_are_kept_where_asked_for(tmp_path: Path, session: Session) -> None:
    play = Play(4, frames=50, warmup_frames=20, keep_actions=True)
    record_crafter("survival", tmp_path / "a", play)
    with Session.open(tmp_path / "a") as acting:
        assert acting.schema == ACTING_SCHEMA
        assert np.array_equal(acting.states[:, :-1], session.states[20:70])
        actions, facing = acting.states[:, -1], acting.states[:, 2]
    walked = (actions >= 1) & (actions <= 4)
    assert walked.sum() > 5
    assert (facing[walked] == actions[walked] - 1).all()


def test_refusals(tmp_path: Path) -> None:
    out = tmp_path / "s.mcap"
    with pytest.raises(InputError, match="there is crafter:survival"):
        record_game("crafter:chess", out, Play(1, frames=2))
    with pytest.raises(InputError, match="'sticky' does not play crafter"):
        record_game("crafter:survival", out, Play(1, frames=2, player="sticky"))
    with pytest.raises(InputError, match="picture of 10 pixels"):
        record_crafter("survival", out, Play(1, frames=2), size_px=10)
    with pytest.raises(InputError, match="seed -1"):
        record_game("crafter:survival", out, Play(-1, frames=2))
    with pytest.raises(InputError, match="action 9 is not one of"):
        record_game("gym:CartPole-v1", out, Play(1, frames=2, actions=(0, 9)))
    with pytest.raises(InputError, match="not a length"):
        record_game("crafter:survival", out, Play(1, seconds=0))
    assert not out.exists()


def test_minigrid_with_a_player_that_keeps_on(tmp_path: Path) -> None:
    play = Play(
        3,
        frames=60,
        warmup_frames=7,
        player="sticky",
        actions=(0, 1, 2),
        options={"tile_size": 16},
    )
    for name in ("a", "b"):
        assert record_game("gym:minigrid:MiniGrid-FourRooms-v0", tmp_path / name, play) == 60
    with Session.open(tmp_path / "a") as a, Session.open(tmp_path / "b") as b:
        assert (a.game, a.fps) == ("gym:minigrid:MiniGrid-FourRooms-v0", 10)
        assert (a.width, a.height) == (304, 304)
        frames = a.frames(0, 60)
        assert np.array_equal(frames, b.frames(0, 60))
        assert (frames[1:] != frames[:-1]).any(axis=(1, 2, 3)).mean() > 0.5
