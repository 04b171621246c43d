"""One GOP of a replay on its way from packets to pixels."""

from __future__ import annotations

from collections import deque
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from relive.bitstream import Clock, DetailReader, GopCodes, GopDetail, decode_codes, decode_track
from relive.codec.gop import Shown, decode_step, step_rows
from relive.codec.step import StepCoder, StepState
from relive.container import GopRecord
from relive.errors import FormatError
from relive.session import StateSchema

Track = tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.float32]]


def track_of(schema: StateSchema, record: GopRecord) -> Track:
    """Times, presence and states of a GOP.

    Raises:
        FormatError: the packet is damaged.
    """
    steps = [f.step for f in schema.fields]
    kinds = [f.kind for f in schema.fields]
    return decode_track(record.track, steps, kinds, Clock(*record.clock))


class Decoding:
    """A GOP: its codes, and how far the steps have come.

    Raises:
        FormatError: its codes or its track are damaged.
    """

    def __init__(self, coder: StepCoder, gop: int, record: GopRecord) -> None:
        self.coder, self.gop, self.count = coder, gop, record.num_frames
        h, w = coder.geometry.grid
        steps = -(-record.num_frames // 2)
        self.codes: GopCodes = decode_codes(record.codes, coder.bundle.tables, steps, h, w)
        self._detail: DetailReader | None = None
        self.times_ns, _, self.states = track_of(coder.schema, record)
        self._index = -1
        self._shown: Shown | None = None

    @cached_property
    def _coming(self) -> deque[StepState]:
        """States of the steps that are not decoded yet."""
        rows = np.stack([step_rows(k, self.count) for k in range(len(self.codes.depths))])
        return deque(self.coder.states(self.states[rows], self.times_ns[rows]))

    def take_detail(self, record: GopRecord) -> bool:
        """Decode with the enhancement layer; False where it is missing or damaged."""
        if record.detail is None:
            return False
        try:
            self._detail = DetailReader(record.detail, self.codes, self.coder.bundle.detail)
        except FormatError:
            return False
        return True

    def detail(self) -> GopDetail | None:
        """Read the whole enhancement layer; None without one, or where it does not decode."""
        try:
            return None if self._detail is None else self._detail.whole()
        except FormatError:
            return None

    def reaches(self, local: int) -> bool:
        """Whether going on forwards leads to a frame."""
        return local // 2 >= self._index

    @torch.inference_mode()
    def frame(self, local: int) -> NDArray[np.uint8]:
        """Frame `local` of the GOP, uint8 `[H, W, 3]` with padding.

        Raises:
            FormatError: the enhancement layer does not decode; this GOP can only begin anew.
        """
        index, place = divmod(local, 2)
        while self._index < index:
            k = self._index + 1
            detail = None if self._detail is None else self._detail.step(k)
            state = self._coming.popleft()
            carry = None if self._shown is None else self._shown.carry
            codes = self.codes.part(k)
            self._shown, self._index = decode_step(self.coder, carry, state, codes, detail), k
        if self._shown is None:
            raise IndexError(f"step {index}")
        return self._shown.frame(place)
