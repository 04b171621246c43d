"""The two tiers that people ask for, beside the classical codecs: archive and stream.

    archive: at least 38.5 dB in every GOP ─► how much smaller than raw? peers at *our* PSNR
    stream:  1.2 Mbit/s at 1280×720, 30 frames/s ─► how good? peers at *our* bytes

Peers are matched by search: the two neighbouring crf values between which their PSNR, or their
bytes, meet ours; between the two a straight line over the logarithm of the rate. So they pay for no
rate control and for no floor: their PSNR is that of the whole sequence, ours has to hold in every
GOP; their bytes fall where crf puts them, ours where our rate control does.
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from relive.bench.cache import ResultCache, default_cache_folder
from relive.bench.clip import Clip, cut_session, spool_session
from relive.bench.compare import RAW_BITS_PER_PIXEL, Progress
from relive.bench.peers import DEFAULT_PEERS, Candidate, Peer, PeerPoint, find_peers, measure_peer
from relive.bench.points import Aim, OursPoint, measure_ours
from relive.bench.provenance import provenance, result_path, write_json
from relive.bench.rd import RunCounter, clip_facts
from relive.bench.rd_metrics import mean_of
from relive.errors import InputError

TIERS = ("archive", "stream")
ARCHIVE_DB = 38.5
STREAM_BITS_PER_PIXEL = 1.2e6 / (1280 * 720 * 30)


@dataclass(frozen=True)
class TierSettings:
    """What to measure, and how."""

    tiers: tuple[str, ...]
    peers: tuple[Peer, ...]
    model: Path | None
    frames: int | None
    keyframe_interval: int


@dataclass(frozen=True)
class MatchedPeer:
    """A peer brought to our PSNR, or to our bytes, or as near as it comes.

    Attributes:
        reached: It comes there; if not, what follows is its nearest point.
        candidate: The way to run it that does best.
        crfs: The neighbouring settings that it lies between, the finer first; twice the same where
            it does not come there.
        bytes: Of the elementary stream, between those of the two.
        bits_per_pixel: From `bytes`.
        psnr_db: RGB, between those of the two.
        encode_commands: The exact commands of the two.
    """

    reached: bool
    candidate: str
    crfs: tuple[int, int]
    bytes: float
    bits_per_pixel: float
    psnr_db: float
    encode_commands: tuple[str, str]


def bench_tiers(
    sessions: Sequence[Path],
    out: Path,
    *,
    tiers: Sequence[str] = TIERS,
    peers: Sequence[str] = DEFAULT_PEERS,
    model: Path | str | None = None,
    frames: int | None = None,
    keyframe_interval: int = 32,
    cache_folder: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the archive and the stream tier of ours and of the peers, write JSON.

    Args:
        sessions: Recordings; the folder of each names its split.
        out: A folder (gets `tiers.json`), or a `.json` file.
        tiers: `archive`, `stream` or both.
        peers: Names from `relive.bench.peers.PEERS`; may be empty.
        model: Weights; the bundled model when None.
        frames: Frames of each session, from the start; all when None.
        keyframe_interval: Frames from keyframe to keyframe, for everybody.
        cache_folder: Where results are kept; `default_cache_folder()` when None.
        progress: Called with (codecs done, codecs in all).

    Returns:
        What was written.

    Raises:
        InputError: No sessions, or an unknown tier or peer.
    """
    if not sessions:
        raise InputError("no sessions to measure; name at least one .mcap file")
    for tier in tiers:
        if tier not in TIERS:
            raise InputError(f"unknown tier {tier!r}; choose from {', '.join(TIERS)}")
    settings = TierSettings(
        tiers=tuple(tier for tier in TIERS if tier in tiers),
        peers=tuple(find_peers(tuple(peers))),
        model=None if model is None else Path(model),
        frames=frames,
        keyframe_interval=keyframe_interval,
    )
    cache = ResultCache(cache_folder or default_cache_folder())
    total = len(sessions) * len(settings.tiers) * (1 + len(settings.peers))
    counter = RunCounter(total, progress)
    rows: list[dict[str, Any]] = []
    result: dict[str, Any] = {}
    for path in sessions:
        rows.append(_measure_session(path, settings, cache, counter))
        result = _result(rows, settings)
        write_json(result_path(out, "tiers.json"), result)  # a stopped run leaves its part
    return result


