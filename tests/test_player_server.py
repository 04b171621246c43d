"""The server of the player: exact frames, previews, and everything that it refuses."""

import io
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image

from player_replay import ABSENT, FRAMES, GOP, HEIGHT, WIDTH, write_replays
from relive import Replay, Session
from relive.cli import run
from relive.container import repair
from relive.errors import InputError
from relive.player import security
from relive.player.app import create_app
from relive.player.catalogue import Catalogue
from relive.player.pictures import RECORD, Mark
from relive.player.security import BURST, COOKIE, choose_token

HERE = "http://127.0.0.1:8000"
TOKEN = "a1b2" * 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_replays(tmp_path_factory.mktemp("player"))


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    """The whole folder, as `relive play FOLDER` serves it."""
    with TestClient(create_app(Catalogue([folder])), base_url=HERE) as client:
        yield client


@pytest.fixture(scope="module")
def pair(folder: Path) -> Iterator[TestClient]:
    """One replay beside its original."""
    catalogue = Catalogue([folder / "s.relive"], original=folder / "s.mcap")
    with TestClient(create_app(catalogue), base_url=HERE) as client:
        yield client


def ids(client: TestClient) -> dict[str, str]:
    files = client.get("/api/files").json()["files"]
    return {file["name"]: file["id"] for file in files}


def pictures(data: bytes) -> list[tuple[int, int, np.ndarray]]:
    """Frames, marks and pixels of a stream."""
    out, at = [], 0
    while at < len(data):
        frame, length, _, marks, *_ = RECORD.unpack_from(data, at)
        at += RECORD.size
        out.append((frame, marks, np.asarray(Image.open(io.BytesIO(data[at : at + length])))))
        at += length
    return out


def frames(client: TestClient, file: str, start: int, stop: int, **options: Any) -> Any:
    values = {"start": start, "stop": stop, **options}
    answer = client.get(f"/api/files/{ids(client)[file]}/frames", params=values)
    assert answer.status_code == 200, answer.text
    return pictures(answer.content)


@pytest.mark.parametrize("tiers", [1, 2])
def test_lossless_frames_are_those_of_the_replay(
    client: TestClient, folder: Path, tiers: int
) -> None:
    got = frames(client, "s.relive", 3, 19, tiers=tiers, kind="png")
    with Replay.open(folder / "s.relive", tiers=tiers) as replay:
        wanted = replay.frames(3, 19)
    assert [frame for frame, *_ in got] == list(range(3, 19))
    assert all(np.array_equal(picture, wanted[i]) for i, (*_, picture) in enumerate(got))
    marks = Mark.FIRST_TIER if tiers == 1 else 0
    assert {mark for _, mark, _ in got} == {int(marks)}
    file = ids(client)["s.relive"]
    shot = client.get(f"/api/files/{file}/picture", params={"frame": 5, "tiers": tiers})
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(shot.content))), wanted[2])


def test_a_seek_is_answered_with_a_preview_first(folder: Path) -> None:
    with TestClient(create_app(Catalogue([folder / "s.relive"])), base_url=HERE) as fresh:
        at = 3 * GOP + 5
        got = frames(fresh, "s.relive", at, at + 1, preview=True, urgent=True, kind="png")
        assert [frame for frame, *_ in got] == [3 * GOP, at]
        assert got[0][1] & Mark.PREVIEW
        assert not got[1][1] & Mark.PREVIEW
        again = frames(fresh, "s.relive", at, at + 1, preview=True, kind="png")
        assert [frame for frame, *_ in again] == [at]


def test_what_is_wrong_is_marked(client: TestClient) -> None:
    got = {frame: marks for frame, marks, _ in frames(client, "hurt.relive", 0, FRAMES)}
    assert got[ABSENT] == Mark.DAMAGED
    assert {got[2 * GOP + i] for i in range(GOP)} == {int(Mark.DAMAGED)}
    assert {got[4 * GOP + i] for i in range(GOP)} == {int(Mark.DEGRADED)}
    assert got[0] == 0
    whole = {frame: marks for frame, marks, _ in frames(client, "s.relive", ABSENT, ABSENT + 1)}
    assert whole == {ABSENT: int(Mark.MISSING)}
    facts = client.get(f"/api/files/{ids(client)['hurt.relive']}").json()
    assert [gop["condition"] for gop in facts["gops"]][2:5] == ["damaged", "whole", "degraded"]


def test_what_a_repair_leaves_out_is_lost(folder: Path, tmp_path: Path) -> None:
    repair(folder / "hurt.relive", tmp_path / "saved.relive")
    app = create_app(Catalogue([tmp_path / "saved.relive"]))
    with TestClient(app, base_url=HERE) as client:
        ((_, marks, _),) = frames(client, "saved.relive", 2 * GOP, 2 * GOP + 1)
    assert marks == Mark.LOST


