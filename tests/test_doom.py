"""The ViZDoom source: same seed same session, honest states and regions, a clean end."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("vizdoom")

from relive.errors import InputError
from relive.session import Session
from relive.session.sources.doom import DoomGame, DoomTic, record_doom
from relive.session.sources.doom_games import find_game, list_games
from relive.session.sources.doom_player import DoomPlayer, View, sector_depths, turn_deg
from relive.session.sources.doom_state import HUD, REGIONS, WEAPON, state_schema


def play(game: str, seed: int, tics: int) -> list[DoomTic]:
    with DoomGame(game, seed) as doom:
        return list(islice(doom, tics))


@pytest.fixture(scope="module")
def tics() -> list[DoomTic]:
    return play("freedoom2/map01", 5, 110)


def fingerprint(tics: list[DoomTic]) -> str:
    digest = hashlib.sha256()
    for tic in tics:
        digest.update(tic.frame.tobytes() + tic.state.tobytes() + tic.regions.tobytes())
    return digest.hexdigest()


def test_same_seed_same_session(tics: list[DoomTic]) -> None:
    assert fingerprint(play("doom:freedoom2/MAP01", 5, 110)) == fingerprint(tics)
    assert fingerprint(play("freedoom2/map01", 6, 20)) != fingerprint(tics[:20])


def test_states_are_finite_and_in_range(tics: list[DoomTic]) -> None:
    states = np.stack([tic.state for tic in tics])
    schema = state_schema()
    assert states.shape == (110, schema.width)
    assert states.dtype == np.float32
    assert np.isfinite(states).all()
    yaw = states[:, schema.index("camera.yaw")]
    assert ((yaw >= 0.0) & (yaw <= 360.0)).all()
    assert [tic.time_ns for tic in tics[:3]] == [0, 28_571_429, 57_142_857]


def test_player_moves_and_turns(tics: list[DoomTic]) -> None:
    states = np.stack([tic.state for tic in tics])
    steps = np.hypot(*np.diff(states[:, :2], axis=0).T)
    assert steps.sum() > 300.0
    assert (steps > 0.5).mean() > 0.7
    turns = np.abs((np.diff(states[:, 3]) + 180.0) % 360.0 - 180.0)
    assert (turns > 0.2).mean() > 0.2


def test_regions_include_the_status_bar_and_the_weapon(tics: list[DoomTic]) -> None:
    ids = {region.id for region in REGIONS.regions}
    for tic in tics:
        assert (tic.regions[208:] == HUD).all()
        assert set(np.unique(tic.regions)) <= ids
    assert (tics[100].regions == WEAPON).sum() > 500


def rotation_error(a: DoomTic, b: DoomTic, pose_a: DoomTic, pose_b: DoomTic) -> float:
    """Warp the horizon rows of `a` by the turn between two poses and compare them with `b`."""
    turn = np.radians(pose_b.state[3] - pose_a.state[3])
    angles = np.arctan((np.arange(320) - 159.5) / 160.0) - turn
    columns = np.rint(159.5 + 160.0 * np.tan(angles)).astype(int)
    seen = (columns >= 0) & (columns < 320)
    rows = slice(95, 113)
    warped = a.frame[rows][:, columns[seen]].astype(float)
    return float(np.abs(warped - b.frame[rows][:, seen]).mean())


def test_pose_and_picture_belong_to_the_same_tic() -> None:
    tics = play("defend_the_center", 1, 120)
    turning = [
        k
        for k in range(2, 118)
        if abs(tics[k].state[3] - tics[k - 1].state[3]) > 1.0
        and abs(tics[k + 1].state[3] - tics[k].state[3] - tics[k].state[3] + tics[k - 1].state[3])
        > 0.4
    ]
    assert len(turning) >= 5
    errors = [
        np.mean(
            [
                rotation_error(tics[k - 1], tics[k], tics[k - 1 + s], tics[k + s])
                for k in turning
                if abs(tics[k].state[3] - tics[k - 1].state[3]) < 90.0
            ]
        )
        for s in (-1, 0, 1)
    ]
    assert errors[1] == min(errors)


def test_an_episode_ends_and_time_goes_on() -> None:
    with DoomGame("basic", 2) as doom:
        tics = list(islice(doom, 350))
    assert tics[-1].episode > 0
    assert (np.diff([tic.time_ns for tic in tics]) > 0).all()


def test_record_doom(tmp_path: Path) -> None:
    out = tmp_path / "s.mcap"
    seen: list[tuple[int, int]] = []
    frames = record_doom(
        "my_way_home", out, seconds=1.0, seed=3, progress=lambda *at: seen.append(at)
    )
    assert frames == 35
    assert seen[-1] == (35, 35)
    expected = play("my_way_home", 3, 35)
    with Session.open(out) as session:
        assert session.game == "doom:my_way_home"
        assert session.num_frames == 35
        assert session.schema == state_schema()
        assert session.region_schema == REGIONS
        assert np.array_equal(session.frames(0, 35), np.stack([tic.frame for tic in expected]))
        assert np.array_equal(session.regions(0, 35), np.stack([tic.regions for tic in expected]))
        assert [event.name for event in session.events] == ["episode"]


def test_actions_are_kept_where_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "s.mcap"
    record_doom("my_way_home", out, seconds=1.0, seed=3, keep_actions=True)
    with Session.open(out) as session:
        assert session.schema == state_schema(keep_actions=True)
        names = [field.name for field in session.schema.fields]
        states = session.states
    assert np.array_equal(states[:, :13], np.stack([t.state for t in play("my_way_home", 3, 35)]))
    turned = (np.diff(states[:, names.index("yaw")]) + 180) % 360 - 180
    left, right = (states[1:, names.index(f"action.turn_{side}")] for side in ("left", "right"))
    assert (left != right).sum() > 3
    assert (np.sign(turned.round(3)) == left - right).all()  # it aims at nothing here
    assert (states[:, names.index("action.move_forward")] == 1).sum() > 3
    assert (states[0, 13:] == 0).all()


def test_what_is_wrong_is_said_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "s.mcap"
    with pytest.raises(InputError, match=r"doom:nonsense: no such game.*deathmatch"):
        record_doom("nonsense", out, seconds=1, seed=1)
    with pytest.raises(InputError, match="320x240"):
        record_doom("basic", out, seconds=1, seed=1, width=123)
    with pytest.raises(InputError, match="seed"):
        record_doom("basic", out, seconds=1, seed=-1)
    with pytest.raises(InputError, match="length"):
        record_doom("basic", out, seconds=0, seed=1)
    assert not out.exists()


def test_all_bundled_games_are_listed() -> None:
    games = list_games()
    assert {"freedoom1/e4m9", "freedoom2/map32", "deathmatch", "take_cover"} <= set(games)
    assert all(game.game_wad.exists() for game in games.values())
    assert find_game("doom:deathmatch").scenario_wad is not None


def test_other_picture_size() -> None:
    with DoomGame("freedoom1/e1m1", 1, width=160, height=120) as doom:
        tic = next(iter(doom))
    assert tic.frame.shape == (120, 160, 3)
    assert (tic.regions[100:] == HUD).all()
    assert not (tic.regions[:100] == HUD).any()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
def test_a_killed_recording_leaves_no_game_running(tmp_path: Path) -> None:
    code = (
        "from relive.session.sources.doom import DoomGame\n"
        "from relive.session.sources.doom_watcher import newest_child\n"
        "with DoomGame('basic', 1) as game:\n"
        "    print(newest_child('vizdoom'), game._game.get_instance_id(), flush=True)\n"
        "    for tic in game: pass\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        pid, instance = child.stdout.readline().split()
        game = int(pid)
        assert is_running(game)
        child.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10.0
    while (is_running(game) or shared_memory(instance)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(game)
    assert not shared_memory(instance)


def shared_memory(instance: str) -> list[Path]:
    return list(Path("/dev/shm").glob(f"ViZDoom*{instance}"))  # noqa: S108


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z" and os.getpid() != pid


def test_turns_take_the_short_way() -> None:
    assert turn_deg(350.0, 10.0) == pytest.approx(-20.0)
    assert turn_deg(10.0, 350.0) == pytest.approx(20.0)


def test_player_sees_walls_and_not_the_floor() -> None:
    rows = np.arange(208)[:, None] - 103.5
    floor = np.where(rows > 0, 41.0 * 192.0 / np.maximum(rows, 1.0), 1780.0)
    depth = np.minimum(floor / 7.0 - 1.5, 255.0).astype(np.uint8).repeat(320, axis=1)
    assert sector_depths(depth).min() > 1000.0
    depth[:140, :160] = 10
    near = sector_depths(depth)
    assert near[:8].max() < 100.0
    assert near[8:].min() > 1000.0


def test_player_leaves_a_wall() -> None:
    player = DoomPlayer(1)
    depth = np.full((208, 320), 3, np.uint8)
    view = View(depth=depth, sightings=(), x=0.0, y=0.0, yaw_deg=90.0, weapon=2)
    actions = np.array([player.act(view) for _ in range(60)])
    assert actions[:, 1].any()
    assert actions[:, 7:].any()
