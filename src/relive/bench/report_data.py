"""Everything that a report shows, gathered from a session, its replay and the peers' curves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relive.bench.cache import ResultCache
from relive.bench.clip import Clip
from relive.bench.compare import Comparison, compare
from relive.bench.curves import BdRate, RatePoint, bd_rate, bits_per_pixel_at, psnr_at
from relive.bench.equal_bytes import EqualBytesRun, best_peer_at, decode_run, run_at_equal_bytes
from relive.bench.metrics import frame_mse, psnr_from_mse
from relive.bench.points import PeerCurve
from relive.bench.provenance import provenance

if TYPE_CHECKING:
    from relive.codec import Replay
    from relive.session import Session, StateField

LEVEL_DB = 0.1  # a smaller difference is called level


@dataclass(frozen=True)
class Standing:
    """How our file stands against one peer.

    Attributes:
        label: The peer.
        psnr_db: Its PSNR at our bytes; None where it does not reach them.
        difference_db: Ours minus that.
        with_state_db: Its PSNR when the states as zipped CSV must fit into the same bytes too.
        bytes: Its bytes at our PSNR; None where it does not reach it.
        bytes_ratio: Ours over those.
        bd: Bjøntegaard deltas over the whole curves.
    """

    label: str
    psnr_db: float | None
    difference_db: float | None
    with_state_db: float | None
    bytes: int | None
    bytes_ratio: float | None
    bd: BdRate

    @property
    def verdict(self) -> str:
        """Return `ahead`, `behind`, `level` or `not comparable`, at equal bytes."""
        if self.difference_db is None:
            return "not comparable"
        if abs(self.difference_db) < LEVEL_DB:
            return "level"
        return "ahead" if self.difference_db > 0 else "behind"


@dataclass(frozen=True)
class ShownFrame:
    """One frame side by side: uint8 `[H, W, 3]` each.

    Attributes:
        number: Number of the frame.
        why: Why it is shown: best, median or worst of ours.
        time_s: Its time from the start.
        original: As recorded.
        ours: Decoded from our file.
        peer: Decoded from the best peer at equal bytes, if there is one.
    """

    number: int
    why: str
    time_s: float
    original: NDArray[np.uint8]
    ours: NDArray[np.uint8]
    peer: NDArray[np.uint8] | None

    def psnr_db(self, decoded: NDArray[np.uint8]) -> float:
        """Return the PSNR of this frame, decoded one way."""
        return psnr_from_mse(float(frame_mse(self.original[None], decoded[None])[0]))


@dataclass(frozen=True)
class ReportData:
    """What a report shows. See the modules that the parts come from."""

    game: str
    width: int
    height: int
    num_frames: int
    fps: float
    quality: int
    keyframe_interval: int
    comparison: Comparison
    encode_fps: float
    parts: dict[str, int]
    ours: tuple[RatePoint, ...]
    peers: tuple[PeerCurve, ...]
    standings: tuple[Standing, ...]
    equal: EqualBytesRun | None
    frames: tuple[ShownFrame, ...]
    times_s: NDArray[np.float64]
    states: NDArray[np.float32]
    fields: "tuple[StateField, ...]"
    state_deviation_steps: float
    state_csv_bytes: int
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def raw_bytes(self) -> int:
        """Bytes of the frames as raw 24-bit RGB."""
        return self.num_frames * self.width * self.height * 3


def stand(
    curve: PeerCurve, ours: Sequence[RatePoint], comparison: Comparison, clip: Clip
) -> Standing:
    """Compare our shown file and our whole curve with one peer."""
    points = curve.rate_points()
    rate = comparison.bits_per_pixel
    peer_db = psnr_at(points, rate)
    peer_rate = bits_per_pixel_at(points, comparison.psnr_db)
    state_rate = clip.bits_per_pixel(clip.state_csv_bytes)
    pixels = clip.num_frames * clip.width * clip.height
    return Standing(
        label=curve.peer.label,
        psnr_db=peer_db,
        difference_db=None if peer_db is None else comparison.psnr_db - peer_db,
        with_state_db=psnr_at(points, rate - state_rate) if rate > state_rate else None,
        bytes=None if peer_rate is None else round(peer_rate * pixels / 8),
        bytes_ratio=None if peer_rate is None else rate / peer_rate,
        bd=bd_rate(points, ours),
    )


def gather_report(
    session_path: Path,
    replay_path: Path,
    clip: Clip,
    peers: Sequence[PeerCurve],
    ours: Sequence[RatePoint],
    *,
    quality: int,
    encode_fps: float,
    parts: dict[str, int],
    model: Path | None = None,
    keyframe_interval: int = 32,
    cache: ResultCache | None = None,
    comparison: Comparison | None = None,
) -> ReportData:
    """Decode the shown replay and the best peer, and gather everything for the report.

    Args:
        session_path: The recording.
        replay_path: The replay that is shown in detail.
        clip: The same frames, for the peers.
        peers: Curves of the peers on that clip.
        ours: Our (bits per pixel, dB), by rising rate.
        quality: Quality setting of the shown replay.
        encode_fps: How fast it was encoded.
        parts: Its bytes by part.
        model: Weights; the bundled model when None.
        keyframe_interval: Frames from keyframe to keyframe.
        cache: Where peer results are kept.
        comparison: Of the shown replay, if it was measured already.
    """
    from relive.codec import Replay
    from relive.session import Session

    comparison = comparison or compare(session_path, replay_path, model=model)
    curve = best_peer_at(peers, comparison.bits_per_pixel)
    equal = None
    if curve is not None:
        equal = run_at_equal_bytes(
            clip, curve, comparison.bytes, keyframe_interval=keyframe_interval, cache=cache
        )
    with Session.open(session_path) as session, Replay.open(replay_path, model=model) as replay:
        frames = _shown_frames(session, replay, clip, comparison, equal, keyframe_interval)
        return ReportData(
            game=session.game or session_path.stem,
            width=replay.width,
            height=replay.height,
            num_frames=replay.num_frames,
            fps=replay.fps,
            quality=quality,
            keyframe_interval=keyframe_interval,
            comparison=comparison,
            encode_fps=encode_fps,
            parts=parts,
            ours=tuple(ours),
            peers=tuple(peers),
            standings=tuple(stand(peer, ours, comparison, clip) for peer in peers),
            equal=equal,
            frames=frames,
            times_s=(replay.times_ns - replay.times_ns[0]) / 1e9,
            states=replay.states,
            fields=replay.schema.fields,
            state_deviation_steps=_state_deviation(session, replay),
            state_csv_bytes=clip.state_csv_bytes,
            provenance=provenance(model),
        )


def choose_frames(comparison: Comparison) -> list[tuple[int, str]]:
    """Choose the best, the median and the worst frame of ours, by PSNR."""
    order = np.argsort(np.asarray(comparison.frame_psnr_db), kind="stable")
    picks = {"best": order[-1], "median": order[len(order) // 2], "worst": order[0]}
    return [(comparison.frame_numbers[int(i)], why) for why, i in picks.items()]


def _shown_frames(
    session: "Session",
    replay: "Replay",
    clip: Clip,
    comparison: Comparison,
    equal: EqualBytesRun | None,
    keyframe_interval: int,
) -> tuple[ShownFrame, ...]:
    chosen = choose_frames(comparison)
    numbers = [number for number, _ in chosen]
    peer = decode_run(clip, equal, numbers, keyframe_interval=keyframe_interval) if equal else {}
    return tuple(
        ShownFrame(
            number=number,
            why=why,
            time_s=float(session.times_ns[number] - session.times_ns[0]) / 1e9,
            original=session.frame(number),
            ours=replay.frame(number),
            peer=peer.get(number),
        )
        for number, why in chosen
    )


def _state_deviation(session: "Session", replay: "Replay") -> float:
    """Return the largest deviation of the stored states, in units of the declared step.

    A field whose step is 0 must come back exactly: any difference counts as infinite.
    """
    worst = 0.0
    for column, state_field in enumerate(session.schema.fields):
        difference = np.abs(
            session.states[:, column].astype(np.float64) - replay.states[:, column]
        ).max()
        if state_field.step > 0:
            worst = max(worst, float(difference / state_field.step))
        elif difference > 0:
            return float("inf")
    return worst
