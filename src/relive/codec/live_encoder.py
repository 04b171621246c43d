"""Frames as they come → packets of a live stream."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relive.bitstream import GopCodes, GopDetail, StepWriter
from relive.codec.bundle import Bundle, load_bundle
from relive.codec.effort import DEFAULT_PRESET, PRESETS
from relive.codec.encoder import CODES_QUALITY, DEFAULT_QUALITY
from relive.codec.gop import Aim, encode_step, start_pair
from relive.codec.layer import Layer, Tools
from relive.codec.live import GREY, MAX_PIXELS, on_worker, step_layout
from relive.codec.pairs import Looks
from relive.codec.rate import CODES_ALONE, QUALITIES
from relive.codec.refusals import MIN_SIDE_PX, check_tiers
from relive.codec.step import Geometry, StepCoder, to_picture
from relive.container import ReplayHeader, pack_live_header, stream_checksum
from relive.enhancement.look_ahead import flat_plan
from relive.errors import FormatError, InputError, ReliveError
from relive.model.context import Carry
from relive.session import RegionSchema, StateSchema

MAX_INTERVAL = 2048
MAX_TIME_NS = (1 << 63) - 1


@dataclass(frozen=True)
class _Input:
    """A frame that waits for the second of its pair."""

    picture: NDArray[np.uint8]
    state: NDArray[np.float32]
    time_ns: int
    present: bool


class Encoder:
    """Encodes a game while it is played, a step of two frames at a time.

    Attributes:
        header: the packet that a receiver needs before any other; send it at every connect.
        num_frames: frames pushed.

    Args:
        width: of the frames, pixels.
        height: of the frames, pixels.
        schema: the fields of the state.
        model: weights; None for the bundled ones.
        quality: 1 (smallest) to 10 (best).
        tiers: 1 sends codes alone, whatever the quality.
        keyframe_interval: frames between keyframes, even: a loss is healed after that many.
        game: what is streamed, free text.
        regions: the meaning of region maps, if there are any.

    Raises:
        InputError: A setting is wrong.
        ModelMismatchError: The model is missing.
    """

    def __init__(
        self,
        width: int,
        height: int,
        schema: StateSchema = StateSchema(),  # noqa: B008 - it is frozen
        *,
        model: Bundle | Path | str | None = None,
        quality: int = DEFAULT_QUALITY,
        tiers: int = 2,
        keyframe_interval: int = 32,
        game: str = "",
        regions: RegionSchema | None = None,
    ) -> None:
        _check(width, height, quality, keyframe_interval)
        check_tiers(tiers)
        bundle = model if isinstance(model, Bundle) else load_bundle(model)
        self._coder = StepCoder(bundle, schema, Geometry(width, height))
        setting = QUALITIES[quality - 1] if tiers > 1 else CODES_ALONE
        quantizer = bundle.config.quantizer
        vectors = PRESETS[DEFAULT_PRESET].vectors
        self._aim = Aim(setting, Tools(bundle.level_costs, Looks.of(bundle), vectors))
        self.header = pack_live_header(
            ReplayHeader(
                bundle.model_id,
                width,
                height,
                quantizer.num_quantizers,
                quantizer.codebook_size,
                keyframe_interval,
                quality if tiers > 1 else CODES_QUALITY,
                game,
                schema.to_dict(),
                regions.to_dict() if regions else None,
                tiers=setting.tiers,
                pulls=setting.tiers > 1 and bundle.colours is not None,
                extra={"stream": secrets.token_hex(8)},
            )
        )
        layout = step_layout(self._coder, stream_checksum(self.header), setting.tiers)
        self._writer = StepWriter(layout)
        self.num_frames = 0
        self._steps = keyframe_interval // 2
        self._gop, self._step = 0, 0
        self._carry: Carry | None = None
        self._waiting: list[_Input] = []
        self._before: list[_Input] = []  # the pair of the step before
        self._picture = np.full((height, width, 3), GREY, np.uint8)
        self._last_ns = -1
        self._ended = False

    def push(self, frame: NDArray[np.uint8] | None, state: ArrayLike, time_ns: int) -> list[bytes]:
        """Encode one frame.

        Args:
            frame: uint8 `[height, width, 3]` RGB; None where it is missing.
            state: float32 `[S]`, all finite.
            time_ns: its time, from 0 up and greater than that of the frame before.

        Returns:
            The packet of a step after every second frame, else nothing.

        Raises:
            InputError: A value is wrong; the frame is not encoded, later ones can be.
            ReliveError: The stream has ended.
        """
        if self._ended:
            raise ReliveError("the stream has ended; make a new Encoder")
        where = f"frame {self.num_frames}"
        values = self._checked_state(state, where)
        if not self._last_ns < time_ns <= MAX_TIME_NS:
            raise InputError(f"{where}: time_ns {time_ns} is not after {self._last_ns}, or too far")
        if frame is not None:
            if frame.dtype != np.uint8 or frame.shape != self._picture.shape:
                raise InputError(
                    f"{where}: {frame.dtype} of shape {list(frame.shape)}, "
                    f"not uint8 of {list(self._picture.shape)}"
                )
            self._picture = frame.copy()
        self._waiting.append(_Input(self._picture, values, int(time_ns), frame is not None))
        self._last_ns = int(time_ns)
        self.num_frames += 1
        return [self._encode()] if len(self._waiting) == 2 else []

    def flush(self) -> list[bytes]:
        """End the stream: the packet of a last frame that has no second, if there is one."""
        self._ended = True
        return [self._encode()] if self._waiting else []

    def _encode(self) -> bytes:
        pair, self._waiting = self._waiting, []
        packet = on_worker(lambda: self._encode_pair(pair))
        self._before = pair
        self._step += 1
        if self._step == self._steps:
            self._gop, self._step = self._gop + 1, 0
        return packet

    def _encode_pair(self, inputs: list[_Input]) -> bytes:
        """Encode one or two frames; a single one is paired with itself."""
        if self._step == 0:
            self._carry, self._before = None, [inputs[0]] * 2
        pair = [inputs[0], inputs[-1]]
        four = [*self._before, *pair]
        self._aim.tools.tiles.clear()  # a packet knows those of no other
        h, w = self._coder.geometry.grid
        codes = GopCodes.empty(1, self._coder.bundle.config.quantizer.num_quantizers, h, w)
        layer = None
        if self._aim.setting.step is not None:
            plan = flat_plan(self._aim.setting.step, self._steps, h, w).part(self._step)
            layer = Layer(GopDetail.empty(2, h, w), plan, np.zeros((h, w), np.int8))
        state = self._coder.state(
            self._writer.seen([item.state for item in four]),
            np.array([item.time_ns for item in four], np.int64),
        )
        padded = self._coder.geometry.pad(np.stack([item.picture for item in pair]))
        start = start_pair(self._coder, self._carry, to_picture(padded)[None], state)
        shown = encode_step(self._coder, self._carry, start, self._step, self._aim, codes, layer)
        self._carry = shown.carry
        return self._writer.write(
            self._gop,
            self._step,
            np.array([item.time_ns for item in inputs], np.int64),
            np.array([item.present for item in inputs]),
            [item.state for item in inputs],
            codes,
            None if layer is None else layer.detail,
        )

    def _checked_state(self, state: ArrayLike, where: str) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):
            values = np.array(state, np.float32)  # a copy
        if values.shape != (self._coder.schema.width,) or not np.isfinite(values).all():
            raise InputError(f"{where}: the state is not {self._coder.schema.width} finite numbers")
        try:
            self._writer.seen([values])
        except FormatError as error:
            raise InputError(f"{where}: {error}") from error
        return values


def _check(width: int, height: int, quality: int, interval: int) -> None:
    """Refuse what cannot work before a model is loaded."""
    if min(width, height) < MIN_SIDE_PX or width * height > MAX_PIXELS:
        raise InputError(
            f"frames of {width}x{height} cannot be streamed; "
            f"the least is {MIN_SIDE_PX}x{MIN_SIDE_PX}, the most {MAX_PIXELS} pixels"
        )
    if not 1 <= quality <= len(QUALITIES):
        raise InputError(f"quality {quality} is not between 1 and {len(QUALITIES)}")
    if not 2 <= interval <= MAX_INTERVAL or interval % 2:
        raise InputError(f"keyframe interval {interval} is not an even number, 2 to {MAX_INTERVAL}")
