"""What became of a session: a row of the report, a line for people."""

from dataclasses import dataclass
from typing import Literal

from relive.batch.task import Made


@dataclass(frozen=True)
class Row:
    """What became of one session, for the report.

    Attributes:
        file: its path inside the folder.
        status: `damaged` where the session is; what could be read is in the replay.
        encoded: whether this run made the replay; else it was there.
        tries: of this run.
        reason: why it failed, "" where it did not.
        frames: of the session, 0 where it failed, as all that follow.
        bytes: of the replay.
        psnr_db: measured.
        seconds: that the encoding took.
        cpu_seconds: of all cores.
        reached: whether a target of bits or PSNR was met.
    """

    file: str
    status: Literal["ok", "damaged", "failed"]
    encoded: bool = False
    tries: int = 1
    reason: str = ""
    frames: int = 0
    bytes: int = 0
    psnr_db: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    reached: bool = True


def row_of(made: Made, encoded: bool, tries: int) -> Row:
    """Say what a result is."""
    return Row(
        made.file,
        "damaged" if made.damaged else "ok",
        encoded,
        tries,
        "",
        made.frames,
        made.bytes,
        made.psnr_db,
        made.seconds,
        made.cpu_seconds,
        made.reached,
    )


def line_of(row: Row) -> str:
    """Say in one line what became of a session."""
    if row.status == "failed":
        return f"FAILED: {row.reason}"
    how = "encoded" if row.encoded else "there"
    damaged = ", the session is damaged" if row.status == "damaged" else ""
    missed = "" if row.reached else ", misses its target"
    return f"{how}, {row.frames} frames, {row.bytes} bytes, {row.psnr_db:.2f} dB{damaged}{missed}"
