"""Where encoding and decoding spend their time: one GOP, one thread, stage by stage.

    python tools/profile_codec.py SESSION.mcap [--quality 5] [--start 0] [--repeat 3]

Prints processor milliseconds a frame of every stage, without the stages inside it; of several runs
the fastest one counts. The first run warms up and does not count.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch

from relive.bitstream import DetailReader, detail_walk
from relive.bitstream.palettes import PaletteCoder
from relive.codec import decoding as decoding_module
from relive.codec import gop, layer, load_bundle, packing
from relive.codec.effort import DEFAULT_PRESET, PRESETS, Effort, effort_of
from relive.codec.gop import encode_gop
from relive.codec.rate import QUALITIES
from relive.codec.step import Geometry, StepCoder
from relive.codec.track import gop_track
from relive.container import GopRecord
from relive.enhancement import modes, weights
from relive.enhancement.post_filter import PostFilter
from relive.model.context import ContextPyramid
from relive.model.decoder import Decoder
from relive.model.encoder import Encoder
from relive.model.warping import SearchedWarp
from relive.quantizer.rvq import ResidualVQ
from relive.session import Session

STAGES: tuple[tuple[str, Any, str], ...] = (
    ("state", StepCoder, "state"),
    ("search of hypotheses", SearchedWarp, "choose"),
    ("warp", SearchedWarp, "forward"),
    ("network: context", ContextPyramid, "forward"),
    ("network: encoder", Encoder, "forward"),
    ("network: decoder", Decoder, "forward"),
    ("quantiser", ResidualVQ, "encode"),
    ("choice of depths", gop, "choose_depths"),
    ("look-ahead", gop, "look_ahead"),
    ("search of vectors", modes, "search_vectors"),
    ("search of vectors", weights, "search_vectors"),
    ("search of vectors of blocks", modes, "search_parts"),
    ("ways", modes.choice, "rank"),
    ("ways", modes, "level_costs"),
    ("choice of weights", layer, "choose_weights"),
    ("choice of modes", layer, "choose_modes"),
    ("deblocking", layer, "deblock"),
    ("deblocking", layer, "choose_strength"),
    ("choice of levels", layer, "choose_levels"),
    ("prediction", layer, "predict"),
    ("reconstruction", layer, "reconstruct"),
    ("post-filter", PostFilter, "apply_to"),
    ("write codes", packing, "encode_codes"),
    ("write enhancement", packing, "encode_detail"),
    ("check codes", packing, "decode_codes"),
    ("check enhancement", packing, "decode_detail"),
    ("read codes", decoding_module, "decode_codes"),
    ("read enhancement", DetailReader, "step"),
    ("palettes", PaletteCoder, "code"),
    ("nets, range coder", detail_walk, "code_frame"),
)


class Clock:
    """Time spent in named stages, each without those inside it."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inside = [0.0]

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that is timed."""

        @wraps(function)
        def timed(*args: object, **names: object) -> object:
            began = time.thread_time()
            self._inside.append(0.0)
            try:
                return function(*args, **names)
            finally:
                took = time.thread_time() - began
                self.spent[name] += took - self._inside.pop()
                self._inside[-1] += took

        return timed


def encode_once(
    coder: StepCoder, session: Session, start: int, stop: int, quality: int, effort: Effort
) -> GopRecord:
    """Encode frames [start, stop) as one GOP."""
    track = gop_track(session, start, stop)
    coded = encode_gop(
        coder, session.frames(start, stop), track, QUALITIES[quality - 1], effort=effort
    )
    codes, detail = packing.pack_gop(0, coded.codes, coded.detail, coder.bundle)
    first, last = (int(track.times_ns[i]) for i in (0, -1))
    return GopRecord(0, 0, stop - start, first, last, 0.0, codes, track.packet, detail)


def decode_once(coder: StepCoder, record: GopRecord) -> None:
    """Decode all frames of a GOP."""
    decoding = decoding_module.Decoding(coder, 0, record)
    decoding.take_detail(record)
    for local in range(record.num_frames):
        decoding.frame(local)


def measure(clock: Clock, work: Callable[[], Any], repeat: int) -> tuple[dict[str, float], Any]:
    """Run once to warm up, then some times; return the seconds of the fastest run and a result."""
    result = work()
    best: dict[str, float] = {}
    for _ in range(repeat):
        clock.spent.clear()
        clock.wrap("everything else", work)()
        if not best or sum(clock.spent.values()) < sum(best.values()):
            best = dict(clock.spent)
    return best, result


def show(title: str, spent: dict[str, float], frames: int) -> None:
    """Print a table."""
    total = sum(spent.values())
    print(f"{title}: {1000 * total / frames:.1f} ms a frame, {frames / total:.1f} frames/s a core")
    for name, seconds in sorted(spent.items(), key=lambda pair: -pair[1]):
        print(f"  {name:22}{1000 * seconds / frames:7.2f} ms{100 * seconds / total:6.1f} %")


@torch.inference_mode()
def main() -> int:
    """Measure one GOP of a session."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("session", type=Path)
    parser.add_argument("--quality", type=int, default=5)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--preset", choices=list(PRESETS), default=DEFAULT_PRESET)
    options = parser.parse_args()
    effort = effort_of(options.preset)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    clock = Clock()
    for name, owner, attribute in STAGES:
        setattr(owner, attribute, clock.wrap(name, getattr(owner, attribute)))
    with Session.open(options.session) as session:
        stop = min(options.start + options.frames, session.num_frames)
        coder = StepCoder(
            load_bundle(), session.schema, Geometry(session.width, session.height), effort.light
        )
        spent, record = measure(
            clock,
            lambda: encode_once(coder, session, options.start, stop, options.quality, effort),
            options.repeat,
        )
    size = sum(len(part) for part in (record.codes, record.track, record.detail or b""))
    print(f"{options.session.name}, quality {options.quality}: {size} bytes")
    show("encode", spent, record.num_frames)
    spent, _ = measure(clock, lambda: decode_once(coder, record), options.repeat)
    show("decode", spent, record.num_frames)
    return 0


if __name__ == "__main__":
    sys.exit(main())
