"""Regions found without labels: in pictures whose regions are known because they were drawn."""

import json
from pathlib import Path

import numpy as np
import pytest

from relive.cli.run import run
from relive.errors import InputError
from relive.regions import adjusted_rand, discover, write_regions
from relive.session import Camera, Recorder, Session, StateField, StateSchema

INTERVAL_NS = 28_571_429
WIDTH, HEIGHT, BAR = 160, 128, 96  # rows from BAR on are a status bar
POSE = (*(StateField(a, "mapunit", role=f"camera.{a}", step=1 / 64) for a in "xyz"),)
YAW = StateField("yaw", "deg", "angle", "camera.yaw", 360 / 65536)


def noise(seed: int, rows: int, columns: int, cell: int, low: int, high: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(low, high, (rows // cell, columns // cell, 3), dtype=np.uint8)
    return small.repeat(cell, 0).repeat(cell, 1)


def write_scroll(path: Path, other: int = 0) -> Path:
    """A picture that scrolls above a bar that stands still; then `other` frames of another game."""
    world, bar = noise(1, BAR, 480, 4, 20, 200), noise(2, HEIGHT - BAR, WIDTH, 4, 90, 250)
    alien = noise(3, HEIGHT, WIDTH, 16, 0, 2) * 255  # a menu of large flat panels
    with Recorder(path, game="test", force=True) as recorder:
        for n in range(40 + other):
            frame = np.vstack([np.roll(world, 5 * n, 1)[:, :WIDTH], bar])
            if n >= 40:
                frame = alien
            recorder.add(None if n == 5 else frame, [], n * INTERVAL_NS)
        recorder.event("kill", "imp", 3 * INTERVAL_NS)
    return path


def scroll_truth(frames: int) -> np.ndarray:
    truth = np.zeros((frames, HEIGHT, WIDTH), np.uint8)
    truth[:, BAR:] = 1
    return truth


def test_agreement_is_that_of_hubert_and_arabie() -> None:
    true = np.array([0, 0, 0, 1, 1, 1], np.uint8)
    assert adjusted_rand(true, true) == 1
    assert adjusted_rand(1 - true, true) == 1  # names do not matter
    # pairs: 15; together in both 2, in the one 4, in the other 6; expected 1.6, most 5
    found = np.array([0, 0, 1, 1, 2, 2], np.uint8)
    together = 1 + 1  # {0, 1} and {4, 5}
    expected = 3 * 6 / 15
    assert adjusted_rand(found, true) == pytest.approx((together - expected) / (4.5 - expected))


def test_a_bar_that_stands_still_is_found(tmp_path: Path) -> None:
    with Session.open(write_scroll(tmp_path / "s.mcap")) as session:
        found = discover(session)
    names = {region.id: region.name for region in found.schema.regions}
    bar, overlay = scroll_truth(40) == 1, found.maps(0, 40) == 1
    assert overlay[bar].mean() > 0.7
    assert overlay[~bar].mean() < 0.1
    assert names[1] == "hud"
    assert found.opened == ()


def test_what_comes_up_later_opens_a_region(tmp_path: Path) -> None:
    with Session.open(write_scroll(tmp_path / "s.mcap", other=30)) as session:
        found = discover(session, learn_s=1.1)
    assert [opened.region.name for opened in found.opened] == ["new 1"]
    opened = found.opened[0]
    assert 40 <= opened.frame <= 42
    last = found.maps(60, 70)
    assert (last == opened.region.id).mean() > 0.9
    assert not (found.maps(0, 40) == opened.region.id).any()


def write_walk(path: Path) -> np.ndarray:
    """A walk over flat ground towards a wall, by a camera that is known; returns the truth."""
    camera, high = Camera(90.0), 40.0
    xs, ys = np.arange(WIDTH) + 0.5 - WIDTH / 2, np.arange(HEIGHT) + 0.5 - HEIGHT / 2
    right, up = np.meshgrid(xs / (WIDTH / 2), -ys / (WIDTH / 2))
    ground, wall = noise(5, 128, 128, 1, 60, 120), noise(6, 128, 128, 1, 100, 250)
    truths = []
    with Recorder(path, StateSchema((*POSE, YAW), camera), force=True) as recorder:
        for n in range(40):
            x = 4.0 * n
            ahead = 420.0 - x + 100 * right  # a wall that stands askew
            depth = np.where(up < 0, high / np.maximum(-up, 1e-6), np.inf)
            lies = depth < ahead
            depth = np.where(lies, depth, ahead)
            side, far = (depth * right / 8).astype(int), ((depth + x) / 8).astype(int)
            above = (depth * up / 8).astype(int)
            frame = np.where(
                lies[..., None], ground[far % 128, side % 128], wall[above % 128, side % 128]
            )
            recorder.add(frame.astype(np.uint8), [x, 0, high, 0], n * INTERVAL_NS)
            truths.append(lies)
    return np.stack(truths).astype(np.uint8)


def test_ground_is_told_from_walls_by_motion(tmp_path: Path) -> None:
    truth = write_walk(tmp_path / "s.mcap")
    with Session.open(tmp_path / "s.mcap") as session:
        found = discover(session)
    ids = {region.name: region.id for region in found.schema.regions}
    maps = found.maps(0, 40)
    ground, wall = maps == ids["ground"], maps == ids["walls"]
    assert ground[truth == 1].mean() > 0.8
    assert wall[truth == 0].mean() > 0.8


def test_the_session_is_kept_and_regions_come_with_it(tmp_path: Path) -> None:
    source, out = write_scroll(tmp_path / "s.mcap"), tmp_path / "o.mcap"
    with Session.open(source) as session:
        found = discover(session)
        write_regions(session, found, out)
        with Session.open(out) as again:
            assert again.region_schema == found.schema
            np.testing.assert_array_equal(again.present, session.present)
            np.testing.assert_array_equal(again.times_ns, session.times_ns)
            np.testing.assert_array_equal(again[6:40], session[6:40])
            regions = again.regions(6, 40)
            assert regions is not None
            np.testing.assert_array_equal(regions, found.maps(6, 40))
            assert [(e.time_ns, e.name, e.payload) for e in again.events] == [
                (e.time_ns, e.name, e.payload) for e in session.events
            ]
        with pytest.raises(InputError, match="exists"):
            write_regions(session, found, out)
        with pytest.raises(InputError, match="itself"):
            write_regions(session, found, source, force=True)
        with pytest.raises(InputError, match="not over 0"):
            discover(session, learn_s=0)


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_scroll(tmp_path / "s.mcap"), tmp_path / "o.mcap"
    assert run(["regions", str(source), "-o", str(out), "--json", "-q"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["frames"] == 40
    assert sum(row["share"] for row in said["regions"]) == pytest.approx(1)
    assert run(["regions", str(source), "-o", str(out), "-q"]) == 2
    assert "exists" in capsys.readouterr().err
