"""What the file holds: GOPs, light entries of its index, and events."""

from __future__ import annotations

from dataclasses import dataclass

from relive.errors import FormatError

MAX_GOP_FRAMES = 2048
MAX_FRAMES = 1 << 40
MAX_TIME_NS = (1 << 63) - 1


@dataclass(frozen=True)
class GopSpan:
    """Place of a GOP in the replay.

    Attributes:
        index: number of the GOP, from 0.
        first_frame: number of its first frame, from 0.
        num_frames: frames in it, at least 1.
        start_ns: time of its first frame.
        end_ns: time of its last frame.
        psnr_db: quality that the encoder measured over the GOP (RGB); 0 = not measured.
    """

    index: int
    first_frame: int
    num_frames: int
    start_ns: int
    end_ns: int
    psnr_db: float

    @property
    def clock(self) -> tuple[int, int, int]:
        """Frames, time of the first, and how much later the last one is."""
        return self.num_frames, self.start_ns, self.end_ns - self.start_ns

    def check(self) -> None:
        """Raise `FormatError` where a number is out of range."""
        if not (
            0 <= self.index < 1 << 32
            and 0 <= self.first_frame < MAX_FRAMES
            and 1 <= self.num_frames <= MAX_GOP_FRAMES
            and 0 <= self.start_ns <= self.end_ns <= MAX_TIME_NS
            and self.psnr_db >= 0.0
        ):
            raise FormatError(f"GOP {self.index} is out of range: {self}")


@dataclass(frozen=True)
class GopRecord(GopSpan):
    """A GOP with its packets; `detail` is that of the enhancement layer, if there is one."""

    codes: bytes
    track: bytes
    detail: bytes | None = None


@dataclass(frozen=True)
class GopEntry(GopSpan):
    """A GOP in the index: where its messages lie and how long their packets are.

    Attributes:
        codes_at: offset of the `/codes` record in the file.
        codes_bytes: length of the codes packet.
        track_at: offset of the record that has the track: `/codes`, or before 1.7 `/track`.
        track_bytes: length of the track packet.
        detail_at: offset of the `/detail` record; None where there is none.
        detail_bytes: length of the enhancement packet.
        broken_before: whether frames that are lost before it lie in the file, but broken.
    """

    codes_at: int
    codes_bytes: int
    track_at: int
    track_bytes: int
    detail_at: int | None = None
    detail_bytes: int = 0
    broken_before: bool = False


@dataclass(frozen=True)
class ReplayEvent:
    """Something that happened at a time."""

    time_ns: int
    name: str
    payload: str = ""
