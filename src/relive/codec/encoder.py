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
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relive.bitstream import GopCodes, GopDetail, decode_track, encode_track
from relive.codec.bundle import Bundle, load_bundle
from relive.codec.layer import Tools, encode_pair, layer_pair
from relive.codec.packing import pack_gop
from relive.codec.rate import QUALITIES, Setting, choose_depths
from relive.codec.step import Geometry, StepCoder, StepContext, StepState, to_picture
from relive.codec.workers import NUM_WORKERS, workers
from relive.container import GopRecord, ReplayHeader, ReplayReader, ReplayWriter
from relive.enhancement.post_filter import FilterSample
from relive.errors import InputError
from relive.model.context import Carry
from relive.session import Session

Progress = Callable[[int, int], None]
MIN_SIDE_PX = 16
MAX_GOP_BYTES = 1 << 30  # pixels of one GOP; a few GOPs are in memory at a time


@dataclass(frozen=True)
class EncodeReport:
    """What an encoding gave."""

    frames: int
    bytes: int
    bits_per_pixel: float
    psnr_db: float
    encode_fps: float
    parts: dict[str, int]
    damaged: bool  # of the session; what was readable is in the replay


@dataclass(frozen=True)
class GopTrack:
    """Times, presence and states of a GOP as a decoder will see them, and their packet."""

    times_ns: NDArray[np.int64]
    states: NDArray[np.float32]
    present: NDArray[np.bool_]
    packet: bytes


def step_rows(index: int, count: int) -> NDArray[np.intp]:
    """Frames of the GOP that step `index` is about: the pair before, and the pair.

    A keyframe knows nothing before it; an odd last frame is paired with itself.
    """
    first = 2 * index
    before = (first - 2, first - 1) if index else (first, first)
    return np.array([*before, first, first + 1]).clip(max=count - 1)


@dataclass(frozen=True)
class CodedGop:
    """The integers of a GOP, and what they lost.

    Attributes:
        codes: of the base tier.
        detail: of the enhancement layer, where the setting has one.
        squares: summed squared error over the frames that are present (0..255).
    """

    codes: GopCodes
    detail: GopDetail | None
    squares: float


