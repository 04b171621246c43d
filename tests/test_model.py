"""The networks: masks against brute force, keyframes that forget, gradients everywhere."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from relive.config import ModelConfig, StateInput
from relive.errors import InputError
from relive.model.context import unfold_pixels
from relive.model.hst_mae import HSTMAE
from relive.model.windows import HIDDEN, PatchConv, join_windows, split_windows, window_mask
from small_model import SMALL, shake


@pytest.fixture(name="model")
def _model() -> HSTMAE:
    torch.manual_seed(0)
    return shake(HSTMAE(SMALL))


def _run(
    model: HSTMAE, batch: int = 1, height: int = 48, width: int = 80
) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    h, w = height // 16, width // 16
    frames = torch.rand(batch, 2, 3, height, width, generator=generator)
    reference = torch.rand(batch, 2, 3, height, width, generator=generator)
    latents = torch.randn(batch, h, w, 8, generator=generator)
    states = torch.rand(batch, 3, 2, generator=generator)
    tokens = model.state(states, torch.ones(batch, 2), torch.rand(batch, 3, generator=generator))
    return {
        "frames": frames,
        "reference": reference,
        "valid": torch.ones(batch, 2, 1, height, width),
        "latents": latents,
        "tokens": tokens,
    }


def _decode(model: HSTMAE, x: dict[str, torch.Tensor], is_delta: float) -> torch.Tensor:
    batch = len(x["frames"])
    context, pyramid = model.context(
        x["reference"], x["valid"], x["latents"], torch.full((batch,), is_delta), x["tokens"]
    )
    encoded = model.encoder(x["frames"], context, pyramid)
    prediction = model.prediction(context, pyramid)
    depths = torch.full(encoded.shape[:3], 3)
    decoded: torch.Tensor = model.decoder(prediction + encoded, depths, context, pyramid)
    return decoded


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
    x = _run(model)
    other = {**x, "reference": 1 - x["reference"], "latents": x["latents"] * 5 + 3}
    other["valid"] = torch.zeros_like(x["valid"])
    assert torch.equal(_decode(model, x, 0.0), _decode(model, other, 0.0))
    assert not torch.allclose(_decode(model, x, 1.0), _decode(model, other, 1.0))


def test_state_reaches_the_picture_and_its_absence_is_legal(model: HSTMAE) -> None:
    x = _run(model)
    seconds = torch.zeros(1, 3)
    none = model.state(torch.rand(1, 3, 2), torch.zeros(1, 2), seconds)
    assert torch.equal(none, model.state(torch.rand(1, 3, 2), torch.zeros(1, 2), seconds))
    assert not torch.allclose(_decode(model, x, 1.0), _decode(model, {**x, "tokens": none}, 1.0))


def test_hidden_cubes_are_not_seen(model: HSTMAE) -> None:
    x = _run(model)
    context, pyramid = model.empty_context(48, 80, x["tokens"])
    masked = torch.zeros(1, 3, 5, dtype=torch.bool)
    masked[0, 1, 2] = True
    changed = x["frames"].clone()
    changed[..., 16:32, 32:48] = 0
    seen = model.encoder(x["frames"], context, pyramid, masked)
    assert torch.equal(seen, model.encoder(changed, context, pyramid, masked))
    assert not torch.equal(seen, model.encoder(x["frames"], context, pyramid))


def test_batch_does_not_mix(model: HSTMAE) -> None:
    x = _run(model, batch=2)
    alone = _decode(model, {k: v[1:] for k, v in x.items()}, 1.0)
    assert torch.allclose(_decode(model, x, 1.0)[1:], alone, atol=1e-4)


def test_gradients_reach_every_parameter(model: HSTMAE) -> None:
    model.train()
    x = _run(model)
    masked = torch.zeros(1, 3, 5, dtype=torch.bool)
    masked[0, 0, 0] = True
    context, pyramid = model.context(
        x["reference"], x["valid"], x["latents"], torch.ones(1), x["tokens"]
    )
    none = model.state(torch.rand(1, 3, 2), torch.zeros(1, 2), torch.zeros(1, 3))
    encoded = model.encoder(x["frames"], context, pyramid, masked)
    prediction = model.prediction(context, pyramid)
    depths = torch.randint(0, 4, encoded.shape[:3], generator=torch.Generator().manual_seed(0))
    out = model.decoder(prediction + encoded, depths, context, pyramid)
    (out.square().sum() + none.square().sum()).backward()
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
    x = _run(model, height=height, width=width)
    out = _decode(model, x, 1.0)
    assert out.shape == (1, 2, 3, height, width)
    assert np.isfinite(out.detach().numpy()).all()
