"""Compare a replay with the session it was encoded from: what it costs and how close it is.

session.mcap  ─► original frames ─┐
                                  ├─ by time ─► QualityMeter ─► Comparison
session.relive ─► decoded frames ─┘
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from relive.bench.metrics import QualityMeter, spread
from relive.errors import InputError

if TYPE_CHECKING:
    from relive.codec import Replay
    from relive.session import Session

Progress = Callable[[int, int], None]

STRUCTURAL_FRAMES = 32
FLIP_FRAMES = 8
RAW_BITS_PER_PIXEL = 24


@dataclass(frozen=True)
class Comparison:
    """What a replay costs and how close it is to its session.

    Attributes:
        frames: Frames compared: those that both files have.
        psnr_db: RGB PSNR from the mean squared error over all of them.
        psnr_y_db: The same of the luma.
        ssim: Mean SSIM of the luma of `structural_frames` frames.
        ms_ssim: Mean MS-SSIM of them; None when a side of the frame is under 176 pixels.
        flip: Mean FLIP error of `flip_frames` frames.
        bits_per_pixel: Whole file over all pixels of the replay.
        bits_per_second: Whole file over the length of the replay.
        compression_ratio: Raw 24-bit RGB over the whole file.
        decode_fps: Frames decoded a second, from the opened file to pixels.
        worst_frames: Numbers of the frames with the lowest PSNR, worst first.
        bytes: Size of the replay.
        structural_frames: Frames that SSIM and MS-SSIM were measured on.
        flip_frames: Frames that FLIP was measured on.
        damaged: Something in the replay is damaged or missing.
        frame_numbers: Numbers of the compared frames in the session.
        frame_psnr_db: RGB PSNR of each of them.
    """

    frames: int
    psnr_db: float
    psnr_y_db: float
    ssim: float | None
    ms_ssim: float | None
    flip: float | None
    bits_per_pixel: float
    bits_per_second: float
    compression_ratio: float
    decode_fps: float
    worst_frames: tuple[int, ...]
    bytes: int
    structural_frames: int
    flip_frames: int
    damaged: bool
    frame_numbers: tuple[int, ...]
    frame_psnr_db: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the two lists that have one entry a frame."""
        values = asdict(self)
        del values["frame_numbers"], values["frame_psnr_db"]
        return values


def compare(
    session_path: Path | str,
    replay_path: Path | str,
    model: Path | str | None = None,
    progress: Progress | None = None,
    *,
    detail: bool = True,
    raw: Path | None = None,
) -> Comparison:
    """Decode a replay and compare it with its session, frame by frame, in constant memory.

    Frames are matched by their time. Frames that are missing in the session are left out.

    Args:
        session_path: The recording (`.mcap`).
        replay_path: The replay (`.relive`).
        model: Weights to decode with; the bundled model when None.
        progress: Called with (frames done, frames in all).
        detail: Measure SSIM, MS-SSIM and FLIP too, which takes some seconds.
        raw: Where all decoded frames are kept as raw rgb24, when somebody wants them.

    Raises:
        InputError: The files do not belong together.
        ModelMismatchError: The replay needs another model.
    """
    from relive.codec import Replay
    from relive.session import Session

    with (
        Session.open(session_path) as session,
        Replay.open(replay_path, model=model) as replay,
        raw.open("wb") if raw else contextlib.nullcontext() as kept,
    ):
        numbers = match_frames(session, replay)
        count = int(np.count_nonzero(numbers >= 0))
        meter = QualityMeter(
            structural=spread(count, STRUCTURAL_FRAMES if detail else 0),
            flip=spread(count, FLIP_FRAMES if detail else 0),
        )
        compared, seconds = _measure(session, replay, numbers, meter, progress, kept)
        return _comparison(replay, Path(replay_path).stat().st_size, compared, meter, seconds)


def match_frames(session: "Session", replay: "Replay") -> NDArray[np.int64]:
    """Find the frame of the session that each frame of the replay shows.

    Returns:
        int64 `[frames of the replay]`: number in the session, or -1 where it cannot be compared,
        because the frame is missing in the session.

    Raises:
        InputError: The sizes differ, or the files share no frame.
    """
    sizes = [(session.width, session.height), (replay.width, replay.height)]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"{session.path}: frames are {sizes[0][0]}×{sizes[0][1]}, those of "
            f"{replay.path} {sizes[1][0]}×{sizes[1][1]}; compare a replay with its own session"
        )
    found = np.searchsorted(session.times_ns, replay.times_ns)
    found = np.minimum(found, session.num_frames - 1).astype(np.int64)
    usable = (session.times_ns[found] == replay.times_ns) & session.present[found]
    if not usable.any():
        raise InputError(
            f"{session.path}: no frame of the replay has the time of a frame of this session; "
            "compare a replay with its own session"
        )
    return np.where(usable & replay.present, found, -1)


def paired_frames(
    session: "Session", replay: "Replay", numbers: NDArray[np.int64]
) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield (frame of the replay, original, decoded) for all frames that can be compared."""
    for index, decoded in enumerate(replay.iter_frames()):
        # Damage may show only when a frame is decoded; the replay then says that it is missing.
        if numbers[index] >= 0 and replay.present[index]:
            yield index, session.frame(int(numbers[index])), decoded


def _measure(
    session: "Session",
    replay: "Replay",
    numbers: NDArray[np.int64],
    meter: QualityMeter,
    progress: Progress | None,
    kept: BinaryIO | None,
) -> tuple[list[int], float]:
    """Feed all frame pairs to `meter` and write all decoded frames to `kept`.

    Returns:
        The compared frames' numbers in the session, and the seconds that decoding alone took.
    """
    frames = replay.iter_frames()
    compared: list[int] = []
    seconds = 0.0
    for index, number in enumerate(numbers):
        started = time.perf_counter()
        decoded = next(frames)
        seconds += time.perf_counter() - started
        # Damage may show only when a frame is decoded; the replay then says that it is missing.
        if number >= 0 and replay.present[index]:
            compared.append(int(number))
            meter.update(session.frame(int(number))[None], decoded[None])
        if kept:
            kept.write(decoded.tobytes())
        if progress:
            progress(index + 1, len(numbers))
    return compared, max(seconds, 1e-9)


def _comparison(
    replay: "Replay",
    num_bytes: int,
    compared: list[int],
    meter: QualityMeter,
    seconds: float,
) -> Comparison:
    quality = meter.result()
    bits_per_pixel = num_bytes * 8 / (replay.num_frames * replay.width * replay.height)
    duration_s = replay.num_frames / replay.fps if replay.fps > 0 else 1.0
    return Comparison(
        frames=quality.frames,
        psnr_db=quality.psnr_db,
        psnr_y_db=quality.psnr_y_db,
        ssim=quality.ssim,
        ms_ssim=quality.ms_ssim,
        flip=quality.flip,
        bits_per_pixel=bits_per_pixel,
        bits_per_second=num_bytes * 8 / duration_s,
        compression_ratio=RAW_BITS_PER_PIXEL / bits_per_pixel,
        decode_fps=replay.num_frames / seconds,
        worst_frames=tuple(compared[i] for i in quality.worst_frames()),
        bytes=num_bytes,
        structural_frames=quality.structural_frames,
        flip_frames=quality.flip_frames,
        frame_numbers=tuple(compared),
        damaged=replay.damaged,
        frame_psnr_db=quality.frame_psnr_db,
    )
