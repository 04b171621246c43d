"""The networks: masks against brute force, keyframes that forget, gradients everywhere."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from relive.config import ModelConfig, StateInput
from relive.errors import InputError
from relive.model.context import Carry, Context, Pyramid, unfold_pixels
from relive.model.hst_mae import HSTMAE
from relive.model.layout import visible
from relive.model.parts import PatchConv
from relive.model.state import EncodedState
from relive.model.token_windows import HIDDEN, join_windows, split_windows, window_mask
from small_model import SMALL, WHOLE_SMALL, shake


@pytest.fixture(name="model", params=[SMALL, WHOLE_SMALL], ids=["plain", "whole"])
def _model(request: pytest.FixtureRequest) -> HSTMAE:
    torch.manual_seed(0)
    return shake(HSTMAE(request.param))


@dataclass(frozen=True)
class Inputs:
    frames: torch.Tensor
    reference: torch.Tensor
    valid: torch.Tensor
    carry: Carry
    state: EncodedState
    regions: torch.Tensor

    def row(self, i: int) -> "Inputs":
        rows = slice(i, i + 1)
        state = EncodedState(self.state.tokens[rows], self.state.situation[rows])
        plain = (self.frames[rows], self.reference[rows], self.valid[rows])
        return Inputs(*plain, self.carry.map(lambda t: t[rows]), state, self.regions[rows])


def _inputs(model: HSTMAE, batch: int = 1, height: int = 48, width: int = 80) -> Inputs:
    generator = torch.Generator().manual_seed(1)
    h, w = height // 16, width // 16

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    fields = len(model.config.state_inputs)
    state = model.state(rand(batch, 3, fields), torch.ones(batch, fields), rand(batch, 3))
    start = model.start(batch, height, width)
    carry = start.map(lambda t: rand(*t.shape) * 2 - 1 if t.is_floating_point() else t)
    regions = torch.randint(0, 6, (batch, h, w), generator=generator)
    frames, reference = rand(batch, 2, 3, height, width), rand(batch, 2, 3, height, width)
    valid = torch.ones(batch, 2, 1, height, width)
    return Inputs(frames, reference, valid, carry, state, regions)


def _context(model: HSTMAE, x: Inputs, is_delta: float = 1.0) -> tuple[Context, Pyramid]:
    delta = torch.full((len(x.frames),), is_delta)
    return model.context(x.carry, x.reference, x.valid, delta, x.state, x.regions)


def _decode(model: HSTMAE, x: Inputs, is_delta: float = 1.0) -> tuple[torch.Tensor, Carry]:
    context, pyramid = _context(model, x, is_delta)
    encoded = model.encoder(x.frames, context, pyramid)
    latents = model.prediction(context, pyramid) + encoded
    depths = torch.full(encoded.shape[:3], 3)
    decoded = model.decoder(latents, depths, context, pyramid)
    carry = model.remember(context, decoded, latents, decoded.frames.clamp(0, 1), depths)
    return decoded.frames, carry


@pytest.mark.parametrize(("h", "w", "size", "shift"), [(8, 12, 4, 2), (6, 9, 4, 2), (5, 5, 4, 0)])
def test_window_mask_against_brute_force(h: int, w: int, size: int, shift: int) -> None:
    mask = window_mask(h, w, size, shift)
    assert mask is not None
    rows, columns = -(-h // size) * size, -(-w // size) * size
    place = torch.arange(rows * columns).view(1, rows, columns, 1)
    rolled = torch.roll(place, (-shift, -shift), (1, 2))
    windows = split_windows(rolled, size)[..., 0]
    for n, window in enumerate(windows.tolist()):
        for i, a in enumerate(window):
            for j, b in enumerate(window):
                (ya, xa), (yb, xb) = divmod(a, columns), divmod(b, columns)
                real_a, real_b = ya < h and xa < w, yb < h and xb < w
                near = abs(ya - yb) < size and abs(xa - xb) < size
                together = near if real_a and real_b else real_a == real_b
                assert (mask[n, 0, i, j] == 0) == together, (n, a, b)
    assert set(mask.unique().tolist()) <= {0.0, HIDDEN}


def test_windows_are_inverses() -> None:
    x = torch.randn(2, 8, 12, 5)
    assert torch.equal(join_windows(split_windows(x, 4), 4, 8, 12), x)


def test_patch_convolution_is_a_linear_map_of_patches() -> None:
    torch.manual_seed(0)
    patch, frames = PatchConv(6, 5, 4), torch.randn(2, 6, 16, 32)
    plain = F.conv2d(F.pixel_unshuffle(frames, 4), patch.weight, patch.bias)
    assert torch.allclose(patch(frames), plain, atol=1e-5)


def test_unfolding_puts_patches_where_they_belong() -> None:
    frames = torch.randn(2, 2, 3, 16, 32)
    patches = F.pixel_unshuffle(frames.flatten(1, 2), 4)
    assert torch.equal(unfold_pixels(patches), frames)


def test_keyframe_forgets_everything(model: HSTMAE) -> None:
    x = _inputs(model)
    carry = x.carry.map(lambda t: t * 3 + 1)
    other = replace(x, reference=1 - x.reference, valid=x.valid * 0, carry=carry)
    (frames, left), (frames_other, left_other) = _decode(model, x, 0.0), _decode(model, other, 0.0)
    assert torch.equal(frames, frames_other)
    for field in ("pictures", "latents", "recurrent", "banks"):
        assert torch.equal(getattr(left, field), getattr(left_other, field)), field
    fresh = replace(x, carry=model.start(1, 48, 80), reference=x.reference * 0 + 0.5)
    assert torch.equal(frames, _decode(model, fresh, 0.0)[0])
    assert not torch.allclose(_decode(model, x)[0], _decode(model, other)[0])


def test_a_keyframe_of_the_codec_is_that_of_training(model: HSTMAE) -> None:
    x = _inputs(model, 2)
    context, pyramid = _context(model, x, 0.0)
    empty, none = model.empty_context(48, 80, x.state, x.regions)
    for name in context.__dataclass_fields__:
        assert torch.equal(getattr(context, name), getattr(empty, name)), name
    for name in pyramid.__dataclass_fields__:
        assert torch.equal(getattr(pyramid, name), getattr(none, name)), name


def test_prediction_and_encoder_know_what_the_decoder_knows() -> None:
    model = shake(HSTMAE(WHOLE_SMALL))
    x = _inputs(model)
    context, pyramid = _context(model, x)
    state = EncodedState(x.state.tokens + 0.5, x.state.situation)
    banks = replace(x.carry, banks=x.carry.banks.roll(1, -1))
    for other in (replace(x, state=state), replace(x, carry=banks)):
        changed, features = _context(model, other)
        before, after = model.prediction(context, pyramid), model.prediction(changed, features)
        assert not torch.allclose(before, after, atol=1e-6)
        before = model.encoder(x.frames, context, pyramid)
        assert not torch.allclose(before, model.encoder(x.frames, changed, features), atol=1e-6)


def test_time_is_known_without_a_state() -> None:
    model = shake(HSTMAE(WHOLE_SMALL))
    fields = len(WHOLE_SMALL.state_inputs)
    none = torch.zeros(1, 3, fields), torch.zeros(1, fields)
    slow, fast = (model.state(*none, torch.arange(3.0)[None] * s).tokens for s in (0.1, 0.01))
    assert not torch.allclose(slow, fast, atol=1e-4)


def test_each_part_of_the_carry_reaches_the_picture() -> None:
    model = shake(HSTMAE(WHOLE_SMALL))
    x = _inputs(model)
    plain, _ = _decode(model, x)
    for field in ("latents", "recurrent", "banks"):
        carry = replace(x.carry, **{field: getattr(x.carry, field) * 2 + 0.5})
        assert not torch.equal(plain, _decode(model, replace(x, carry=carry))[0]), field


def test_state_reaches_the_picture_and_its_absence_is_legal(model: HSTMAE) -> None:
    x, fields = _inputs(model), len(model.config.state_inputs)
    none, again = (
        model.state(torch.rand(1, 3, fields), torch.zeros(1, fields), torch.zeros(1, 3))
        for _ in range(2)
    )
    assert torch.equal(none.tokens, again.tokens)
    assert torch.equal(none.situation, again.situation)
    assert not torch.allclose(_decode(model, x)[0], _decode(model, replace(x, state=none))[0])


def test_score_modulates_the_decoder() -> None:
    model = shake(HSTMAE(WHOLE_SMALL))
    x = _inputs(model)
    state = EncodedState(x.state.tokens, x.state.situation + 1)
    assert not torch.allclose(_decode(model, x)[0], _decode(model, replace(x, state=state))[0])


def test_hidden_cubes_are_not_seen(model: HSTMAE) -> None:
    x = _inputs(model)
    context, pyramid = _context(model, x)
    masked = torch.zeros(1, 3, 5, dtype=torch.bool)
    masked[0, 1, 2] = True
    changed = x.frames.clone()
    changed[..., 16:32, 32:48] = 0
    seen = model.encoder(x.frames, context, pyramid, visible(masked))
    assert torch.equal(seen, model.encoder(changed, context, pyramid, visible(masked)))
    assert not torch.equal(seen, model.encoder(x.frames, context, pyramid))
    assert not seen[masked].any()


def test_batch_does_not_mix(model: HSTMAE) -> None:
    x = _inputs(model, batch=2)
    both, alone = _decode(model, x)[0], _decode(model, x.row(1))[0]
    assert torch.allclose(both[1:], alone, atol=1e-4)


def test_gradients_reach_every_parameter(model: HSTMAE) -> None:
    model.train()
    x, fields = _inputs(model), len(model.config.state_inputs)
    masked = torch.zeros(1, 3, 5, dtype=torch.bool)
    masked[0, 0, 0] = True
    context, pyramid = _context(model, x)
    key, key_pyramid = _context(model, x, 0.0)
    none = model.state(torch.rand(1, 3, fields), torch.zeros(1, fields), torch.zeros(1, 3))
    encoded = model.encoder(x.frames, context, pyramid, visible(masked))
    latents = model.prediction(context, pyramid) + encoded
    depths = torch.arange(15).view(1, 3, 5) % 4
    out = model.decoder(latents, depths, context, pyramid)
    first = model.decoder(latents, depths, key, key_pyramid)
    left = model.remember(context, out, latents, out.frames, depths)
    parts = (out.frames, first.frames, none.tokens, left.recurrent)
    torch.stack([part.square().sum() for part in parts]).sum().backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_configuration_round_trip_and_refusal() -> None:
    assert ModelConfig.from_dict(SMALL.to_dict()) == SMALL
    with pytest.raises(InputError, match="colour"):
        ModelConfig.from_dict({"colour": 3})


def test_tiny_is_at_most_six_million() -> None:
    inputs = tuple(StateInput(f"f{i}", "linear") for i in range(16))
    model = HSTMAE(ModelConfig(state_inputs=inputs))
    assert sum(p.numel() for p in model.parameters()) <= 6_000_000


@pytest.mark.parametrize("size", [(16, 16), (32, 48), (240, 320)])
def test_any_grid(model: HSTMAE, size: tuple[int, int]) -> None:
    height, width = size
    out, _ = _decode(model, _inputs(model, height=height, width=width))
    assert out.shape == (1, 2, 3, height, width)
    assert np.isfinite(out.detach().numpy()).all()
