"""Views from elsewhere: true to the scene, honest about what was not seen, marked as made."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from relive.cli.run import run
from relive.errors import InputError
from relive.restore import Output
from relive.session import Recorder, Session, StateSchema
from relive.session.marks import GENERATED
from relive.view import Offset, Wanted, open_view, surface, view
from relive.view.camera import numbers_of, parse_camera, pose_of, read_path
from relive.view.cracks import close_cracks
from relive.view.light import Moment, light_alike
from relive.view.render import Looks
from relive.view.viewer import PATTERN, View
from room import GUN_BOX, HEIGHT, SCHEMA, STATUS_PX, WIDTH, see, write_room

SCENE = np.s_[: HEIGHT - STATUS_PX]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("room") / "room.mcap"
    write_room(path, damaged=20)
    return path


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other)[where].mean()))


def pose_beside(room: Path, index: int, offset: Offset) -> NDArray[np.float64]:
    with open_view(room) as opened:
        return offset.of(opened.viewer.memory.poses[index])


def look(room: Path, pose: NDArray[np.float64], **settings: bool) -> View:
    with open_view(room) as opened:
        return opened.view(pose, None, settings.get("fill", False), settings.get("overlay", False))


def test_a_camera_beside_the_path_sees_the_scene(room: Path) -> None:
    pose = pose_beside(room, 30, Offset(forward=-6, right=14, up=6, turn_deg=8))
    made, truth = look(room, pose), see(pose, gun=False)
    assert made.share > 0.75
    assert 20 not in made.plan.sources
    with Session.open(room) as session:
        nearest = session.frame(made.plan.nearest)
    assert psnr(made.pixels, truth, made.seen) > 6 + psnr(nearest, truth, made.seen)


def test_large_pictures_are_shrunk_to_tell_their_depth(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surface, "MAX_WIDTH_PX", 64)
    pose = pose_beside(room, 30, Offset(forward=-6, right=14, up=6, turn_deg=8))
    made, truth = look(room, pose), see(pose, gun=False)
    with Session.open(room) as session:
        nearest = session.frame(made.plan.nearest)
    assert psnr(made.pixels, truth, made.seen) > 3 + psnr(nearest, truth, made.seen)


def test_a_flash_over_all_of_a_picture_is_taken_out() -> None:
    pose, known = np.array([0.0, 0, 60, 0, 0, 0]), np.ones((HEIGHT, WIDTH), np.bool_)
    plain = see(pose, gun=False)
    flash = (0.6 * plain + 0.4 * np.array([255, 0, 0])).astype(np.uint8)
    shots = [surface.Shot(pixels, known, pose) for pixels in (plain, flash)]
    nothing = ~known  # lies beside the scene
    assert np.abs(surface.alike(shots[1], shots[0], nothing).pixels - plain.astype(int)).max() < 4
    assert (surface.alike(shots[0], shots[0], nothing).pixels == plain).all()
    maps = np.ones((2, HEIGHT, WIDTH), np.float32)
    colours = np.stack([plain, flash]).astype(np.float32)
    surfaces = [surface.Surface(shot, maps[0], maps[0]) for shot in shots]
    looks = Looks(colours, maps, maps, maps, maps)
    lit = light_alike(looks, surfaces, Moment(plain, None, nothing))
    assert np.abs(lit.colours[1] - plain).max() < 4
    assert (lit.colours[0] == plain).all()


def test_what_no_frame_has_seen_is_shown_as_unseen(room: Path) -> None:
    pose = pose_beside(room, 5, Offset(turn_deg=100))
    made = look(room, pose)
    unseen = made.scene & ~made.seen
    assert 0.3 < unseen.sum() / made.scene.sum() < 0.95
    assert not made.confidence[~made.seen].any()
    assert set(map(tuple, made.pixels[unseen])) == set(map(tuple, PATTERN))
    filled = look(room, pose, fill=True)
    assert (filled.pixels[made.seen] == made.pixels[made.seen]).all()
    assert not set(map(tuple, filled.pixels[unseen])) & set(map(tuple, PATTERN))
    assert (filled.seen == made.seen).all()


def test_what_is_fixed_to_the_screen_is_no_place_in_the_world(room: Path) -> None:
    with open_view(room) as opened:
        pose = opened.viewer.memory.poses[40]
        made = opened.view(pose, None, False, False)
        fixed = opened.viewer.scene & ~opened.viewer.memory.known
        assert fixed[GUN_BOX].mean() > 0.95
        assert fixed.sum() < 2 * fixed[GUN_BOX].sum()
        over = opened.view(pose, None, False, True)
    behind = made.seen[GUN_BOX]
    assert behind.mean() > 0.3  # other frames have seen the place behind it
    assert psnr(made.pixels[GUN_BOX], see(pose, gun=False)[GUN_BOX], behind) > 16
    assert (made.pixels[HEIGHT - STATUS_PX :] == 0).all()
    recorded = see(pose)
    assert (over.pixels[HEIGHT - STATUS_PX :] == recorded[HEIGHT - STATUS_PX :]).all()
    assert (over.pixels[GUN_BOX] == recorded[GUN_BOX]).all()
    assert not over.seen[GUN_BOX].any()


def test_memory_reaches_over_the_whole_recording(room: Path) -> None:
    with open_view(room) as opened:
        memory = opened.viewer.memory
        memory.usable[25:36] = False
        sources = memory.sources(memory.poses[30], int(memory.times_ns[30]))
        assert not set(sources) & set(range(25, 36))
        assert memory.nearest(memory.poses[30]) in (24, 36)
        for index in sources:
            others = memory.neighbours(index)
            assert 2 <= len(others) <= 4
            assert index not in others
            apart = np.linalg.norm(memory.poses[others, :3] - memory.poses[index, :3], axis=1)
            assert (apart > 0).all()


def test_frames_that_were_made_are_no_memory(room: Path, tmp_path: Path) -> None:
    with Session.open(room) as session, Recorder(tmp_path / "m.mcap", SCHEMA) as recorder:
        for index in range(40, 50):
            time = int(session.times_ns[index])
            recorder.add(session.frame(index), session.states[index], time)
            if index > 44:
                recorder.event(GENERATED, "{}", time)
    with open_view(tmp_path / "m.mcap") as opened:
        assert np.flatnonzero(opened.viewer.memory.usable).tolist() == [0, 1, 2, 3, 4]


def test_a_picture_says_what_made_it(room: Path, tmp_path: Path) -> None:
    out, sure = tmp_path / "v.png", tmp_path / "sure.png"
    tally = view(room, Output(out, sure), Wanted(at_s=1.5, offset=Offset(right=5)))
    assert tally.frames == 1
    assert 0.5 < tally.seen <= 1
    image = pytest.importorskip("PIL.Image")
    with image.open(out) as picture, image.open(sure) as grey:
        said = json.loads(picture.text[GENERATED])
        assert (said["by"], said["camera"]) == ("restore", list(tally.camera))
        assert np.array(grey).shape == np.array(picture).shape[:2]
        assert (np.array(grey)[HEIGHT - STATUS_PX :] == 0).all()
    assert not list(tmp_path.glob(".relive-*"))


def test_a_path_becomes_a_session_whose_frames_are_marked(room: Path, tmp_path: Path) -> None:
    rows = [f"{n / 10},{-90 + 6 * n},{10 - n},60,{3 * n}" for n in range(3)]
    (tmp_path / "p.csv").write_text("time_s,x,y,z,yaw\n" + "\n".join(rows) + "\n")
    wanted = Wanted(path=tmp_path / "p.csv")
    tally = view(room, Output(tmp_path / "v.mcap", tmp_path / "sure.npz", by="view"), wanted)
    assert tally.frames == 3
    with Session.open(tmp_path / "v.mcap") as made:
        assert made.generated.all()
        assert made.times_ns.tolist() == [0, 100_000_000, 200_000_000]
        assert made.states[2].tolist() == [-78, 8, 60, 6, 0, 0]
        assert json.loads(made.events[0].payload)["by"] == "view"
    with np.load(tmp_path / "sure.npz") as maps:
        assert sorted(maps.files) == ["000000", "000001", "000002"]


def test_cameras_are_in_the_units_of_the_schema() -> None:
    pose = parse_camera("1,2,3,90,10", SCHEMA)
    assert pose == pytest.approx([1, 2, 3, math.pi / 2, math.pi / 18, 0])
    right = StateSchema.from_dict(
        SCHEMA.to_dict() | {"camera": {"fov_deg": 90.0, "yaw_positive": "right"}}
    )
    assert pose_of([0, 0, 0, 90], right)[3] == pytest.approx(-math.pi / 2)
    for schema in (SCHEMA, right):
        assert numbers_of(pose_of([1, 2, 3, 40, 5, 6], schema), schema) == pytest.approx(
            [1, 2, 3, 40, 5, 6]
        )


def test_offsets_go_as_a_person_does() -> None:
    north = np.array([0, 0, 0, math.pi / 2, 0, 0])
    there = Offset(forward=3, right=2, up=1, turn_deg=90, pitch_deg=200).of(north)
    assert there == pytest.approx([2, 3, 1, 0, math.radians(89), 0])


def test_cracks_close_and_gaps_stay() -> None:
    seen = np.ones((12, 12), np.bool_)
    seen[:, 3] = False  # a crack
    seen[:, 7:] = False  # a gap
    colours = np.full((12, 12, 3), 50, np.float32)
    colours[~seen] = 0
    scene = np.ones_like(seen)
    closed, sure, there = close_cracks(colours, seen.astype(np.float32), seen, scene)
    assert there[1:-1, 3].all()
    assert np.allclose(closed[1:-1, 3], 50)
    assert (sure[1:-1, 3] < 1).all()
    assert not there[:, 9:].any()
    assert not sure[:, 9:].any()


def test_a_moment_without_a_state_is_no_place(
    room: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A held state is another place; a missing picture is none: frame 20 has its pose."""
    part = tmp_path / "part.mcap"
    with Session.open(room) as whole, Recorder(part, whole.schema, game="test:room") as recorder:
        for index in range(40):
            frame = whole.frame(index) if whole.present[index] else None
            state = whole.states[index] if index < 30 else None
            recorder.add(frame, state, int(whole.times_ns[index]))
        there = whole.states[20]
    out = tmp_path / "v.png"
    assert run(["view", str(part), "--at", "1.8", "-o", str(out)]) == 2
    said = capsys.readouterr().err
    assert "--at 1.8" in said
    assert "nearest that it knows is at 1.450 s" in said
    assert said.count("\n") == 1
    assert not out.exists()
    assert run(["view", str(part), "--at", "1.45", "-o", str(out), "-q"]) == 0
    assert run(["view", str(part), "--at", "1", "-o", str(out), "--force", "--json"]) == 0
    camera = json.loads(capsys.readouterr().out.splitlines()[-1])["camera"]
    assert camera[:3] == pytest.approx(there[:3].tolist(), abs=1e-3)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("room.mcap -o v.png", "--camera"),
        ("room.mcap --camera 1,2,3 -o v.png", "--camera 1,2,3"),
        ("room.mcap --camera 1,2,3,nan -o v.png", "X,Y,Z,YAW"),
        ("room.mcap --at 99 -o v.png", "2.950 s"),
        ("room.mcap --at 1 --move 1,2 -o v.png", "FORWARD,RIGHT,UP"),
        ("room.mcap --camera 9000,9000,60,0 -o v.png", "no recorded frame"),
        ("room.mcap --path gone.csv -o v.mcap", "gone.csv"),
        ("room.mcap --path bad.csv -o v.mcap", "bad.csv, line 3"),
        ("room.mcap --path late.csv -o v.mcap", "does not grow"),
        ("room.mcap --path far.csv -o v.mcap", "far.csv, line 2: the time 1e300"),
        ("room.mcap --path late.csv --turn 3 -o v.mcap", "--path"),
        ("room.mcap --path late.csv -o v.png", "film or a folder"),
        ("room.mcap --at 1 -o kept.png", "--force"),
        ("room.mcap --at 1 -o v.jpg", "cannot write"),
        ("room.mcap --at 1 -o v.png --confidence v.npz", ".png"),
        ("room.mcap --at 1 -o v.png --confidence v.png", "cannot be"),
        ("blind.mcap --at 0 -o v.png", "camera.x"),
        ("gone.mcap --at 0 -o v.png", "No such file"),
    ],
)
def test_wrong_uses_are_one_line(
    args: str,
    said: str,
    room: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "room.mcap").symlink_to(room)
    (tmp_path / "kept.png").write_bytes(b"mine")
    (tmp_path / "bad.csv").write_text("time_s,x,y,z,yaw\n0,0,0,60,0\n1,0,zero,60,0\n")
    (tmp_path / "far.csv").write_text("time_s,x,y,z,yaw\n1e300,0,0,60,0\n")
    (tmp_path / "late.csv").write_text("time_s,x,y,z,yaw\n1,0,0,60,0\n1,0,0,60,0\n")
    with Recorder(tmp_path / "blind.mcap", StateSchema()) as recorder:
        recorder.add(np.zeros((32, 32, 3), np.uint8), [], 0)
    assert run(["view", *args.split()]) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1
    assert (tmp_path / "kept.png").read_bytes() == b"mine"
    assert not list(tmp_path.glob("v.*")) + list(tmp_path.glob(".relive-*"))


def test_read_path_takes_pitch_and_roll(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("time_s,x,y,z,yaw,pitch,roll\n0.5,1,2,3,90,30,45\n")
    times, poses = read_path(tmp_path / "p.csv", SCHEMA)
    assert times == [500_000_000]
    assert np.degrees(poses[0][3:]) == pytest.approx([90, 30, 45])


def test_nothing_usable_is_refused(tmp_path: Path) -> None:
    with Recorder(tmp_path / "m.mcap", SCHEMA) as recorder:
        recorder.add(see(np.array([0.0, 0, 60, 0, 0, 0])), [0, 0, 60, 0, 1], 0)
        recorder.event(GENERATED, "{}", 0)
    with pytest.raises(InputError, match="no frame was recorded"), open_view(tmp_path / "m.mcap"):
        pass
