"""Settings of an encoding that cannot work: refused before anything is written."""

from __future__ import annotations

from relive.codec.control import Target
from relive.codec.rate import QUALITIES
from relive.errors import InputError
from relive.session import Session

MIN_SIDE_PX = 16
MAX_GOP_BYTES = 1 << 30  # pixels of one GOP; a few GOPs are in memory at a time


def check_settings(
    session: Session, quality: int, interval: int, depth: int | None, stages: int
) -> None:
    """Refuse what cannot work with a session.

    Args:
        session: to encode.
        quality: 1 to 10.
        interval: frames of a GOP.
        depth: of every cube, where it is given.
        stages: of the quantiser.

    Raises:
        InputError: One of these is out of range, or the frames are too small.
    """
    check_values(quality, interval, depth, stages)
    frame_bytes = session.width * session.height * 3
    if interval * frame_bytes > MAX_GOP_BYTES:
        raise InputError(
            f"keyframe interval {interval} is too long for {session.width}x{session.height}; "
            f"at most {MAX_GOP_BYTES // frame_bytes // 2 * 2} fit in memory"
        )
    if min(session.width, session.height) < MIN_SIDE_PX:
        raise InputError(
            f"frames of {session.width}x{session.height} are too small; "
            f"the least is {MIN_SIDE_PX}x{MIN_SIDE_PX}"
        )


def check_values(quality: int, interval: int, depth: int | None, stages: int) -> None:
    """Refuse what cannot work with any session; the arguments are those of `check_settings`.

    Raises:
        InputError: One of these is out of range.
    """
    if not 1 <= quality <= len(QUALITIES):
        raise InputError(f"quality {quality} is not between 1 and {len(QUALITIES)}")
    if interval < 2 or interval % 2:
        raise InputError(f"keyframe interval {interval} is not an even number from 2 up")
    if depth is not None and not 0 <= depth <= stages:
        raise InputError(f"depth {depth} is not between 0 and {stages}")


def check_processes(processes: int) -> None:
    """Refuse a number of processes that cannot be.

    Raises:
        InputError: so it is.
    """
    if processes < 0:
        raise InputError(f"processes {processes} is less than 0")


def check_tiers(tiers: int, quality: int | None = None, target: Target | None = None) -> None:
    """Refuse a number of tiers that there is not, and codes alone that aim at something.

    Raises:
        InputError: so it is.
    """
    if tiers not in (1, 2):
        raise InputError(f"tiers {tiers} is neither 1 (codes alone) nor 2")
    if tiers == 1 and (quality is not None or target is not None):
        raise InputError("codes alone (tiers 1) have one quality; leave quality and targets out")


def target_of(
    quality: int | None, bitrate: float | None, psnr: float | None, depth: int | None
) -> Target | None:
    """Put together a target, if there is one.

    Raises:
        InputError: Two settings exclude each other, or one is out of range.
    """
    given = {"quality": quality, "bitrate": bitrate, "psnr": psnr, "depth": depth}
    named = [name for name, value in given.items() if value is not None]
    if bitrate is None and psnr is None:
        return None
    if len(named) > 1:
        raise InputError(f"{' and '.join(named)} exclude each other; give one of them")
    target = Target(bitrate, psnr)
    target.check()
    return target
