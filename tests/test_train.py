"""Training: samples, depths, a run that stops, goes on, and becomes a model."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from relive.codec import Replay, encode
from relive.codec.export import export_model
from relive.cubes.clips import Crop, read_step
from relive.cubes.sampling import MOTIONS, Augmentation, Sampler, kinds_of, motions_of
from relive.cubes.store import SessionStore, open_folder, unpack
from relive.errors import InputError
from relive.model.hst_mae import HSTMAE
from relive.session import Session
from relive.train import checkpoint
from relive.train.chain import draw_depths
from relive.train.chance import Chance
from relive.train.loader import Share, Updates, place
from relive.train.optimise import make_optimizer
from relive.train.run import train
from relive.train.settings import TrainSettings, check_settings, read_settings
from small_model import SMALL, WHOLE_SMALL, small_weights
from test_codec import record

Settings = Callable[..., TrainSettings]
PHASE = {"batch": 2, "crop": (64, 64), "chain": (2, 4), "span": 2}


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> SessionStore:
    return unpack(record(tmp_path / "s.mcap", frames=40, size=(64, 80)), tmp_path / "cache")


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


def settings_in(folder: Path) -> Settings:
    """Settings of a short run on two sessions."""
    (folder / "data").mkdir()
    for name in ("a", "b"):
        record(folder / "data" / f"{name}.mcap", frames=40, size=(64, 80))

    def make(**changes: object) -> TrainSettings:
        phases = (
            {**PHASE, "name": "coded", "updates": 6, "context_noise": 0.02},
            {**PHASE, "name": "end", "updates": 2, "chain": 3},
        )
        masking = {"curriculum": True}
        pretrain = {**PHASE, "name": "masked", "updates": 9, "quantize": False, "masking": masking}
        values = {
            "data": folder / "data",
            "out": folder / "run",
            "cache": folder / "cache",
            "learning_rate": 1e-3,
            "workers": 0,
            "dynamic_weights": True,
            "weights": {"rate": 0.01, "multiview": 0.1},
            "restart_every": 3,
            "checkpoint_minutes": 1000,
            "valid_minutes": 1000,
            "tensorboard": False,
            "phase": (pretrain, *phases),
        }
        return check_settings(values | changes, "test")

    return make


def test_unpacking_is_exact_and_done_once(tmp_path: Path, store: SessionStore) -> None:
    with Session.open(tmp_path / "s.mcap") as session:
        assert np.array_equal(store.frames, session.frames(0, 40))
        assert np.array_equal(store.states, session.states)
    again = unpack(tmp_path / "s.mcap", tmp_path / "cache")
    assert again.name == store.name
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [store.name]


def test_a_step_is_cut_where_the_crop_says(store: SessionStore) -> None:
    crop = Crop(store, 3, 16, 32, 48, 32)
    step = read_step(crop, 2, ("health", "@forward"))
    assert np.array_equal(step.frames, store.frames[7:9, 32:64, 16:64])
    assert np.array_equal(step.before, store.frames[6])
    assert step.states[:, 0].tolist() == [94, 93, 92]
    first = read_step(crop, 0, ("health",))
    assert np.array_equal(first.before, store.frames[3])  # a keyframe knows nothing before it


def test_a_mirrored_step_with_a_stride(store: SessionStore) -> None:
    names = ("@forward", "@left", "@turn", "health")
    plain = read_step(Crop(store, 2, 16, 32, 48, 32, 2), 1, names)
    assert np.array_equal(plain.frames, store.frames[[6, 8], 32:64, 16:64])
    assert np.array_equal(plain.before, store.frames[4])
    mirrored = read_step(Crop(store, 2, 16, 32, 48, 32, 2, mirrored=True), 1, names)
    assert np.array_equal(mirrored.before, store.frames[4][:, ::-1])
    assert np.array_equal(mirrored.frames, store.frames[[6, 8]][:, 32:64, ::-1][:, :, 16:64])
    assert np.allclose(mirrored.states * [1, -1, -1, 1], plain.states, atol=1e-5)
    assert np.allclose(mirrored.seconds, plain.seconds)


def test_every_motion_is_drawn_in_fair_shares(store: SessionStore) -> None:
    motions = motions_of(store)
    assert set(motions.tolist()) <= set(range(len(MOTIONS)))
    rng, sampler = np.random.default_rng(0), Sampler([store])
    starts = [sampler.draw(2, (64, 64), rng, Augmentation()).start for _ in range(400)]
    counts = np.bincount(motions[: len(store.frames) - 4], minlength=4)
    drawn = np.bincount(motions[starts], minlength=4) / 400
    shares = np.sqrt(counts) / np.sqrt(counts).sum()
    assert np.abs(drawn - shares).max() < 0.1
    assert len(kinds_of([store, store])) == 1


def test_the_place_of_a_chain_follows_from_the_step() -> None:
    for slots, length in ((1, 4), (3, 5), (8, 16)):
        for slot in range(slots):
            chain, index = 0, 0
            first = 1 + slot * length // slots
            for step in range(4 * length):
                assert place(slot, slots, length, step) == (chain, index)
                index += 1
                if index == (length if chain else first):
                    chain, index = chain + 1, 0


def test_two_processes_read_what_one_reads(settings: Settings, store: SessionStore) -> None:
    phase = {**PHASE, "name": "a", "updates": 4}
    one = Updates([store], ("health",), settings(phase=({**phase, "batch": 4},)), 0, Share())
    halves = [
        Updates([store], ("health",), settings(phase=(phase,)), 0, Share(rank, 2))
        for rank in range(2)
    ]
    for update in (0, 3):
        whole, parts = one[update], [half[update] for half in halves]
        for step in range(2):
            for i, tensor in enumerate(whole.steps[step]):
                assert torch.equal(tensor, torch.cat([part.steps[step][i] for part in parts]))


def test_depths_are_in_range_and_keyframes_always_coded() -> None:
    error, kinds = torch.rand(4, 5, 6), torch.tensor([0.0, 1, 1, 0])
    drawn = [draw_depths(error, kinds, 6, Chance((0, n), range(4))) for n in range(60)]
    seen = torch.stack(drawn)
    assert int(seen.min()) == 0
    assert int(seen.max()) == 6
    assert int(seen[:, [0, 3]].min()) >= 1


def test_deep_where_the_context_fails() -> None:
    error = torch.linspace(0, 1, 100).view(1, 10, 10) ** 4
    chances = [Chance((0, n), [0]) for n in range(200)]
    drawn = torch.stack([draw_depths(error, torch.ones(1), 6, c)[0] for c in chances]).float()
    assert drawn[:, 7:].mean() > drawn[:, :3].mean() + 0.8


def test_fp16_scales_its_gradients_and_skips_what_is_not_finite(
    settings: Settings, tmp_path: Path
) -> None:
    phase = ({**PHASE, "name": "a", "updates": 20},)
    run = train(settings(phase=phase, precision="fp16"), begin=small_weights(SMALL))
    kept = checkpoint.read(run)
    assert kept.extra["scaler"]["scale"] > 1
    assert all(bool(t.isfinite().all()) for t in kept.part("model").values())
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    events = [line for line in lines if line.get("event") == "non-finite"]
    assert kept.progress.skipped == len(events)
    assert np.isfinite(next(line["loss"] for line in lines if "loss" in line))


def test_what_is_not_finite_is_skipped_and_counted(settings: Settings, tmp_path: Path) -> None:
    phase = ({**PHASE, "name": "a", "updates": 2},)
    model, quantizer = small_weights(SMALL)
    with torch.no_grad():
        model.decoder.norm.weight[0] = torch.nan
    before = {k: v.clone() for k, v in model.state_dict().items()}
    run = train(settings(phase=phase), begin=(model, quantizer))
    kept = checkpoint.read(run)
    assert kept.progress.skipped == 2
    after = kept.part("model")
    assert all(torch.equal(before[k].nan_to_num(), after[k].nan_to_num()) for k in before)


def test_accumulated_batches_are_one_update(settings: Settings, tmp_path: Path) -> None:
    phase = ({**PHASE, "name": "a", "updates": 3, "accumulate": 2},)
    run = train(settings(phase=phase), begin=small_weights(SMALL))
    progress = checkpoint.read(run).progress
    assert progress.update == 3
    recomputed = train(
        settings(phase=phase, out=tmp_path / "again", recompute=True), begin=small_weights(SMALL)
    )
    a, b = newest(run), newest(recomputed)
    assert all(torch.allclose(a[k], b[k], atol=1e-5) for k in a if k.startswith("model."))


def newest(run: Path) -> dict[str, torch.Tensor]:
    """All tensors of the newest checkpoint."""
    return load_file(checkpoint.numbered(run)[-1])


def weights_of(run: Path) -> torch.Tensor:
    """All weights of the newest checkpoint in one row."""
    tensors = newest(run)
    return torch.cat([tensors[k].flatten() for k in sorted(tensors) if k.startswith("model.")])


def last_line(run: Path) -> dict:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line][-1]


TWO = """
import sys
from pathlib import Path
from relive.train.run import train
from relive.train.settings import check_settings, read_json
from small_model import SMALL, small_weights
train(check_settings(read_json(Path(sys.argv[1])), "test"), begin=small_weights(SMALL))
"""


def test_two_processes_train_what_one_trains(settings: Settings, tmp_path: Path) -> None:
    """Gloo, DDP: as one process with the doubled batch, and not as one with half of it.

    Weights are compared by how far they went: Adam makes steps of a small gradient's sign.
    """
    phase = {**PHASE, "name": "a", "updates": 20, "quantize": False}
    fixed = {"dynamic_weights": False, "weights": {}, "warmup_updates": 0, "precision": "float32"}
    runs = {}
    for name, batch in (("doubled", 4), ("half", 2)):
        alone = settings(phase=({**phase, "batch": batch},), out=tmp_path / name, **fixed)
        runs[name] = train(alone, begin=small_weights(SMALL))
    # checkpoints on the way gather what the chains left
    split = settings(phase=(phase,), out=tmp_path / "two", **(fixed | {"checkpoint_minutes": 0.01}))
    (tmp_path / "two.json").write_text(split.model_dump_json())
    (tmp_path / "go.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path / "go.py"), str(tmp_path / "two.json")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(checkpoint.numbered(tmp_path / "two")) > 1
    state = small_weights(SMALL)[0].state_dict()
    before = torch.cat([state[k].flatten() for k in sorted(state)])
    doubled, half, two = (weights_of(p) for p in (*runs.values(), tmp_path / "two"))
    way = torch.linalg.norm(doubled - before)
    assert torch.linalg.norm(two - doubled) < 0.05 * way
    assert torch.linalg.norm(half - doubled) > 0.3 * way
    losses = [last_line(run)["loss"] for run in (runs["doubled"], tmp_path / "two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


CONFIG = """
data = "{folder}/data"
out = "{folder}/run"
cache = "{folder}/cache"
learning_rate = 1e-3
state_names = ["health", "@turn"]
checkpoint_minutes = 0.01
valid_minutes = 0.02
[[phase]]
name = "a"
minutes = 0.03
batch = 2
crop = [64, 64]
chain = 2
quantize = false
[[phase]]
name = "b"
minutes = {minutes}
batch = 2
crop = [64, 64]
chain = 3
span = 2
"""


def test_a_run_by_the_clock_becomes_a_model(tmp_path: Path, settings: Settings) -> None:
    config = tmp_path / "run.toml"
    config.write_text(CONFIG.format(folder=tmp_path, minutes=0.02))
    run = train(config, begin=small_weights(SMALL))
    progress = checkpoint.read_progress(run)
    assert progress["update"] > 0
    assert progress["seconds"] >= 0.05 * 60  # both phases
    stores = open_folder(tmp_path / "data", tmp_path / "cache")
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert any("valid" in line for line in lines)
    assert list((run / "pictures").glob("*.png"))
    weights = checkpoint.load_averaged(run)
    bundle = export_model(weights, stores, tmp_path / "m.safetensors", per_store=1)
    report = encode(tmp_path / "data/a.mcap", tmp_path / "s.relive", model=bundle)
    with Replay.open(tmp_path / "s.relive", tmp_path / "m.safetensors") as replay:
        assert replay.frames(0, 24).shape == (24, 64, 80, 3)
    assert report.frames == 40


def test_one_session_alone_cannot_validate(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "data/b.mcap").unlink()
    with pytest.raises(InputError, match="another one to validate"):
        train(settings(), begin=small_weights(SMALL))


@pytest.mark.parametrize(
    ("text", "names"),
    [("data = 3", "data"), ("colour = 1", "phase"), ("[[phase", "not TOML")],
)
def test_wrong_settings_name_what_is_wrong(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_settings(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert names in str(error.value) or "data" in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": {"colour": 1.0}}, "no such loss"),
        ({"weights": {"rate": -1.0}}, "below zero"),
        ({"phase": ({**PHASE, "name": "a"},)}, "minutes or updates or epochs"),
        ({"phase": ({"name": "p", "probability": True, "updates": 9},)}, "no length"),
        ({"precision": "fp8"}, "precision"),
    ],
)
def test_settings_are_checked(settings: Settings, change: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        settings(**change)


def test_a_curriculum_has_the_epochs_of_the_specification(settings: Settings) -> None:
    phase = {"name": "masked", "quantize": False, "masking": {"curriculum": True}}
    assert settings(phase=(phase,)).phase[0].epochs == 1200
    assert settings(phase=({**phase, "updates": 9},)).phase[0].epochs is None


def test_only_matrices_decay() -> None:
    model = HSTMAE(WHOLE_SMALL)
    matrices, others = make_optimizer(model, 1e-3, 0.05).param_groups
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.05, 0.0)
    free = {id(parameter) for parameter in others["params"]}
    bias = model.decoder.blocks[0].attention.bias  # by relative position: a table
    assert {id(model.base), id(bias), id(model.decoder.depth_embed.weight)} <= free
    linear = (model.encoder.linear.weight, model.state.blocks.layers[0].linear1.weight)
    assert not free & {id(weight) for weight in linear}


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sessions"):
        open_folder(tmp_path, tmp_path / "cache")
