"""The demonstration: record a real game, encode, decode, compare with the classical codecs, report.

doom ─► session.mcap ─┬─► encode at several qualities ─► replay.relive ─► decode, compare ┐
                      └─► x264, x265, SVT-AV1 at several crfs ────────────────────────────┴─► report
"""

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relive.bench.cache import ResultCache
from relive.bench.clip import Clip, cut_session, spool_session
from relive.bench.compare import Progress
from relive.bench.curves import RatePoint, pareto
from relive.bench.peers import DEFAULT_PEERS, Peer, find_peers
from relive.bench.points import PeerCurve, measure_peer_curve
from relive.bench.provenance import write_json
from relive.bench.report import write_report
from relive.bench.report_data import ReportData, Standing, gather_report
from relive.bench.report_figures import save_side_by_side
from relive.bench.report_text import kilobytes
from relive.errors import InputError, ReliveError

if TYPE_CHECKING:
    from relive.codec import EncodeReport

DEMO_GAME = "doom:freedoom2/map01"
DEMO_QUALITIES = (1, 3, 5, 7)
SHOWN_QUALITY = 5
DEMO_CRFS = {
    "x264": (24, 30, 35, 40, 45, 50),
    "x265": (24, 30, 35, 40, 45, 50),
    "av1": (32, 42, 50, 56, 60, 63),
}
# Rough shares of the whole time, for one progress bar over unlike kinds of work.
_RECORD_UNITS, _ENCODE_UNITS, _PEER_UNITS, _REPORT_UNITS = 20, 20, 5, 40


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration made.

    Attributes:
        report: The HTML file.
        session: The recording.
        replay: The encoding that the report shows in detail.
        frames: Frames recorded.
        psnr_db: Quality of the replay.
        bits_per_pixel: Rate of the replay, whole file.
        encode_fps: Frames a second.
        decode_fps: Frames a second.
        standings: How it stands against each peer.
        seconds: What the demonstration took.
        num_bytes: Size of the replay.
    """

    report: Path
    session: Path
    replay: Path
    frames: int
    num_bytes: int
    psnr_db: float
    bits_per_pixel: float
    encode_fps: float
    decode_fps: float
    standings: tuple[Standing, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = asdict(self)
        return values | {name: str(values[name]) for name in ("report", "session", "replay")}

    def table(self) -> str:
        """Return the short table that is printed at the end."""
        rows = [("", "PSNR at our bytes", "Relive is", "bytes for our PSNR")]
        rows.append(("Relive", f"{self.psnr_db:.2f} dB", "", kilobytes(self.num_bytes)))
        rows += [_table_row(standing) for standing in self.standings]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(cell.rjust(w) for cell, w in zip(r[1:], widths[1:], strict=True))
            for r in rows
        ]
        names = [row[0].ljust(widths[0]) for row in rows]
        return "\n".join(
            f"{name}  {line}".rstrip() for name, line in zip(names, lines, strict=True)
        )


def _table_row(standing: Standing) -> tuple[str, str, str, str]:
    known = standing.difference_db is not None
    difference = f" {standing.difference_db:+.2f} dB" if known else ""
    return (
        standing.label,
        "–" if standing.psnr_db is None else f"{standing.psnr_db:.2f} dB",
        f"{standing.verdict}{difference}",
        "–" if standing.bytes is None else kilobytes(standing.bytes),
    )


class _Units:
    """Turns parts of unlike size, some of them side by side, into one count for a progress bar."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._parts: list[float] = []
        self._total, self._progress = total, progress
        self._lock = threading.Lock()

    def part(self, units: int) -> Progress:
        """Return a progress function for a part that is worth `units`."""
        with self._lock:
            place = len(self._parts)
            self._parts.append(0.0)

        def report(done: int, total: int) -> None:
            with self._lock:
                self._parts[place] = units * min(1.0, done / max(1, total))
                if self._progress:
                    self._progress(round(sum(self._parts)), self._total)

        return report


