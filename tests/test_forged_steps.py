"""Whatever integers and states a file holds: a decoder shows a picture and reads nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch

from relive.bitstream import GopCodes, GopDetail, Tables, decode_detail, encode_detail
from relive.bitstream.detail import BASE, MAX_LEVEL, MAX_VECTOR, MOVED, has_levels
from relive.codec.bundle import Bundle, load_bundle, save_bundle
from relive.codec.gop import decode_step, encode_gop
from relive.codec.rate import QUALITIES
from relive.codec.step import Geometry, StepCoder
from relive.codec.track import gop_track
from relive.errors import InputError
from relive.model.context import Carry
from relive.model.motion import NUM_MOTION
from relive.session import Recorder, Session
from small_model import write_small_model
from test_codec import SCHEMA

SIZES = [(1, 1), (16, 16), (40, 17), (90, 16)]


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(write_small_model(tmp_path_factory.mktemp("model") / "m.safetensors"))


def forged(seed: int, h: int, w: int, step: int) -> tuple[GopCodes, GopDetail]:
    """Return extreme integers of one step, of the keyframe or of a delta."""
    rng = np.random.default_rng(seed)
    codes, detail = GopCodes.empty(1, 3, h, w), GopDetail.empty(2, h, w)
    codes.depths[:] = rng.integers(0, 4, codes.depths.shape)
    codes.motion[:] = rng.integers(0, NUM_MOTION, codes.motion.shape) * min(step, 1)
    detail.steps[:], detail.strengths[:] = 63, 3
    detail.modes[:] = rng.integers(0, 5, detail.modes.shape)
    if step:
        detail.weights[:] = rng.choice([-127, 127], detail.weights.shape)
        detail.sources[:] = rng.integers(0, 3, detail.sources.shape) * (detail.modes != BASE)
    else:
        detail.modes[0] = np.where(detail.modes[0] > 2, MOVED, BASE)
    sides = rng.choice([-MAX_VECTOR, MAX_VECTOR], (*detail.modes.shape, 2))
    vectors = np.where((detail.modes >= MOVED)[..., None], sides, 0)
    detail.vectors[:] = vectors.repeat(2, 1).repeat(2, 2)
    detail.levels[:] = rng.choice([-MAX_LEVEL, 0, MAX_LEVEL], detail.levels.shape)
    return codes, detail


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf, -np.inf, 3e38])
def test_a_decoder_takes_any_step(bundle: Bundle, size: tuple[int, int], bad: float) -> None:
    geometry = Geometry(size[1], size[0])
    coder = StepCoder(bundle, SCHEMA, geometry)
    carry: Carry | None = None
    with torch.inference_mode(), np.errstate(all="ignore"):
        for step in range(3):
            states = np.full((4, SCHEMA.width), bad, np.float32)
            states[0] = step
            state = coder.state(states, np.arange(4, dtype=np.int64) * 10**7)
            codes, detail = forged(step, *geometry.grid, step)
            shown = decode_step(coder, carry, state, codes, detail)
            assert shown.pixels.shape == (2, *geometry.padded, 3)
            carry = shown.carry


def test_a_model_whose_tables_are_of_other_alphabets_is_refused(
    tmp_path: Path, bundle: Bundle
) -> None:
    path = tmp_path / "m.safetensors"
    save_bundle(path, bundle.model, bundle.quantizer, Tables.uniform(3, 16, NUM_MOTION + 1))
    with pytest.raises(InputError, match="other alphabets"):
        load_bundle(path)


def test_a_picture_of_tiles_is_copied_and_comes_back_the_same(
    tmp_path: Path, bundle: Bundle
) -> None:
    rng = np.random.default_rng(1)
    kinds = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    which = rng.integers(0, 2, (3, 4))
    frame = kinds[which].swapaxes(1, 2).reshape(96, 128, 3)
    with Recorder(tmp_path / "s.mcap", SCHEMA, game="test") as recorder:
        for i in range(4):
            recorder.add(np.roll(frame, 32 * i, 1), np.zeros(SCHEMA.width, np.float32), i * 10**7)
    with Session.open(tmp_path / "s.mcap") as session, torch.inference_mode():
        coder = StepCoder(bundle, session.schema, Geometry(128, 96))
        track = gop_track(session, 0, 4)
        frames = session.frames(0, 4)
        made = encode_gop(coder, frames, track, QUALITIES[6])
        detail = made.detail
        assert detail is not None
        copied = detail.modes[0] == MOVED
        assert copied.sum() >= 30
        assert detail.offsets[0][~copied].min() < 0
        assert not has_levels(detail.levels[0])[copied].all()
        packet = encode_detail(detail, made.codes, bundle.detail)
        again = decode_detail(packet, made.codes, bundle.detail)
        carry: Carry | None = None
        squares = 0.0
        for step in range(2):
            rows = np.array([0, 0, 0, 1]) if step == 0 else np.arange(4)
            state = coder.state(track.states[rows], track.times_ns[rows])
            shown = decode_step(coder, carry, state, made.codes.part(step), again.part(step))
            carry = shown.carry
            true = frames[2 * step : 2 * step + 2].astype(np.float64)
            squares += float(np.square(shown.pixels - true).sum())
        assert squares == pytest.approx(made.squares, rel=1e-6)
