"""How quality develops from a keyframe to the next: is the context used, and does it decay?

A step is one cube in time, two frames. Step 1 is the keyframe; with a keyframe every 32 frames the
last step is the 16th. The temporal gain is the mean PSNR of steps 2 to the last minus that of the
keyframe step, where every cube is sent at the same depth: what the context is worth.

PSNR over a long chain says little about decay, because the picture changes too. So a chain may be
measured against the same frames encoded with keyframes more often, step by step (`Decay`).
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from relive.bench.clip import cut_session
from relive.bench.compare import Progress, match_frames, paired_frames
from relive.bench.metrics import frame_mse, psnr_from_mse
from relive.bench.provenance import provenance, result_path, write_json
from relive.errors import InputError

if TYPE_CHECKING:
    from relive.codec import EncodeReport, Replay
    from relive.session import Session

FRAMES_PER_STEP = 2
RD_QUALITY = 5


@dataclass(frozen=True)
class Chain:
    """PSNR by step after the keyframe.

    Attributes:
        step_psnr_db: From the mean squared error of all frames of that step; step 1 first.
        keyframe_db: Step 1.
        step_2_db: Step 2.
        last_step_db: The last step (the 16th for a keyframe every 32 frames).
        decay_db: Step 2 minus the last step; positive: quality falls along the chain.
        temporal_gain_db: Mean PSNR of steps 2 to the last minus that of step 1.
    """

    step_psnr_db: tuple[float, ...]
    keyframe_db: float
    step_2_db: float
    last_step_db: float
    decay_db: float
    temporal_gain_db: float

    @classmethod
    def from_steps(cls, step_psnr_db: Sequence[float]) -> "Chain":
        """Derive the figures from the PSNR of at least two steps."""
        steps = tuple(step_psnr_db)
        return cls(
            step_psnr_db=steps,
            keyframe_db=steps[0],
            step_2_db=steps[1],
            last_step_db=steps[-1],
            decay_db=steps[1] - steps[-1],
            temporal_gain_db=float(np.mean(steps[1:])) - steps[0],
        )


@dataclass(frozen=True)
class Decay:
    """What a chain loses against the same frames with a keyframe more often, at the same depth.

    Attributes:
        keyframe_interval: of the other replay, frames.
        step_loss_db: its PSNR minus ours, for every step of ours; positive: ours is worse.
        early_loss_db: Mean over the steps up to the end of its first GOP, where both are one chain.
        late_loss_db: Mean over the steps after it.
    """

    keyframe_interval: int
    step_loss_db: tuple[float, ...]
    early_loss_db: float
    late_loss_db: float

    @classmethod
    def between(cls, ours: Sequence[float], other: Sequence[float], interval: int) -> "Decay":
        """Compare the PSNR of the same steps of both; there are more than `interval` frames."""
        loss = tuple(o - x for x, o in zip(ours, other, strict=True))
        steps = interval // FRAMES_PER_STEP
        early, late = float(np.mean(loss[:steps])), float(np.mean(loss[steps:]))
        return cls(interval, loss, early, late)


def chain_psnr(session: "Session", replay: "Replay") -> list[float]:
    """Return the PSNR of each step after a keyframe, from the mean squared error over all GOPs.

    Args:
        session: The recording.
        replay: A replay of it.

    Returns:
        dB by step, the keyframe step first. Steps that no GOP has are not in the list.

    Raises:
        InputError: The two do not belong together.
    """
    return _step_psnr(_frame_errors(session, replay), _steps(replay))


def _frame_errors(session: "Session", replay: "Replay") -> dict[int, float]:
    """Mean squared error of every frame that both have, by its number."""
    return {
        index: float(frame_mse(original[None], decoded[None])[0])
        for index, original, decoded in paired_frames(
            session, replay, match_frames(session, replay)
        )
    }


def _step_psnr(errors: Mapping[int, float], steps: Mapping[int, int]) -> list[float]:
    """PSNR of every step, from the errors of its frames in all GOPs."""
    sums: dict[int, list[float]] = {}
    for index, error in errors.items():
        if index in steps:
            sums.setdefault(steps[index], []).append(error)
    return [psnr_from_mse(float(np.mean(sums[step]))) for step in sorted(sums)]


def _steps(replay: "Replay") -> dict[int, int]:
    """Return the step after its keyframe of every frame of the replay."""
    offsets = (offset for gop in replay.gops for offset in range(gop.num_frames))
    return {index: offset // FRAMES_PER_STEP for index, offset in enumerate(offsets)}


def bench_chain(
    sessions: Sequence[Path],
    out: Path,
    *,
    depths: Sequence[int | None] = (2, 4, 6, None),
    quality: int = RD_QUALITY,
    model: Path | str | None = None,
    frames: int | None = 300,
    keyframe_interval: int = 32,
    against: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the chain of every session with every cube forced to a depth, and write JSON.

    Args:
        sessions: Recordings; the folder of each names its split.
        out: A folder (gets `chain.json`), or a `.json` file.
        depths: Depths to force; None lets the encoder decide at `quality`.
        quality: Quality setting for the depth None.
        model: Weights; the bundled model when None.
        frames: Frames of each session, from the start; all when None.
        keyframe_interval: Frames from keyframe to keyframe.
        against: Also encode with a keyframe every so many frames and compare the first GOP with it.
        progress: Called with (encodings done, encodings in all).

    Returns:
        What was written.

    Raises:
        InputError: `against` is not below `keyframe_interval`, or a session is no longer than it.
    """
    if against is not None and against >= keyframe_interval:
        raise InputError(
            f"--against {against} is to be smaller than the keyframe interval, {keyframe_interval}"
        )
    rows = []
    total = len(sessions) * len(depths)
    with tempfile.TemporaryDirectory(prefix="relive-chain-") as folder:
        for path in sessions:
            cut = cut_session(path, Path(folder), frames=frames)
            for depth in depths:
                settings = {"quality": quality, "depth": depth}
                row = _measure(cut, Path(folder), settings, model, (keyframe_interval, against))
                rows.append({"session": path.stem, "split": path.parent.name, **settings, **row})
                if progress:
                    progress(len(rows), total)
    result = {
        "kind": "bench_chain",
        **provenance(model),
        "frames": frames,
        "keyframe_interval": keyframe_interval,
        "runs": rows,
        "splits": _by_split(rows),
    }
    write_json(result_path(out, "chain.json"), result)
    return result