def encode_gop(
    coder: StepCoder,
    frames: NDArray[np.uint8],
    track: GopTrack,
    setting: Setting,
    depth: int | None = None,
    watch: Callable[[int, FilterSample], None] | None = None,
) -> CodedGop:
    """Encode one GOP.

    Args:
        coder: the shared half of a step.
        frames: uint8 `[n, height, width, 3]`.
        track: of the same frames.
        setting: what to aim at.
        depth: the same depth for every cube, instead of the search.
        watch: see `layer.Tools`.
    """
    tools = Tools(coder.bundle.level_costs, coder.bundle.post_filter, watch)
    count, (h, w) = len(frames), coder.geometry.grid
    steps = -(-count // 2)
    gop = GopCodes.empty(steps, coder.bundle.config.quantizer.num_quantizers, h, w)
    detail = None if setting.step is None else GopDetail.empty(2 * steps, h, w)
    padded = coder.geometry.pad(frames)
    carry: Carry | None = None
    squares = 0.0
    for index in range(steps):
        rows = step_rows(index, count)
        trial = try_step(coder, carry, padded, track, rows)
        if depth is None:
            depths = choose_depths(coder, trial.step, trial.remainder, trial.codes, setting.price)
        else:
            depths = torch.full((h, w), depth)
        sent = torch.where(torch.arange(trial.codes.shape[-1]) < depths[..., None], trial.codes, 0)
        before, (pixels, carry) = carry, coder.finish(trial.step, sent, depths)
        gop.depths[index] = depths.numpy()
        gop.motion[index] = trial.choice.numpy()
        gop.codes[index] = sent.permute(2, 0, 1).numpy()
        if detail is not None and setting.step is not None:
            pair = layer_pair(carry, before, trial.state, trial.choice)
            target = (trial.target[0] * 255).round()
            shown = encode_pair(detail, index, pair, target, setting.step, tools)
            pixels, carry = shown.pixels, shown.carry(carry)
        squares += _squares(coder.geometry, pixels, frames, track.present, rows)
    return CodedGop(gop, detail, squares)


@dataclass(frozen=True)
class Trial:
    """A step before the encoder has decided how deep to code it."""

    target: Tensor  # [1, 2, 3, H, W]
    state: StepState
    choice: Tensor  # [1, h, w]
    step: StepContext
    remainder: Tensor  # [1, h, w, D]
    codes: Tensor  # [h, w, K]


def try_step(
    coder: StepCoder,
    carry: Carry | None,
    padded: NDArray[np.uint8],
    track: GopTrack,
    rows: NDArray[np.intp],
) -> Trial:
    """Search motion, build the context, encode and quantise to full depth."""
    h, w = coder.geometry.grid
    target = to_picture(padded[rows[2:]])[None]
    state = coder.state(track.states[rows], track.times_ns[rows])
    choice = torch.zeros(1, h, w, dtype=torch.long)
    if carry is not None:
        choice = coder.bundle.model.warper.choose(state.motion, carry.pictures[:, 1], target)
    step = coder.begin(carry, state, choice)
    remainder = coder.bundle.model.encoder(target, step.context, step.pyramid)
    codes = coder.bundle.quantizer.encode(remainder.flatten(0, 2), step.kind)
    return Trial(target, state, choice, step, remainder, codes.view(h, w, -1))


def _squares(
    geometry: Geometry,
    pixels: NDArray[np.uint8],
    frames: NDArray[np.uint8],
    present: NDArray[np.bool_],
    rows: NDArray[np.intp],
) -> float:
    total = 0.0
    for place, row in enumerate(rows[2:]):
        if present[row] and (place == 0 or row != rows[2]):
            seen = pixels[place, : geometry.height, : geometry.width].astype(np.float32)
            total += float(np.square(seen - frames[row]).sum(dtype=np.float64))
    return total


def gop_track(session: Session, start: int, stop: int) -> GopTrack:
    """Times and states of frames [start, stop), through their packet and back."""
    steps = [f.step for f in session.schema.fields]
    kinds = [f.kind for f in session.schema.fields]
    packet = encode_track(
        session.times_ns[start:stop],
        session.present[start:stop],
        session.states[start:stop],
        steps,
        kinds,
    )
    times, present, states = decode_track(packet, steps, kinds)
    return GopTrack(times, states, present, packet)


@dataclass(frozen=True)
class _Encoded:
    """One GOP, ready to be written, and its squared error."""

    record: GopRecord
    squares: float


def _encode_one(
    coder: StepCoder,
    frames: NDArray[np.uint8],
    track: GopTrack,
    place: tuple[int, int],
    setting: Setting,
    depth: int | None,
) -> _Encoded:
    """Encode one GOP on a worker; `place` is its number and its first frame."""
    with torch.inference_mode():
        gop = encode_gop(coder, frames, track, setting, depth)
    index, first_frame = place
    codes, detail = pack_gop(index, gop.codes, gop.detail, coder.bundle)
    record = GopRecord(
        index,
        first_frame,
        len(frames),
        int(track.times_ns[0]),
        int(track.times_ns[-1]),
        _psnr(gop.squares, int(track.present.sum()) * frames[0].size),
        codes,
        track.packet,
        detail,
    )
    return _Encoded(record, gop.squares)


def _encode_all(
    coder: StepCoder, session: Session, interval: int, setting: Setting, depth: int | None
) -> Iterator[_Encoded]:
    """Encode GOP after GOP in order, as many at a time as there are workers."""
    pool = workers()
    waiting: deque[Future[_Encoded]] = deque()
    try:
        for index, start in enumerate(range(0, session.num_frames, interval)):
            stop = min(start + interval, session.num_frames)
            frames, track = session.frames(start, stop), gop_track(session, start, stop)
            waiting.append(
                pool.submit(_encode_one, coder, frames, track, (index, start), setting, depth)
            )
            if len(waiting) > NUM_WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _check(session: Session, quality: int, interval: int, depth: int | None, stages: int) -> None:
    """Refuse what cannot work before anything is written."""
    frame_bytes = session.width * session.height * 3
    if interval * frame_bytes > MAX_GOP_BYTES:
        raise InputError(
            f"keyframe interval {interval} is too long for {session.width}x{session.height}; "
            f"at most {MAX_GOP_BYTES // frame_bytes // 2 * 2} fit in memory"
        )
    if not 1 <= quality <= len(QUALITIES):
        raise InputError(f"quality {quality} is not between 1 and {len(QUALITIES)}")
    if interval < 2 or interval % 2:
        raise InputError(f"keyframe interval {interval} is not an even number from 2 up")
    if depth is not None and not 0 <= depth <= stages:
        raise InputError(f"depth {depth} is not between 0 and {stages}")
    if min(session.width, session.height) < MIN_SIDE_PX:
        raise InputError(
            f"frames of {session.width}x{session.height} are too small; "
            f"the least is {MIN_SIDE_PX}x{MIN_SIDE_PX}"
        )


def encode(
    session: Session | Path | str,
    out: Path | str,
    *,
    model: Bundle | Path | str | None = None,
    quality: int = 5,
    keyframe_interval: int = 32,
    depth: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> EncodeReport:
    """Compress a session into a replay.

    Args:
        session: an open session, or the path of a recording.
        out: the `.relive` file to write; readable up to the last whole GOP at any moment.
        model: weights; None for the bundled ones.
        quality: 1 (smallest) to 10 (best).
        keyframe_interval: frames between keyframes, even.
        depth: code every cube to this depth instead of searching (for measurements).
        force: overwrite `out`.
        progress: told frames done and frames in all.

    Raises:
        InputError: A setting or the session is wrong, or `out` exists.
        ReliveError: The packets of a GOP do not decode to what was encoded.
        ModelMismatchError: The model is missing.
    """
    if Path(out).exists() and not force:
        raise InputError(f"{out} exists; add --force to overwrite it")
    if not isinstance(session, Session):
        with Session.open(session, verify=True) as opened:
            return encode(
                opened,
                out,
                model=model,
                quality=quality,
                keyframe_interval=keyframe_interval,
                depth=depth,
                force=force,
                progress=progress,
            )
    if Path(out).exists() and Path(out).samefile(session.path):
        raise InputError(f"{out} is the session itself; choose another name")
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    _check(session, quality, keyframe_interval, depth, bundle.config.quantizer.num_quantizers)
    coder = StepCoder(bundle, session.schema, Geometry(session.width, session.height))
    setting = QUALITIES[quality - 1]
    if depth is not None:
        setting = replace(setting, step=None)
    header = _header(session, bundle, keyframe_interval, quality, setting)
    squares, began = 0.0, time.perf_counter()
    with ReplayWriter(out, header, force) as writer:
        for encoded in _encode_all(coder, session, keyframe_interval, setting, depth):
            squares += encoded.squares
            writer.add_gop(encoded.record)
            if progress:
                record = encoded.record
                progress(record.first_frame + record.num_frames, session.num_frames)
        for event in session.events:
            writer.add_event(event.time_ns, event.name, event.payload)
    return _report(session, Path(out), squares, time.perf_counter() - began)


def _header(
    session: Session, bundle: Bundle, interval: int, quality: int, setting: Setting
) -> ReplayHeader:
    quantizer, regions = bundle.config.quantizer, session.region_schema
    return ReplayHeader(
        bundle.model_id,
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
    )


def _report(session: Session, out: Path, squares: float, seconds: float) -> EncodeReport:
    """Say what a written replay is like, given its squared error and what it took."""
    size, pixels = out.stat().st_size, session.width * session.height
    with ReplayReader.open(out) as reader:
        parts = reader.parts
    return EncodeReport(
        session.num_frames,
        size,
        size * 8 / (session.num_frames * pixels),
        _psnr(squares, int(session.present.sum()) * 3 * pixels),
        session.num_frames / seconds,
        parts,
        session.damaged,
    )


def _psnr(squares: float, count: int) -> float:
    if not count:
        return 0.0
    return 10 * math.log10(255**2 / max(squares / count, 1e-4))
