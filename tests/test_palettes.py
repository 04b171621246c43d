"""Palettes: cubes of few colours come back exactly, whatever they are."""

import numpy as np
import pytest
import torch

from relive.bitstream import DetailTables, GopCodes, GopDetail, decode_detail, encode_detail
from relive.bitstream.detail import BASE, MAX_COLOURS
from relive.enhancement.palettes import TILE_BITS, Palettes, find_palettes
from relive.errors import FormatError


def tiles(seed: int, kinds: int = 5, colours: int = 4) -> torch.Tensor:
    """A frame of 6 x 8 cubes, each one of some kinds, each of some colours."""
    rng = np.random.default_rng(seed)
    lists = rng.integers(0, 256, (kinds, colours, 3))
    pixels = lists[np.arange(kinds)[:, None, None], rng.integers(0, colours, (kinds, 16, 16))]
    frame = pixels[rng.integers(0, kinds, (6, 8))].swapaxes(1, 2).reshape(96, 128, 3)
    return torch.from_numpy(frame).permute(2, 0, 1).float()


def layer(frames: list[Palettes]) -> tuple[GopDetail, GopCodes]:
    detail = GopDetail.empty(len(frames), 6, 8)
    for number, palettes in enumerate(frames):
        detail.palettes[number] = palettes.sizes
        detail.colours[number], detail.indices[number] = palettes.colours, palettes.indices
    return detail, GopCodes.empty(len(frames) // 2, 6, 6, 8)


@pytest.mark.parametrize("colours", [1, 2, 7, MAX_COLOURS])
def test_a_frame_of_few_colours_is_found_coded_and_painted_exactly(colours: int) -> None:
    frames = [tiles(seed, colours=colours) for seed in (0, 0, 1, 0)]
    found = [find_palettes(frame, frozenset())[0] for frame in frames]
    detail, codes = layer(found)
    tables = DetailTables.uniform()
    packet = encode_detail(detail, codes, tables)
    again = decode_detail(packet, codes, tables)
    for name, array in vars(detail).items():
        assert np.array_equal(array, getattr(again, name)), name
    for number, frame in enumerate(frames):
        flat = Palettes(again.palettes[number], again.colours[number], again.indices[number])
        assert torch.equal(flat.paint(torch.zeros_like(frame)), frame)


def test_a_frame_seen_before_costs_its_tiles_numbers_alone() -> None:
    tables = DetailTables.uniform()
    nothing = GopDetail.empty(1, 6, 8)
    none = Palettes(nothing.palettes[0], nothing.colours[0], nothing.indices[0])
    one, two = (find_palettes(tiles(seed), frozenset())[0] for seed in (0, 1))
    sizes = [len(encode_detail(*layer([one, second]), tables)) for second in (none, one, two)]
    assert sizes[1] - sizes[0] < 6 * 8 * TILE_BITS / 8
    assert sizes[2] - sizes[0] > 5 * 256 * 1.5 / 8  # five kinds of noise with four colours


def test_alike_cubes_share_what_one_costs() -> None:
    frame = tiles(0)
    found, bits = find_palettes(frame, frozenset())
    known = find_palettes(frame, {content for *_, content in found.contents()})[1]
    assert (known == TILE_BITS).all()
    assert TILE_BITS < bits.min() < bits.max() < 400


def test_many_colours_have_no_palette() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 96, 128))).float()
    found, bits = find_palettes(noise, frozenset())
    assert not found.sizes.any()
    assert torch.isinf(bits).all()


def test_what_says_nothing_of_its_frames_costs_next_to_nothing() -> None:
    tables = DetailTables.uniform()
    detail, codes = GopDetail.empty(32, 1, 1), GopCodes.empty(16, 6, 1, 1)
    plain = encode_detail(detail, codes, tables)
    detail.steps[:], detail.strengths[:], detail.unfiltered[:] = 40, 2, 1
    assert len(encode_detail(detail, codes, tables)) <= len(plain) + 8
    detail.unfiltered[1] = 0
    packet = encode_detail(detail, codes, tables)
    found = decode_detail(packet, codes, tables)
    for name in ("steps", "strengths", "unfiltered"):
        assert np.array_equal(getattr(found, name), getattr(detail, name))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda d: d.modes.__setitem__((1, 0, 0), BASE + 1), "mode"),
        (lambda d: d.levels.__setitem__((1, 0, 0, 0, 0, 0), 1), "levels"),
        (lambda d: d.colours.__setitem__((1, 0, 0), d.colours[1, 0, 0, ::-1]), "rise"),
        (lambda d: d.indices.__setitem__((1, 0, 0, 3, 3), 15), "index"),
        (lambda d: d.palettes.__setitem__((1, 0, 0), 17), "palettes"),
    ],
)
def test_what_no_palette_can_say_is_refused(change, what: str) -> None:
    frame = find_palettes(tiles(0), frozenset())[0]
    detail, codes = layer([frame, frame])
    change(detail)
    with pytest.raises(FormatError, match=what):
        encode_detail(detail, codes, DetailTables.uniform())
