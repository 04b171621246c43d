"""Measure what the bitstream and the container cost, on real replays.

    python tests/measure_bitstream.py A.relive B.relive … [--model M] -o results/bitstream.json

Every codes packet is decoded and encoded again with the tables of the model, and counted with
tables that know nothing. Bits of a symbol come from the counts it was coded under.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections import Counter
from pathlib import Path

import numpy as np

from relive.bitstream import (
    Clock,
    GopCodes,
    Tables,
    decode_codes,
    decode_track,
    encode_codes,
    encode_track,
)
from relive.bitstream.coder import BitCounter
from relive.bitstream.walk import walk_gop
from relive.codec.bundle import load_bundle
from relive.container import ReplayReader

CUBE_PX, CUBE_FRAMES = 16, 2


class FamilyMeter:
    """A context model that books bits and symbols by family."""

    def __init__(self, tables: Tables) -> None:
        self.meter = BitCounter()
        self.model = tables.start(self.meter)
        self.bits: Counter[str] = Counter()
        self.symbols: Counter[str] = Counter()

    def code(self, family, net, rows, symbols):
        before = self.meter.total
        symbols = self.model.code(family, net, rows, symbols)
        self.bits[family] += self.meter.total - before
        self.symbols[family] += len(symbols)
        return symbols


def family_bits(gops: list[GopCodes], tables: Tables) -> dict[str, float]:
    """Return mean bits of a symbol by family, and mean bits of a GOP."""
    bits: Counter[str] = Counter()
    symbols: Counter[str] = Counter()
    for gop in gops:
        meter = FamilyMeter(tables)
        walk_gop(meter, gop, tables.layout)
        bits += meter.bits
        symbols += meter.symbols
    out = {name: round(bits[name] / symbols[name], 4) for name in symbols}
    return out | {"gop": round(sum(bits.values()) / len(gops), 1)}


def timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return result, 1000 * (time.perf_counter() - start)


def measure(paths: list[Path], model: Path | None) -> dict[str, object]:
    tables = load_bundle(model).tables
    times: dict[str, list[float]] = {name: [] for name in ("encode", "decode", "track")}
    parts: Counter[str] = Counter()
    gops, frames = [], 0
    for path in paths:
        with ReplayReader.open(path) as reader:
            parts.update(reader.parts)
            header = reader.header
            grid = (-(-header.height // CUBE_PX), -(-header.width // CUBE_PX))
            fields = header.state_schema.get("fields", [])
            schema = [[f["step"] for f in fields], [f["kind"] for f in fields]]
            for record in reader.iter_gops():
                steps = -(-record.num_frames // CUBE_FRAMES)
                gop, ms = timed(decode_codes, record.codes, tables, steps, *grid)
                packet, encode_ms = timed(encode_codes, gop, tables)
                assert packet == record.codes or record.codes[0] == 0  # no longer written
                times["decode"].append(ms)
                times["encode"].append(encode_ms)
                track, ms = timed(decode_track, record.track, *schema, Clock(*record.clock))
                times["track"].append(ms)
                assert encode_track(*track, *schema) == record.track or record.track[0] == 0
                gops.append(gop)
                frames += record.num_frames
    layout = tables.layout
    plain = Tables.uniform(layout.num_quantizers, layout.codebook_size, layout.num_motion)
    size = sum(parts.values())
    return {
        "replays": [str(path) for path in paths],
        "gops": len(gops),
        "bits_per_symbol": family_bits(gops, tables),
        "bits_per_symbol_untrained": family_bits(gops, plain),
        "bits_per_symbol_flat": {
            "codes": float(np.log2(layout.codebook_size)),
            "depth": float(np.log2(layout.num_quantizers + 1)),
            "motion": float(np.log2(layout.num_motion)),
        },
        "state_bits_per_frame": round(8 * parts["states"] / frames, 2),
        "parts": dict(parts),
        "container_and_header_share": round((parts["container"] + parts["header"]) / size, 5),
        "median_ms_per_gop": {name: round(float(np.median(ms)), 2) for name, ms in times.items()},
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "numpy": np.__version__,
                    "python": platform.python_version()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("replays", nargs="+", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    arguments = parser.parse_args()
    result = json.dumps(measure(arguments.replays, arguments.model), indent=1)
    print(result)
    if arguments.out:
        arguments.out.write_text(result + "\n")


if __name__ == "__main__":
    main()
