"""Recurrent state and session adapters: references, round trips, what they leave alone."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from relive.config import Mechanisms
from relive.errors import InputError
from relive.model.adapters import (
    AdaptedLinear,
    adapter_parameters,
    adapter_state,
    add_adapters,
    freeze_all_but_adapters,
    load_adapters,
)
from relive.model.hst_mae import HSTMAE
from relive.model.layout import Everything
from relive.model.parts import PointLinear
from relive.model.recurrent import RecurrentCell
from relive.model.windows import Block, CrossAttention, WindowAttention
from small_model import SMALL, shake

# --- recurrent state


def test_recurrent_cell_is_a_gated_recurrent_unit() -> None:
    torch.manual_seed(0)
    cell, plain = RecurrentCell(6, 5), nn.GRUCell(6, 5)
    with torch.no_grad():
        for layer, side in ((cell.from_features, "ih"), (cell.from_recurrent, "hh")):
            layer.weight.copy_(plain.get_parameter(f"weight_{side}"))
            layer.bias.copy_(plain.get_parameter(f"bias_{side}"))
    recurrent, features = torch.zeros(2, 3, 4, 5), torch.randn(2, 3, 4, 6)
    wanted = recurrent.flatten(0, 2)
    for _ in range(3):
        recurrent = cell(recurrent, features)
        wanted = plain(cell.norm(features).flatten(0, 2), wanted)
    torch.testing.assert_close(recurrent.flatten(0, 2), wanted)


def test_recurrent_state_stays_within_bounds_and_float32() -> None:
    torch.manual_seed(0)
    cell = RecurrentCell(6, 5)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(20)
    recurrent = torch.zeros(1, 2, 2, 5)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        for scale in (1e4, 0.0, 1.0, 1e8) * 5:
            recurrent = cell(recurrent, (torch.randn(1, 2, 2, 6) * scale).bfloat16())
    assert recurrent.dtype == torch.float32
    assert recurrent.abs().max() <= 1


def test_recurrent_cell_is_the_same_under_autocast() -> None:
    torch.manual_seed(0)
    cell, features = RecurrentCell(6, 5), torch.randn(1, 2, 2, 6)
    plain = cell(torch.zeros(1, 2, 2, 5), features)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(cell(torch.zeros(1, 2, 2, 5), features), plain, rtol=0, atol=0)


def test_recurrent_cell_remembers_and_learns() -> None:
    torch.manual_seed(0)
    cell = RecurrentCell(6, 5)
    start, first, second = torch.zeros(1, 2, 2, 5), *torch.randn(2, 1, 2, 2, 6)
    after = cell(cell(start, first), second)
    assert (after - cell(start, second)).abs().max() > 1e-3
    after.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in cell.parameters())


# --- session adapters


class Model(nn.Module):
    """Blocks of an encoder, and what must stay without adapters."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(8, WindowAttention(8, 2, 4, shift), CrossAttention(8, 6, 2), 2.0)
            for shift in (0, 2)
        )
        self.head = PointLinear(8, 3)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        b, h, w, _ = x.shape
        regions = torch.zeros(b, h, w, dtype=torch.long)
        for block, shift in zip(self.blocks, (0, 2), strict=True):
            windows = Everything(h, w).windows(1, 4, shift, b, x.device)
            x = block(x, windows, tokens, regions)
        return self.head(x)


