"""Streams over loopback, from end to end, and what is refused."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from relive.cli.run import run
from relive.codec import Bundle, LiveFrame, load_bundle
from relive.errors import InputError, ReliveError
from relive.session import Session
from relive.stream import ReceiveReport, Sender, SendReport, receive, send
from relive.stream.outbox import MAX_WAITING, Outbox
from small_model import write_small_model
from test_codec import record
from test_live import COUNT, INTERVAL
from test_live import receive as receive_all
from test_live import send as send_all

TOKEN = "a-token-of-the-tests"  # noqa: S105


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_small_model(tmp_path_factory.mktemp("model") / "m.safetensors"))


@pytest.fixture(name="stream", scope="module")
def _stream(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> list[bytes]:
    with Session.open(record(tmp_path_factory.mktemp("live") / "s.mcap", COUNT)) as session:
        header, packets = send_all(session, bundle, 1)
    return [header, *packets]


class Background(threading.Thread):
    """Receive on a thread and keep what came, or what went wrong."""

    def __init__(self, url: str, bundle: Bundle, **more: object) -> None:
        super().__init__()
        self.frames: list[LiveFrame] = []
        self.report: ReceiveReport | None = None
        self.error: Exception | None = None
        self._call = {"url": url, "model": bundle, "on_frame": self.frames.append, **more}
        self.start()

    def run(self) -> None:
        try:
            self.report = receive(**self._call)  # type: ignore[arg-type]
        except ReliveError as error:
            self.error = error

    def done(self) -> None:
        self.join(60)
        assert not self.is_alive()


@contextmanager
def sending(stream: list[bytes], **more: str) -> Iterator[Sender]:
    with Sender(stream[0], **more) as sender:  # type: ignore[arg-type]
        yield sender


def test_a_session_streams_from_end_to_end(tmp_path: Path, bundle: Bundle) -> None:
    path = record(tmp_path / "s.mcap", COUNT, missing=(4, 9))
    urls: list[str] = []
    receivers: list[Background] = []

    def ready(url: str) -> None:
        urls.append(url)
        receivers.append(Background(url, bundle, out=tmp_path / "back.mcap"))

    report = send(
        path,
        port=0,
        model=bundle,
        quality=3,
        keyframe_interval=INTERVAL,
        pace=0.0,
        on_ready=ready,
    )
    receivers[0].done()
    came = receivers[0].report
    assert isinstance(report, SendReport)
    assert came is not None
    assert (report.frames, report.packets, report.dropped, report.receivers) == (COUNT, 11, 0, 1)
    assert (came.frames, came.concealed, came.missing, came.packets) == (COUNT, 0, 0, 12)
    assert came.bytes == report.bytes
    assert came.model_id == bundle.model_id
    assert urls[0].startswith("ws://127.0.0.1:")
    with Session.open(path) as session, Session.open(tmp_path / "back.mcap") as back:
        header, packets = send_all(session, bundle, 3)
        expected, _ = receive_all(bundle, [header, *packets])
        assert np.array_equal(back.present, session.present)
        assert np.array_equal(back.times_ns, session.times_ns)
        assert back.schema == session.schema
        for i in np.flatnonzero(back.present):
            assert np.array_equal(back.frame(i), expected[i].pixels)
            assert np.array_equal(back.states[i], expected[i].state)


def test_who_comes_late_begins_with_a_keyframe(stream: list[bytes], bundle: Bundle) -> None:
    with sending(stream) as sender:
        first = Background(sender.url, bundle)
        sender.joined.wait(10)
        for packet in stream[1:3]:
            sender.put(packet, wait=True)
        sender.joined.clear()
        second = Background(sender.url, bundle)
        sender.joined.wait(10)
        for packet in stream[3:]:
            sender.put(packet, wait=True)
    first.done()
    second.done()
    assert [f.number for f in first.frames] == list(range(COUNT))
    assert [f.number for f in second.frames] == list(range(INTERVAL, COUNT))
    assert sender.receivers == 2
    for a, b in zip(first.frames[INTERVAL:], second.frames, strict=True):
        assert np.array_equal(a.pixels, b.pixels)


def test_what_does_not_fit_is_dropped_up_to_the_next_keyframe() -> None:
    outbox = Outbox()
    outbox.put(b"delta before the receiver came", keyframe=False)
    assert outbox.dropped == 0
    for number in range(MAX_WAITING + 3):
        outbox.put(b"%d" % number, keyframe=number % 8 == 0)
    assert outbox.dropped == 3
    assert outbox.get() == b"0"
    outbox.put(b"delta of a GOP that was dropped", keyframe=False)
    outbox.put(b"key", keyframe=True)
    outbox.put(b"no room", keyframe=False)
    outbox.put(b"no room for a keyframe either", keyframe=True)
    assert outbox.dropped == 6
    outbox.end()
    taken = []
    while (packet := outbox.get()) is not None:
        taken.append(packet)
    assert taken == [*(b"%d" % n for n in range(1, MAX_WAITING)), b"key"]
    outbox.end(at_once=True)
    assert outbox.get() is None


def test_waiting_for_room_drops_nothing() -> None:
    outbox, taken = Outbox(), []

    def take() -> None:
        while (packet := outbox.get()) is not None:
            taken.append(packet)

    thread = threading.Thread(target=take)
    thread.start()
    for number in range(4 * MAX_WAITING):
        outbox.put(b"%d" % number, keyframe=number == 0, wait=True)
    outbox.end()
    thread.join(10)
    assert taken == [b"%d" % n for n in range(4 * MAX_WAITING)]
    assert outbox.dropped == 0


def test_a_receiver_that_takes_nothing_is_let_go(
    stream: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relive.stream.sender.SEND_TIMEOUT_S", 0.5)
    big = stream[1][:-4] + bytes(1 << 20)
    with sending(stream) as sender, connect(sender.url, max_queue=1, close_timeout=0.1):
        sender.joined.wait(10)
        for _ in range(4 * MAX_WAITING):
            sender.put(big)  # never waits
        while sender.dropped == 0:
            time.sleep(0.01)
        assert sender.dropped < 4 * MAX_WAITING
        sender.put(big)


def test_only_who_knows_the_token_may_listen(stream: list[bytes], bundle: Bundle) -> None:
    with sending(stream, token=TOKEN) as sender:
        for wrong in (None, "another-token-of-tests"):
            with pytest.raises(InputError, match="a token is needed"):
                receive(sender.url, token=wrong, model=bundle)
        assert sender.receivers == 0
        right = Background(sender.url, bundle, token=TOKEN)
        sender.joined.wait(10)
        for packet in stream[1:]:
            sender.put(packet, wait=True)
    right.done()
    assert len(right.frames) == COUNT


def test_no_web_page_may_listen(stream: list[bytes]) -> None:
    with sending(stream) as sender, pytest.raises(InvalidStatus, match="403"):
        connect(sender.url, origin="http://evil.example")  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])  # noqa: S104
def test_other_machines_need_a_token(stream: list[bytes], host: str) -> None:
    with pytest.raises(InputError, match="token"):
        Sender(stream[0], host)
    with pytest.raises(InputError, match="16 ASCII"):
        Sender(stream[0], host, token="short")  # noqa: S106


def test_a_stream_that_breaks_off_keeps_what_came(
    tmp_path: Path, stream: list[bytes], bundle: Bundle
) -> None:
    out = tmp_path / "part.mcap"
    with sending(stream) as sender:
        receiver = Background(sender.url, bundle, out=out)
        sender.joined.wait(10)
        for packet in stream[1:4]:
            sender.put(packet, wait=True)
        while len(receiver.frames) < 6:
            time.sleep(0.01)
        for connection in sender._server.connections:
            connection.socket.shutdown(2)
        receiver.done()
    assert isinstance(receiver.error, ReliveError)
    assert "broke off after 6 frames" in str(receiver.error)
    with Session.open(out) as back:
        assert back.num_frames == 6
        assert not back.damaged


def test_wrong_addresses_are_one_line(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(ReliveError, match="cannot reach ws://127"):
        receive("ws://127.0.0.1:9", model=bundle)
    with pytest.raises(InputError, match="no address"):
        receive("ws://", model=bundle)
    (tmp_path / "there.mcap").write_bytes(b"")
    with pytest.raises(InputError, match="--force"):
        receive("ws://127.0.0.1:9", out=tmp_path / "there.mcap", model=bundle)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = record(tmp_path / "s.mcap", 5)
    command = [sys.executable, "-m", "relive", "stream", str(path), "--port", "0", "--pace", "0"]
    with subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as sender:
        assert sender.stderr is not None
        line = sender.stderr.readline()
        assert line.startswith("waiting for receivers at ws://127.0.0.1:"), line
        out = tmp_path / "back.mcap"
        assert run(["stream", line.split()[-1], "-o", str(out), "--json"]) == 0
        sent = json.loads(sender.communicate(timeout=60)[0])
    came = json.loads(capsys.readouterr().out)
    assert (sent["frames"], sent["dropped"], came["frames"], came["concealed"]) == (5, 0, 5, 0)
    assert came["bytes"] == sent["bytes"]
    for wrong in (
        ["stream", str(path), "-o", str(out)],
        ["stream", "ws://127.0.0.1:9", "--quality", "3"],
        ["stream", str(path), "--host", "0.0.0.0"],  # noqa: S104
    ):
        assert run(wrong) == 2
        assert capsys.readouterr().err.count("\n") == 1
