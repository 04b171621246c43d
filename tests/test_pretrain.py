"""Masked pretraining and further losses: masks over a chain, where the loss lies, what learns."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from relive.config import ModelConfig
from relive.cubes.clips import Crop
from relive.cubes.store import SessionStore, unpack
from relive.errors import InputError
from relive.model.decoder import Decoded
from relive.model.hst_mae import HSTMAE
from relive.model.layout import Everything, visible
from relive.model.masks import hidden_count, running_cell_mask, tube_mask
from relive.quantizer.rvq import ResidualVQ
from relive.train.batch import Batch, Left, read_batch
from relive.train.chain import Decoding, quantise, run_step, start, warp_step
from relive.train.chance import Chance
from relive.train.codebooks import Pool
from relive.train.losses import Losses
from relive.train.pretrain import draw_masks, hidden_loss, hide, pretrain_step
from relive.train.run import train
from relive.train.settings import Masking, TrainSettings, read_settings
from small_model import WHOLE_SMALL, shake, small_weights
from test_codec import record

NAMES = tuple(s.name for s in WHOLE_SMALL.state_inputs)
ROWS = 3


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> SessionStore:
    return unpack(record(tmp_path / "s.mcap", frames=40, size=(64, 96)), tmp_path / "cache")


def _batch(store: SessionStore, index: int) -> Batch:
    crops = [Crop(store, start, 0, 0, 96, 64) for start in (0, 5, 9)]
    return read_batch(crops, index, NAMES)


def _chance(step: int) -> Chance:
    return Chance((0, step), range(ROWS))


def _masks(
    masking: Masking, left: Left, index: list[int], regions: torch.Tensor, source: torch.Tensor
) -> torch.Tensor:
    chance = _chance(0)
    hidden = hidden_count(regions[0].numel(), masking.ratio)
    score = chance.uniform(*regions.shape[1:])
    at = torch.tensor(index)
    return draw_masks(masking, left, at, regions, source, chance, score, hidden)


def test_a_tube_stays_and_a_camera_mask_follows() -> None:
    regions = torch.zeros(ROWS, 4, 6, dtype=torch.long)
    before = tube_mask(ROWS, (4, 6), 0.75, torch.Generator().manual_seed(0))
    left = replace(start(HSTMAE(WHOLE_SMALL), ROWS, 64, 96), masked=before)
    nowhere = torch.full((ROWS, 4, 6), -1)
    going = [1, 2, 3]
    tube = _masks(Masking(kind="tube", ratio=0.75), left, going, regions, nowhere)
    assert torch.equal(tube, before)
    camera = Masking(kind="camera", ratio=0.75)
    moved = torch.arange(24).view(4, 6).roll(1, 1).expand(ROWS, 4, 6)  # all went one to the right
    followed = _masks(camera, left, going, regions, moved)
    assert torch.equal(followed, before.roll(1, 2))
    masks = _masks(camera, left, [1, 0, 3], regions, moved)  # the second has just begun
    assert torch.equal(masks[0], before[0].roll(1, 1))
    assert not torch.equal(masks[1], before[1].roll(1, 1))
    assert masks.flatten(1).sum(1).tolist() == [18, 18, 18]


def test_all_masks_begin_anew_where_the_ratio_rises() -> None:
    regions = torch.zeros(ROWS, 4, 6, dtype=torch.long)
    before = tube_mask(ROWS, (4, 6), 0.75, torch.Generator().manual_seed(0))
    left = replace(start(HSTMAE(WHOLE_SMALL), ROWS, 64, 96), masked=before)
    masks = _masks(Masking(ratio=0.8), left, [1, 2, 3], regions, regions)
    assert masks.flatten(1).sum(1).tolist() == [19, 19, 19]


def test_region_masks_hide_by_complexity() -> None:
    regions = torch.tensor([1, 5]).repeat_interleave(20).view(1, 4, 10).expand(ROWS, 4, 10)
    left = start(HSTMAE(WHOLE_SMALL), ROWS, 64, 160)
    masked = _masks(Masking(kind="region"), left, [0, 0, 0], regions, regions)
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


def test_a_hidden_cube_cannot_be_copied_from_the_step_before(store: SessionStore) -> None:
    model, masking = shake(HSTMAE(WHOLE_SMALL)), Masking(kind="tube", ratio=0.5, decoder=None)
    seen = []
    for change in (0.0, 0.3):
        left = start(model, ROWS, 64, 96)
        for index in range(2):
            left = pretrain_step(model, _batch(store, index), left, _chance(index), masking).left
        batch = _batch(store, 2)
        _, warped, _ = warp_step(model, batch, left.carry, batch.before + change)
        seen.append(hide(warped, left.masked).reference)
    pixels = left.masked.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None, None]
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


def test_codebooks_start_from_what_was_seen(store: SessionStore) -> None:
    model, pool, batch = shake(HSTMAE(WHOLE_SMALL)), Pool(), _batch(store, 0)
    left = start(model, ROWS, 64, 96)
    done = pretrain_step(model, batch, left, _chance(0), Masking(ratio=0.75))
    pool.add(done.remainders, done.masked, batch.is_delta)
    assert len(pool.kept[0]) == 3 * 6
    assert pool.kept[0].any(-1).all()
    assert len(pool.kept[1]) == 0


@pytest.mark.parametrize("kind", ["tube", "region", "camera"])
def test_pretraining_learns(store: SessionStore, kind: str) -> None:
    torch.manual_seed(0)
    model = HSTMAE(WHOLE_SMALL)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    masking, losses = Masking(kind=kind, ratio=0.75), []
    for step in range(24):
        if step % 6 == 0:
            left = start(model, ROWS, 64, 96)
        done = pretrain_step(model, _batch(store, step % 6), left, _chance(step), masking)
        left = done.left.map(torch.Tensor.detach)
        optimizer.zero_grad()
        done.mse.mean().backward()
        optimizer.step()
        losses.append(float(done.mse.detach().mean()))
        measured = done.errors.isfinite()
        assert (measured <= done.masked).all()
        means = [e[k].mean() for e, k in zip(done.errors, measured, strict=True)]
        assert torch.allclose(torch.stack(means), done.mse, rtol=1e-4)
    assert np.mean(losses[-6:]) < 0.9 * np.mean(losses[:4])


def _step(
    config: ModelConfig, store: SessionStore, weights: dict[str, float], steps: int = 3
) -> tuple[HSTMAE, Losses, dict[str, torch.Tensor], Decoding]:
    model, quantizer = shake(HSTMAE(config)).train(), ResidualVQ(config.quantizer)
    judge = Losses(model.config)
    left = start(model, ROWS, 64, 96)
    for index in range(steps):
        batch, chance = _batch(store, index), _chance(index)
        done = run_step(model, quantizer, batch, left, chance, quantize=False)
        losses = judge(model, quantizer, done, chance, weights)
        left = done.left
    return model, judge, losses, done


def test_only_losses_with_a_weight_are_computed(store: SessionStore) -> None:
    _, _, losses, _ = _step(WHOLE_SMALL, store, {"multiview": 0.0, "reconstruction": 1.0})
    assert set(losses) == {"reconstruction"}


def test_every_loss_is_finite_and_reaches_what_it_teaches(store: SessionStore) -> None:
    learned = replace(WHOLE_SMALL, mechanisms=replace(WHOLE_SMALL.mechanisms, warp="learned"))
    names = ("reconstruction", "spatial", "temporal", "state", "commitment", "rate")
    names += ("multiview", "photometric", "consistency")
    model, judge, losses, _ = _step(learned, store, dict.fromkeys(names, 1.0))
    assert set(losses) == set(names)
    for name in names:
        assert losses[name].isfinite(), name
    losses["photometric"].backward(retain_graph=True)
    assert all(p.grad is not None for p in model.warper.depth.parameters())
    losses["consistency"].backward(retain_graph=True)
    assert model.decoder.blocks[0].attention.qkv.weight.grad.any()
    losses["state"].backward(retain_graph=True)
    assert judge.state.read.weight.grad.any()
    assert model.decoder.linear.weight.grad.any()


def test_views_are_compared_with_an_earlier_one(store: SessionStore) -> None:
    model, quantizer = shake(HSTMAE(WHOLE_SMALL)).train(), ResidualVQ(WHOLE_SMALL.quantizer)
    left, kept = start(model, ROWS, 64, 96), None
    for index in range(8):
        done = run_step(model, quantizer, _batch(store, index), left, _chance(index))
        left = done.left
        if index in (1, 6):  # every fifth step, but no keyframe: it knows no depth
            kept = done.latents.detach()
        assert bool(left.view.held.all()) == (index > 0)
        if kept is not None:
            assert torch.equal(left.view.latents, kept)
    assert not left.view.latents.requires_grad


def test_multiview_pulls_on_the_encoder(store: SessionStore) -> None:
    model, judge, losses, _ = _step(WHOLE_SMALL, store, {"multiview": 1.0})
    losses["multiview"].backward()
    assert judge.multiview.project[0].weight.grad.any()
    assert model.encoder.to_latents.weight.grad.any()


def test_a_run_pretrains_and_goes_on(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        record(tmp_path / name / "s.mcap", frames=40, size=(64, 96))
    phase = {"batch": 2, "crop": (32, 32), "chain": 2, "span": 1, "quantize": False}
    settings = TrainSettings(
        data=tmp_path / "a",
        valid=tmp_path / "b",
        out=tmp_path / "run",
        cache=tmp_path / "cache",
        workers=0,
        tensorboard=False,
        weights={"multiview": 0.1},
        phase=(
            {"name": "masked", "updates": 20, "masking": {"kind": "camera"}, **phase},
            {"name": "plain", "updates": 20, **phase},
        ),
    )
    train(settings, begin=small_weights(WHOLE_SMALL))
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    phases = [line["phase"] for line in lines if "phase" in line]  # more lines on a slow machine
    assert list(dict.fromkeys(phases)) == ["masked", "plain"]
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
