"""The page of the player in a real browser: open, play, seek, step, overlay, compare, library."""

import shutil
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from player_replay import FRAMES, GOP, write_replays
from relive.player.app import create_app
from relive.player.catalogue import Catalogue

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    warnings.filterwarnings("default", message="no browser")
    warnings.warn("no browser: THE PAGE OF THE PLAYER IS NOT TESTED", stacklevel=1)
    pytest.skip("no chromium: THE PAGE OF THE PLAYER IS NOT TESTED", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: PAGE NOT TESTED")

SERIOUS = {"serious", "critical"}


def serve(catalogue: Catalogue) -> tuple[uvicorn.Server, threading.Thread, str]:
    """Run a server in a thread, as `relive play` runs it."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(catalogue), log_level="error"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    return server, thread, f"http://127.0.0.1:{listening.getsockname()[1]}/"


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Two players: of the whole folder, and of one replay beside its original."""
    folder = write_replays(tmp_path_factory.mktemp("page"))
    running = {
        "folder": serve(Catalogue([folder])),
        "pair": serve(Catalogue([folder / "s.relive"], original=folder / "s.mcap")),
    }
    yield {name: url for name, (_, _, url) in running.items()}
    for server, thread, _ in running.values():
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that must not complain on its console."""
    said: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda line: line.type == "error" and said.append(line.text))
    yield page
    context.close()
    assert said == []


def until(page: Any, condition: str) -> None:
    """Wait from outside: the page forbids to evaluate text inside."""
    end = time.monotonic() + 20
    while not page.evaluate(f"Boolean({condition})"):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def open_player(page: Any, url: str, query: str = "") -> None:
    page.goto(url + query)
    until(page, "window.relivePlayer?.stats.exactMs != null")


def at(page: Any) -> int:
    frame: int = page.evaluate("relivePlayer.playback.frame")
    return frame


def test_opening_shows_the_exact_frame_of_the_address(page: Any, addresses: Any) -> None:
    open_player(page, addresses["pair"], "?t=0.5")
    assert at(page) == 15
    assert page.title().startswith("s.relive")
    exact = page.evaluate("relivePlayer.buffer.get('replay:2', 15).exact")
    assert exact is True
    pixels = page.evaluate(
        "[...document.getElementById('picture').getContext('2d').getImageData(0, 0, 160, 96).data]"
    )
    assert len(set(pixels)) > 50


def test_playing_moves_on_and_pausing_stays(page: Any, addresses: Any) -> None:
    open_player(page, addresses["pair"])
    page.keyboard.press(" ")
    until(page, "relivePlayer.playback.frame > 12")
    assert page.get_attribute("#play", "aria-label") == "Pause"
    page.keyboard.press(" ")
    stopped = at(page)
    until(page, f"relivePlayer.stage.shown === {stopped}")
    assert at(page) == stopped
    assert "t=" in page.url or page.wait_for_url("**t=*") is None
    page.keyboard.press("End")
    until(page, f"relivePlayer.stage.shown === {FRAMES - 1}")
    page.keyboard.press(" ")  # from the end it starts again
    until(page, "relivePlayer.playback.playing && relivePlayer.playback.frame < 40")


def test_keys_and_clicks_seek_and_step(page: Any, addresses: Any) -> None:
    open_player(page, addresses["pair"])
    for key, frame in ((".", 1), (".", 2), (",", 1), ("Shift+ArrowRight", 31), ("n", 31)):
        page.keyboard.press(key)
        assert at(page) == frame, key
    page.keyboard.press("p")
    assert at(page) == 30
    page.keyboard.press("Home")
    page.keyboard.press("]")
    assert page.input_value("#speed") == "1.5"
    page.keyboard.press("[")
    box = page.locator("#timeline").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20)
    assert page.is_visible("#hover")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20)
    page.mouse.up()
    assert abs(at(page) - FRAMES // 2) <= 1
    until(page, "relivePlayer.stats.exactMs != null")
    for key in ("l", "Shift+ArrowRight", "l"):
        page.keyboard.press(key)
    loop = page.evaluate("relivePlayer.playback.loop")
    assert loop["a"] < loop["b"]
    assert page.is_enabled("#mp4")


def test_a_loop_comes_back(page: Any, addresses: Any) -> None:
    open_player(page, addresses["pair"])
    page.evaluate("relivePlayer.playback.setLoop(0.2, 0.5); relivePlayer.playback.seek(0.4)")
    page.keyboard.press(" ")
    until(page, "relivePlayer.playback.frame < 11")
    assert at(page) >= 6


def test_overlays_and_panels(page: Any, addresses: Any) -> None:
    open_player(page, addresses["pair"], "?t=0.3")
    page.keyboard.press("b")
    until(page, "document.getElementById('figures').textContent.includes('bits of a cube: 0')")
    page.keyboard.press("r")
    until(page, "relivePlayer.buffer.get('regions', 9)")
    painted = (
        "document.getElementById('overlay').getContext('2d').getImageData(20, 20, 1, 1).data[3] > 0"
    )
    until(page, painted)
    assert page.locator("#legend li").all_inner_texts() == ["left", "right"]
    assert page.is_visible("#map")
    page.keyboard.press("m")
    assert page.is_hidden("#map")
    page.click("#fields button:has-text('yaw')")
    until(page, "[...document.querySelectorAll('.plot')].some(p => p.textContent.includes('54'))")
    assert page.locator("#events button").count() == 2


def test_side_by_side_both_pictures_have_their_overlays(page: Any, addresses: Any) -> None:
    open_player(page, addresses["pair"], "?t=0.3")
    page.select_option("#compare", "side")
    page.keyboard.press("r")
    for x in (20, 160 + 4 + 20):
        pen = "document.getElementById('overlay').getContext('2d')"
        until(page, f"{pen}.getImageData({x}, 40, 1, 1).data[3] > 0")
    page.keyboard.press("r")
    until(page, f"{pen}.getImageData(20, 40, 1, 1).data[3] === 0")


def test_side_by_side_damage_frames_the_picture_that_has_it(page: Any, addresses: Any) -> None:
    page.goto(addresses["folder"])
    page.click("a.card:has-text('hurt.relive')")
    until(page, "window.relivePlayer?.stats.exactMs != null")
    page.select_option("#compare", "side")
    page.select_option("#against", "1")
    page.evaluate(f"relivePlayer.seek({4 * GOP + 2} / 30)")
    corner = "document.getElementById('overlay').getContext('2d').getImageData(%d, 0, 1, 1).data[3]"
    until(page, corner % 1 + " > 0")
    until(page, corner % (160 + 4 + 1) + " === 0")  # once its exact picture is there
    page.evaluate(f"relivePlayer.seek({2 * GOP + 2} / 30)")
    until(page, corner % (160 + 4 + 1) + " > 0")


def test_comparing_shows_the_psnr_of_the_frame(page: Any, addresses: Any) -> None:
    open_player(page, addresses["pair"], "?t=0.3")
    for mode in ("split", "side", "difference", "flicker"):
        page.keyboard.press("c")
        assert page.input_value("#compare") == mode
        until(page, "document.getElementById('figures').textContent.includes('dB')")
    page.select_option("#against", "2")
    until(page, "document.getElementById('figures').textContent.includes('equal')")


def test_the_library_finds_sorts_and_names_what_is_broken(page: Any, addresses: Any) -> None:
    page.goto(addresses["folder"])
    until(page, "document.querySelectorAll('a.card').length === 2")
    assert "broken:" in page.inner_text("#cards")
    page.fill("#filter", "damaged")
    assert page.locator("#cards > li").count() == 1
    page.fill("#filter", "")
    page.select_option("#sort", "bytes")
    page.click("#order")
    names = page.locator(".card h2").all_inner_texts()
    assert set(names) == {"s.relive", "hurt.relive", "broken.relive"}
    page.click("a.card:has-text('s.relive')")
    until(page, "window.relivePlayer?.stats.exactMs != null")


def test_damage_is_marked_on_the_picture_and_the_timeline(page: Any, addresses: Any) -> None:
    page.goto(addresses["folder"])
    page.click("a.card:has-text('hurt.relive')")
    until(page, "window.relivePlayer?.stats.exactMs != null")
    page.evaluate(f"relivePlayer.seek({2 * GOP + 2} / 30)")
    until(page, "document.getElementById('stage').dataset.mark === 'damaged'")
    assert "Damaged" in page.inner_text("#marks")
    page.keyboard.press("b")
    until(page, "document.getElementById('figures').textContent === 'no bits here'")
    page.keyboard.press("b")
    page.evaluate(f"relivePlayer.seek({4 * GOP + 2} / 30)")
    until(page, "document.getElementById('stage').dataset.mark === 'degraded'")
    assert "First tier only" in page.inner_text("#marks")
    assert "first tier only" in (page.get_attribute("#timeline", "aria-valuetext") or "")


def test_screenshots_and_clips_are_saved(page: Any, addresses: Any) -> None:
    open_player(page, addresses["pair"])
    with page.expect_download() as shot:
        page.keyboard.press("s")
    assert Path(shot.value.path()).read_bytes().startswith(b"\x89PNG")
    page.evaluate("relivePlayer.playback.setLoop(0.1, 0.4)")
    with page.expect_download() as clip:
        page.click("#mp4")
    assert b"ftyp" in Path(clip.value.path()).read_bytes()[:16]


def test_memory_of_the_page_is_bounded(page: Any, addresses: Any) -> None:
    open_player(page, addresses["pair"])
    page.evaluate("relivePlayer.buffer.room = 10; relivePlayer.playback.play()")
    until(page, "relivePlayer.playback.frame > 30")
    assert page.evaluate("relivePlayer.buffer.count") <= 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["folder", "pair"])
def test_axe_finds_nothing_serious(page: Any, addresses: Any, which: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    page.emulate_media(color_scheme=scheme)
    if which == "pair":
        open_player(page, addresses["pair"])
        page.keyboard.press("c")
    else:
        page.goto(addresses["folder"])
        until(page, "document.querySelectorAll('a.card').length === 2")
    found = page.evaluate(f"{script}; axe.run()")["violations"]
    bad = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]
    assert [item for one, item in zip(found, bad, strict=True) if one["impact"] in SERIOUS] == []


def test_a_phone_scrolls_in_one_direction_only(page: Any, addresses: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    open_player(page, addresses["pair"])
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.is_visible("#play")
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    assert page.is_hidden("#help")
    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_nothing_is_fetched_from_elsewhere(page: Any, addresses: Any) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_player(page, addresses["pair"])
    end = time.monotonic() + 1
    while time.monotonic() < end and len(asked) < 20:
        page.wait_for_timeout(50)
    assert all(url.startswith((addresses["pair"], "blob:", "data:")) for url in asked)
