"""Make the golden replay and the tables that decode it: `python tests/golden/make_replay.py`.

All numbers come from SHAKE-256, so the same bytes come out everywhere and for ever. A change that
is meant to leave the format alone leaves the file alone. Those of formats 1.0, 1.3 and 1.6 were
written by the versions of then; they are read, and never written again.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from relive.bitstream import (
    DetailTables,
    GopCodes,
    GopDetail,
    Tables,
    decode_memory,
    encode_codes,
    encode_detail,
    encode_memory,
    encode_track,
)
from relive.bitstream.detail import BASE, MAX_OFFSET, MOVED, NUM_STRENGTHS, has_levels
from relive.bitstream.detail_layout import FAMILIES
from relive.bitstream.layout import Family, Layout
from relive.bitstream.net import Net, net_shapes
from relive.config import CUBE_PX
from relive.container import GopRecord, ReplayHeader, ReplayWriter

HERE = Path(__file__).parent
REPLAY = HERE / "replay-1.0.relive"
LAYERED = HERE / "replay-1.3.relive"
FLAT = HERE / "replay-1.6.relive"
COMPACT = HERE / "replay-1.7.relive"
SIZES = (3, 64, 5)  # num_quantizers, codebook_size, num_motion
GRID = (5, 6)
STEPS = 4
STATE_STEPS = [0.0625, 0.0054931640625, 0.0, 1.0]
STATE_KINDS = ["linear", "angle", "linear", "counter"]


def numbers(name: str, shape: tuple[int, ...], top: int) -> np.ndarray:
    """Return int64 numbers 0 … top - 1, small ones commoner."""
    raw = hashlib.shake_256(name.encode()).digest(4 * int(np.prod(shape)))
    wide = np.frombuffer(raw, "<u4").astype(np.uint64).reshape(shape)
    return ((wide * wide >> np.uint64(32)) * np.uint64(top) >> np.uint64(32)).astype(np.int64)


def make_tables() -> Tables:
    layout = Layout(*SIZES)
    nets = {
        name: tuple(make_net(f"{name}{i}", family) for i in range(family.count))
        for name, family in layout.families().items()
    }
    return Tables(layout, nets)


def make_net(name: str, family: Family) -> Net:
    parts = {}
    for part, (shape, dtype) in net_shapes(family).items():
        parts[part] = (numbers(f"{name}{part}", shape, 60) - 20).astype(dtype)
    order = np.argsort(numbers(f"{name}order", (family.size,), 1 << 30), kind="stable")
    return Net(**parts | {"rank": order.astype(np.int16)})


def make_gop(index: int) -> GopCodes:
    depths = numbers(f"depths{index}", (STEPS, *GRID), SIZES[0] + 1).astype(np.uint8)
    motion = numbers(f"motion{index}", (STEPS, 2, *GRID), SIZES[2]).astype(np.uint8)
    codes = numbers(f"codes{index}", (STEPS, SIZES[0], *GRID), SIZES[1]).astype(np.int16)
    motion[0] = 0
    gop = GopCodes(depths, motion, codes)
    codes[~gop.used] = 0
    return gop


def make_detail_tables() -> DetailTables:
    return DetailTables(
        {
            name: tuple(make_net(f"detail {name}{i}", family) for i in range(family.count))
            for name, family in FAMILIES.items()
        }
    )


def make_detail(index: int) -> GopDetail:
    """Return a layer with a few large levels and vectors among many small ones."""
    detail = GopDetail.empty(2 * STEPS, *GRID)
    detail.steps[:] = 20 + numbers(f"steps{index}", (2 * STEPS,), 20)
    detail.strengths[:] = numbers(f"strengths{index}", (2 * STEPS,), NUM_STRENGTHS)
    detail.modes[:] = numbers(f"modes{index}", detail.modes.shape, 5)
    detail.modes[0] = np.where(detail.modes[0] == 1, MOVED, BASE)  # copies
    detail.weights[1::3] = numbers(f"weights{index}", detail.weights[1::3].shape, 255) - 127
    sources = numbers(f"sources{index}", detail.sources.shape, 3)
    detail.sources[2:] = np.where(detail.modes == BASE, 0, sources)[2:]
    moved = detail.modes >= MOVED
    detail.split[:] = moved & (numbers(f"split{index}", moved.shape, 3) == 0)
    detail.split[0] = 0
    vectors = numbers(f"vectors{index}", (*moved.shape, 2, 2, 2), 511) - 255
    parts = np.where(detail.split[..., None, None, None] == 1, vectors, vectors[..., :1, :1, :])
    parts[~moved] = 0
    detail.vectors[:] = parts.swapaxes(2, 3).reshape(detail.vectors.shape)
    size = numbers(f"levels{index}", detail.levels.shape, 1 << 20)
    sign = numbers(f"signs{index}", detail.levels.shape, 64) % 2 * 2 - 1
    fall = np.add.outer(np.arange(8), np.arange(8))
    detail.levels[:] = sign * ((size >> (14 + fall)) ** 2 >> 5)
    drawn = numbers(f"offsets{index}", detail.offsets.shape, 2 * MAX_OFFSET + 1) - MAX_OFFSET
    before = np.zeros_like(detail.offsets[0])
    for frame, offsets in enumerate(detail.offsets):
        offsets[:] = before = np.where(has_levels(detail.levels[frame]), drawn[frame], before)
    return detail


TILES = 6


def make_tiles() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return cubes of two to five colours, all different, for palettes and the session memory."""
    tiles = []
    for tile in range(TILES):
        size = 2 + tile % 4
        packed = np.unique(numbers(f"colours{tile}", (size,), 1 << 24) + np.arange(size))
        colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], 1).astype(np.uint8)
        indices = numbers(f"indices{tile}", (CUBE_PX, CUBE_PX), len(packed)).astype(np.uint8)
        tiles.append((colours, indices))
    return tiles