def _measure(
    cut: Path,
    folder: Path,
    settings: dict[str, Any],
    model: Path | str | None,
    intervals: tuple[int, int | None],
) -> dict[str, Any]:
    """Figures of one session at one depth; `intervals` are ours and the one to compare with."""
    interval, against = intervals
    report, errors, steps = _encoded(cut, folder, settings, model, interval)
    row = {
        "bits_per_pixel": report.bits_per_pixel,
        "psnr_db": report.psnr_db,
        **asdict(Chain.from_steps(_step_psnr(errors, steps))),
    }
    if against is None:
        return row
    first = {index: step for index, step in steps.items() if index < interval}
    if max(first) < against:
        raise InputError(f"{cut.stem}: no frame after the first {against} to compare")
    _, other, _ = _encoded(cut, folder, settings, model, against)
    ours, theirs = (_step_psnr(e, first) for e in (errors, other))
    return {**row, "decay": asdict(Decay.between(ours, theirs, against))}


def _encoded(
    cut: Path,
    folder: Path,
    settings: dict[str, Any],
    model: Path | str | None,
    interval: int,
) -> "tuple[EncodeReport, dict[int, float], dict[int, int]]":
    """Encode and decode: the report, the error and the step of every frame."""
    from relive.codec import Replay, encode
    from relive.session import Session

    path = folder / "chain.relive"
    report = encode(cut, path, model=model, keyframe_interval=interval, force=True, **settings)
    with Session.open(cut) as session, Replay.open(path, model=model) as replay:
        return report, _frame_errors(session, replay), _steps(replay)


def _by_split(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Average the figures over the sessions of a split, by depth."""
    groups: dict[tuple[str, int | None], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["split"], row["depth"]), []).append(row)
    averages = []
    for (split, depth), group in groups.items():
        length = min(len(row["step_psnr_db"]) for row in group)
        steps = np.mean([row["step_psnr_db"][:length] for row in group], axis=0)
        chain = Chain.from_steps([float(value) for value in steps])
        rate = float(np.mean([row["bits_per_pixel"] for row in group]))
        averages.append(
            {
                "split": split,
                "depth": depth,
                "sessions": len(group),
                "bits_per_pixel": rate,
                **asdict(chain),
            }
        )
    return averages
