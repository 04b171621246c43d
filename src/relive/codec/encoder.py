"""Encode a session GOP by GOP; GOPs know nothing of each other, so each core takes one.

```
 session ─frames─► pad ─► step by step: context, latents, codes, depths ─► codes packet ─┐
         ─states─► track packet (its decoded values are what the steps see) ─────────────┴─► file
```

Codes and enhancement packets are decoded again before they are written (`packing.py`).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from relive.codec.adapting import Watch, fit_to_session, of_session, pack_again, samples_of
from relive.codec.bundle import Bundle, load_bundle
from relive.codec.control import Control, setting_of
from relive.codec.crew import Crew, crew_of, processes_for
from relive.codec.effort import DEFAULT_PRESET, Effort, effort_of
from relive.codec.favour import check_favour
from relive.codec.gop import encode_gop
from relive.codec.packing import pack_gop
from relive.codec.rate import CODES_ALONE, QUALITIES, Setting
from relive.codec.refusals import check_processes, check_settings, check_tiers, target_of
from relive.codec.remembering import remember
from relive.codec.report import EncodeReport, psnr_db, report_of
from relive.codec.step import Geometry, StepCoder
from relive.codec.targets import to_bitrate, to_psnr
from relive.codec.track import GopTrack, gop_track
from relive.codec.workers import NUM_WORKERS, workers
from relive.container import GopRecord, ReplayHeader, ReplayWriter
from relive.errors import InputError
from relive.session import Session

Progress = Callable[[int, int], None]
DEFAULT_QUALITY = 5
TARGET_STEP = 50
"""Where a target is given, the memory has what pays even beside a coarse layer."""
MEMORY_SHARE = 20
"""Which part of a budget of bytes the memory may be."""
CODES_QUALITY = 1  # that a header names, where there are codes alone


@dataclass(frozen=True)
class _Encoded:
    """One GOP, ready to be written, and its squared error."""

    record: GopRecord
    squares: float

    @property
    def size(self) -> int:
        """Bytes of its packets."""
        record = self.record
        return len(record.codes) + len(record.track) + len(record.detail or b"")

    @property
    def psnr_db(self) -> float:
        """Measured; 0 where the GOP has no frame."""
        return self.record.psnr_db


@dataclass(frozen=True)
class _Search:
    """How a GOP is searched: by a preset, whether all cubes have the same depth, for what."""

    effort: Effort
    depth: int | None
    favour: float = 0.0


@dataclass(frozen=True)
class _Job:
    """A session that is being encoded.

    Attributes:
        session: the session.
        coder: the shared half of a step.
        header: of the file.
        setting: what every GOP aims at, without a target.
        search: how.
    """

    session: Session
    coder: StepCoder
    header: ReplayHeader
    setting: Setting
    search: _Search

    @property
    def num_gops(self) -> int:
        """GOPs of the session."""
        return -(-self.session.num_frames // self.header.keyframe_interval)

    def place(self, index: int) -> tuple[int, int, int]:
        """Number of a GOP, its first frame, and one past its last."""
        start = index * self.header.keyframe_interval
        return index, start, min(start + self.header.keyframe_interval, self.session.num_frames)

    def given(self, index: int) -> _Given:
        """Read a GOP."""
        return _given(self.session, self.place(index), self.search.favour)

    def under(self, adapter: bytes, memory: bytes) -> _Job:
        """Encode under tables and a memory that the file brings along."""
        bundle = of_session(self.coder.bundle, adapter, memory)
        header = replace(self.header, adapter=adapter, memory=memory)
        return replace(self, coder=self.coder.under(bundle), header=header)


@dataclass(frozen=True)
class _Given:
    """One GOP of a session: its number, its first frame, its frames and their track."""

    index: int
    first_frame: int
    frames: NDArray[np.uint8]
    track: GopTrack


def _given(session: Session, place: tuple[int, int, int], favour: float) -> _Given:
    """Read a GOP: `place` is its number, its first frame and one past its last."""
    index, start, stop = place
    track = gop_track(session, start, stop, favour)
    return _Given(index, start, session.frames(start, stop), track)


def _encode_range(
    session: Session,
    coder: StepCoder,
    place: tuple[int, int, int],
    setting: Setting,
    search: _Search,
) -> _Encoded:
    """Read and encode one GOP in a process of a crew."""
    return _encode_one(coder, _given(session, place, search.favour), setting, search)


def _encode_one(coder: StepCoder, given: _Given, setting: Setting, search: _Search) -> _Encoded:
    """Encode one GOP on a worker."""
    frames, track, index = given.frames, given.track, given.index
    with torch.inference_mode():
        gop = encode_gop(
            coder, frames, track, setting, search.depth, None, search.effort, search.favour
        )
    codes, detail = pack_gop(index, gop.codes, gop.detail, coder.bundle)
    record = GopRecord(
        index,
        given.first_frame,
        len(frames),
        int(track.times_ns[0]),
        int(track.times_ns[-1]),
        psnr_db(gop.squares, int(track.present.sum()) * frames[0].size),
        codes,
        track.packet,
        detail,
    )
    return _Encoded(record, gop.squares)


def _encode_all(
    job: _Job,
    chosen: Sequence[int] | None = None,
    known: Mapping[int, _Encoded] | None = None,
    crew: Crew | None = None,
) -> Iterator[_Encoded]:
    """Encode GOP after GOP in order, as many at a time as there are workers.

    Args:
        job: the session, and how.
        chosen: numbers of the GOPs; without, all.
        known: GOPs that are encoded already.
        crew: processes to do it; without, threads.
    """
    known, limit = known or {}, crew.count if crew else NUM_WORKERS
    coder, setting, search = job.coder, job.setting, job.search
    waiting: deque[Future[_Encoded]] = deque()
    try:
        for index in range(job.num_gops) if chosen is None else chosen:
            if index in known:
                waiting.append(workers().submit(known.__getitem__, index))
                continue
            if crew:
                waiting.append(crew.submit(_encode_range, job.place(index), setting, search))
            else:
                given = job.given(index)
                waiting.append(workers().submit(_encode_one, coder, given, setting, search))
            if len(waiting) > limit:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _adapted(job: _Job, watch: Watch) -> tuple[_Job, dict[int, _Encoded]]:
    """Encode some GOPs, and fit the tables of the model to them.

    Returns:
        The job under what was fitted, if that pays, and these GOPs as they are under it.
    """
    bundle, grid = job.coder.bundle, job.coder.geometry.grid
    chosen = samples_of(job.num_gops)
    every = list(watch.counted(_encode_all(job, chosen), len(chosen)))
    watch.begin("fitting")
    adapter = fit_to_session(bundle, [e.record for e in every], grid, job.num_gops)
    adapted = job.under(adapter, job.header.memory)
    known = {
        e.record.index: replace(e, record=pack_again(e.record, bundle, adapted.coder.bundle, grid))
        for e in every
    }
    watch.begin("encoding")
    return adapted, known


def _encode_to(job: _Job, control: Control, out: Path, watch: Watch) -> Iterator[_Encoded]:
    """Encode GOP after GOP as a target asks; `out` holds the GOPs that were taken before."""
    given = lru_cache(maxsize=NUM_WORKERS)(job.given)

    def submit(index: int, number: int) -> Future[_Encoded]:
        setting = setting_of(number)
        return workers().submit(_encode_one, job.coder, given(index), setting, job.search)

    if (rate := control.target.bitrate) is None:
        return to_psnr(job.num_gops, submit, control)
    budget = rate / 8 * _seconds(job.session)
    return to_bitrate(job.num_gops, submit, budget, lambda: out.stat().st_size, watch)


def _seconds(session: Session) -> float:
    """Length of a session in seconds; its last frame lasts a mean interval."""
    times = session.times_ns
    last = len(times) - 1
    return float(times[last] - times[0]) / 1e9 * (last + 1) / max(last, 1)


def encode(
    session: Session | Path | str,
    out: Path | str,
    *,
    model: Bundle | Path | str | None = None,
    quality: int | None = None,
    bitrate: float | None = None,
    psnr: float | None = None,
    preset: str = DEFAULT_PRESET,
    keyframe_interval: int = 32,
    depth: int | None = None,
    tiers: int = 2,
    adapt: bool = False,
    processes: int = 1,
    favour: float = 0.0,
    force: bool = False,
    progress: Progress | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> EncodeReport:
    """Compress a session into a replay.

    Args:
        session: an open session, or the path of a recording.
        out: the `.relive` file to write; readable up to the last whole GOP at any moment.
        model: weights; None for the bundled ones.
        quality: 1 (smallest) to 10 (best); 5 where neither this nor a target is given.
        bitrate: instead of a quality, bits per second of the whole file.
        psnr: instead of a quality, PSNR in dB that every GOP shall have at least.
        preset: `fast`, `medium` or `slow`: how long to search; the format is the same.
        keyframe_interval: frames between keyframes, even.
        depth: code every cube to this depth instead of searching (for measurements).
        tiers: 1 has no enhancement layer, so that codes stand in every delta where they pay, as
            data to train on; quality and targets are not for it.
        adapt: encode some GOPs first, fit the probability tables of the model to them, and keep
            what changes in the file where that pays for its bytes.
        processes: more than 1 encode GOPs in so many processes, for long sessions faster than
            threads, with the same bytes; 0 is as many as pay. They import the main module, so a
            script needs its `if __name__ == "__main__":`. A target has threads alone.
        favour: 0 to 12: by how many numbers of steps (6 halve a step) the enhancement layer is
            finer in the most important regions of the session than in the least important ones.
        force: overwrite `out`.
        progress: told frames done and frames in all; of the samples of `adapt`, GOPs.
        on_stage: told what begins with `adapt`: `sampling`, `fitting`, `encoding`.

    Raises:
        InputError: A setting or the session is wrong, or `out` exists.
        ReliveError: The packets of a GOP do not decode to what was encoded.
        ModelMismatchError: The model is missing.
    """
    if Path(out).exists() and not force:
        raise InputError(f"{out} exists; add --force to overwrite it")
    with ExitStack() as stack:
        if not isinstance(session, Session):
            session = stack.enter_context(Session.open(session, verify=True))
        if Path(out).exists() and Path(out).samefile(session.path):
            raise InputError(f"{out} is the session itself; choose another name")
        bundle = model if isinstance(model, Bundle) else load_bundle(model)
        bundle = of_session(bundle, b"", b"")  # one of a replay may be adapted to its session
        target = target_of(quality, bitrate, psnr, depth)
        check_tiers(tiers, quality, target)
        check_favour(session, favour)
        check_processes(processes)
        search = _Search(effort_of(preset), depth, favour)
        if quality is None:
            quality = DEFAULT_QUALITY if tiers > 1 else CODES_QUALITY
        check_settings(
            session, quality, keyframe_interval, depth, bundle.config.quantizer.num_quantizers
        )
        setting = QUALITIES[quality - 1] if tiers > 1 and depth is None else CODES_ALONE
        coder = StepCoder(
            bundle,
            session.schema,
            Geometry(session.width, session.height),
            search.effort.light and setting.step is not None,
        )
        header = _header(
            session, coder, keyframe_interval, 0 if target else quality, setting, preset
        )
        began, job = time.perf_counter(), _Job(session, coder, header, setting, search)
        control, watch = Control(target) if target else None, Watch(progress, on_stage)
        if setting.step is not None:
            job = _remembering(job, TARGET_STEP if control else setting.step, bitrate)
        known: dict[int, _Encoded] = {}
        if adapt:
            job, known = _adapted(job, watch)
        if control:
            every = _encode_to(job, control, Path(out), watch)
        else:
            every = _encode_all(job, known=known, crew=_crew(job, processes, stack))
        with ReplayWriter(out, job.header, force) as writer:
            squares = _write(writer, session, every, progress)
        report = report_of(session, Path(out), squares, time.perf_counter() - began)
        if control is None:
            return report
        return replace(report, reached=control.reached(report.bytes, _seconds(session)))


def _remembering(job: _Job, step: int, bitrate: float | None) -> _Job:
    """Give the decoder a memory, as far as it pays and a bitrate has room for it."""
    session, geometry = job.session, job.coder.geometry
    budget = (bitrate or math.inf) * _seconds(session) / 8 / MEMORY_SHARE
    memory = remember(session, geometry, job.header.keyframe_interval, step, budget)
    return job.under(b"", memory)


def _crew(job: _Job, processes: int, stack: ExitStack) -> Crew | None:
    """Start processes that encode, until the stack is left; None where threads do it."""
    session, bundle = job.session, job.coder.bundle
    processes = processes or processes_for(session.num_frames, job.header.keyframe_interval)
    if processes < 2 or bundle.path is None or not bundle.path.is_file():
        return None
    return stack.enter_context(crew_of(processes, session.path, bundle, job.coder.light))


def _write(
    writer: ReplayWriter, session: Session, every: Iterator[_Encoded], progress: Progress | None
) -> float:
    """Write GOPs and events as they come; return the squared error of all."""
    squares = 0.0
    for encoded in every:
        squares += encoded.squares
        writer.add_gop(encoded.record)
        if progress:
            record = encoded.record
            progress(record.first_frame + record.num_frames, session.num_frames)
    for event in session.events:
        writer.add_event(event.time_ns, event.name, event.payload)
    return squares


def _header(
    session: Session, coder: StepCoder, interval: int, quality: int, setting: Setting, preset: str
) -> ReplayHeader:
    quantizer, regions = coder.bundle.config.quantizer, session.region_schema
    return ReplayHeader(
        coder.bundle.model_id,
        session.width,
        session.height,
        quantizer.num_quantizers,
        quantizer.codebook_size,
        interval,
        quality,
        session.game,
        session.schema.to_dict(),
        regions.to_dict() if regions else None,
        tiers=setting.tiers,
        light=coder.light,
        compact=True,
        extra={"preset": preset},
    )
