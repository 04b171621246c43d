"""Packets of a live stream → frames; what is lost is concealed until the next keyframe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from relive.bitstream import GopCodes, GopDetail, StepHead, StepReader
from relive.bitstream.framing import ByteReader
from relive.codec.bundle import Bundle, load_for
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
from relive.errors import FormatError, ModelMismatchError
from relive.session import StateSchema


@dataclass
class Losses:
    """What a receiver has missed; counts of packets, frames in the last two.

    Attributes:
        damaged: packets that fail their checksum, or do not decode.
        late: packets that come twice, or after a later one.
        early: packets before the first header or the first keyframe.
        concealed: frames that were guessed.
        missing: frames that were not even guessed: the gap was too long.
    """

    damaged: int = 0
    late: int = 0
    early: int = 0
    concealed: int = 0
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
        self._whole = False  # every packet since the keyframe has been decoded
        self._past: _Past | None = None

    def push(self, packet: bytes) -> list[LiveFrame]:
        """Take one packet; see `Decoder.push`."""
        try:
            head, reader = self._reader.head(packet)
        except FormatError:
            head = None
        if head is None or not self._fits(head):
            self._losses.damaged += 1
            return []
        place = head.gop * self._steps + head.step
        if place < self._next:
            self._losses.late += 1
            return []
        frames = self._bridge(place, head)
        self._whole = head.step == 0 or (self._whole and place == self._next)
        self._next = place + 1
        if self._whole and not self._decode(head, reader):
            self._losses.damaged += 1
            self._whole = False
        if not self._whole:
            self._conceal(head)
        if self._past is None:
            self._losses.early += 1
            return []
        return frames + self._frames(place, head, self._past)

    def _fits(self, head: StepHead) -> bool:
        """Whether a packet may be part of the stream: its step exists, and time goes on."""
        place = head.gop * self._steps + head.step
        last = -1 if self._past is None or place < self._next else int(self._past.times_ns[-1])
        return head.step < self._steps and bool((np.diff(head.times_ns, prepend=last) > 0).all())

    def _bridge(self, place: int, head: StepHead) -> list[LiveFrame]:
        """Hold the last picture for the steps that are missing, for a GOP at most."""
        past, lost = self._past, 2 * (place - self._next)
        if past is None:
            self._losses.missing += lost
            return []
        last, first = int(past.times_ns[-1]), self._next * 2
        span = int(head.times_ns[0]) - last
        held = min(lost, 2 * self._steps) if span > lost else 0
        self._losses.missing += lost - held
        return [
            self._frame(first + i, last + span * (i + 1) // (lost + 1), past, 1, concealed=True)
            for i in range(held)
        ]

    def _decode(self, head: StepHead, reader: ByteReader) -> bool:
        """Decode a packet; False where it does not decode."""
        try:
            codes, detail = self._reader.body(head, reader)
        except FormatError:
            return False
        if head.states is not None:
            past = self._past if head.step else None
            self._past = self._show(past, head.times_ns, head.states, codes, detail)
        return head.states is not None

    def _conceal(self, head: StepHead) -> None:
        """Guess a step whose codes cannot be read: depth 0 everywhere, motion as it was."""
        past = self._past
        if past is None or head.states is None:
            return
        h, w = self._coder.geometry.grid
        codes = GopCodes.empty(1, self._coder.bundle.config.quantizer.num_quantizers, h, w)
        codes.motion[:] = past.codes.motion
        self._past = self._show(past, head.times_ns, head.states, codes, None)

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

    def _frames(self, place: int, head: StepHead, past: _Past) -> list[LiveFrame]:
        """The frames of a packet that was decoded or concealed; else the last picture again."""
        moved = bool(head.times_ns[-1] == past.times_ns[-1])
        return [
            self._frame(
                2 * place + i,
                int(time),
                past,
                i if moved else 1,
                present=bool(head.present[i]),
                concealed=not self._whole,
            )
            for i, time in enumerate(head.times_ns)
        ]

    def _frame(
        self,
        number: int,
        time_ns: int,
        past: _Past,
        place: int,
        *,
        present: bool = True,
        concealed: bool = False,
    ) -> LiveFrame:
        """One frame of the step shown last; `place` in its pair."""
        self._losses.concealed += concealed
        geometry = self._coder.geometry
        pixels = past.shown.pixels[place, : geometry.height, : geometry.width]
        return LiveFrame(number, time_ns, past.states[place], pixels, present, concealed)