def _measure_session(
    path: Path, settings: TierSettings, cache: ResultCache, counter: RunCounter
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="relive-tiers-") as name:
        folder = Path(name)
        cut = cut_session(path, folder, frames=settings.frames)
        clip = spool_session(cut, folder)
        tiers = {}
        for tier in settings.tiers:
            ours = measure_ours(
                cut,
                _aim(tier, clip),
                folder,
                model=settings.model,
                keyframe_interval=settings.keyframe_interval,
                cache=cache,
            )
            counter.tick()
            matched = {}
            for peer in settings.peers:
                matched[peer.name] = match_peer(
                    clip, peer, tier, ours, settings.keyframe_interval, cache
                )
                counter.tick()
            tiers[tier] = _tier_row(tier, clip, ours, matched)
    return {"session": path.stem, "split": path.parent.name, **clip_facts(clip), "tiers": tiers}


def _aim(tier: str, clip: Clip) -> Aim:
    if tier == "archive":
        return Aim(psnr=ARCHIVE_DB)
    return Aim(bitrate=STREAM_BITS_PER_PIXEL * clip.width * clip.height * clip.fps)


def match_peer(
    clip: Clip,
    peer: Peer,
    tier: str,
    ours: OursPoint,
    keyframe_interval: int,
    cache: ResultCache | None,
) -> MatchedPeer:
    """Bring a peer to our PSNR (archive) or to our bytes (stream); its best candidate counts."""
    value, goal = (
        (_psnr, ours.psnr_db) if tier == "archive" else (_log_rate, math.log(ours.bits_per_pixel))
    )
    found = []
    for candidate in peer.candidates:

        def run(crf: int, candidate: Candidate = candidate) -> PeerPoint:
            return measure_peer(
                clip, candidate, crf, keyframe_interval=keyframe_interval, cache=cache
            )

        fine, coarse = bracket(run, value, goal, range(1, peer.last_crf + 1))
        found.append(_between(clip, fine, coarse, value, goal))
    reached = [match for match in found if match.reached]
    if tier == "archive" and reached:
        return min(reached, key=lambda match: match.bytes)
    return max(reached or found, key=lambda match: match.psnr_db)


def _psnr(point: PeerPoint) -> float:
    return point.psnr_db


def _log_rate(point: PeerPoint) -> float:
    return math.log(point.bits_per_pixel)


def bracket(
    run: Callable[[int], PeerPoint],
    value: Callable[[PeerPoint], float],
    goal: float,
    crfs: range,
) -> tuple[PeerPoint, PeerPoint]:
    """Find two neighbouring crf values between which a value falls to the goal, by bisection.

    Args:
        run: Measures at a crf.
        value: Of a point; falls as the crf rises.
        goal: To be met.
        crfs: To choose from, without gaps.

    Returns:
        The last point that is not below the goal and the first one that is; twice the nearest
        point where all are on one side of it.
    """
    done: dict[int, PeerPoint] = {}
    low, high = crfs.start - 1, crfs.stop
    while high - low > 1:
        crf = (low + high) // 2
        done[crf] = run(crf)
        if value(done[crf]) >= goal:
            low = crf
        else:
            high = crf
    fine, coarse = done.get(low), done.get(high)
    nearest = done[min(max(low, crfs[0]), crfs[-1])]
    return fine or nearest, coarse or nearest


