"""Packets on their way to one receiver: bounded, so that a slow one costs nothing but itself."""

from __future__ import annotations

from collections import deque
from threading import Condition

MAX_WAITING = 64
"""Packets; some four seconds of a game."""


class Outbox:
    """A queue that never grows: what does not fit is left out up to the next keyframe.

    A receiver that comes late begins with a keyframe, too.

    Attributes:
        dropped: packets left out because the queue was full.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._packets: deque[bytes] = deque()
        self._changed = Condition()
        self._running = False  # False until a keyframe comes that has room
        self._ended = False

    def put(self, packet: bytes, keyframe: bool, *, wait: bool = False) -> None:
        """Add a packet, or drop it.

        Args:
            packet: of the stream.
            keyframe: whether it begins a GOP.
            wait: wait for room instead of dropping.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._ended or len(self._packets) < MAX_WAITING)
            begun = self._running or self.dropped
            room = len(self._packets) < MAX_WAITING and not self._ended
            self._running = room and (keyframe or self._running)
            if self._running:
                self._packets.append(packet)
                self._changed.notify_all()
            elif begun or keyframe:
                self.dropped += 1

    def get(self) -> bytes | None:
        """Wait for the next packet; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or bool(self._packets))
            packet = self._packets.popleft() if self._packets else None
            self._changed.notify_all()
            return packet

    def end(self, *, at_once: bool = False) -> None:
        """Let no more packets in; `at_once` throws away those that wait."""
        with self._changed:
            self._ended = True
            if at_once:
                self._packets.clear()
            self._changed.notify_all()
