"""Entropy-constrained assignment: codes by what they leave and by what they cost."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from relive.bitstream import CodeChooser, GopCodes, Tables, encode_codes
from relive.bitstream.coder import BitCounter
from relive.bitstream.context_model import LiveNet
from relive.codec import Replay, encode
from relive.codec import gop as gop_module
from relive.codec.bundle import Bundle
from test_bitstream_codes import SMALL, small_gop
from test_codec import _bundle, record  # noqa: F401 - a fixture

GRID = (9, 12)


@pytest.fixture(name="tables", scope="module")
def _tables() -> Tables:
    return Tables.fit([small_gop(i) for i in range(4)], *SMALL)


@dataclass
class Points:
    """One number for every cube and stage; a codeword is its own number."""

    wanted: np.ndarray  # [K, cubes]
    weight: float  # bits of a squared distance of 1
    taken: list[tuple[int, np.ndarray, np.ndarray]] = field(default_factory=list)

    def costs(self, stage: int, cubes: np.ndarray) -> np.ndarray:
        gap = self.wanted[stage, cubes][:, None] - np.arange(SMALL[1])
        return (self.weight * gap**2).astype(np.float32)

    def take(self, stage: int, cubes: np.ndarray, codes: np.ndarray) -> None:
        self.taken.append((stage, cubes.copy(), codes.copy()))


def choose(tables: Tables, gop: GopCodes, weight: float) -> GopCodes:
    """Choose the codes of a GOP again, given those that are wanted."""
    chooser, chosen = CodeChooser(tables, *GRID), []
    for step in range(len(gop.depths)):
        points = Points(gop.codes[step].reshape(SMALL[0], -1), weight)
        codes = chooser.step(gop.depths[step], gop.motion[step], points)
        chosen.append(codes)
        for stage, cubes, taken in points.taken:
            assert np.array_equal(codes[stage].reshape(-1)[cubes], taken)
    return GopCodes(gop.depths, gop.motion, np.stack(chosen))


def test_what_is_near_is_chosen_where_bits_are_cheap(tables: Tables) -> None:
    gop = small_gop(5)
    assert np.array_equal(choose(tables, gop, 1e3).codes, gop.codes)


def test_what_is_cheap_is_chosen_where_bits_are_dear(tables: Tables) -> None:
    gop = small_gop(5)
    sizes, gaps = [], []
    for weight in (1e3, 1.0, 0.01, 0.0):
        chosen = choose(tables, gop, weight)
        chosen.check(*SMALL)
        sizes.append(len(encode_codes(chosen, tables)))
        gaps.append(np.square(chosen.codes - gop.codes.astype(int)).mean())
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.6 * sizes[0]  # depths and motion stay
    assert gaps == sorted(gaps)


@pytest.mark.parametrize("number", [0, 1])
def test_bits_are_those_that_coding_costs(tables: Tables, number: int) -> None:
    net, rng = tables.nets["codes"][number], np.random.default_rng(number)
    live = LiveNet(net)
    for _ in range(3):  # the net learns between
        rows = rng.integers(0, len(net.embed), (14, 40))
        bits = live.bits(rows)
        assert np.exp2(-bits).sum(1) == pytest.approx(1, abs=1e-3)
        symbols, counter = rng.integers(0, SMALL[1], 40).astype(np.int32), BitCounter()
        live.code(rows, symbols, counter)
        assert counter.total == pytest.approx(bits[np.arange(40), symbols].sum(), rel=1e-4)


def test_codes_alone_take_fewer_bytes(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = record(tmp_path / "s.mcap")
    chosen = encode(session, tmp_path / "a.relive", model=bundle, tiers=1)
    monkeypatch.setattr(gop_module, "CodeChooser", lambda *_: None)
    nearest = encode(session, tmp_path / "b.relive", model=bundle, tiers=1)
    assert chosen.parts["codes"] < nearest.parts["codes"]
    with Replay.open(tmp_path / "a.relive", bundle) as replay:
        assert np.array_equal(replay.frame(13), replay.frames(0, 21)[13])
