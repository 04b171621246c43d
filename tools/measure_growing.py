"""What codebooks that grow are worth on a game that the model never saw: Gymnasium's CarRacing-v3.

    python examples/record_carracing.py GAME
    python tools/measure_growing.py misfit CORPUS GAME -o results/growing.json
    relive grow --data GAME/train --known KNOWN -o GROWN
    python tools/measure_growing.py bits CORPUS GAME --grown GROWN -o results/growing.json

`misfit`: of every session of the corpus and of the game (`relive.codec.novelty`). `bits`: a
held-out session of the game and one of Doom, encoded by the bundled model and by the grown one:
frames 60 to 91, preset fast, whole files. `old`: a replay of the bundled model,
decoded by it and by the grown one.
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from relive.bench.provenance import provenance, write_json
from relive.codec import Replay, encode, load_bundle
from relive.codec.bundle import bundled_path
from relive.codec.novelty import NEW, misfit
from relive.session import Recorder, Session

QUALITIES, FRAMES, FIRST, SAMPLES = (1, 3, 5, 7), 32, 60, 3
SPLITS = ("train", "valid", "valid_unknown", "test_known", "test_unknown")


def excerpt(path: Path, out: Path) -> None:
    """Write some frames of a session."""
    with (
        Session.open(path) as session,
        Recorder(out, session.schema, game=session.game) as recorder,
    ):
        for n in range(FIRST, FIRST + FRAMES):
            recorder.add(session[n], session.states[n], int(session.times_ns[n]))


def curves(path: Path, models: dict[str, Path], work: Path) -> dict[str, Any]:
    """Points of every model on a session."""
    session, out, rows = work / path.name, work / "x.relive", {}
    excerpt(path, session)
    for name, model in models.items():
        points = []
        for quality in QUALITIES:
            report = encode(session, out, model=model, quality=quality, preset="fast", force=True)
            points.append(
                {
                    "quality": quality,
                    "bits_per_pixel": report.bits_per_pixel,
                    "psnr_db": report.psnr_db,
                    "parts": report.parts,
                }
            )
        rows[name] = points
        print(path.stem, name, points, file=sys.stderr, flush=True)
    session.unlink()
    return {"session": path.stem, "points": rows, "bd_rate": bd_rate(rows)}


def bd_rate(rows: dict[str, Any]) -> float | None:
    """Bits of the grown model over the bundled one at equal PSNR, in per cent, tier 2 alone."""
    import bjontegaard

    columns = [
        [point[key] for point in rows[name][1:]]
        for name in ("bundled", "grown")
        for key in ("bits_per_pixel", "psnr_db")
    ]
    rate = float(bjontegaard.bd_rate(*columns, method="pchip"))
    return rate if np.isfinite(rate) else None


def old_replay(path: Path, grown: Path, work: Path) -> dict[str, Any]:
    """Decode a replay of the bundled model with both."""
    session, out = work / path.name, work / "old.relive"
    excerpt(path, session)
    encode(session, out, quality=5)
    decoded = []
    for model in (None, grown):
        with Replay.open(out, model) as replay:
            decoded.append(np.stack(list(replay.iter_frames())))
    session.unlink()
    return {
        "session": path.stem,
        "frames": len(decoded[0]),
        "pixels_that_differ": int((decoded[0] != decoded[1]).sum()),
    }


def main() -> None:
    """Measure a part, and add it to the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("misfit", "bits"))
    parser.add_argument("corpus", type=Path)
    parser.add_argument("game", type=Path)
    parser.add_argument("--grown", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("results/growing.json"))
    given = parser.parse_args()
    result: dict[str, Any] = {}
    if given.part == "misfit":
        bundle = load_bundle()
        for folder in (*(given.corpus / split for split in SPLITS), given.game):
            rows = {}
            for path in sorted(folder.rglob("*.mcap")):
                with Session.open(path) as session:
                    rows[path.stem] = round(misfit(bundle, session, SAMPLES), 5)
            result[folder.name] = rows
        result = {"misfit": {"new_over": NEW, "sessions": result}}
    else:
        models = {"bundled": bundled_path(), "grown": given.grown}
        doom = given.corpus / "test_known" / "freedoom1-e1m1-9004.mcap"
        with TemporaryDirectory() as folder:
            work = Path(folder)
            rows = [curves(path, models, work) for path in (given.game / "test" / "900.mcap", doom)]
            result = {
                "bits": {
                    "models": {name: load_bundle(path).model_id for name, path in models.items()},
                    "frames": FRAMES,
                    "sessions": rows,
                },
                "old": old_replay(doom, given.grown, work),
            }
    before = json.loads(given.out.read_text()) if given.out.exists() else {}
    for value in result.values():
        value["command"] = "python " + " ".join(sys.argv)
        value["provenance"] = provenance()
    write_json(given.out, before | result)


if __name__ == "__main__":
    main()