def test_the_library_lists_what_is_broken(client: TestClient) -> None:
    for _ in range(100):
        files = {file["name"]: file for file in client.get("/api/files").json()["files"]}
        if all(file["status"] != "reading" for file in files.values()):
            break
        time.sleep(0.05)
    assert files.keys() == {"s.relive", "hurt.relive", "broken.relive"}
    assert files["broken.relive"]["status"] == "broken"
    assert "/" not in files["broken.relive"]["error"]
    whole = files["s.relive"]
    assert (whole["frames"], whole["width"], whole["damaged"]) == (FRAMES, WIDTH, False)
    assert whole["ratio"] == pytest.approx(FRAMES * WIDTH * HEIGHT * 3 / whole["bytes"])
    assert files["hurt.relive"]["damaged"]


def test_states_of_a_damaged_part_are_unknown(client: TestClient) -> None:
    file = f"/api/files/{ids(client)['hurt.relive']}"
    health = np.frombuffer(client.get(f"{file}/states?fields=3").content, "<f4")
    assert np.flatnonzero(np.isnan(health)).tolist() == list(range(2 * GOP, 3 * GOP))


def test_states_times_events_and_heat(client: TestClient, folder: Path) -> None:
    file = f"/api/files/{ids(client)['s.relive']}"
    with Replay.open(folder / "s.relive") as replay:
        states = np.frombuffer(client.get(f"{file}/states?fields=3&fields=0").content, "<f4")
        assert np.array_equal(states.reshape(2, -1), replay.states[:, [3, 0]].T)
        times = np.frombuffer(client.get(f"{file}/times").content, "<f8")
        assert times[-1] == pytest.approx((FRAMES - 1) / 30)
        facts = client.get(file).json()
        assert [event["name"] for event in facts["events"]] == ["door", "door"]
        assert facts["camera"]["yaw_unit"] == "deg"
        assert facts["absent"] == [[ABSENT, ABSENT + 1]]
        answer = client.get(f"{file}/heat?gop=1")
        assert answer.headers["x-shape"] == f"{GOP},{HEIGHT // 16},{WIDTH // 16}"
        gop = replay.gops[1]
        bits = np.frombuffer(answer.content, "<f4").sum()
        assert bits == pytest.approx(8 * (gop.codes_bytes + gop.detail_bytes), rel=1e-4)


def test_comparing_with_the_original(pair: TestClient, folder: Path) -> None:
    file = f"/api/files/{ids(pair)['s.relive']}"
    with Session.open(folder / "s.mcap") as session, Replay.open(folder / "s.relive") as replay:
        exact, decoded = session.frame(9), replay.frame(9)
        labels = session.regions(9, 10)
    assert np.array_equal(
        frames(pair, "s.relive", 9, 10, source="original", kind="png")[0][2], exact
    )
    assert np.array_equal(frames(pair, "s.relive", 9, 10, source="regions")[0][2], labels[0])
    apart = np.abs(exact.astype(int) - decoded)
    shown = frames(pair, "s.relive", 9, 10, source="difference", kind="png")[0][2]
    assert np.array_equal(shown, np.minimum(4 * apart, 255))
    psnr = pair.get(f"{file}/psnr?frame=9").json()["psnr_db"]
    assert psnr == pytest.approx(10 * np.log10(255**2 / np.mean(apart.astype(float) ** 2)))
    assert pair.get(f"{file}/psnr?frame=9&against=2").json()["psnr_db"] is None
    assert pair.get(f"{file}/psnr?frame=9&against=1").json()["psnr_db"] > 10