def _between(
    clip: Clip,
    fine: PeerPoint,
    coarse: PeerPoint,
    value: Callable[[PeerPoint], float],
    goal: float,
) -> MatchedPeer:
    reached = fine.crf != coarse.crf
    share = (goal - value(coarse)) / (value(fine) - value(coarse)) if reached else 0.0
    log_bytes = np.interp(share, [0, 1], [math.log(coarse.bytes), math.log(fine.bytes)])
    num_bytes = math.exp(log_bytes)
    return MatchedPeer(
        reached=reached,
        candidate=fine.candidate,
        crfs=(fine.crf, coarse.crf),
        bytes=num_bytes,
        bits_per_pixel=num_bytes * 8 / (clip.num_frames * clip.width * clip.height),
        psnr_db=float(np.interp(share, [0, 1], [coarse.psnr_db, fine.psnr_db])),
        encode_commands=(fine.encode_command, coarse.encode_command),
    )


def _tier_row(
    tier: str, clip: Clip, ours: OursPoint, peers: dict[str, MatchedPeer]
) -> dict[str, Any]:
    return {
        "target": {k: v for k, v in asdict(_aim(tier, clip)).items() if v is not None},
        "ours": {
            **asdict(ours),
            "bits_per_second": ours.bits_per_pixel * clip.width * clip.height * clip.fps,
            "ratio": RAW_BITS_PER_PIXEL / ours.bits_per_pixel,
        },
        "peers": {name: _peer_row(clip, ours, match) for name, match in peers.items()},
    }


def _peer_row(clip: Clip, ours: OursPoint, match: MatchedPeer) -> dict[str, Any]:
    """Hold ours against a matched peer, whose states are not in `bytes`."""
    return {
        **asdict(match),
        "bytes_with_state": match.bytes + clip.state_csv_bytes,
        "ratio": RAW_BITS_PER_PIXEL / match.bits_per_pixel,
        "our_bytes_ratio": ours.bytes / match.bytes if match.reached else None,
        "our_psnr_difference_db": ours.psnr_db - match.psnr_db if match.reached else None,
    }


def _result(rows: Sequence[dict[str, Any]], settings: TierSettings) -> dict[str, Any]:
    return {
        "kind": "bench_tiers",
        **provenance(settings.model),
        "settings": {
            "tiers": settings.tiers,
            "peers": [peer.name for peer in settings.peers],
            "frames": settings.frames,
            "keyframe_interval": settings.keyframe_interval,
            "archive": f"{ARCHIVE_DB:g} dB or more in every GOP; peers at our PSNR of the whole "
            "sequence",
            "stream": f"{STREAM_BITS_PER_PIXEL:.4f} bits per pixel, 1.2 Mbit/s at 1280×720 and 30 "
            "frames/s; peers at our bytes",
            "matched": "between two neighbouring crf values, on a straight line over the logarithm "
            "of the rate; reached is false where no crf comes to ours, the nearest stands there",
            "counted_ours": "the whole file: codes, states, events, index, header",
            "counted_peers": "the elementary stream; bytes_with_state adds the states as "
            "zlib-compressed CSV",
        },
        "sessions": list(rows),
        "splits": {
            split: _split_row([row for row in rows if row["split"] == split], settings)
            for split in sorted({row["split"] for row in rows})
        },
    }


def _split_row(group: Sequence[dict[str, Any]], settings: TierSettings) -> dict[str, Any]:
    """Average over the sessions of a split; ratios of bytes by their logarithms."""
    tiers = {}
    for tier in settings.tiers:
        rows = [row["tiers"][tier] for row in group]
        tiers[tier] = {
            "psnr_db": mean_of([row["ours"]["psnr_db"] for row in rows]),
            "ratio": _geometric_mean_of([row["ours"]["ratio"] for row in rows]),
            "peers": {
                peer.name: {
                    key: mean([row["peers"][peer.name][key] for row in rows])
                    for key, mean in (
                        ("our_bytes_ratio", _geometric_mean_of),
                        ("our_psnr_difference_db", mean_of),
                    )
                }
                for peer in settings.peers
            },
        }
    return {"sessions": len(group), "tiers": tiers}


def _geometric_mean_of(values: Sequence[float | None]) -> dict[str, Any]:
    mean = mean_of([None if value is None else math.log(value) for value in values])
    return {**mean, "mean": None if mean["mean"] is None else math.exp(mean["mean"])}
