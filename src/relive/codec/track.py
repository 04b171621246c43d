"""Times and states of a GOP, as a decoder will see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relive.bitstream import Clock, decode_track, encode_track
from relive.codec.favour import cube_importance
from relive.session import Session


@dataclass(frozen=True)
class GopTrack:
    """Times, presence and states of a GOP as a decoder will see them, and their packet.

    Attributes:
        times_ns: int64 `[n]`.
        states: float32 `[n, S]`.
        present: bool `[n]`.
        packet: of these.
        worth: for the encoder alone, `favour.cube_importance`.
    """

    times_ns: NDArray[np.int64]
    states: NDArray[np.float32]
    present: NDArray[np.bool_]
    packet: bytes
    worth: NDArray[np.float32] | None = None


def gop_track(session: Session, start: int, stop: int, favour: float = 0.0) -> GopTrack:
    """Times and states of frames [start, stop), through their packet and back.

    Regions are read only where they are to be favoured.
    """
    steps = [f.step for f in session.schema.fields]
    kinds = [f.kind for f in session.schema.fields]
    clocks = session.times_ns[start:stop]
    packet = encode_track(
        clocks,
        session.present[start:stop],
        session.states[start:stop],
        steps,
        kinds,
    )
    clock = Clock(stop - start, int(clocks[0]), int(clocks[-1] - clocks[0]))
    times, present, states = decode_track(packet, steps, kinds, clock)
    worth = cube_importance(session, start, stop) if favour else None
    return GopTrack(times, states, present, packet, worth)
