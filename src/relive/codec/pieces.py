"""GOPs laid end to end by their frame numbers; a hole where one was lost."""

from __future__ import annotations

from dataclasses import dataclass

from relive.container import GopEntry
from relive.errors import FormatError


@dataclass(frozen=True)
class Piece:
    """Consecutive frames of the replay: a GOP, or a hole where one was lost."""

    first_frame: int
    num_frames: int
    start_ns: int
    end_ns: int
    entry: int | None  # place in the reader's list
    broken: bool = False  # a hole where the file has bytes that cannot be read


def end_of(gops: list[GopEntry]) -> int:
    """Number of frames up to the end of the last GOP."""
    return gops[-1].first_frame + gops[-1].num_frames if gops else 0


def with_holes(gops: list[GopEntry]) -> list[Piece]:
    """Lay GOPs end to end by their frame numbers; what is lost between them is a piece too."""
    pieces: list[Piece] = []
    frame = 0
    for place, gop in enumerate(gops):
        if gop.first_frame < frame:
            raise FormatError(f"GOP {gop.index} begins at frame {gop.first_frame}, before {frame}")
        if lost := gop.first_frame - frame:
            period = (gop.end_ns - gop.start_ns) // max(1, gop.num_frames - 1)
            after = pieces[-1].end_ns if pieces else max(0, gop.start_ns - (lost + 1) * period)
            gap = (gop.start_ns - after) // (lost + 1)
            last = gop.start_ns - gap
            pieces.append(Piece(frame, lost, after + gap, last, None, gop.broken_before))
        pieces.append(Piece(gop.first_frame, gop.num_frames, gop.start_ns, gop.end_ns, place))
        frame = gop.first_frame + gop.num_frames
    return pieces
