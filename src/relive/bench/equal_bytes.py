"""The peer that does best with the bytes that our file has, run at those bytes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from relive.bench.cache import ResultCache
from relive.bench.clip import Clip
from relive.bench.curves import psnr_at
from relive.bench.peers import Candidate, Peer, PeerPoint, decode_peer_frames, measure_peer
from relive.bench.points import PeerCurve


@dataclass(frozen=True)
class EqualBytesRun:
    """A peer run at about the bytes of our file."""

    peer: Peer
    candidate: Candidate
    point: PeerPoint


def best_peer_at(peers: Sequence[PeerCurve], bits_per_pixel: float) -> PeerCurve | None:
    """Return the peer with the highest PSNR at a rate, or None when no peer reaches that rate."""
    reached = [(psnr_at(curve.rate_points(), bits_per_pixel), curve) for curve in peers]
    known = [(value, curve) for value, curve in reached if value is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def run_at_equal_bytes(
    clip: Clip,
    curve: PeerCurve,
    num_bytes: int,
    *,
    keyframe_interval: int = 32,
    cache: ResultCache | None = None,
) -> EqualBytesRun:
    """Run a peer at the crf that gives about `num_bytes`, found between its measured points.

    The candidate is that of the nearest point of the envelope. The crf is a whole number, so the
    bytes are near but not equal; of the two nearest the one with *more* bytes is taken when the
    crf falls between them, so that the peer is not shown below its worth.
    """
    target = clip.bits_per_pixel(num_bytes)
    nearest = min(curve.envelope, key=lambda p: abs(math.log(p.bits_per_pixel / target)))
    candidate = curve.peer.candidate(nearest.candidate)
    run = sorted(
        (p for p in curve.points if p.candidate == candidate.name), key=lambda p: p.bits_per_pixel
    )
    rates = [math.log(point.bits_per_pixel) for point in run]
    crf = math.floor(float(np.interp(math.log(target), rates, [point.crf for point in run])))
    point = measure_peer(clip, candidate, crf, keyframe_interval=keyframe_interval, cache=cache)
    return EqualBytesRun(curve.peer, candidate, point)


def decode_run(
    clip: Clip, run: EqualBytesRun, wanted: list[int], *, keyframe_interval: int = 32
) -> dict[int, NDArray[np.uint8]]:
    """Return the `wanted` frames of a run, uint8 `[H, W, 3]` each."""
    return decode_peer_frames(
        clip, run.candidate, run.point.crf, wanted, keyframe_interval=keyframe_interval
    )
