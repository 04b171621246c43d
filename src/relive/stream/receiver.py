"""Receive a stream: frames for whoever wants them, a recording, a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)
from websockets.sync.client import ClientConnection, connect

from relive.codec import Bundle, Decoder, LiveFrame
from relive.errors import InputError, ReliveError
from relive.session import Recorder, RegionSchema, StateSchema
from relive.stream.address import AUTHORIZATION, credentials

MAX_PACKET_BYTES = 64 << 20


@dataclass(frozen=True)
class ReceiveReport:
    """What came.

    Attributes:
        frames: shown, guesses included.
        concealed: of these, guesses for lost packets.
        degraded: of these, decoded after a loss and before the next keyframe.
        missing: lost without a guess.
        packets: that came, header included.
        bytes: of these.
        seconds: from the first packet to the last.
        model_id: of the stream, "" if no header came.
    """

    frames: int
    concealed: int
    degraded: int
    missing: int
    packets: int
    bytes: int
    seconds: float
    model_id: str


def receive(
    url: str,
    *,
    out: Path | str | None = None,
    token: str | None = None,
    model: Bundle | Path | str | None = None,
    force: bool = False,
    on_frame: Callable[[LiveFrame], None] | None = None,
) -> ReceiveReport:
    """Receive a stream until it ends.

    Args:
        url: `ws://HOST:PORT` or `wss://…`.
        out: the recording to write, `.mcap`; a guessed frame is a missing one there. None for none.
        token: where the sender wants one.
        model: weights; None for the bundled ones.
        force: overwrite `out`.
        on_frame: told every frame.

    Raises:
        InputError: The address or the token is wrong, or `out` exists.
        ModelMismatchError: The stream needs another model.
        ReliveError: Nobody answers, or the connection breaks; what came was written.
    """
    if out is not None and Path(out).exists() and not force:
        raise InputError(f"{out} exists; add --force to overwrite it")
    decoder, packets, size, frames = Decoder(model), 0, 0, 0
    recording: _Recording | nullcontext[None]
    recording = nullcontext() if out is None else _Recording(Path(out), force)
    began = ended = time.perf_counter()
    with _connected(url, token) as connection, recording as record:
        try:
            for packet in connection:
                if not packets:
                    began = time.perf_counter()
                data = packet.encode() if isinstance(packet, str) else packet
                packets, size = packets + 1, size + len(data)
                for frame in decoder.push(data):
                    frames += 1
                    if record is not None:
                        record.add(decoder, frame)
                    if on_frame:
                        on_frame(frame)
                ended = time.perf_counter()
        except ConnectionClosed as error:
            raise ReliveError(f"{url} broke off after {frames} frames: {error}") from error
    losses, header = decoder.losses, decoder.header
    return ReceiveReport(
        frames,
        losses.concealed,
        losses.degraded,
        losses.missing,
        packets,
        size,
        ended - began,
        header.model_id if header else "",
    )


@contextmanager
def _connected(url: str, token: str | None) -> Iterator[ClientConnection]:
    """Connect; what goes wrong there becomes one line of ours."""
    headers = None if token is None else {AUTHORIZATION: credentials(token)}
    try:
        connection = connect(
            url,
            additional_headers=headers,
            compression=None,
            max_size=MAX_PACKET_BYTES,
            proxy=None,
        )
    except InvalidURI as error:
        raise InputError(f"{url} is no address of a stream: ws://HOST:PORT") from error
    except InvalidStatus as error:
        reason = (error.response.body or b"").decode(errors="replace").strip()
        raise InputError(f"{url} refuses: {reason or error}") from error
    except (OSError, InvalidHandshake, WebSocketException) as error:
        raise ReliveError(f"cannot reach {url}: {error}") from error
    with connection:
        yield connection


class _Recording:
    """A recording of what comes, begun with the first frame."""

    def __init__(self, path: Path, force: bool) -> None:
        self._path, self._force = path, force
        self._recorder: Recorder | None = None

    def __enter__(self) -> _Recording:
        return self

    def __exit__(self, *_: object) -> None:
        if self._recorder is not None:
            self._recorder.close()

    def add(self, decoder: Decoder, frame: LiveFrame) -> None:
        """Write a frame; one that was guessed, or that the game did not have, is missing."""
        if self._recorder is None:
            header = decoder.header
            if header is None:
                return
            regions = header.region_schema
            self._recorder = Recorder(
                self._path,
                StateSchema.from_dict(header.state_schema),
                RegionSchema.from_dict(regions) if regions else None,
                game=header.game,
                force=self._force,
            )
        there = frame.present and not frame.concealed
        self._recorder.add(frame.pixels if there else None, frame.state, frame.time_ns)
