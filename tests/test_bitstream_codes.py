"""Codes packets: round trips, refusals, damage, and the same bytes everywhere."""

import hashlib
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relive.bitstream import GopCodes, Tables, decode_codes, encode_codes
from relive.bitstream.grid import cube_groups
from relive.errors import FormatError

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


def make_gop(
    seed: int,
    steps: int = 16,
    h: int = 15,
    w: int = 20,
    num_quantizers: int = 6,
    codebook_size: int = 512,
    num_motion: int = 32,
) -> GopCodes:
    """Return codes with the habits of real ones: neighbours alike, small codes commoner."""
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(h)[:, None] / 3 + seed) + np.cos(np.arange(w)[None] / 4)
    noise = rng.normal(0, 0.4, (steps, h, w))
    depths = np.clip((wave + noise + 1) * num_quantizers / 2, 0, num_quantizers).astype(np.uint8)
    motion = np.zeros((steps, 2, h, w), np.uint8)
    moves = np.clip((wave + 2) * num_motion / 4 + noise, 0, num_motion - 1)
    motion[:] = moves[:, None]
    motion[0] = 0
    skewed = codebook_size * rng.random((steps, num_quantizers, h, w)) ** 1.5
    gop = GopCodes(depths, motion, skewed.astype(np.int16))
    gop.codes[~gop.used] = 0
    return gop


SMALL = (2, 64, 8)


def small_gop(seed: int, steps: int = 5) -> GopCodes:
    return make_gop(seed, steps, 9, 12, *SMALL)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (2, 7), (5, 6)])
def test_contexts_look_only_at_what_was_coded_before(size: tuple[int, int]) -> None:
    groups = cube_groups(*size)
    coded = np.zeros(size[0] * size[1], bool)
    coded[groups[0].cubes] = True
    for group in groups[1:]:
        assert coded[group.around].all()
        coded[group.cubes] = True
    assert coded.all()


def same(a: GopCodes, b: GopCodes) -> bool:
    pairs = ((a.depths, b.depths), (a.motion, b.motion), (a.codes, b.codes))
    return all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in pairs)


@quick
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 4),
    h=st.integers(1, 7),
    w=st.integers(1, 7),
    num_quantizers=st.integers(1, 8),
    codebook_size=st.sampled_from((2, 3, 16, 100, 512, 1024, 32768)),
    num_motion=st.sampled_from((1, 2, 32, 40, 256)),
    fitted=st.booleans(),
)
def test_round_trip(
    seed: int,
    steps: int,
    h: int,
    w: int,
    num_quantizers: int,
    codebook_size: int,
    num_motion: int,
    fitted: bool,
) -> None:
    gop = make_gop(seed, steps, h, w, num_quantizers, codebook_size, num_motion)
    sizes = (num_quantizers, codebook_size, num_motion)
    tables = Tables.fit([gop], *sizes) if fitted else Tables.uniform(*sizes)
    assert same(decode_codes(encode_codes(gop, tables), tables, steps, h, w), gop)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.fit([small_gop(i) for i in range(4)], *SMALL)


def test_tables_survive_their_arrays(tables: Tables) -> None:
    arrays = tables.to_arrays()
    assert all(array.dtype.kind in "iu" for array in arrays.values())
    again = Tables.from_arrays(arrays)
    gop = small_gop(9)
    assert encode_codes(gop, again) == encode_codes(gop, tables)
    assert again.fingerprint == tables.fingerprint


def test_bad_tables_are_refused(tables: Tables) -> None:
    arrays = tables.to_arrays()
    for name, array in arrays.items():
        broken = array.astype(np.int64)
        broken.reshape(-1)[0] = -40_000
        for wrong in (
            {k: v for k, v in arrays.items() if k != name},
            arrays | {name: broken},
            arrays | {name: array.astype(np.float32)},
            arrays | {name: array[:-1]},
        ):
            with pytest.raises(FormatError):
                Tables.from_arrays(wrong)
    for name, value in (("codes.rank", 1), ("codes.low_bias", 3000), ("sizes", 9)):
        broken = arrays[name].copy()
        broken.reshape(-1)[0] = broken.reshape(-1)[1] = value
        with pytest.raises(FormatError):
            Tables.from_arrays(arrays | {name: broken})