def test_a_clip_is_a_video(client: TestClient, tmp_path: Path) -> None:
    import av

    file = f"/api/files/{ids(client)['s.relive']}"
    answer = client.get(f"{file}/clip?start=4&stop=14")
    (tmp_path / "clip.mp4").write_bytes(answer.content)
    with av.open(str(tmp_path / "clip.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 10
    assert client.get(f"{file}/clip?start=14&stop=4").status_code == 400


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/api/files/0123456789abcdef", 404),
        ("/api/files/..%2f..%2fetc%2fpasswd", 404),
        ("/api/files/../../etc/passwd", 404),
        ("/page/..%2fapp.py", 404),
        ("/page/%2e%2e/app.py", 404),
        ("/page/nothing.js", 404),
        ("/api/files/ID/frames?start=0&stop=1000000", 413),
        ("/api/files/ID/frames?start=40&stop=300", 400),
        ("/api/files/ID/frames?start=5&stop=5", 400),
        ("/api/files/ID/frames?start=-1&stop=5", 422),
        ("/api/files/ID/frames?start=1e3&stop=5", 422),
        ("/api/files/ID/frames?start=0&stop=99999999999999999999", 422),
        ("/api/files/ID/frames?start=0", 422),
        ("/api/files/ID/frames?start=0&stop=2&tiers=3", 422),
        ("/api/files/ID/frames?start=0&stop=2&source=/etc/passwd", 422),
        ("/api/files/ID/frames?start=0&stop=2&kind=exe", 422),
        ("/api/files/ID/states?fields=99", 400),
        ("/api/files/ID/states?fields=nan", 422),
        ("/api/files/ID/heat?gop=99", 400),
        ("/api/files/ID/thumbnail?gop=99", 400),
        ("/api/files/ID/psnr?frame=1", 400),
        ("/api/files/ID/clip?start=0&stop=9999", 400),
        ("/api/files/ID/clip?start=0&stop=9&kind=sh", 422),
        ("/docs", 404),
        ("/openapi.json", 404),
        ("/?" + "x" * 4000, 414),
    ],
)
def test_refusals(client: TestClient, address: str, status: int) -> None:
    answer = client.get(address.replace("ID", ids(client)["s.relive"]))
    assert answer.status_code == status
    assert answer.json().keys() == {"error"}
    assert "\n" not in answer.json()["error"]
    assert "Traceback" not in answer.text


def test_a_broken_file_is_refused_without_a_path(client: TestClient, folder: Path) -> None:
    answer = client.get(f"/api/files/{ids(client)['broken.relive']}")
    assert answer.status_code == 400
    assert str(folder) not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8000"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ],
    ids=str,
)
def test_foreign_pages_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert client.get("/api/files", headers=headers).status_code == 403


def test_answers_carry_their_headers(client: TestClient) -> None:
    assert client.post("/api/files").status_code == 405
    for address in ("/", "/api/files", "/page/main.js", "/nothing"):
        headers = client.get(address).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_the_token_is_asked_for_and_becomes_a_cookie(folder: Path) -> None:
    app = create_app(Catalogue([folder]), host="0.0.0.0", token=TOKEN)  # noqa: S104
    with TestClient(app, base_url="http://192.168.1.5:8000") as client:
        for address in ("/", "/api/files", "/page/main.js", f"/?token={TOKEN}x", "/?token="):
            assert client.get(address).status_code == 401
        answer = client.get(f"/?token={TOKEN}&t=3", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/?t=3")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.cookies[COOKIE] == TOKEN
        assert client.get("/api/files").status_code == 200
        assert client.get("/api/files", headers={"Host": "evil.example"}).status_code == 403


def test_an_open_address_has_a_token() -> None:
    assert choose_token("127.0.0.1", None) is None
    assert choose_token("::1", None) is None
    assert len(choose_token("0.0.0.0", None) or "") == 32  # noqa: S104
    with pytest.raises(InputError, match="16"):
        choose_token("0.0.0.0", "short")  # noqa: S104


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nothing.relive"], "nothing.relive"),
        (["."], "no replay"),
        (["s.mcap"], "relive encode"),
        (["broken.relive"], "broken.relive"),
        (["s.relive", "--original", "x.mcap"], "x.mcap"),
        (["s.relive", "--host", "0.0.0.0", "--token", "short"], "token"),  # noqa: S104
        (["s.relive", "--host", "no.such.host.invalid"], "no.such.host"),
        (["hurt.relive", "s.relive", "--original", "s.mcap"], "one replay"),
    ],
    ids=str,
)
def test_wrong_usage_is_one_line(
    folder: Path,
    tmp_path: Path,
    args: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path if args == ["."] else folder)
    assert run(["play", *args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err


def test_the_address_is_printed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(_: uvicorn.Server, sockets: list[socket.socket]) -> None:
        said = capsys.readouterr().out
        port = sockets[0].getsockname()[1]
        assert said == f"http://127.0.0.1:{port}/\n"

    monkeypatch.setattr(uvicorn.Server, "run", answers)
    assert run(["play", str(folder / "s.relive"), "-q"]) == 0


def test_a_missing_extra_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "relive.player.serve", raising=False)
    assert run(["play", str(folder / "s.relive")]) == 2
    assert "relive[play]" in capsys.readouterr().err


def test_whoever_asks_too_often_has_to_wait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "RATE", 0)  # however slow the machine is
    catalogue = Catalogue([folder / "s.relive"])
    with TestClient(create_app(catalogue), base_url=HERE) as client:
        answers = {client.get("/page/icon.svg").status_code for _ in range(BURST + 9)}
    assert answers == {200, 429}
