"""Enhancement packets: round trips, refusals, damage, and the same bytes everywhere."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relive.bitstream import (
    DetailReader,
    DetailTables,
    GopCodes,
    GopDetail,
    decode_detail,
    encode_detail,
)
from relive.bitstream.detail import (
    BAND_MEMBERS,
    BASE,
    MAX_GAIN,
    MAX_LEVEL,
    MAX_OFFSET,
    MAX_SHIFT,
    MAX_VECTOR,
    MOVED,
    NUM_MODES,
    NUM_SOURCES,
    NUM_STRENGTHS,
    WARPED,
    has_levels,
    step_number,
    step_size,
)
from relive.bitstream.framing import seal, unseal
from relive.errors import FormatError

quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def make_codes(seed: int, steps: int, h: int, w: int) -> GopCodes:
    rng = np.random.default_rng([seed, 1])
    codes = GopCodes.empty(steps, 2, h, w)
    codes.depths[:] = rng.integers(0, 3, codes.depths.shape)
    codes.motion[1:] = rng.integers(0, 32, codes.motion[1:].shape)
    return codes


def make_detail(seed: int, steps: int, h: int, w: int, much: float = 0.15) -> GopDetail:
    """Return a layer with the habits of real ones: low frequencies first, neighbours alike."""
    rng = np.random.default_rng(seed)
    detail = GopDetail.empty(2 * steps, h, w)
    detail.steps[:] = rng.integers(20, 50, 2 * steps)
    detail.strengths[:] = rng.integers(0, NUM_STRENGTHS, 2 * steps)
    weighted = rng.random(2 * steps - 1) < 0.5
    some = rng.integers(-127, 128, (2 * steps - 1, 3, 2))
    detail.weights[1:] = np.where(weighted[:, None, None], some, 0)
    detail.modes[1:] = (rng.random(detail.modes[1:].shape) ** 2 * NUM_MODES).astype(np.uint8)
    sources = rng.integers(0, NUM_SOURCES, (2 * steps, h, w))
    detail.sources[2:] = np.where(detail.modes == BASE, 0, sources)[2:]
    moved = detail.modes >= MOVED
    detail.split[:] = moved & (rng.random(moved.shape) < 0.3)
    parts = detail.vectors.reshape(2 * steps, h, 2, w, 2, 2).swapaxes(2, 3)  # a view
    parts[moved] = rng.laplace(0, 9, (int(moved.sum()), 1, 1, 2)).round().clip(-252, 252)
    parts[detail.split == 1] += rng.integers(-3, 4, (int(detail.split.sum()), 2, 2, 2), np.int16)
    fall = np.exp(-0.35 * np.add.outer(np.arange(8), np.arange(8)))
    busy = np.repeat(np.repeat(rng.random((h, w)) * 3, 2, 0), 2, 1)[..., None, None]
    detail.levels[:] = rng.laplace(0, 1, detail.levels.shape) * much * 4 * busy * fall
    place_offsets(detail, rng)
    return detail


def place_offsets(detail: GopDetail, rng: np.random.Generator) -> None:
    """Draw offsets of cubes that have levels; the others keep those of the frame before."""
    drawn = rng.integers(-MAX_OFFSET, MAX_OFFSET + 1, detail.offsets.shape)
    before = np.zeros_like(detail.offsets[0])
    for frame, offsets in enumerate(detail.offsets):
        offsets[:] = before = np.where(has_levels(detail.levels[frame]), drawn[frame], before)


def same(a: GopDetail, b: GopDetail) -> bool:
    pairs = [(array, getattr(b, name)) for name, array in vars(a).items()]
    return all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in pairs)


@pytest.fixture(scope="module")
def tables() -> DetailTables:
    layers = [(make_detail(s, 4, 6, 8), make_codes(s, 4, 6, 8)) for s in range(4)]
    return DetailTables.fit(layers)


@quick
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 3),
    h=st.integers(1, 5),
    w=st.integers(1, 5),
    much=st.sampled_from((0.0, 0.02, 0.3, 20.0)),
    fitted=st.booleans(),
)
def test_round_trip(
    tables: DetailTables, seed: int, steps: int, h: int, w: int, much: float, fitted: bool
) -> None:
    detail, codes = make_detail(seed, steps, h, w, much), make_codes(seed, steps, h, w)
    used = tables if fitted else DetailTables.uniform()
    assert same(decode_detail(encode_detail(detail, codes, used), codes, used), detail)


def test_step_and_strength_of_a_frame_share_a_byte(tables: DetailTables) -> None:
    detail, codes = GopDetail.empty(16, 1, 1), make_codes(2, 8, 1, 1)
    detail.steps[:] = np.repeat((0, 1, 62, 63), 4)
    detail.strengths[:] = np.tile(np.arange(NUM_STRENGTHS), 4)
    assert same(decode_detail(encode_detail(detail, codes, tables), codes, tables), detail)


def test_the_largest_values_come_back(tables: DetailTables) -> None:
    detail, codes = make_detail(3, 2, 2, 3), make_codes(3, 2, 2, 3)
    detail.weights[1] = MAX_GAIN, -MAX_SHIFT
    detail.weights[2] = -MAX_GAIN, MAX_SHIFT
    detail.modes[2:] = MOVED
    detail.split[2:] = 1
    detail.vectors[2:] = MAX_VECTOR
    detail.vectors[2:, ::2] = -MAX_VECTOR
    detail.levels[0, 0, 0, 0] = MAX_LEVEL
    detail.levels[0, 1, 1, 1] = -MAX_LEVEL
    assert same(decode_detail(encode_detail(detail, codes, tables), codes, tables), detail)


def test_vectors_of_every_length_come_back(tables: DetailTables) -> None:
    steps, h, w = 3, 12, 16
    detail, codes = make_detail(4, steps, h, w), make_codes(4, steps, h, w)
    detail.modes[2:] = MOVED
    detail.split[2:] = 1
    vectors = detail.vectors[2:]
    every = np.arange(-MAX_VECTOR, MAX_VECTOR + 1)
    vectors[:] = (
        np.random.default_rng(6).permutation(np.resize(every, vectors.size)).reshape(vectors.shape)
    )
    assert same(decode_detail(encode_detail(detail, codes, tables), codes, tables), detail)


def test_codes_of_another_grid_are_refused() -> None:
    detail, tables = make_detail(1, 2, 8, 8), DetailTables.uniform()
    for grid in ((1, 1), (8, 9), (64, 1)):
        with pytest.raises(FormatError, match=r"codes of \(\d+, \d+\) cubes, their layer of"):
            encode_detail(detail, make_codes(1, 2, *grid), tables)


@pytest.mark.parametrize(
    ("grid", "digest"),
    [((3, 4), "b0fc04e26985c149"), ((1, 7), "69e57e4ce991c29f"), ((6, 8), "f6d094ab92537d55")],
)
def test_packets_are_those_of_every_release_since_profile_5(
    grid: tuple[int, int], digest: str
) -> None:
    detail, codes = make_detail(11, 4, *grid), make_codes(11, 4, *grid)
    packet = encode_detail(detail, codes, DetailTables.uniform())
    assert hashlib.sha256(packet).hexdigest()[:16] == digest


def test_bits_that_are_counted_are_those_of_the_packet(tables: DetailTables) -> None:
    from relive.bitstream.coder import BitCounter
    from relive.bitstream.counting import CountingModel
    from relive.bitstream.detail_walk import walk_detail

    detail, codes = make_detail(12, 4, 6, 8), make_codes(12, 4, 6, 8)
    model = CountingModel(dict(tables.nets))
    assert same(walk_detail(model, detail, codes), detail)
    assert set(model.bits) == set(tables.nets)
    assert isinstance(model._coder, BitCounter)
    packet = 8 * len(encode_detail(detail, codes, tables))
    raw = 2 * np.count_nonzero(detail.levels) + 9 * detail.vectors.size + 1000
    assert sum(model.bits.values()) < packet < sum(model.bits.values()) + raw


def test_what_is_collected_is_what_is_walked() -> None:
    from relive.bitstream.detail_layout import FAMILIES
    from relive.bitstream.detail_walk import walk_detail
    from relive.bitstream.fit import Collector

    detail, codes = make_detail(13, 4, 6, 8), make_codes(13, 4, 6, 8)
    seen = Collector(FAMILIES)
    assert same(walk_detail(seen, detail, codes), detail)
    assert seen.samples.keys() == FAMILIES.keys()
    for name, nets in seen.samples.items():
        for net in nets:
            rows, symbols = net.arrays()
            starts = FAMILIES[name].starts
            assert 0 <= symbols.min() <= symbols.max() < FAMILIES[name].size
            assert 0 <= rows.min() <= rows.max() < starts[-1]
    modes = np.concatenate([net.arrays()[1] for net in seen.samples["mode"]])
    count = np.bincount(modes, minlength=NUM_MODES)
    assert np.array_equal(count, np.bincount(detail.modes[1:].ravel(), minlength=NUM_MODES))
    sizes = np.concatenate([net.arrays()[1] for net in seen.samples["level"]])
    assert (sizes > 0).sum() == np.count_nonzero(detail.levels)


def test_bands_hold_every_coefficient_once() -> None:
    assert sorted(np.concatenate(BAND_MEMBERS).tolist()) == list(range(64))
    assert all(step_number(step_size(n)) == n for n in range(64))


def test_training_pays(tables: DetailTables) -> None:
    detail, codes = make_detail(9, 4, 6, 8), make_codes(9, 4, 6, 8)
    plain = len(encode_detail(detail, codes, DetailTables.uniform()))
    assert len(encode_detail(detail, codes, tables)) < 0.8 * plain


def test_tables_survive_their_arrays(tables: DetailTables) -> None:
    arrays = tables.to_arrays()
    again = DetailTables.from_arrays(arrays)
    detail, codes = make_detail(5, 2, 3, 4), make_codes(5, 2, 3, 4)
    assert encode_detail(detail, codes, again) == encode_detail(detail, codes, tables)
    with pytest.raises(FormatError, match=r"level\.low"):
        DetailTables.from_arrays({k: v for k, v in arrays.items() if k != "level.low"})
    older = DetailTables.from_arrays({k: v for k, v in arrays.items() if "split" not in k})
    assert not older.nets["split"][0].embed.any()


def test_other_codes_or_tables_are_noticed(tables: DetailTables) -> None:
    detail, codes = make_detail(5, 2, 3, 4), make_codes(5, 2, 3, 4)
    packet = encode_detail(detail, codes, tables)
    for other in (make_codes(6, 2, 3, 4), make_codes(5, 3, 3, 4)):
        with pytest.raises(FormatError):
            decode_detail(packet, other, tables)
    with pytest.raises(FormatError):
        decode_detail(packet, codes, DetailTables.uniform())


def test_a_reader_decodes_no_more_than_is_wanted(tables: DetailTables) -> None:
    detail, codes = make_detail(8, 4, 3, 4), make_codes(8, 4, 3, 4)
    packet = encode_detail(detail, codes, tables)
    reader = DetailReader(packet, codes, tables)
    assert same(reader.step(1), detail.part(1))
    assert not reader._detail.levels[4:].any()
    assert same(reader.step(0), detail.part(0))
    assert same(reader.whole(), detail)
    forged = bytearray(packet[:-4])
    forged[1] ^= 1  # the content's checksum, behind the profile
    reader = DetailReader(seal(bytes(forged)), codes, tables)
    assert same(reader.step(2), detail.part(2))
    with pytest.raises(FormatError, match="other probability tables"):
        reader.step(3)


def test_layers_that_do_not_fit_are_refused(tables: DetailTables) -> None:
    good, codes = make_detail(7, 2, 3, 4), make_codes(7, 2, 3, 4)
    wrong = [
        replace(good, steps=np.full(4, 64, np.uint8)),
        replace(good, offsets=good.offsets + np.int8(MAX_OFFSET)),
        replace(good, offsets=np.ones_like(good.offsets), levels=np.zeros_like(good.levels)),
        replace(good, strengths=np.full(4, NUM_STRENGTHS, np.uint8)),
        replace(good, weights=np.full_like(good.weights, 1)),
        replace(good, weights=np.where(good.weights, MAX_GAIN + 1, 0).astype(np.int16)),
        replace(good, modes=np.full_like(good.modes, NUM_MODES)),
        replace(good, modes=np.ones_like(good.modes)),
        replace(good, vectors=np.full_like(good.vectors, 3)),
        replace(good, vectors=good.vectors + (np.arange(8) % 2)[:, None].astype(np.int16)),
        replace(good, sources=np.ones_like(good.sources)),
        replace(good, sources=good.sources * NUM_SOURCES),
        replace(good, split=np.ones_like(good.split)),
        replace(good, split=good.split * 2),
        replace(good, levels=good.levels[:, :2]),
        replace(good, levels=good.levels.astype(np.int32)),
        replace(good, levels=np.full_like(good.levels, MAX_LEVEL + 1)),
    ]
    for detail in wrong:
        with pytest.raises(FormatError):
            encode_detail(detail, codes, tables)


def test_garbage_and_damage_are_format_errors(tables: DetailTables) -> None:
    detail, codes = make_detail(1, 2, 3, 4), make_codes(1, 2, 3, 4)
    packet, rng = encode_detail(detail, codes, tables), np.random.default_rng(0)
    body = unseal(packet, "packet")
    for _ in range(150):
        broken = bytearray(body)
        for place in rng.integers(0, len(body), int(rng.integers(1, 4))):
            broken[place] = int(rng.integers(256))
        if rng.random() < 0.3:
            del broken[int(rng.integers(len(broken))) :]
        try:  # the checksum of the packet is right: what is inside must be looked at
            decoded = decode_detail(seal(bytes(broken)), codes, tables)
        except FormatError:
            continue
        assert same(replace(decoded, steps=detail.steps), detail)
    for size in (0, 3, 9, 40):
        with pytest.raises(FormatError):
            decode_detail(rng.bytes(size), codes, tables)


CHILD = """
import hashlib, sys
import numpy as np
from relive.bitstream import DetailTables, GopCodes, decode_detail
arrays = dict(np.load(sys.argv[1]))
codes = GopCodes(*(arrays.pop(name) for name in ("depths", "motion", "codes")))
detail = decode_detail(sys.stdin.buffer.read(), codes, DetailTables.from_arrays(arrays))
print(hashlib.sha256(detail.modes.tobytes() + detail.levels.tobytes()).hexdigest())
"""


def test_same_in_another_process_with_one_and_two_threads(
    tables: DetailTables, tmp_path: Path
) -> None:
    detail, codes = make_detail(11, 3, 6, 8), make_codes(11, 3, 6, 8)
    np.savez(tmp_path / "t.npz", **tables.to_arrays(), **vars(codes))
    packet = encode_detail(detail, codes, tables)
    wanted = hashlib.sha256(detail.modes.tobytes() + detail.levels.tobytes()).hexdigest()
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path / "t.npz")],
            input=packet,
            capture_output=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
        )
        assert done.stdout.decode().strip() == wanted


def test_copies_of_frame_0_come_back_and_cost_little_where_there_are_none(
    tables: DetailTables,
) -> None:
    detail, codes = make_detail(5, 3, 4, 6), make_codes(5, 3, 4, 6)
    bytes_without = len(encode_detail(detail, codes, tables))
    copied = np.zeros((4, 6), np.bool_)
    copied[2:, 1:4] = True
    detail.modes[0] = np.where(copied, MOVED, BASE)
    detail.vectors[0] = np.where(copied, 1, 0).repeat(2, 0).repeat(2, 1)[..., None] * (-32, -255)
    packet = encode_detail(detail, codes, tables)
    assert same(decode_detail(packet, codes, tables), detail)
    assert len(packet) < bytes_without + 40


@pytest.mark.parametrize("wrong", ["mode", "split"])
def test_frame_0_has_no_other_modes(tables: DetailTables, wrong: str) -> None:
    detail, codes = make_detail(5, 3, 4, 6), make_codes(5, 3, 4, 6)
    detail.modes[0, 1, 1] = MOVED if wrong == "split" else WARPED
    detail.split[0, 1, 1] = wrong == "split"
    with pytest.raises(FormatError, match="first frame"):
        encode_detail(detail, codes, tables)
