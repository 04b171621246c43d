"""The four sizes against the specification: parameters, FLOPs, widths; and that they really run."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from relive.codec import load_bundle, save_bundle
from relive.config import ModelConfig, StateInput
from relive.model.hst_mae import HSTMAE
from relive.model.layout import visible
from relive.model.masks import tube_mask
from relive.model.sizes import SIZES
from relive.quantizer.rvq import ResidualVQ

INPUTS = (
    *(StateInput(f"f{i}", "linear") for i in range(10)),
    StateInput("k", "counter", role="score"),
)
PX = 224


def _config(name: str) -> ModelConfig:
    return replace(SIZES[name], state_inputs=INPUTS)


def _meta(name: str) -> HSTMAE:
    with torch.device("meta"):
        return HSTMAE(_config(name)).to_empty(device="meta")


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _gflops(name: str) -> tuple[float, float]:
    """GFLOPs a frame of a delta at 224x224: encoder with state and context, and decoder."""
    model, config = _meta(name), _config(name)
    h = PX // 16
    with torch.device("meta"):
        regions = torch.zeros(1, h, h, dtype=torch.long)
        with FlopCounterMode(display=False) as encoder:
            state = model.state(torch.zeros(1, 3, 11), torch.ones(1, 11), torch.zeros(1, 3))
            carry, pair = model.start(1, PX, PX), torch.zeros(1, 2, 3, PX, PX)
            context, pyramid = model.context(
                carry, pair, pair[:, :, :1], torch.ones(1), state, regions
            )
            model.encoder(torch.zeros(1, 2, 3, PX, PX), context, pyramid)
        with FlopCounterMode(display=False) as decoder:
            latents = torch.zeros(1, h, h, config.quantizer.codebook_dim)
            model.decoder(latents, regions, context, pyramid)
    return encoder.get_total_flops() / 2e9, decoder.get_total_flops() / 2e9


@pytest.mark.parametrize(
    ("name", "encoder", "decoder", "gflops"), [("base", 120, 60, 45), ("large", 350, 100, 120)]
)
def test_specified_sizes(name: str, encoder: int, decoder: int, gflops: int) -> None:
    model = _meta(name)
    whole, decoding = _count(model), _count(model.decoder)
    assert (whole - decoding) / 1e6 == pytest.approx(encoder, rel=0.05)
    assert decoding / 1e6 == pytest.approx(decoder, rel=0.05)
    assert SIZES[name].embed_dims == (768, 1024, 1280, 1408)
    coding, showing = _gflops(name)
    assert coding == pytest.approx(gflops, rel=0.15)
    assert coding + showing == pytest.approx(gflops, rel=0.15)


@pytest.mark.parametrize(("name", "most"), [("tiny", 6e6), ("small", 20e6)])
def test_small_sizes(name: str, most: float) -> None:
    assert _count(_meta(name)) <= most


def test_stages_are_56_28_14_7() -> None:
    model, seen = _meta("base"), []
    for stage in model.encoder.stages:
        stage[0].register_forward_hook(lambda _, args, out: seen.append(tuple(out.shape[1:])))
    with torch.device("meta"):
        state = model.state(torch.zeros(1, 3, 11), torch.ones(1, 11), torch.zeros(1, 3))
        regions = torch.zeros(1, 14, 14, dtype=torch.long)
        context, pyramid = model.empty_context(PX, PX, state, regions)
        model.encoder(torch.zeros(1, 2, 3, PX, PX), context, pyramid)
    assert seen == [(56, 56, 768), (28, 28, 1024), (14, 14, 1280), (7, 7, 1408)]


@pytest.mark.parametrize("name", ["tiny", "small", "base", "large"])
def test_every_size_runs_learns_and_is_saved(name: str, tmp_path: Path) -> None:
    config = _config(name)
    torch.manual_seed(0)
    model = HSTMAE(config)
    h, w = 2, 4
    state = model.state(torch.rand(2, 3, 11), torch.ones(2, 11), torch.rand(2, 3))
    context, pyramid = model.empty_context(16 * h, 16 * w, state, torch.ones(2, h, w).long())
    frames = torch.rand(2, 2, 3, 16 * h, 16 * w)
    masked = tube_mask(2, (h, w), 0.5, torch.Generator().manual_seed(0))
    encoded = model.encoder(frames, context, pyramid, visible(masked))
    decoded = model.decoder(encoded, (~masked).long(), context, pyramid)
    (decoded.frames - frames).square().mean().backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    assert norm.isfinite()
    assert norm > 0
    file = tmp_path / "model.safetensors"
    model.zero_grad(set_to_none=True)
    save_bundle(file, model, ResidualVQ(config.quantizer))
    loaded = load_bundle(file)
    assert loaded.config == config
    for (key, a), b in zip(
        model.state_dict().items(), loaded.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a.half().float(), b), key
    file.unlink()
