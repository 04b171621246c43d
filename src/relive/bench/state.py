"""What the state is worth: the same frames with true states, with shuffled ones, with none.

    session ─┬─ states as recorded ───────────────► encode ─► dB, bits per pixel
             ├─ states shuffled in time ──────────► encode ─► …
             └─ no fields, no camera ─────────────► encode ─► …

All at the same quality setting. Shuffled states are lies, so they should cost quality; no states
at all should cost less than lies, since the model is trained to work without.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from relive.bench.clip import copy_session
from relive.bench.compare import Progress
from relive.bench.curves import bd_rate, psnr_at
from relive.bench.provenance import provenance, result_path, write_json

VARIANTS = ("true", "shuffled", "none")
SHUFFLE_SEED = 2


def bench_state(
    sessions: Sequence[Path],
    out: Path,
    *,
    qualities: Sequence[int] = (3, 4, 5, 6, 7),
    model: Path | str | None = None,
    frames: int | None = 300,
    keyframe_interval: int = 32,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Encode every session with true, shuffled and no states at equal quality, and write JSON.

    Args:
        sessions: Recordings; the folder of each names its split.
        out: A folder (gets `state.json`), or a `.json` file.
        qualities: Quality settings.
        model: Weights; the bundled model when None.
        frames: Frames of each session, from the start; all when None.
        keyframe_interval: Frames from keyframe to keyframe.
        progress: Called with (encodings done, encodings in all).

    Returns:
        What was written.
    """
    rows: list[dict[str, Any]] = []
    total = len(sessions) * len(VARIANTS) * len(qualities)
    with tempfile.TemporaryDirectory(prefix="relive-state-") as folder:
        for path in sessions:
            for variant, altered in _variants(path, Path(folder), frames):
                for quality in qualities:
                    row = _encode(altered, Path(folder), quality, model, keyframe_interval)
                    head = {"session": path.stem, "split": path.parent.name, "states": variant}
                    rows.append({**head, "quality": quality, **row})
                    if progress:
                        progress(len(rows), total)
    result = {
        "kind": "bench_state",
        **provenance(model),
        "frames": frames,
        "keyframe_interval": keyframe_interval,
        "shuffle_seed": SHUFFLE_SEED,
        "runs": rows,
        "splits": _by_split(rows),
        "bd_rates": _bd_rates(rows),
    }
    write_json(result_path(out, "state.json"), result)
    return result


def _variants(path: Path, folder: Path, frames: int | None) -> Iterator[tuple[str, Path]]:
    """Yield each variant of a session as a recording of its own."""
    from relive.session import Session, StateSchema

    out = folder / path.name
    with Session.open(path) as session:
        count = session.num_frames if frames is None else min(frames, session.num_frames)
        order = np.random.default_rng(SHUFFLE_SEED).permutation(count)
        states = session.states[:count]
        nothing = np.zeros((count, 0), dtype=np.float32)
        for variant, schema, altered in (
            ("true", session.schema, states),
            ("shuffled", session.schema, states[order]),
            ("none", StateSchema(), nothing),
        ):
            copy_session(session, out, schema, altered, count)
            yield variant, out


def _encode(
    session: Path, folder: Path, quality: int, model: Path | str | None, keyframe_interval: int
) -> dict[str, Any]:
    from relive.codec import encode

    report = encode(
        session,
        folder / "state.relive",
        model=model,
        quality=quality,
        keyframe_interval=keyframe_interval,
        force=True,
    )
    return {
        "psnr_db": report.psnr_db,
        "bits_per_pixel": report.bits_per_pixel,
        "bytes": report.bytes,
        "parts": report.parts,
    }


def _by_split(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Average by split and quality, as differences to the true states.

    `rate_matched_db` takes the true states' curve at the rate of the variant, so that a variant
    cannot look better only because it spends more bytes; None outside the measured rates.
    """
    table = {(r["split"], r["session"], r["quality"], r["states"]): r for r in rows}
    averages = []
    for split, quality, variant in sorted({(s, q, v) for s, _, q, v in table}):
        group = [r for k, r in table.items() if (k[0], k[2], k[3]) == (split, quality, variant)]
        true = [table[split, row["session"], quality, "true"] for row in group]
        pairs = list(zip(group, true, strict=True))
        matched = [_rate_matched(row, rows) for row in group]
        known = [value for value in matched if value is not None]
        averages.append(
            {
                "split": split,
                "quality": quality,
                "states": variant,
                "sessions": len(group),
                "psnr_db": float(np.mean([row["psnr_db"] for row in group])),
                "bits_per_pixel": float(np.mean([row["bits_per_pixel"] for row in group])),
                "psnr_change_db": float(np.mean([r["psnr_db"] - t["psnr_db"] for r, t in pairs])),
                "rate_matched_db": float(np.mean(known)) if known else None,
            }
        )
    return averages


def _bd_rates(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """BD-rate of every session with shuffled and with no states, against true ones, percent.

    None where the curves do not overlap enough, or where there are too few points.
    """
    found = []
    for split, session in sorted({(row["split"], row["session"]) for row in rows}):
        curves = {
            variant: [
                (row["bits_per_pixel"], row["psnr_db"])
                for row in rows
                if (row["split"], row["session"], row["states"]) == (split, session, variant)
            ]
            for variant in VARIANTS
        }
        found += [
            {
                "split": split,
                "session": session,
                "states": variant,
                "bd_rate_percent": bd_rate(curves["true"], curves[variant]).percent,
            }
            for variant in VARIANTS[1:]
        ]
    return found


def _rate_matched(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> float | None:
    curve = [
        (other["bits_per_pixel"], other["psnr_db"])
        for other in rows
        if (other["split"], other["session"], other["states"])
        == (row["split"], row["session"], "true")
    ]
    true_db = psnr_at(curve, row["bits_per_pixel"])
    return None if true_db is None else row["psnr_db"] - true_db
