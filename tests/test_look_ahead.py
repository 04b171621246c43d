"""Look-ahead: how fine to code every cube."""

import numpy as np
import torch

from relive.bitstream.detail import MAX_OFFSET, OFFSET_UNIT
from relive.enhancement.look_ahead import STRENGTH, look_ahead, worth

H, W = 96, 128


def texture(seed: int, height: int = H, width: int = W) -> np.ndarray:
    """Return a picture of 4x4 squares of random colours, uint8 `[height, width, 3]`."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return small.repeat(4, 0).repeat(4, 1)


def test_what_stays_is_worth_every_frame_that_shows_it() -> None:
    frames = torch.from_numpy(np.stack([texture(0)] * 6))
    expected = torch.arange(6, 0, -1).float()[:, None, None].expand(6, H // 16, W // 16)
    torch.testing.assert_close(worth(frames, 16.0), expected, rtol=0.02, atol=0)


def test_what_is_new_every_time_is_worth_its_frame_alone() -> None:
    frames = torch.from_numpy(np.stack([texture(seed) for seed in range(4)]))
    assert float(worth(frames, 16.0).max()) < 1.6


def test_worth_follows_the_motion() -> None:
    wide = texture(1, H, W + 64)
    frames = np.stack([wide[:, 16 * i : 16 * i + W] for i in range(4)])
    worths = worth(torch.from_numpy(frames), 16.0)
    # the picture moves a cube to the left in every frame: what leaves soon is worth less
    assert (worths[0, :, 0] < 1.3).all()
    assert (worths[0, :, 3] > 3.3).all()
    assert (worths[2, :, 1:] > 1.8).all()


def test_the_plan_gives_finer_steps_to_what_is_worth_more() -> None:
    moving = np.stack([texture(seed) for seed in range(4)])
    moving[:, :, :64] = texture(9)[:, :64]  # the left half stays
    plan = look_ahead(moving, 5, 40)
    assert plan.steps.shape == (5,)
    assert plan.offsets.shape == (5, H // 16, W // 16)
    assert np.abs(plan.offsets).max() <= MAX_OFFSET
    numbers = plan.steps[:, None, None] + OFFSET_UNIT * plan.offsets.astype(int)
    assert (numbers[0, :, 1:3] < numbers[0, :, 5:7]).all()
    assert (np.abs(numbers[0, :, 1:3] - (40 - STRENGTH * np.log2(4))) <= 1.5).all()
    assert (numbers[3] == 40).all()
    assert np.array_equal(plan.offsets[3], plan.offsets[4])
