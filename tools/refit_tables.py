"""Fit everything of a model that is counted, not trained by gradient: after a change of the codec.

Sensitivity, costs of levels, post-filter and probability tables are made anew from training
sessions; networks and codebooks stay as they are.

    python tools/refit_tables.py runs/corpus/train -o src/relive/weights/tiny.safetensors
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from relive.codec.bundle import bundled_path, load_bundle
from relive.codec.export import GOP_FRAMES, export_model
from relive.cubes.store import SessionStore
from relive.session import Session


def excerpt(path: Path, gops: int, rng: np.random.Generator) -> SessionStore:
    """Some GOPs of a session, one behind the other, as a store in memory."""
    with Session.open(path, verify=True) as session:
        last = max(session.num_frames - GOP_FRAMES, 0)
        starts = np.sort(rng.integers(0, last + 1, gops)).tolist()
        rows = np.concatenate([np.arange(s, s + GOP_FRAMES) for s in starts])
        rows = rows.clip(max=session.num_frames - 1)
        frames = np.concatenate([session.frames(s, s + GOP_FRAMES) for s in starts])
        count = min(len(rows), len(frames))
        return SessionStore(
            path.stem,
            frames[:count],
            session.states[rows[:count]],
            session.times_ns[rows[:count]],
            session.schema,
            session.game,
        )


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sessions", type=Path, help="folder of training recordings")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=bundled_path())
    parser.add_argument("--gops", type=int, default=2, help="of each session")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    stores = [excerpt(path, args.gops, rng) for path in sorted(args.sessions.glob("*.mcap"))]
    bundle = load_bundle(args.model)

    def told(done: int, total: int) -> None:
        print(f"\r{done}/{total} GOPs", end="", file=sys.stderr, flush=True)

    made = export_model(
        (bundle.model, bundle.quantizer), stores, args.out, per_store=args.gops, progress=told
    )
    print(f"\n{args.out}: {made.model_id}, {args.out.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
