"""Packets of a live stream → frames; a lost packet is guessed, and healed at the next keyframe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relive.bitstream import GopCodes, GopDetail, StepHead, StepReader
from relive.codec.bundle import Bundle
from relive.codec.earlier import load_for
from relive.codec.gop import Shown, decode_step
from relive.codec.live import MAX_PIXELS, LiveFrame, on_worker, step_layout
from relive.codec.step import Geometry, StepCoder
from relive.container import (
    HEADER_MAGIC,
    ReplayHeader,
    is_whole_header,
    stream_checksum,
    unpack_live_header,
)
from relive.cubes.states import between
from relive.errors import FormatError, ModelMismatchError
from relive.session import StateSchema


@dataclass
class Losses:
    """What a receiver has missed; packets, then frames.

    Attributes:
        damaged: packets that fail their checksum, or do not decode.
        late: packets that come twice, or after a later one.
        early: packets before the first header or the first keyframe.
        concealed: frames that were guessed.
        degraded: frames decoded against a picture that is not the encoder's.
        missing: frames that were not even guessed, because the gap was too long.
    """

    damaged: int = 0
    late: int = 0
    early: int = 0
    concealed: int = 0
    degraded: int = 0
    missing: int = 0


@dataclass(frozen=True)
class _Past:
    """The step that was decoded or guessed last.

    Attributes:
        shown: its pictures, and what the next step starts from.
        times_ns: of its two frames, int64 `[2]`.
        states: of its two frames, float32 `[2, S]`.
        codes: what it said, for the motion in it.
    """

    shown: Shown
    times_ns: NDArray[np.int64]
    states: NDArray[np.float32]
    codes: GopCodes


class Decoder:
    """Decodes a live stream, a packet at a time; a lost or damaged one is no error.

    Attributes:
        header: of the stream, once it has come.
        losses: what was missed so far.

    Args:
        model: weights; None for the bundled ones.
    """

    def __init__(self, model: Bundle | Path | str | None = None) -> None:
        self._model = model
        self.header: ReplayHeader | None = None
        self.losses = Losses()
        self._stream: _Stream | None = None
        self._checksum = -1

    def push(self, packet: bytes) -> list[LiveFrame]:
        """Take one packet.

        Returns:
            Frames in order of their numbers: those of the packet, and before them guesses for
            those that were lost since the last one. Nothing before the first keyframe.

        Raises:
            FormatError: The stream is of another version, or its header is wrong.
            ModelMismatchError: The model is missing or another one.
        """
        if packet.startswith(HEADER_MAGIC):
            self._start(packet)
            return []
        if self._stream is None:
            self.losses.early += 1
            return []
        stream = self._stream
        return on_worker(lambda: stream.push(packet))

    def _start(self, packet: bytes) -> None:
        """Begin a stream; the header of the one that runs changes nothing."""
        if not is_whole_header(packet):
            self.losses.damaged += 1
            return
        checksum = stream_checksum(packet)
        if self._stream is not None and checksum == self._checksum:
            return
        header = unpack_live_header(packet)
        if header.width * header.height > MAX_PIXELS or header.keyframe_interval % 2:
            raise FormatError(
                f"live stream of {header.width}x{header.height} with a keyframe every "
                f"{header.keyframe_interval} frames is out of range"
            )
        coder = StepCoder(
            self._bundle(header),
            StateSchema.from_dict(header.state_schema),
            Geometry(header.width, header.height),
        )
        self._stream = _Stream(coder, checksum, header, self.losses)
        self.header, self._checksum = header, checksum

    def _bundle(self, header: ReplayHeader) -> Bundle:
        if not isinstance(self._model, Bundle):
            self._model = load_for(header.model_id, self._model)
        bundle, quantizer = self._model, self._model.config.quantizer
        if bundle.model_id != header.model_id:
            raise ModelMismatchError(
                f"the stream needs model {header.model_id}, not {bundle.model_id}"
            )
        if (quantizer.num_quantizers, quantizer.codebook_size) != (
            header.num_quantizers,
            header.codebook_size,
        ):
            raise FormatError(f"live stream: codebooks do not fit model {header.model_id}")
        return bundle


class _Stream:
    """The packets of one stream."""

    def __init__(
        self, coder: StepCoder, checksum: int, header: ReplayHeader, losses: Losses
    ) -> None:
        self._coder, self._losses = coder, losses
        self._reader = StepReader(step_layout(coder, checksum, header.tiers))
        self._steps = header.keyframe_interval // 2
        self._next = 0  # step of the stream that is due
        self._drifts = False  # the picture is not the encoder's, up to the next keyframe
        self._past: _Past | None = None
        self._last_ns = -1  # time of the frame that was shown last

    def push(self, packet: bytes) -> list[LiveFrame]:
        """Take one packet; see `Decoder.push`."""
        try:
            head, reader = self._reader.head(packet)
            place = head.gop * self._steps + head.step
            if place < self._next:
                self._losses.late += 1
                return []
            self._check(head)
            codes, detail = self._reader.body(head, reader)
        except FormatError:
            self._losses.damaged += 1
            return []
        if self._past is None and head.step:
            self._losses.early += 1
            return []
        frames = self._bridge(place, head)
        self._drifts = head.step > 0 and (self._drifts or place != self._next)
        self._next, self._last_ns = place + 1, int(head.times_ns[-1])
        past = self._past if head.step else None
        self._past = self._show(past, head.times_ns, head.states, codes, detail)
        return frames + self._frames(2 * place, head.times_ns, self._past, head.present)

    def _check(self, head: StepHead) -> None:
        """Refuse a packet that is no part of the stream: time goes on, and its step exists."""
        rises = (np.diff(head.times_ns, prepend=self._last_ns) > 0).all()
        if head.step >= self._steps or not rises:
            raise FormatError(f"live packet: GOP {head.gop}, step {head.step} is out of place")

    def _bridge(self, place: int, head: StepHead) -> list[LiveFrame]:
        """Guess the steps that are missing, a GOP at most."""
        lost = place - self._next
        if self._past is None or not lost:
            return []
        first_ns, span = self._last_ns, int(head.times_ns[0]) - self._last_ns
        steps = min(lost, self._steps) if span > 2 * lost else 0
        self._losses.missing += 2 * (lost - steps)
        shares = np.arange(1, 2 * steps + 1) / (2 * lost + 1)
        states = between(self._coder.schema, self._past.states[1], head.states[0], shares)
        frames = []
        for i in range(steps):
            times = first_ns + span * (2 * i + np.arange(1, 3)) // (2 * lost + 1)
            frames += self._guess(2 * (self._next + i), times, states[2 * i : 2 * i + 2])
        return frames

    def _guess(
        self, number: int, times_ns: NDArray[np.int64], states: NDArray[np.float32]
    ) -> list[LiveFrame]:
        """Guess a step: every cube at depth 0, that is masked; motion as it was."""
        past = self._past
        if past is None:
            return []
        h, w = self._coder.geometry.grid
        codes = GopCodes.empty(1, self._coder.bundle.config.quantizer.num_quantizers, h, w)
        codes.motion[:] = past.codes.motion
        self._past = self._show(past, times_ns, states, codes, None)
        return self._frames(number, times_ns, self._past, concealed=True)

    def _show(
        self,
        past: _Past | None,
        times_ns: NDArray[np.int64],
        states: NDArray[np.float32],
        codes: GopCodes,
        detail: GopDetail | None,
    ) -> _Past:
        """Decode a step after another one; None before it makes it a keyframe."""
        times, pair = times_ns[[0, -1]], states[[0, -1]]
        times_before = times[[0, 0]] if past is None else past.times_ns
        before = pair[[0, 0]] if past is None else past.states
        state = self._coder.state(
            np.concatenate([before, pair]), np.concatenate([times_before, times])
        )
        carry = None if past is None else past.shown.carry
        shown = decode_step(self._coder, carry, state, codes, detail)
        return _Past(shown, times, pair, codes)

    def _frames(
        self,
        number: int,
        times_ns: NDArray[np.int64],
        past: _Past,
        present: NDArray[np.bool_] | None = None,
        *,
        concealed: bool = False,
    ) -> list[LiveFrame]:
        """The frames of a step, `number` being that of the first."""
        self._losses.concealed += concealed * len(times_ns)
        self._losses.degraded += (self._drifts and not concealed) * len(times_ns)
        geometry = self._coder.geometry
        return [
            LiveFrame(
                number + i,
                int(time),
                past.states[i],
                past.shown.frame(i)[: geometry.height, : geometry.width],
                present is None or bool(present[i]),
                concealed,
                self._drifts and not concealed,
            )
            for i, time in enumerate(times_ns)
        ]