def make_flat(index: int) -> GopDetail:
    """Return a layer that has palettes, too, and says how its frames are shown.

    That of GOP 1 does not draw to the colours of the game: profile 3 was enough for it.
    """
    detail, tiles = make_detail(index), make_tiles()
    chosen = numbers(f"tiles{index}", detail.modes.shape, TILES + 4)
    for frame, y, x in np.argwhere((detail.modes == BASE) & (chosen < TILES)):
        detail.levels[frame, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] = 0
        detail.offsets[frame:, y, x] = detail.offsets[frame - 1, y, x] if frame else 0
        colours, indices = tiles[chosen[frame, y, x]]
        detail.palettes[frame, y, x] = len(colours)
        detail.colours[frame, y, x, : len(colours)] = colours
        detail.indices[frame, y, x] = indices
    detail.unfiltered[:] = numbers(f"unfiltered{index}", (2 * STEPS,), 2)
    if index != 1:
        detail.pulls[:] = numbers(f"pulls{index}", (2 * STEPS,), 8)
        detail.tints[2:] = numbers(f"tints{index}", (4,), 225)
    return detail


def make_track(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times, present and states of the eight frames of a GOP."""
    frames = 8 * index + np.arange(8)
    jitter = numbers(f"jitter{index}", (8, 3), 100)
    states = np.stack(
        [frames * 5 + jitter[:, 0], (350 + 3 * frames) % 360, jitter[:, 1] / 7, frames // 9], axis=1
    )
    present = numbers(f"present{index}", (8,), 10) < 8
    return frames * 10**9 // 35 + jitter[:, 2] * 1000 * index, present, states.astype(np.float32)


def write(path: Path) -> None:
    """Write the replay of today's format, with an enhancement layer and a session memory."""
    memory = encode_memory(make_tiles()[:4])
    header = ReplayHeader(
        "60" * 32, 96, 80, 3, 64, 8, 5, "golden", {"fields": []}, None,
        tiers=2, memory=memory, compact=True, extra={"note": "ä"},
    )  # fmt: skip
    tables = make_tables()
    detail_tables = replace(make_detail_tables(), memory=decode_memory(memory))
    with ReplayWriter(path, header, force=True) as writer:
        for index in range(3):
            times, present, states = make_track(index)
            gop = make_gop(index)
            codes = encode_codes(gop, tables)
            detail = encode_detail(make_flat(index), gop, detail_tables)
            track = encode_track(times, present, states, STATE_STEPS, STATE_KINDS)
            start, end = int(times[0]), int(times[-1])
            place = (index, 8 * index, 8, start, end, 26.5)
            writer.add_gop(GopRecord(*place, codes, track, detail))
            writer.add_event(end, "event", f"of GOP {index}")


if __name__ == "__main__":
    write(COMPACT)
    print(f"{COMPACT}: {COMPACT.stat().st_size} bytes")
