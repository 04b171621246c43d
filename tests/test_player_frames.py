"""Decoding for the player: what is wanted first, what is kept."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from relive.errors import InputError
from relive.player.frames import Frame, FrameService, GopSource, Priority


def source(gop: int, steps: threading.Semaphore | None = None, fail: bool = False) -> GopSource:
    """A GOP of 8 frames of 1000 bytes, each a step of a semaphore."""

    def decode() -> Iterator[Frame]:
        for n in range(8):
            if steps is not None:
                assert steps.acquire(timeout=20)
            if fail:
                raise InputError("no such luck")
            yield np.full(1000, 8 * gop + n, np.uint8)

    return GopSource(("file", 2, gop), 8, 1000, decode)


def test_memory_stays_within_its_bound() -> None:
    service = FrameService(cache_bytes=30_000)
    for gop in range(20):
        one = source(gop)
        with service.wanting(one, 8, Priority.PLAY):
            assert service.frame(one, 7).result(20)[0] == 8 * gop + 7
        assert service.bytes <= 30_000
    assert service.decoded(("file", 2, 19)) == 8
    assert service.decoded(("file", 2, 0)) == 0


def test_what_comes_next_is_decoded_ahead() -> None:
    service = FrameService(cache_bytes=1_000_000)
    service.look_ahead("me", [source(0), source(1)])
    for _ in range(400):
        if service.decoded(("file", 2, 1)) == 8:
            break
        time.sleep(0.01)
    assert (service.decoded(("file", 2, 0)), service.decoded(("file", 2, 1))) == (8, 8)


def test_a_seek_goes_before_what_plays() -> None:
    steps = threading.Semaphore(0)
    service = FrameService(cache_bytes=1_000_000, num_workers=1)
    playing = source(0, steps)
    own = threading.Semaphore(2)
    sought = source(1, own)
    with service.wanting(playing, 8, Priority.PLAY), service.wanting(sought, 2, Priority.SEEK):
        # the only worker is in the middle of a frame: the seek does not wait for it
        assert service.frame(sought, 1).result(20)[0] == 9
        assert service.decoded(playing.key) == 0
        steps.release(20)
        assert service.frame(playing, 7).result(20)[0] == 7


def test_what_can_wait_waits_for_a_seek() -> None:
    own = threading.Semaphore(0)
    service = FrameService(cache_bytes=1_000_000, num_workers=2)
    sought, thumbnail = source(1, own), source(2)
    with (
        service.wanting(sought, 2, Priority.SEEK),
        service.wanting(thumbnail, 1, Priority.THUMBNAIL),
    ):
        service.look_ahead("me", [source(3)])
        time.sleep(0.05)
        assert service.decoded(thumbnail.key) == service.decoded(("file", 2, 3)) == 0
        own.release(8)
        assert service.frame(sought, 1).result(20)[0] == 9
        assert service.frame(thumbnail, 0).result(20)[0] == 16


def test_whoever_leaves_stops_the_decoding() -> None:
    steps = threading.Semaphore(2)
    service = FrameService(cache_bytes=1_000_000, num_workers=1)
    one = source(0, steps)
    with service.wanting(one, 8, Priority.PLAY):
        service.frame(one, 1).result(20)
        service.frame(one, 7).cancel()
    steps.release(20)
    time.sleep(0.05)
    assert service.decoded(one.key) <= 3


def test_an_error_reaches_who_waits() -> None:
    service = FrameService(cache_bytes=1_000_000)
    one = source(0, fail=True)
    with service.wanting(one, 8, Priority.PLAY):
        for local in (0, 5):
            with pytest.raises(InputError, match="luck"):
                service.frame(one, local).result(20)
