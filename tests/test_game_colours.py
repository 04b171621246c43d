"""Frames are drawn to the colours of their game; what says so fits in a few bits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from relive.bitstream import DetailTables, GopCodes, GopDetail, decode_detail, encode_detail
from relive.bitstream.detail import MAX_MIXED, NO_TINT
from relive.bitstream.framing import ByteReader
from relive.bitstream.shown import pack_shown, take_shown
from relive.codec import load_bundle
from relive.codec.pairs import Looks
from relive.enhancement.game_colours import MIN_COLOURS, GameColours, Pull
from relive.errors import FormatError

RED = (60, 255, 0, 0)


def palette(count: int, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    values = rng.choice(1 << 24, count, replace=False)
    return np.stack([values >> 16, values >> 8 & 255, values & 255], 1).astype(np.uint8)


def picture(colours: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
    """Blocks of 4x4 pixels in colours of a game `[H, W, 3]`; black is there."""
    numbers = np.random.default_rng(seed).integers(0, len(colours), (12, 16))
    return colours[numbers].repeat(4, 0).repeat(4, 1)


def planes(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))


def noisy(true: torch.Tensor, size: float, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    noise = torch.from_numpy(rng.normal(0, size, true.shape).astype(np.float32))
    return (true + noise).round().clamp(0, 255)


def tinted(pixels: NDArray[np.uint8], tint: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    mixed, *added = tint
    return ((pixels.astype(int) * (256 - mixed) + mixed * np.array(added)) >> 8).astype(np.uint8)


@pytest.mark.parametrize("tint", [NO_TINT, RED])
@pytest.mark.parametrize("strength", [2, 5, 7])
def test_a_pixel_becomes_the_mean_of_the_colours_near_it(
    strength: int, tint: tuple[int, int, int, int]
) -> None:
    """Written down once more, in floating point, for a game of as many colours as are looked at."""
    colours = palette(MIN_COLOURS)
    frame = noisy(planes(picture(tinted(colours, tint))), 12)
    found = GameColours(colours).apply(frame, Pull(strength, tint)).numpy()
    all_colours = tinted(colours, tint).astype(float)
    pixels = frame.numpy().transpose(1, 2, 0)[:, :, None]
    squared = np.square(pixels - all_colours).sum(-1)
    weights = 2.0 ** -((squared - squared.min(-1, keepdims=True)) / 2 ** (strength + 1))
    mean = (weights[..., None] * all_colours).sum(2) / weights.sum(2)[..., None]
    off = np.abs(found - mean.transpose(2, 0, 1))
    assert off.max() <= 4  # weights go by sixteenths of an octave
    assert off.mean() < 0.6


def test_strength_0_changes_nothing() -> None:
    frame = planes(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    assert GameColours(palette(40)).apply(frame, Pull(0, RED)) is frame


@pytest.mark.parametrize("tint", [NO_TINT, RED, (20, 214, 182, 64)])
def test_noise_goes_also_under_a_tint(tint: tuple[int, int, int, int]) -> None:
    colours = palette(40)
    colours[0] = 0
    true, game = planes(tinted(picture(colours), tint)), GameColours(colours)
    frame = noisy(true, 5)
    pull = game.choose(true, frame, Pull.NONE)
    assert pull.strength > 0
    error = (game.apply(frame, pull) - true).square().mean()
    assert error < 0.3 * (frame - true).square().mean()
    found = tinted(colours, pull.tint).astype(int)
    assert np.abs(found - tinted(colours, tint)).max() <= 2


def test_a_picture_in_other_colours_is_left_alone() -> None:
    game = GameColours(palette(40))
    other = planes(picture(palette(200, seed=9)))
    many = planes(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    assert game.choose(other, noisy(other, 5), Pull(4, RED)) == Pull(0, RED)
    assert game.tint_of(many) is None


def test_a_pull_stays_where_another_gains_little() -> None:
    colours = palette(40)
    true, game = planes(picture(colours)), GameColours(colours)
    frame = noisy(true, 5)
    best = game.choose(true, frame, Pull.NONE)
    errors = {k: float((game.apply(frame, Pull(k)) - true).square().sum()) for k in range(8)}
    assert errors[best.strength] <= 1.1 * min(errors.values())
    assert game.choose(true, frame, best) == best


def test_colours_are_learned_without_those_of_flashes() -> None:
    colours = palette(100)
    pictures = [picture(colours, seed) for seed in range(20)]
    pictures += [tinted(picture(colours, seed), RED) for seed in range(6)]
    learned = GameColours.learn(pictures)
    assert learned is not None
    assert {*map(tuple, learned.colours)} == {*map(tuple, colours)}


def test_a_game_of_many_colours_has_none_to_learn() -> None:
    rng = np.random.default_rng(0)
    assert GameColours.learn(rng.integers(0, 256, (8, 48, 64, 3), np.uint8)) is None
    few = [np.full((48, 64, 3), level, np.uint8) for level in (0, 128)]
    assert GameColours.learn(few) is None


Shown = st.tuples(
    st.integers(0, 1), st.integers(0, 7), st.sampled_from([NO_TINT, RED, (1, 2, 3, 4)])
)


@given(st.lists(Shown, min_size=1, max_size=20))
def test_how_frames_are_shown_comes_back(frames: list[tuple[int, int, tuple[int, ...]]]) -> None:
    detail, found = GopDetail.empty(len(frames), 1, 1), GopDetail.empty(len(frames), 1, 1)
    for row, (unfiltered, pull, tint) in enumerate(frames):
        detail.unfiltered[row], detail.pulls[row], detail.tints[row] = unfiltered, pull, tint
    packed = pack_shown(detail)
    reader = ByteReader(packed, "test")
    take_shown(reader, found)
    assert not reader.rest()
    for name in ("unfiltered", "pulls", "tints"):
        assert (getattr(found, name) == getattr(detail, name)).all()


def test_frames_shown_alike_cost_a_bit() -> None:
    detail = GopDetail.empty(32, 1, 1)
    detail.pulls[:] = 4
    assert len(pack_shown(detail)) == -(-(1 + 1 + 3 + 1 + 31) // 8)


@pytest.mark.parametrize("data", [b"\x80", b"\x01", b"", b"\x8c\x00\x00\x00\x00"])
def test_bits_that_no_writer_writes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        take_shown(ByteReader(data, "test"), GopDetail.empty(2, 1, 1))


def test_pulls_and_tints_come_back() -> None:
    tables = DetailTables.uniform()
    detail, codes = GopDetail.empty(2, 6, 8), GopCodes.empty(1, 6, 6, 8)
    detail.pulls[1], detail.tints[1], detail.unfiltered[1] = 3, RED, 1
    packet = encode_detail(detail, codes, tables)
    found = decode_detail(packet, codes, tables)
    assert found.pulls.tolist() == [0, 3]
    assert found.tints.tolist() == [[*NO_TINT], [*RED]]
    assert found.unfiltered.tolist() == [0, 1]
    detail.tints[1, 0] = MAX_MIXED + 1
    with pytest.raises(FormatError, match="tint"):
        encode_detail(detail, codes, tables)


def test_the_bundled_model_knows_its_game() -> None:
    bundle = load_bundle()
    assert bundle.colours is not None
    grey = {tuple(colour) for colour in bundle.colours.colours.tolist() if len({*colour}) == 1}
    assert len(grey) >= 16  # the grey ramp of Doom's palette
    assert Looks.of(replace(bundle, colours=None)).colours is None
