"""What an encoding gave."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from relive.container import ReplayReader
from relive.session import Session


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
    reached: bool = True  # the bitrate within 3 %, or the PSNR in every GOP; True without target


def report_of(session: Session, out: Path, squares: float, seconds: float) -> EncodeReport:
    """Say what a written replay is like, given its squared error and what it took."""
    size, pixels = out.stat().st_size, session.width * session.height
    with ReplayReader.open(out) as reader:
        parts = reader.parts
    return EncodeReport(
        session.num_frames,
        size,
        size * 8 / (session.num_frames * pixels),
        psnr_db(squares, int(session.present.sum()) * 3 * pixels),
        session.num_frames / seconds,
        parts,
        session.damaged,
    )


def psnr_db(squares: float, count: int) -> float:
    """PSNR of a summed squared error (0..255) over `count` values; 0 where there are none."""
    if not count:
        return 0.0
    return 10 * math.log10(255**2 / max(squares / count, 1e-4))