def run_demo(
    out_dir: Path,
    seconds: float = 10.0,
    seed: int = 1,
    *,
    game: str = DEMO_GAME,
    qualities: Sequence[int] = DEMO_QUALITIES,
    peers: Sequence[str] = DEFAULT_PEERS,
    model: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> DemoResult:
    """Record a session on the spot, encode it, compare it with other codecs and write a report.

    Leaves `session.mcap`, `replay.relive`, `report.html`, `frames.png`, `demo.json` in `out_dir`.

    Args:
        out_dir: Folder for the results; made when it is not there.
        seconds: Length of the session.
        seed: Seed of the game and of the player.
        game: What to record, a `doom:` game.
        qualities: Our settings for the curve; `SHOWN_QUALITY` is added when it is not there.
        peers: Names of the codecs to compare with.
        model: Weights; the bundled model when None.
        force: Overwrite what is there.
        progress: Called with (work done, work in all), in units of no meaning.
        on_stage: Called with a word or two when the next stage begins.

    Raises:
        InputError: The folder holds a demonstration already.
        MissingExtraError: The games or the measurement tools are not installed.
    """
    from relive.session.sources.doom import record_doom

    started = time.perf_counter()
    session, replay = out_dir / "session.mcap", out_dir / "replay.relive"
    report_path = out_dir / "report.html"
    if not force and (existing := [p for p in (session, replay, report_path) if p.exists()]):
        raise InputError(f"{existing[0]} exists; choose another folder or overwrite with --force")
    out_dir.mkdir(parents=True, exist_ok=True)
    chosen = tuple(sorted({*qualities, SHOWN_QUALITY}))
    curves = find_peers(tuple(peers))
    runs = sum(len(p.candidates) * len(DEMO_CRFS.get(p.name, p.crfs)) for p in curves)
    total = _RECORD_UNITS + len(chosen) * _ENCODE_UNITS + runs * _PEER_UNITS + _REPORT_UNITS
    units = _Units(total, progress)
    say = on_stage or (lambda _: None)

    say("recording")
    recording = units.part(_RECORD_UNITS)
    record_doom(game, session, seconds=seconds, seed=seed, force=force, progress=recording)
    data = _measure(session, replay, chosen, curves, model, units, say)
    write_report(report_path, data)
    save_side_by_side(data, out_dir / "frames.png")
    units.part(_REPORT_UNITS)(1, 1)
    result = _result(data, report_path, session, replay, time.perf_counter() - started)
    write_json(out_dir / "demo.json", _json(result, data))
    return result


def _measure(
    session: Path,
    replay: Path,
    qualities: Sequence[int],
    peers: Sequence[Peer],
    model: Path | None,
    units: _Units,
    say: Callable[[str], None],
) -> ReportData:
    """Encode at every quality and with every peer; the shown quality is kept as `replay`."""
    with tempfile.TemporaryDirectory(prefix="relive-demo-") as name:
        folder = Path(name)
        cache = ResultCache(folder / "cache")
        _compile(cut_session(session, folder, frames=4), folder / "first.relive", model)
        say("encoding")
        shown = _encode(session, replay, SHOWN_QUALITY, model, units)  # alone, for its speed
        clip = spool_session(session, folder)
        say("encoding at other qualities, and with other codecs")
        with _aside(lambda stop: _measure_peers(clip, peers, cache, units, stop)) as peers_ready:
            reports = {
                quality: _encode(session, folder / f"q{quality}.relive", quality, model, units)
                for quality in qualities
                if quality != SHOWN_QUALITY
            }
            measured = peers_ready()
        say("report")
        reports[SHOWN_QUALITY] = shown
        return _gather(session, replay, clip, measured, reports, model, cache)


@contextlib.contextmanager
def _aside(
    work: Callable[[threading.Event], list[PeerCurve]],
) -> Iterator[Callable[[], list[PeerCurve]]]:
    """Run `work` on another thread during the block; the block gets a function that waits for it.

    When the block fails, `work` is told to stop by the event that it is given.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work, stop)
        try:
            yield future.result
        except BaseException:
            stop.set()
            raise


def _measure_peers(
    clip: Clip,
    peers: Sequence[Peer],
    cache: ResultCache,
    units: _Units,
    stop: threading.Event,
) -> list[PeerCurve]:
    def on_point() -> None:
        units.part(_PEER_UNITS)(1, 1)
        if stop.is_set():
            raise ReliveError("the demonstration was stopped")

    return [
        measure_peer_curve(
            clip, peer, crfs=DEMO_CRFS.get(peer.name), cache=cache, on_point=on_point
        )
        for peer in peers
    ]


def _compile(session: Path, out: Path, model: Path | None) -> None:
    """Encode a few frames, so that the speed of the first encoding is not that of a compiler."""
    from relive.codec import encode

    encode(session, out, model=model, quality=SHOWN_QUALITY)


def _encode(
    session: Path, out: Path, quality: int, model: Path | None, units: _Units
) -> "EncodeReport":
    from relive.codec import encode

    progress = units.part(_ENCODE_UNITS)
    return encode(session, out, model=model, quality=quality, force=True, progress=progress)


def _gather(
    session: Path,
    replay: Path,
    clip: Clip,
    peers: Sequence[PeerCurve],
    reports: "dict[int, EncodeReport]",
    model: Path | None,
    cache: ResultCache,
) -> ReportData:
    shown = reports[SHOWN_QUALITY]
    # The encoder measures the PSNR on the very reconstruction that a decoder makes; the shown
    # replay is decoded and measured again.
    ours: list[RatePoint] = [(r.bits_per_pixel, r.psnr_db) for r in reports.values()]
    return gather_report(
        session,
        replay,
        clip,
        peers,
        pareto(ours),
        quality=SHOWN_QUALITY,
        encode_fps=shown.encode_fps,
        parts=dict(shown.parts),
        model=model,
        cache=cache,
    )


def _result(
    data: ReportData, report: Path, session: Path, replay: Path, seconds: float
) -> DemoResult:
    c = data.comparison
    return DemoResult(
        report=report,
        session=session,
        replay=replay,
        frames=data.num_frames,
        num_bytes=c.bytes,
        psnr_db=c.psnr_db,
        bits_per_pixel=c.bits_per_pixel,
        encode_fps=data.encode_fps,
        decode_fps=c.decode_fps,
        standings=data.standings,
        seconds=seconds,
    )


def _json(result: DemoResult, data: ReportData) -> dict[str, Any]:
    return {
        "kind": "demo",
        **data.provenance,
        **result.to_dict(),
        "comparison": data.comparison.to_dict(),
        "parts": data.parts,
        "ours": data.ours,
        "peers": {curve.peer.name: curve.to_dict() for curve in data.peers},
    }
