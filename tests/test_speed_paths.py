"""Fast paths: one graph for the compiler, half precision without NaN, float32 where it matters."""

import os
from dataclasses import replace

import pytest
import torch
import torch._dynamo

from relive.codec import load_bundle
from relive.codec.step import to_picture
from relive.model.hst_mae import HSTMAE
from relive.model.layout import visible
from relive.model.masks import tube_mask
from relive.model.state import EncodedState
from relive.quantizer.rvq import ResidualVQ
from small_model import SMALL, WHOLE_SMALL, shake
from test_model import _context, _inputs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@torch.no_grad()
def _step(model: HSTMAE) -> tuple[object, tuple[torch.Tensor, ...]]:
    """Everything of a decoder's step after the warp: state, context, prediction, decoder, carry."""
    x = _inputs(model, 2)
    b, h, w = x.regions.shape
    fields = len(model.config.state_inputs)
    sent = torch.rand(b, h, w, model.config.quantizer.codebook_dim)
    depths = torch.ones(b, h, w, dtype=torch.long)
    values, known, seconds = torch.rand(b, 3, fields), torch.ones(b, fields), torch.rand(b, 3)

    def step(
        sent: torch.Tensor, depths: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        state = model.state(values, known, seconds)
        context, pyramid = model.context(
            x.carry, x.reference, x.valid, torch.ones(b), state, x.regions
        )
        latents = model.prediction(context, pyramid) + sent
        decoded = model.decoder(latents, depths, context, pyramid)
        left = model.remember(context, decoded, latents, decoded.frames, depths)
        return decoded.frames, left.recurrent, left.banks

    return step, (sent, depths, values)


@pytest.mark.parametrize("config", [SMALL, WHOLE_SMALL], ids=["plain", "whole"])
@pytest.mark.parametrize("part", ["dense encoder", "sparse encoder", "decoder step"])
def test_no_graph_breaks(config: object, part: str) -> None:
    model = shake(HSTMAE(config))
    function, arguments = _step(model)
    torch._dynamo.reset()
    with torch.no_grad():
        if part != "decoder step":
            x = _inputs(model, 2)
            masked = tube_mask(2, (3, 5), 0.5, torch.Generator().manual_seed(0))
            layout = visible(masked) if part == "sparse encoder" else None
            function, arguments = model.encoder, (x.frames, *_context(model, x), layout)
        seen = torch._dynamo.explain(function)(*arguments)
    assert seen.graph_break_count == 0, [str(b.reason) for b in seen.break_reasons]
    assert seen.graph_count == 1


def test_compiled_step_equals_the_plain_one() -> None:
    step, arguments = _step(shake(HSTMAE(WHOLE_SMALL)))
    torch._dynamo.reset()
    with torch.no_grad():
        plain = step(*arguments)
        compiled = torch.compile(step, backend="aot_eager", fullgraph=True)(*arguments)
    for a, b in zip(plain, compiled, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.fixture(name="real", scope="module")
def _real(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    """Four frames of a real game `[2, 2, 3, H, W]`."""
    pytest.importorskip("vizdoom")
    from relive.session.sources.doom import DoomGame

    before = os.getcwd()  # noqa: PTH109 - vizdoom writes into the current folder
    os.chdir(tmp_path_factory.mktemp("doom"))
    try:
        with DoomGame("freedoom2/map01", 3) as doom:
            frames = [tic.frame for tic, _ in zip(doom, range(40), strict=False)][-4:]
    finally:
        os.chdir(before)
    return torch.stack([to_picture(f[None])[0] for f in frames]).unflatten(0, (2, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_real_frames(real: torch.Tensor, dtype: torch.dtype) -> None:
    bundle = load_bundle()
    model, (h, w) = bundle.model, (real.shape[-2] // 16, real.shape[-1] // 16)
    fields = len(model.config.state_inputs)
    shown = []
    for enabled in (False, True):
        carry = model.start(1, 16 * h, 16 * w)
        depths = torch.full((1, h, w), 6)
        for index in range(2):
            with torch.no_grad(), torch.autocast("cpu", dtype, enabled=enabled):
                state = model.state(
                    torch.zeros(1, 3, fields), torch.zeros(1, fields), torch.zeros(1, 3)
                )
                reference = carry.pictures[:, 1:].expand(-1, 2, -1, -1, -1)
                valid, delta = torch.ones_like(reference[:, :, :1]), torch.tensor([float(index)])
                context, pyramid = model.context(
                    carry, reference, valid, delta, state, carry.regions
                )
                encoded = model.encoder(real[index : index + 1], context, pyramid)
                codes = bundle.quantizer.encode(encoded.flatten(0, 2), index)
                sent = bundle.quantizer.decode(codes, depths.flatten(), index).view_as(encoded)
                latents = model.prediction(context, pyramid) + sent
                decoded = model.decoder(latents, depths, context, pyramid)
                pictures = decoded.frames.clamp(0, 1)
                carry = model.remember(context, decoded, latents, pictures, depths)
            for part in (encoded, latents, decoded.frames, carry.recurrent, carry.banks):
                assert part.dtype == torch.float32
                assert part.isfinite().all()
        shown.append(decoded.frames)
    assert (shown[0] - shown[1]).abs().mean() < 0.02  # codes may differ where two are as near


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_mechanism_in_half_precision(real: torch.Tensor, dtype: torch.dtype) -> None:
    model = shake(HSTMAE(WHOLE_SMALL))
    x = _inputs(model, 2, real.shape[-2], real.shape[-1])
    with torch.autocast("cpu", dtype):
        context, pyramid = _context(model, x)
        encoded = model.encoder(real, context, pyramid)
        depths = torch.full(encoded.shape[:3], 3)
        decoded = model.decoder(encoded, depths, context, pyramid)
        carry = model.remember(context, decoded, encoded, decoded.frames, depths)
        loss = decoded.frames.square().mean() + carry.recurrent.square().mean()
        prediction = model.prediction(context, pyramid)
    loss.backward()
    for part in (encoded, decoded.frames, carry.recurrent, carry.banks, carry.latents):
        assert part.dtype == torch.float32
        assert part.isfinite().all()
    state = EncodedState(context.state_tokens, context.situation)
    with torch.no_grad():  # the context is that of float32, but for the state's own rounding
        whole, features = _context(model, replace(x, state=state))
        assert torch.allclose(features.s4, pyramid.s4, atol=1e-6)
        assert torch.allclose(features.s16, pyramid.s16, atol=1e-6)
        assert torch.allclose(model.prediction(whole, features), prediction, atol=1e-6)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_quantiser_is_float32_under_autocast() -> None:
    quantizer = ResidualVQ(SMALL.quantizer).eval()
    chance = torch.Generator().manual_seed(0)
    vectors = torch.randn(500, 8, generator=chance)
    quantizer.start(vectors, 1, chance)
    plain = quantizer.encode(vectors, 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantizer.encode(vectors, 1), plain)
        quantized = quantizer(vectors, torch.full((500,), 3), torch.ones(500))
    assert quantized.vectors.dtype == torch.float32
