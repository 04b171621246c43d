"""Stream a session as if it were played now; receivers come and go."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from relive.codec import Bundle, Encoder, is_keyframe
from relive.errors import InputError
from relive.session import Session
from relive.stream.address import AUTHORIZATION, LOOPBACK, check_host, is_allowed
from relive.stream.outbox import Outbox

PORT = 8765
MAX_RECEIVERS = 16
MAX_QUESTION_BYTES = 1024  # receivers have nothing to say
SEND_TIMEOUT_S = 10.0
"""A receiver that takes no packet for so long is let go."""


@dataclass(frozen=True)
class SendReport:
    """How a stream went.

    Attributes:
        frames: encoded.
        packets: encoded.
        bytes: of the packets and of one header.
        dropped: packets that slow receivers did not get, over all of them.
        receivers: that ever connected.
        seconds: from the first frame to the last packet.
        late_s: by how much the last frame was encoded after its time; the encoder was too slow.
    """

    frames: int
    packets: int
    bytes: int
    dropped: int
    receivers: int
    seconds: float
    late_s: float


class Sender:
    """Serves a stream to everybody who connects; each begins with a keyframe.

    Attributes:
        url: where to connect.
        joined: set while anybody has ever connected.
        receivers: how many have connected so far.
        dropped: packets that did not fit into the outboxes of slow ones.

    Args:
        header: the first packet for everybody.
        host: address to listen at.
        port: 0 for any that is free.
        token: what a receiver must know; None for loopback alone.

    Raises:
        InputError: The address can be reached from outside and there is no token.
        OSError: The address cannot be used.
    """

    def __init__(
        self, header: bytes, host: str = LOOPBACK, port: int = 0, token: str | None = None
    ) -> None:
        check_host(host, token)
        self._header, self._token = header, token
        self._outboxes: dict[Outbox, Event] = {}
        self._lock = Lock()
        self.joined = Event()
        self.receivers = self.dropped = 0
        self._server = serve(
            self._serve,
            host,
            port,
            origins=[None],  # no web page may listen
            process_request=self._admit,
            compression=None,
            max_size=MAX_QUESTION_BYTES,
        )
        name, number = self._server.socket.getsockname()[:2]
        self.url = f"ws://[{name}]:{number}" if ":" in name else f"ws://{name}:{number}"
        self._thread = Thread(target=self._server.serve_forever, name="relive-sender", daemon=True)
        self._thread.start()

    def put(self, packet: bytes, *, wait: bool = False) -> None:
        """Hand a packet to everybody; `wait` waits for slow ones instead of dropping."""
        keyframe = is_keyframe(packet)
        with self._lock:
            outboxes = list(self._outboxes)
        for outbox in outboxes:
            outbox.put(packet, keyframe, wait=wait)

    def close(self, *, at_once: bool = False) -> None:
        """End the stream when everybody has what waits for them, or at once."""
        with self._lock:
            waiting = dict(self._outboxes)
        for outbox in waiting:
            outbox.end(at_once=at_once)
        for gone in waiting.values():
            gone.wait()
        self._server.shutdown()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(at_once=error is not None)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Turn away who has no token, and more than there is room for."""
        if not is_allowed(request.headers.get(AUTHORIZATION), self._token):
            return _refusal(connection, HTTPStatus.UNAUTHORIZED, "a token is needed\n")
        if len(self._outboxes) >= MAX_RECEIVERS:
            return _refusal(connection, HTTPStatus.SERVICE_UNAVAILABLE, "too many receivers\n")
        return None

    def _serve(self, connection: ServerConnection) -> None:
        """Send to one receiver, on its thread, until the stream ends or the receiver goes."""
        outbox, gone = Outbox(), Event()
        with self._lock:
            self._outboxes[outbox] = gone
            self.receivers += 1
        connection.socket.settimeout(SEND_TIMEOUT_S)
        try:
            connection.send(self._header)
            self.joined.set()
            while (packet := outbox.get()) is not None:
                connection.send(packet)
            connection.close()
        except (ConnectionClosed, TimeoutError):
            pass  # it may come back
        finally:
            outbox.end(at_once=True)
            with self._lock:
                del self._outboxes[outbox]
                self.dropped += outbox.dropped
            gone.set()


def _refusal(connection: ServerConnection, status: HTTPStatus, text: str) -> Response:
    response: Response = connection.respond(status, text)
    return response


def send(
    session: Session | Path | str,
    *,
    host: str = LOOPBACK,
    port: int = PORT,
    token: str | None = None,
    model: Bundle | Path | str | None = None,
    quality: int = 5,
    keyframe_interval: int = 32,
    pace: float = 1.0,
    on_ready: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SendReport:
    """Stream a session to whoever connects; it begins with the first receiver.

    Args:
        session: an open session, or the path of a recording.
        host: address to listen at.
        port: 0 for any that is free.
        token: what receivers must know; needed where the address is not of this machine alone.
        model: weights; None for the bundled ones.
        quality: 1 (smallest) to 10 (best).
        keyframe_interval: frames between keyframes, even.
        pace: seconds of the session in a second; 0 for as fast as it can be encoded and received.
        on_ready: told the address, once receivers can connect.
        progress: told frames done and frames in all.

    Raises:
        InputError: A setting or the session is wrong.
        OSError: The address cannot be used.
    """
    if pace < 0:
        raise InputError(f"a pace of {pace} is below 0")
    check_host(host, token)
    opened = nullcontext(session) if isinstance(session, Session) else Session.open(session)
    with opened as known:
        encoder = Encoder(
            known.width,
            known.height,
            known.schema,
            model=model,
            quality=quality,
            keyframe_interval=keyframe_interval,
            game=known.game,
            regions=known.region_schema,
        )
        with Sender(encoder.header, host, port, token) as sender:
            if on_ready:
                on_ready(sender.url)
            packets, size, late, began = _send_all(known, encoder, sender, pace, progress)
        seconds = time.perf_counter() - began
        return SendReport(
            known.num_frames, packets, size, sender.dropped, sender.receivers, seconds, late
        )


def _send_all(
    session: Session,
    encoder: Encoder,
    sender: Sender,
    pace: float,
    progress: Callable[[int, int], None] | None,
) -> tuple[int, int, float, float]:
    """Encode and send all frames, from the first receiver on; see `send`.

    Returns:
        Packets, bytes, how late the last frame was, and when it began, seconds.
    """
    packets, size, late = 0, len(encoder.header), 0.0
    sender.joined.wait()
    began = time.perf_counter()
    for index in range(session.num_frames):
        late = _keep_pace(session, index, began, pace)
        frame = session.frame(index) if session.present[index] else None
        made = encoder.push(frame, session.states[index], int(session.times_ns[index]))
        if index == session.num_frames - 1:
            made += encoder.flush()
        for packet in made:
            packets, size = packets + 1, size + len(packet)
            sender.put(packet, wait=not pace)
        if progress:
            progress(index + 1, session.num_frames)
    return packets, size, late, began


def _keep_pace(session: Session, index: int, began: float, pace: float) -> float:
    """Wait for the time of a frame; return by how many seconds it has passed."""
    if not pace:
        return 0.0
    due = began + float(session.times_ns[index] - session.times_ns[0]) / 1e9 / pace
    now = time.perf_counter()
    if now < due:
        time.sleep(due - now)
    return max(0.0, now - due)
