"""Masked pretraining and further losses: masks over a chain, where the loss lies, what learns."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from relive.config import ModelConfig
from relive.cubes.store import SessionStore, unpack
from relive.errors import InputError
from relive.model.context import Carry
from relive.model.decoder import Decoded
from relive.model.hst_mae import HSTMAE
from relive.model.layout import Everything, visible
from relive.model.masks import running_cell_mask, tube_mask
from relive.quantizer.rvq import ResidualVQ
from relive.train.chain import (
    Chain,
    advance,
    carry_of,
    new_chain,
    quantise,
    run_step,
    to_tensors,
    warp_step,
)
from relive.train.losses import Auxiliary
from relive.train.pretrain import draw_masks, hidden_loss, hide, pretrain_step
from relive.train.run import _Remainders, train
from relive.train.settings import Masking, TrainSettings, read_settings
from small_model import WHOLE_SMALL, shake
from test_codec import record

NAMES = tuple(s.name for s in WHOLE_SMALL.state_inputs)


@pytest.fixture(name="stores")
def _stores(tmp_path: Path) -> list[SessionStore]:
    return [unpack(record(tmp_path / "s.mcap", frames=40, size=(64, 96)), tmp_path / "cache")]


def _chains(stores: list[SessionStore], count: int = 3) -> list[Chain]:
    rng = np.random.default_rng(0)
    return [new_chain(stores, 6, (96, 64), rng, 0.0) for _ in range(count)]


def test_a_tube_stays_and_a_camera_mask_follows(stores: list[SessionStore]) -> None:
    chance, regions = torch.Generator().manual_seed(0), torch.zeros(3, 4, 6, dtype=torch.long)
    before = tube_mask(3, (4, 6), 0.75, chance)
    chains = [replace(c, masked=before[i : i + 1]) for i, c in enumerate(_chains(stores))]
    nowhere = torch.full((3, 4, 6), -1)
    tube = draw_masks(Masking(kind="tube", ratio=0.75), chains, regions, nowhere, chance)
    assert torch.equal(tube, before)
    camera = Masking(kind="camera", ratio=0.75)
    moved = torch.arange(24).view(4, 6).roll(1, 1).expand(3, 4, 6)  # all went one to the right
    followed = draw_masks(camera, chains, regions, moved, chance)
    assert torch.equal(followed, before.roll(1, 2))
    chains[1] = replace(chains[1], masked=None)  # this one has just begun
    masks = draw_masks(camera, chains, regions, moved, chance)
    assert torch.equal(masks[0], before[0].roll(1, 1))
    assert masks.flatten(1).sum(1).tolist() == [18, 18, 18]


def test_region_masks_hide_by_complexity(stores: list[SessionStore]) -> None:
    regions = torch.tensor([1, 5]).repeat_interleave(20).view(1, 4, 10).expand(3, 4, 10)
    chance = torch.Generator().manual_seed(0)
    masked = draw_masks(Masking(kind="region"), _chains(stores), regions, regions, chance)
    assert masked[:, :2].flatten(1).sum(1).tolist() == [15, 15, 15]  # overlay: 75 %
    assert masked[:, 2:].flatten(1).sum(1).tolist() == [19, 19, 19]  # far: 95 %


def test_loss_lies_where_a_cube_is_hidden_and_decoded() -> None:
    chance = torch.Generator().manual_seed(0)
    frames = torch.rand(2, 2, 3, 64, 96, generator=chance)
    masked = tube_mask(2, (4, 6), 0.5, chance)
    skipped = running_cell_mask((4, 6), 0.5, 1, 2)
    guess = torch.rand(frames.shape, generator=chance)
    strip = visible(skipped)
    cut = strip.cut(guess.flatten(1, 2), 16).unflatten(1, (2, 3))
    features = torch.zeros(2, 12, 1, 4)
    loss = hidden_loss(Decoded(cut, features), frames, masked, strip)
    squares = (guess - frames).square().mean((1, 2)).unflatten(1, (4, 16)).unflatten(3, (6, 16))
    cubes = squares.mean((2, 4))
    for b in range(2):
        assert torch.isclose(loss[b], cubes[b][masked[b] & ~skipped[b]].mean())
    whole = hidden_loss(Decoded(guess, features), frames, masked, Everything(4, 6))
    assert torch.isclose(whole[0], cubes[0][masked[0]].mean())
    none = hidden_loss(Decoded(cut, features), frames, skipped, strip)
    assert none.tolist() == [0, 0]


def test_a_hidden_cube_cannot_be_copied_from_the_step_before(stores: list[SessionStore]) -> None:
    model, chains = shake(HSTMAE(WHOLE_SMALL)), _chains(stores)
    masking = Masking(kind="tube", ratio=0.5, decoder=None)
    seen = []
    for change in (0.0, 0.3):
        rng, now = np.random.default_rng(0), chains
        for _ in range(2):
            batch = to_tensors(now, NAMES)
            result = pretrain_step(model, now, batch, rng, masking)
            now = advance(now, result, stores, 6, (96, 64), rng)
        batch = to_tensors(now, NAMES)
        carry = carry_of(model, now, 64, 96)
        _, warped, _ = warp_step(model, batch, carry, batch.before + change)
        hidden = torch.cat([c.masked for c in now])
        seen.append(hide(warped, hidden).reference)
    pixels = hidden.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None, None]
    same = (seen[0] == seen[1]).all(2, keepdim=True)
    assert same[pixels.expand_as(same)].all()
    assert not same[~pixels.expand_as(same)].all()


def test_hidden_cubes_teach_the_codebooks_nothing() -> None:
    quantizer = ResidualVQ(WHOLE_SMALL.quantizer).train()
    chance = torch.Generator().manual_seed(0)
    quantizer.start(torch.randn(400, 8, generator=chance), 1, chance)
    remainders = torch.randn(2, 4, 6, 8, generator=chance)
    masked = tube_mask(2, (4, 6), 0.5, chance)
    other = copy.deepcopy(quantizer)
    depths, delta = torch.full((2, 4, 6), 3), torch.ones(2)
    arrived, _ = quantise(quantizer, remainders, depths, delta, masked)
    changed = torch.where(masked[..., None], 9.0, remainders)
    again, _ = quantise(other, changed, depths, delta, masked)
    assert torch.equal(arrived, again)
    assert not arrived[masked].any()
    assert torch.equal(quantizer.codebooks, other.codebooks)
    assert torch.equal(quantizer.counts, other.counts)


def test_codebooks_start_from_what_was_seen(stores: list[SessionStore]) -> None:
    model, rng, chains = shake(HSTMAE(WHOLE_SMALL)), np.random.default_rng(0), _chains(stores)
    batch, kept = to_tensors(chains, NAMES), _Remainders()
    result = pretrain_step(model, chains, batch, rng, Masking(ratio=0.75))
    kept.add(result, batch.is_delta)
    assert len(kept.kept[0]) == 3 * 6
    assert kept.kept[0].any(-1).all()
    assert len(kept.kept[1]) == 0


@pytest.mark.parametrize("kind", ["tube", "region", "camera"])
def test_pretraining_learns(stores: list[SessionStore], kind: str) -> None:
    torch.manual_seed(0)
    model, rng = HSTMAE(WHOLE_SMALL), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    masking, chains, losses = Masking(kind=kind, ratio=0.75), _chains(stores), []
    for _ in range(24):
        result = pretrain_step(model, chains, to_tensors(chains, NAMES), rng, masking)
        optimizer.zero_grad()
        result.mse.mean().backward()
        optimizer.step()
        losses.append(float(result.mse.detach().mean()))
        chains = advance(chains, result, stores, 6, (96, 64), rng)
        chains = [replace(c, carry=c.carry and c.carry.map(torch.Tensor.detach)) for c in chains]
    assert np.mean(losses[-6:]) < 0.9 * np.mean(losses[:4])


def _step(config: ModelConfig, stores: list[SessionStore], weights: dict[str, float]) -> tuple:
    model, quantizer = shake(HSTMAE(config)).train(), ResidualVQ(config.quantizer)
    auxiliary = Auxiliary(config.quantizer.codebook_dim, weights)
    rng, chains = np.random.default_rng(0), _chains(stores)
    for _ in range(3):
        batch = to_tensors(chains, NAMES)
        result = run_step(model, quantizer, chains, batch, rng, False, auxiliary=auxiliary)
        chains = advance(chains, result, stores, 6, (96, 64), rng)
    return model, auxiliary, result


def test_only_losses_with_a_weight_are_computed(stores: list[SessionStore]) -> None:
    _, _, result = _step(WHOLE_SMALL, stores, {"multiview": 0.0})
    assert set(result.losses) == {"commitment"}


def test_further_losses_reach_what_they_teach(stores: list[SessionStore]) -> None:
    learned = replace(WHOLE_SMALL, mechanisms=replace(WHOLE_SMALL.mechanisms, warp="learned"))
    weights = {"multiview": 1.0, "photometric": 1.0, "consistency": 1.0}
    model, _, result = _step(learned, stores, weights)
    assert set(result.losses) == {"commitment", *weights}
    for name in weights:
        assert result.losses[name].isfinite(), name
    result.losses["photometric"].backward(retain_graph=True)
    assert all(p.grad is not None for p in model.warper.depth.parameters())
    result.losses["consistency"].backward(retain_graph=True)
    assert model.decoder.blocks[0].attention.qkv.weight.grad.any()
    assert isinstance(result.carry, Carry)


def test_views_are_compared_with_an_earlier_one(stores: list[SessionStore]) -> None:
    model, quantizer = shake(HSTMAE(WHOLE_SMALL)).train(), ResidualVQ(WHOLE_SMALL.quantizer)
    rng, chains = np.random.default_rng(0), [replace(c, length=9) for c in _chains(stores)]
    kept = None
    for index in range(8):
        result = run_step(model, quantizer, chains, to_tensors(chains, NAMES), rng, False)
        if index in (1, 6):  # every fifth step, but no keyframe: it knows no depth
            kept = result.views[0]
        chains = advance(chains, result, stores, 6, (96, 64), rng)
        assert chains[0].view is kept
    assert kept is not None
    assert not kept.latents.requires_grad


def test_multiview_pulls_on_the_encoder(stores: list[SessionStore]) -> None:
    model, auxiliary, result = _step(WHOLE_SMALL, stores, {"multiview": 1.0})
    result.losses["multiview"].backward()
    assert auxiliary.multiview.project[0].weight.grad.any()
    assert model.encoder.to_latents.weight.grad.any()


def test_a_run_pretrains_and_goes_on(tmp_path: Path, stores: list[SessionStore]) -> None:
    phase = {"batch": 2, "crop": (32, 32), "chain": 2, "span": 1, "quantize": False}
    settings = TrainSettings(
        data=tmp_path,
        valid=tmp_path,
        out=tmp_path / "run",
        cache=tmp_path / "cache",
        state_names=("health",),
        mechanisms={"early_fusion": True, "recurrent_dim": 4, "memory_slots": 2},
        multiview_weight=0.1,
        phase=(
            {"name": "masked", "updates": 20, "masking": {"kind": "camera"}, **phase},
            {"name": "plain", "updates": 20, **phase},
        ),
    )
    train(settings)
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines if "phase" in line] == ["masked", "plain"]
    assert all(line["skipped"] == 0 for line in lines if "phase" in line)


@pytest.mark.parametrize(
    ("masking", "word"),
    [('kind = "round"', "kind"), ("decoder = 0.6", "running cell"), ("ratio = 1.0", "ratio")],
)
def test_wrong_masking_is_named(tmp_path: Path, masking: str, word: str) -> None:
    text = 'data = "a"\nvalid = "b"\nout = "c"\n[[phase]]\nname = "p"\nupdates = 2\nbatch = 1\n'
    text += "crop = [32, 32]\nchain = 2\nspan = 1\nquantize = false\n[phase.masking]\n" + masking
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(InputError, match=word):
        read_settings(tmp_path / "x.toml")
