"""Compile the kernels before the tests begin; `make test` runs this first.

On a slow machine that takes two minutes, which is as long as a test may take, and every process
that finds no kernels would compile them for itself.
"""

import tempfile
import time
from pathlib import Path

import relive
from relive.restore import restore
from short_replay import write_short


def main() -> None:
    """Encode, decode and restore a short recording."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = write_short(Path(name))
        for tiers in (1, 2):
            out = folder / f"{tiers}.relive"
            relive.encode(folder / "s.mcap", out, keyframe_interval=8, tiers=tiers)
            with relive.Replay.open(out) as replay:
                replay.frames(0, 2)
        restore(folder / "s.mcap", folder / "whole.mcap")
    print(f"kernels are compiled: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
