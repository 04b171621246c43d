"""Looking around in a paused replay: the server draws, the page shows it as made."""

import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

import relive
from relive.container import ReplayReader
from relive.player.app import create_app
from relive.player.catalogue import Catalogue
from relive.player.routes import MAX_VIEWS
from relive.session.marks import GENERATED
from relive.view import Wanted, view
from relive.view.viewer import PATTERN
from room import HEIGHT, STATUS_PX, WIDTH, poses, see, write_room

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FRAMES = 28


@pytest.fixture(scope="module")
def replay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("look")
    write_room(folder / "room.mcap", FRAMES)
    out = folder / "room.relive"
    relive.encode(folder / "room.mcap", out, quality=4, preset="fast", keyframe_interval=8)
    return out


@pytest.fixture(scope="module")
def client(replay: Path) -> Iterator[TestClient]:
    app = create_app(Catalogue([replay]))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client


def file_of(client: TestClient) -> str:
    return f"/api/files/{client.get('/api/files').json()['files'][0]['id']}"


def test_the_server_draws_what_is_seen_from_elsewhere(client: TestClient) -> None:
    image = pytest.importorskip("PIL.Image")
    file = file_of(client)
    assert client.get(file).json()["view"]["pace"] > 1
    answer = client.get(f"{file}/view?frame=20&right=12&turn=5")
    assert float(answer.headers["x-seen"]) > 0.7
    with image.open(BytesIO(answer.content)) as picture:
        assert "play" in picture.text[GENERATED]
        made = np.array(picture)
    pose = poses(FRAMES)[20]
    beside = pose.copy()
    beside[:2] += 12 * np.array([np.sin(pose[3]), -np.cos(pose[3])])
    beside[3] -= np.radians(5)
    truth = see(beside, gun=False)
    seen = ~(made[..., None, :] == PATTERN).all(-1).any(-1)
    seen[HEIGHT - STATUS_PX :] = False
    apart = [np.square(p.astype(float) - truth)[seen].mean() for p in (made, see(pose))]
    assert apart[0] < apart[1] / 3


def test_unseen_parts_are_squares_unless_they_are_filled(client: TestClient) -> None:
    image = pytest.importorskip("PIL.Image")
    shares = []
    for fill in ("false", "true"):
        answer = client.get(f"{file_of(client)}/view?frame=20&turn=120&fill={fill}")
        with image.open(BytesIO(answer.content)) as picture:
            made = np.array(picture)
        assert made.shape == (HEIGHT, WIDTH, 3)
        shares.append((made[..., None, :] == PATTERN).all(-1).any(-1).mean())
    assert shares[0] > 0.3
    assert shares[1] < 0.01


def test_few_views_are_wanted_at_once(client: TestClient) -> None:
    file = f"{file_of(client)}/view?frame=20&turn="
    with ThreadPoolExecutor(3 * MAX_VIEWS) as pool:
        answers = list(pool.map(client.get, [f"{file}{n}" for n in range(3 * MAX_VIEWS)]))
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 429}
    assert codes.count(200) >= MAX_VIEWS
    assert client.get(f"{file}0").status_code == 200


def test_a_damaged_part_of_a_replay_is_no_memory(replay: Path, tmp_path: Path) -> None:
    data = bytearray(replay.read_bytes())
    with ReplayReader.open(replay) as reader:
        data[reader.gops[2].codes_at + 60] ^= 255
    (tmp_path / "hurt.relive").write_bytes(data)
    tally = view(tmp_path / "hurt.relive", tmp_path / "v.png", Wanted(at_s=0.7))
    assert tally.seen > 0.7
    assert not set(tally.sources) & set(range(16, 24))


@pytest.mark.parametrize(
    "query", ["frame=99", "frame=1&turn=nan", "frame=1&forward=1e9", "frame=1&pitch=x", "turn=1"]
)
def test_what_is_no_camera_is_refused(client: TestClient, query: str) -> None:
    answer = client.get(f"{file_of(client)}/view?{query}")
    assert answer.status_code in (400, 422)
    assert answer.json().keys() == {"error"}


def test_the_page_looks_around_and_comes_back(replay: Path) -> None:
    if CHROMIUM is None:
        warnings.filterwarnings("default", message="no browser")
        warnings.warn("no browser: LOOKING AROUND IS NOT TESTED ON THE PAGE", stacklevel=1)
        pytest.skip("no chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright")
    from test_player_page import open_player, serve, until

    server, thread, url = serve(Catalogue([replay]))
    said: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda line: line.type == "error" and said.append(line.text))
        open_player(page, url, "?t=1")
        walk_through(page, until)
        browser.close()
    server.should_exit = True
    thread.join(10)
    assert said == []


def walk_through(page: Any, until: Any) -> None:
    """Look around by keys, button and mouse."""
    drawn = "relivePlayer.stage.looking?.bitmap && relivePlayer.stage.looking.waiting === false"
    page.keyboard.press("v")
    until(page, drawn)
    assert "Generated" in page.inner_text("#marks")
    assert page.get_attribute("#look", "aria-pressed") == "true"
    for key in ("ArrowRight", "Shift+ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    until(page, drawn)
    offset = page.evaluate("relivePlayer.look.offset")
    assert offset["turn"] == 10
    assert offset["right"] > 0
    assert offset["forward"] > 0
    assert page.evaluate("relivePlayer.playback.frame") == 20
    page.click("#fill")
    until(page, drawn + " && relivePlayer.look.fill")
    with page.expect_download() as shot:
        page.keyboard.press("s")
    assert GENERATED.encode() in Path(shot.value.path()).read_bytes()[:200]
    box = page.locator("#picture").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 340, box["y"] + 210, steps=4)
    page.mouse.up()
    assert page.evaluate("relivePlayer.look.offset.turn") < 5
    assert not page.evaluate("relivePlayer.playback.playing")
    page.keyboard.press("Escape")
    until(page, "relivePlayer.stage.looking === null")
    until(page, "!document.getElementById('marks').textContent.includes('Generated')")
    page.click("#look")
    until(page, drawn)
    page.keyboard.press(" ")  # playing goes on from the frame
    until(page, "relivePlayer.playback.frame > 22 && !relivePlayer.look.active")