def test_training_pays(tables: Tables) -> None:
    gop = small_gop(77)
    assert len(encode_codes(gop, tables)) < 0.95 * len(encode_codes(gop, Tables.uniform(*SMALL)))


def test_other_tables_are_noticed(tables: Tables) -> None:
    packet = encode_codes(small_gop(5), tables)
    with pytest.raises(FormatError):
        decode_codes(packet, Tables.uniform(*SMALL), 5, 9, 12)


def test_another_grid_is_refused(tables: Tables) -> None:
    packet = encode_codes(small_gop(5), tables)
    for grid in ((4, 9, 12), (5, 12, 9), (5, 9, 13)):
        with pytest.raises(FormatError, match="grid"):
            decode_codes(packet, tables, *grid)
    for grid in ((0, 9, 12), (1025, 1, 1), (1 << 20, 1 << 20, 1 << 20)):
        with pytest.raises(FormatError, match="is out of range"):
            decode_codes(packet, tables, *grid)


def test_gops_that_do_not_fit_are_refused(tables: Tables) -> None:
    def change(field: str, where: tuple[int, ...], value: int) -> GopCodes:
        gop = small_gop(3, steps=2)
        getattr(gop, field)[where] = value
        return gop

    beyond = small_gop(3, steps=2)
    beyond.codes[~beyond.used] = 1
    for wrong in (
        change("depths", (0, 0, 0), 3),
        change("motion", (1, 0, 0, 0), 8),
        change("motion", (0, 0, 0, 0), 1),
        change("codes", (0, 0, 0, 0), 64),
        change("codes", (0, 0, 0, 0), -1),
        beyond,
        GopCodes(beyond.depths.astype(np.int64), beyond.motion, beyond.codes),  # type: ignore[arg-type]  # wrong
        GopCodes(beyond.depths[0], beyond.motion, beyond.codes),
    ):
        with pytest.raises(FormatError):
            encode_codes(wrong, tables)


def test_garbage_and_damage_are_format_errors(tables: Tables) -> None:
    """Also behind a checksum that holds: an attacker can compute one, too."""
    rng = np.random.default_rng(1)
    gop = small_gop(5, steps=3)
    packet = encode_codes(gop, tables)
    for number in range(300):
        body = bytearray(packet[:-4])
        if number % 3 == 0:
            body = bytearray(rng.bytes(int(rng.integers(0, 60))))
        elif number % 3 == 1:
            body = body[: int(rng.integers(0, len(body)))]
        else:
            body[int(rng.integers(0, len(body)))] ^= 1 << int(rng.integers(0, 8))
        sealed = bytes(body) + zlib.crc32(body).to_bytes(4, "little")
        with pytest.raises(FormatError):
            decode_codes(bytes(body), tables, 3, 9, 12)
        try:
            decoded = decode_codes(sealed, tables, 3, 9, 12)
        except FormatError:
            continue
        assert same(decoded, gop)  # a bit of the last word that nobody reads


CHILD = """
import hashlib, sys
import numpy as np
from relive.bitstream import Tables, decode_codes, encode_codes
tables = Tables.from_arrays(dict(np.load(sys.argv[1])))
packet = sys.stdin.buffer.read()
gop = decode_codes(packet, tables, 5, 9, 12)
assert encode_codes(gop, tables) == packet
print(hashlib.sha256(gop.depths.tobytes() + gop.motion.tobytes() + gop.codes.tobytes()).hexdigest())
"""


def test_same_in_another_process_with_one_and_two_threads(tables: Tables, tmp_path: Path) -> None:
    np.savez(tmp_path / "tables.npz", **tables.to_arrays())
    gop = small_gop(11)
    packet = encode_codes(gop, tables)
    wanted = gop.depths.tobytes() + gop.motion.tobytes() + gop.codes.tobytes()
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path / "tables.npz")],
            input=packet,
            capture_output=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
        )
        assert done.stdout.decode().strip() == hashlib.sha256(wanted).hexdigest()
