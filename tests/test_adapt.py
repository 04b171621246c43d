"""Weights that go on learning from another game."""

from pathlib import Path

import numpy as np
import pytest
import torch

from relive.cli.run import run
from relive.codec import load_bundle
from relive.cubes.clips import Crop
from relive.cubes.store import SessionStore, unpack
from relive.session import Recorder, StateField, StateSchema
from relive.train import checkpoint
from relive.train.adapt import new_fields, with_fields
from relive.train.batch import read_batch
from relive.train.chain import run_step, start
from relive.train.chance import Chance
from relive.train.run import train
from relive.train.settings import check_settings
from small_model import SMALL, small_weights, write_small_model

SCHEMA = StateSchema(
    (
        StateField("health", unit="hp", step=1.0),
        StateField("speed", unit="m/s", step=0.1),
        StateField("x", role="actor.x", unit="m", step=0.1),
        StateField("steer", kind="angle", unit="rad", step=0.001),
    )
)


def _store(folder: Path) -> SessionStore:
    rng = np.random.default_rng(0)
    with Recorder(folder / "car.mcap", SCHEMA, game="car") as recorder:
        for n in range(40):
            state = np.array([50 + n, n % 7, n * 2.5, 0.1 * n], np.float32)
            recorder.add(rng.integers(0, 255, (32, 48, 3), np.uint8), state, n * 30_000_000)
    return unpack(folder / "car.mcap", folder / "cache")


def test_new_fields_join_and_change_nothing_yet(tmp_path: Path) -> None:
    store, weights = _store(tmp_path), small_weights(SMALL)
    assert new_fields(weights[0], [store]) == ("speed", "steer")
    wider = with_fields(weights, [store])
    inputs = {s.name: s for s in wider[0].config.state_inputs}
    assert list(inputs) == ["health", "@turn", "speed", "steer"]
    assert inputs["steer"].kind == "angle"
    assert inputs["speed"].scale > 1
    left = start(weights[0], 1, 32, 48)
    shown = []
    for model, quantizer in (weights, wider):
        names = tuple(s.name for s in model.config.state_inputs)
        batch = read_batch([Crop(store, 0, 0, 0, 48, 32)], 0, names)
        done = run_step(model.eval(), quantizer.eval(), batch, left, Chance((0, 0), [0]))
        shown.append(done.decoded.frames)
    assert torch.allclose(shown[0], shown[1], atol=1e-5)


def test_the_new_fields_are_learned_from(tmp_path: Path) -> None:
    store = _store(tmp_path)
    model, quantizer = with_fields(small_weights(SMALL), [store])
    names = tuple(s.name for s in model.config.state_inputs)
    batch = read_batch([Crop(store, 0, 0, 0, 48, 32)], 1, names)
    done = run_step(model, quantizer, batch, start(model, 1, 32, 48), Chance((0, 0), [0]))
    (done.decoded.frames - batch.frames).square().mean().backward()
    gradient = model.state.project.weight.grad[:, -9:]
    assert gradient.abs().sum() > 0


def test_codebooks_of_a_model_file_go_on_where_they_were(tmp_path: Path) -> None:
    """A file holds no sums; without them the first update would put all codewords at zero."""
    for name in "ab":
        (tmp_path / name).mkdir()
        _store(tmp_path / name)
    bundle = load_bundle(write_small_model(tmp_path / "m.safetensors"))
    before = bundle.quantizer.codebooks.clone()
    phase = {"name": "p", "updates": 2, "batch": 2, "crop": (32, 32), "chain": 3}
    settings = check_settings(
        {
            "data": tmp_path / "a",
            "valid": tmp_path / "b",
            "out": tmp_path / "run",
            "cache": tmp_path / "cache",
            "workers": 0,
            "tensorboard": False,
            "learning_rate": 1e-5,
            "restart_until": 0.0,
            "phase": (phase,),
        },
        "test",
    )
    train(settings, begin=(bundle.model, bundle.quantizer))
    after = checkpoint.read(tmp_path / "run").part("quantizer")["codebooks"]
    assert torch.linalg.norm(after - before) < 0.1 * torch.linalg.norm(before)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.toml", "--minutes", "3"], "CONFIG names its own"),
        (["--resume", "run", "--data", "d"], "goes on as the run began"),
        (["--from", "tiny"], "--data FOLDER"),
        (["--from", "tinny", "--data", "d"], "there is no model tinny"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", *arguments]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert words in said[0]