def a_model(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    model = Model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def an_input() -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(5)
    return torch.randn(2, 6, 5, 8, generator=chance), torch.randn(2, 3, 6, generator=chance)


@pytest.mark.parametrize("grad", [False, True])
def test_adapted_model_begins_as_the_plain_one(grad: bool) -> None:
    model = a_model()
    with torch.set_grad_enabled(grad):
        plain = model(*an_input())
        add_adapters(model, 3)
        assert torch.equal(model(*an_input()), plain)
    assert sum(isinstance(m, AdaptedLinear) for m in model.modules()) == 2 * 4
    assert not isinstance(model.head, AdaptedLinear)
    assert len(adapter_parameters(model)) == 2 * 2 * 4


def test_adapted_layer_is_base_plus_low_rank() -> None:
    torch.manual_seed(0)
    layer = AdaptedLinear(PointLinear(6, 4), 2)
    nn.init.normal_(layer.up.weight)
    x = torch.randn(2, 3, 5, 6)
    weight = layer.weight + layer.scale * layer.up.weight @ layer.down.weight
    torch.testing.assert_close(layer(x), F.linear(x, weight, layer.bias))
    with torch.no_grad():
        torch.testing.assert_close(layer(x), F.linear(x, weight, layer.bias))


def test_plain_weights_fit_an_adapted_model_and_back() -> None:
    plain, adapted = a_model(1), a_model(2)
    add_adapters(adapted, 2)
    missing = adapted.load_state_dict(plain.state_dict(), strict=False)
    assert sorted(missing.missing_keys) == sorted(adapter_state(adapted))
    assert not missing.unexpected_keys
    assert torch.equal(adapted(*an_input()), plain(*an_input()))
    back = a_model(3).load_state_dict(adapted.state_dict(), strict=False)
    assert not back.missing_keys
    assert sorted(back.unexpected_keys) == sorted(adapter_state(adapted))


def trained(model: Model, steps: int = 30) -> list[float]:
    """Train what wants gradients towards a target."""
    target = torch.randn(2, 6, 5, 3, generator=torch.Generator().manual_seed(9))
    free = [p for p in model.parameters() if p.requires_grad]
    optimizer, losses = torch.optim.Adam(free, 1e-2), []
    for _ in range(steps):
        loss = (model(*an_input()) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_training_the_adapters_leaves_the_base_alone() -> None:
    model = a_model()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    add_adapters(model, 4)
    freeze_all_but_adapters(model)
    losses = trained(model)
    assert losses[-1] < 0.8 * losses[0]
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(bool(p.grad.any()) for p in adapter_parameters(model) if p.grad is not None)
    assert all(p.grad is None for n, p in model.named_parameters() if n in before)


def test_adapters_round_trip() -> None:
    model = a_model()
    add_adapters(model, 2)
    fresh = adapter_state(model)
    freeze_all_but_adapters(model)
    trained(model, 3)
    other = a_model()
    add_adapters(other, 2)
    with torch.no_grad():
        load_adapters(other, adapter_state(model))
        assert torch.equal(other(*an_input()), model(*an_input()))
        assert not torch.equal(other(*an_input()), a_model()(*an_input()))
        load_adapters(other, fresh)  # the copy of before the training was not trained along
        assert torch.equal(other(*an_input()), a_model()(*an_input()))


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda s: s.pop(next(iter(s))), "one side only"),
        (lambda s: s.update({"head.weight": torch.zeros(3, 8)}), "head.weight"),
        (lambda s: s.update({next(reversed(s)): torch.zeros(5, 5)}), "shape"),
        (lambda s: s[next(reversed(s))].fill_(math.nan), "not finite"),
    ],
)
def test_adapters_that_do_not_fit_are_refused(damage, word: str) -> None:
    model = a_model()
    add_adapters(model, 2)
    kept = adapter_state(model)
    state = {name: tensor + 1 for name, tensor in kept.items()}
    damage(state)
    with pytest.raises(InputError, match=word):
        load_adapters(model, state)
    assert all(torch.equal(a, b) for a, b in zip(kept.values(), adapter_state(model).values()))  # noqa: B905


def test_adapters_are_refused_where_they_make_no_sense() -> None:
    model = a_model()
    with pytest.raises(InputError, match="at least 1"):
        add_adapters(model, 0)
    with pytest.raises(ValueError, match="no adapters"):
        freeze_all_but_adapters(model)
    add_adapters(model, 1)
    with pytest.raises(InputError, match="already"):
        add_adapters(model, 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_adapters_work_under_autocast(dtype: torch.dtype) -> None:
    model = a_model()
    add_adapters(model, 2)
    with torch.autocast("cpu", dtype):
        model(*an_input()).square().mean().backward()
    assert all(
        bool(p.grad.isfinite().all()) for p in adapter_parameters(model) if p.grad is not None
    )


def test_every_block_of_the_whole_model_is_adapted() -> None:
    def build(rank: int) -> HSTMAE:
        return HSTMAE(replace(SMALL, mechanisms=Mechanisms(recurrent_dim=4, adapter_rank=rank)))

    plain, adapted = shake(build(0)), build(2).eval()
    adapted.load_state_dict(plain.state_dict(), strict=False)
    names = [name for name, m in adapted.named_modules() if isinstance(m, AdaptedLinear)]
    assert len(names) == 4 * (sum(SMALL.depths) + SMALL.decoder_depth)
    assert {name.split(".")[0] for name in names} == {"encoder", "decoder"}
    frames = torch.rand(1, 2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted, got = (keyframe(model, frames) for model in (plain, adapted))
    for a, b in zip(got, wanted, strict=True):
        assert torch.equal(a, b)


def keyframe(model: HSTMAE, frames: Tensor) -> tuple[Tensor, Tensor]:
    """What a step shows, and the recurrent state that it leaves."""
    state = model.state(torch.ones(1, 3, 2), torch.ones(1, 2), torch.zeros(1, 3))
    context, pyramid = model.empty_context(32, 48, state, torch.zeros(1, 2, 3, dtype=torch.long))
    depths = torch.full((1, 2, 3), 3)
    latents = model.encoder(frames, context, pyramid) + model.prediction(context, pyramid)
    decoded = model.decoder(latents, depths, context, pyramid)
    carry = model.remember(context, decoded, latents, decoded.frames, depths)
    return decoded.frames, carry.recurrent


@pytest.mark.parametrize("grad", [False, True])
def test_cell_and_adapters_compile_as_one_graph(grad: bool) -> None:
    cell, layer = RecurrentCell(6, 5), AdaptedLinear(PointLinear(5, 4), 2)
    nn.init.normal_(layer.up.weight)

    def step(recurrent: Tensor, features: Tensor) -> Tensor:
        return layer(cell(recurrent, features))

    inputs = torch.randn(1, 2, 2, 5).tanh(), torch.randn(1, 2, 2, 6)
    compiled = torch.compile(step, backend="eager", fullgraph=True)
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(compiled(*inputs), step(*inputs))
