"""What the page may ask. Everything is GET; frames are named by number, files by opaque ids."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from relive.codec.cube_bits import cube_bits
from relive.codec.workers import NUM_WORKERS, workers
from relive.errors import InputError, ReliveError
from relive.player.catalogue import Catalogue, Watched
from relive.player.clips import Clips
from relive.player.facts import facts
from relive.player.frames import FrameService, Priority
from relive.player.looking import Looking
from relive.player.pictures import MEDIA_TYPES, difference, encode_picture, shrink
from relive.player.show import Against, Question, Show, Source
from relive.view import Offset
from relive.view.output import marked_png

MAX_FRAMES = 512
MAX_STREAMS = 24
MAX_VIEWS = 4
MAX_FIELDS = 64
THUMBNAIL_PX = 240
MAX_THUMBNAILS = 2000
Frame = Annotated[int, Query(ge=0, lt=1 << 40)]
Tiers = Annotated[int, Query(ge=1, le=2)]
Units = Annotated[float, Query(ge=-1e6, le=1e6, allow_inf_nan=False)]
Degrees = Annotated[float, Query(ge=-3600, le=3600, allow_inf_nan=False)]


class TooMuchError(InputError):
    """A request asks for more than is given at once."""


class BusyError(InputError):
    """Too many requests are being answered."""


class Api:
    """Answers questions about the files of a catalogue."""

    def __init__(self, catalogue: Catalogue, service: FrameService) -> None:
        self.catalogue, self.service = catalogue, service
        self.clips = Clips()
        self.looking, self._drawing = Looking(), asyncio.Lock()
        self._streams = self._views = 0
        self._thumbnails: OrderedDict[tuple[str, int | str, int], bytes] = OrderedDict()

    def routes(self) -> APIRouter:
        """The addresses."""
        router = APIRouter(prefix="/api")
        for path, answer in (
            ("/files", self.files),
            ("/files/{name}", self.file),
            ("/files/{name}/times", self.times),
            ("/files/{name}/states", self.states),
            ("/files/{name}/frames", self.frames),
            ("/files/{name}/picture", self.picture),
            ("/files/{name}/thumbnail", self.thumbnail),
            ("/files/{name}/psnr", self.psnr),
            ("/files/{name}/heat", self.heat),
            ("/files/{name}/clip", self.clip),
            ("/files/{name}/view", self.view),
            ("/files/{name}/speed", self.speed),
        ):
            router.add_api_route(path, answer, methods=["GET"], response_model=None)
        return router

    async def warm(self) -> None:
        """Decode a first picture, so that weights and kernels are loaded before somebody asks."""
        for name in self.catalogue.entries:
            try:
                await (await self._show(name)).exact(0, 2, Priority.THUMBNAIL)
            except (ReliveError, OSError):
                continue
            return

    async def _show(self, name: str) -> Show:
        watched = await asyncio.to_thread(self.catalogue.watched, name)
        return Show(watched, self.service)

    async def files(self) -> dict[str, Any]:
        """List the library."""
        entries = self.catalogue.entries.values()
        return {"files": [{"id": e.id, "name": e.name, **e.summary} for e in entries]}

    async def file(self, name: str) -> dict[str, Any]:
        """Describe a replay."""
        watched = await asyncio.to_thread(self.catalogue.watched, name)
        return await asyncio.to_thread(facts, watched)

    async def times(self, name: str) -> Response:
        """Seconds since the first frame, float64 little-endian."""
        replay = (await self._show(name)).watched.replay
        seconds = (replay.times_ns - replay.times_ns[0]) / 1e9
        return _binary(seconds.astype("<f8").tobytes())

    async def states(
        self, name: str, fields: Annotated[list[int], Query(max_length=MAX_FIELDS)]
    ) -> Response:
        """Columns of the states, one after the other, float32 little-endian; NaN where unknown."""
        replay = (await self._show(name)).watched.replay
        known = replay.stated & replay.has_states
        states = np.where(known[:, None], replay.states, np.float32(np.nan))
        wrong = [field for field in fields if not 0 <= field < states.shape[1]]
        if wrong:
            raise InputError(f"no field {wrong[0]}; there are {states.shape[1]}")
        return _binary(np.ascontiguousarray(states[:, fields].T).astype("<f4").tobytes())

    async def frames(
        self,
        name: str,
        start: Frame,
        stop: Frame,
        tiers: Tiers = 2,
        source: Source = "replay",
        against: Against = "original",
        kind: Literal["jpeg", "png"] = "jpeg",
        preview: bool = False,
        urgent: bool = False,
        viewer: Annotated[str, Query(max_length=32)] = "",
    ) -> Response:
        """Stream pictures, each behind 16 bytes that say which it is (`pictures.RECORD`)."""
        show = await self._show(name)
        _check_range(show.watched, start, stop)
        if self._streams >= MAX_STREAMS:
            raise BusyError(f"{MAX_STREAMS} requests are being decoded; ask again")
        question = Question(start, stop, tiers, source, against, kind, preview, urgent, viewer)
        return StreamingResponse(
            self._counted(show.stream(question)), media_type="application/octet-stream"
        )

    async def _counted(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self._streams += 1
        try:
            async for packet in stream:
                yield packet
        finally:
            self._streams -= 1

    async def picture(
        self,
        name: str,
        frame: Frame,
        tiers: Tiers = 2,
        source: Literal["replay", "original", "difference"] = "replay",
        against: Against = "original",
    ) -> Response:
        """One exact frame as PNG."""
        show = await self._show(name)
        _check_range(show.watched, frame, frame + 1)
        if source == "replay":
            picture = await show.exact(frame, tiers)
        else:
            one, other = await show.pair(frame, tiers, against)
            picture = other if source == "original" else difference(one, other)
        data = await asyncio.to_thread(encode_picture, picture, "png")
        return Response(data, media_type=MEDIA_TYPES["png"])

    async def thumbnail(
        self, name: str, gop: Frame | Literal["middle"], tiers: Tiers = 1
    ) -> Response:
        """The keyframe of a GOP, small."""
        key = (name, gop, tiers)
        if key not in self._thumbnails:
            self._thumbnails[key] = await self._thumbnail(name, gop, tiers)
            if len(self._thumbnails) > MAX_THUMBNAILS:
                self._thumbnails.popitem(last=False)
        return Response(self._thumbnails[key], media_type=MEDIA_TYPES["jpeg"])

    async def _thumbnail(self, name: str, gop: int | str, tiers: int) -> bytes:
        show = await self._show(name)
        spans = show.watched.spans
        number = len(spans) // 2 if isinstance(gop, str) else gop
        if number >= len(spans):
            raise InputError(f"no GOP {gop}; there are {len(spans)}")
        picture = await show.exact(spans[number].start, tiers, Priority.THUMBNAIL)
        small = await asyncio.to_thread(shrink, picture, THUMBNAIL_PX)
        return await asyncio.to_thread(encode_picture, small, "jpeg")

    async def psnr(
        self, name: str, frame: Frame, tiers: Tiers = 2, against: Against = "original"
    ) -> dict[str, Any]:
        """PSNR of a frame, from exact pixels; null where nothing differs."""
        show = await self._show(name)
        _check_range(show.watched, frame, frame + 1)
        return {"frame": frame, "psnr_db": await show.apart_db(frame, tiers, against)}

    async def heat(self, name: str, gop: Frame, tiers: Tiers = 2) -> Response:
        """Estimated bits of every cube of a GOP, float32 `[n, h, w]`."""
        watched = (await self._show(name)).watched
        if gop >= len(watched.spans):
            raise InputError(f"no GOP {gop}; there are {len(watched.spans)}")
        future = workers().submit(cube_bits, watched.at(tiers), gop)
        bits = await asyncio.wrap_future(future)
        if bits is None:
            raise InputError(f"GOP {gop} is damaged")
        shape = ",".join(map(str, bits.shape))
        return _binary(bits.astype("<f4").tobytes(), {"X-Shape": shape})

    async def clip(
        self, name: str, start: Frame, stop: Frame, kind: Literal["mp4", "gif"] = "mp4"
    ) -> Response:
        """A part as a video file."""
        watched = (await self._show(name)).watched
        path = await asyncio.to_thread(self.clips.write, watched, start, stop, kind)
        label = f"{watched.entry.path.stem}-{start}-{stop}.{kind}"
        remove = BackgroundTask(path.unlink, missing_ok=True)
        return FileResponse(path, filename=label, background=remove)

    async def view(
        self,
        name: str,
        frame: Frame,
        tiers: Tiers = 2,
        forward: Units = 0.0,
        right: Units = 0.0,
        up: Units = 0.0,
        turn: Degrees = 0.0,
        pitch: Degrees = 0.0,
        fill: bool = False,
    ) -> Response:
        """What another camera would have seen at the moment of a frame, as PNG."""
        show = await self._show(name)
        _check_range(show.watched, frame, frame + 1)
        if self._views >= MAX_VIEWS:
            raise BusyError(f"{MAX_VIEWS} views are wanted already; ask again")
        self._views += 1
        try:
            async with self._drawing:  # one at a time
                offset = Offset(forward, right, up, turn, pitch)
                view = await self.looking.view(show, frame, tiers, offset, fill)
        finally:
            self._views -= 1
        schema = show.watched.replay.schema
        data = await asyncio.to_thread(marked_png, view, schema, "play")
        return Response(
            data, media_type=MEDIA_TYPES["png"], headers={"X-Seen": f"{view.share:.4f}"}
        )

    async def speed(self, name: str) -> JSONResponse:
        """What decoding costs here, so that the page can choose what it can keep up with."""
        costs = {t: self.service.seconds_a_frame(name, t) for t in (1, 2)}
        values = {"workers": NUM_WORKERS, "cached_bytes": self.service.bytes}
        return JSONResponse({**values, "seconds_a_frame": costs})


def _binary(data: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(data, media_type="application/octet-stream", headers=headers)


def _check_range(watched: Watched, start: int, stop: int) -> None:
    if stop - start > MAX_FRAMES:
        raise TooMuchError(f"{stop - start} frames at once; at most {MAX_FRAMES}")
    if not 0 <= start < stop <= watched.replay.num_frames:
        raise InputError(f"frames {start} to {stop} are not in 0 to {watched.replay.num_frames}")
