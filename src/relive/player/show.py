"""From a question of the page to pictures: which GOPs it needs, and what is true of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from relive.errors import InputError
from relive.player.catalogue import Watched
from relive.player.frames import FrameService, GopSource, Priority
from relive.player.pictures import Kind, Mark, difference, encode_picture, psnr_db, record

Source = Literal["replay", "original", "regions", "difference"]
Against = Literal["original", "1", "2"]
Picture = NDArray[np.uint8]
AHEAD = 2


@dataclass(frozen=True)
class Question:
    """What the page wants to see.

    Attributes:
        start: first frame.
        stop: one past the last.
        tiers: 1 or 2.
        source: of the pictures.
        against: what a difference is taken to.
        kind: JPEG, or PNG where every value counts.
        preview: begin with a picture near by, if the first one is not decoded yet.
        urgent: somebody waits for this very frame.
        viewer: who asks; decoding ahead is for each viewer.
    """

    start: int
    stop: int
    tiers: int = 2
    source: Source = "replay"
    against: Against = "original"
    kind: Kind = "jpeg"
    preview: bool = False
    urgent: bool = False
    viewer: str = ""


class Show:
    """The pictures of one file."""

    def __init__(self, watched: Watched, service: FrameService) -> None:
        self.watched, self.service = watched, service

    def source_of(self, span: int, tiers: int) -> GopSource:
        """A GOP for the service."""
        replay = self.watched.at(tiers)
        frame_bytes = replay.width * replay.height * 3
        key = (self.watched.entry.id, 1 if replay is self.watched.base else 2, span)
        return GopSource(
            key, len(self.watched.spans[span]), frame_bytes, lambda: replay.iter_span(span)
        )

    def marks(self, frame: int, tiers: int) -> int:
        """What is true of a decoded frame, as `Mark`."""
        replay = self.watched.at(tiers)
        condition = replay.condition(self.watched.span_of(frame))
        if condition in ("lost", "damaged"):
            return Mark.LOST if condition == "lost" else Mark.DAMAGED
        marks = 0 if replay.present[frame] else int(Mark.MISSING)
        marks |= Mark.GENERATED if replay.generated[frame] else 0
        if condition == "degraded":
            return marks | Mark.DEGRADED
        first = replay is self.watched.base and self.watched.base is not self.watched.replay
        return marks | (Mark.FIRST_TIER if first else 0)

    async def exact(self, frame: int, tiers: int, priority: Priority = Priority.SEEK) -> Picture:
        """One frame as `Replay.frames` gives it."""
        span = self.watched.span_of(frame)
        source = self.source_of(span, tiers)
        local = frame - self.watched.spans[span].start
        with self.service.wanting(source, local + 1, priority):
            return await asyncio.wrap_future(self.service.frame(source, local))

    async def stream(self, question: Question) -> AsyncIterator[bytes]:
        """Answer a question, picture after picture, each as soon as it is there."""
        if question.source != "replay":
            for frame in range(question.start, question.stop):
                yield await self._other(frame, question)
            return
        if question.preview and (near := await self._preview(question)):
            yield near
        self._look_ahead(question)
        for span, first, last in self._pieces(question.start, question.stop):
            async for packet in self._of_gop(span, first, last, question):
                yield packet

    async def _of_gop(
        self, span: int, first: int, last: int, question: Question
    ) -> AsyncIterator[bytes]:
        source = self.source_of(span, question.tiers)
        begin = self.watched.spans[span].start
        priority = Priority.SEEK if question.urgent else Priority.PLAY
        with self.service.wanting(source, last - begin, priority):
            for frame in range(first, last):
                picture = await asyncio.wrap_future(self.service.frame(source, frame - begin))
                marks = self.marks(frame, question.tiers)
                yield await asyncio.to_thread(_packed, frame, picture, question.kind, marks)

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Cut a range at the GOPs: GOP, first and last frame."""
        while start < stop:
            span = self.watched.span_of(start)
            last = min(stop, self.watched.spans[span].stop)
            yield span, start, last
            start = last

    def _look_ahead(self, question: Question) -> None:
        first = self.watched.span_of(question.stop - 1)
        spans = range(first, min(first + 1 + AHEAD, len(self.watched.spans)))
        if question.stop - question.start <= 2 and not question.urgent:
            return  # keyframes alone
        self.service.look_ahead(
            question.viewer, [self.source_of(span, question.tiers) for span in spans]
        )

    async def _preview(self, question: Question) -> bytes | None:
        """The nearest picture that is there at once: decoded, or the keyframe's first tier."""
        span = self.watched.span_of(question.start)
        begin = self.watched.spans[span].start
        local = question.start - begin
        have = self.service.decoded(self.source_of(span, question.tiers).key)
        if have > local:
            return None
        tiers = question.tiers if have else 1
        near = begin + max(0, have - 1)
        exact = self.source_of(span, question.tiers)
        with self.service.wanting(exact, local + 1, Priority.SEEK):  # it is on its way meanwhile
            picture = await self.exact(near, tiers)
        marks = self.marks(near, tiers) | Mark.PREVIEW
        return await asyncio.to_thread(_packed, near, picture, "jpeg", marks)

    async def _other(self, frame: int, question: Question) -> bytes:
        """A picture of the original, of regions, or a difference."""
        if question.source == "difference":
            one, other = await self.pair(frame, question.tiers, question.against)
            picture = difference(one, other)
        elif self.watched.original is None:
            raise InputError("no original was given (relive play FILE --original S.mcap)")
        elif question.source == "original":
            picture = await asyncio.to_thread(self.watched.original.frame, frame)
        else:
            picture = await asyncio.to_thread(self.watched.original.regions, frame)
        kind: Kind = "png" if question.source == "regions" else question.kind
        return await asyncio.to_thread(_packed, frame, picture, kind, 0)

    async def pair(self, frame: int, tiers: int, against: Against) -> tuple[Picture, Picture]:
        """Two pictures of one frame to be compared.

        Raises:
            InputError: There is no original.
        """
        if against == "original":
            if self.watched.original is None:
                raise InputError("no original was given (relive play FILE --original S.mcap)")
            other = await asyncio.to_thread(self.watched.original.frame, frame)
            return await self.exact(frame, tiers, Priority.PLAY), other
        both = (self.exact(frame, t, Priority.PLAY) for t in (tiers, int(against)))
        one, other = await asyncio.gather(*both)
        return one, other

    async def apart_db(self, frame: int, tiers: int, against: Against) -> float | None:
        """PSNR of a frame to what it is compared with; None where both are equal."""
        one, other = await self.pair(frame, tiers, against)
        return await asyncio.to_thread(psnr_db, one, other)


def _packed(frame: int, picture: Picture, kind: Kind, marks: int) -> bytes:
    return record(frame, encode_picture(picture, kind), kind, marks)
