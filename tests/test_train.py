"""Training: samples, depths, a run that stops, goes on, and becomes a model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from relive.codec import Replay, encode
from relive.codec.export import export_model
from relive.cubes.clips import Crop, read_step
from relive.cubes.store import SessionStore, open_folder, unpack
from relive.errors import InputError
from relive.session import Session
from relive.train.chain import draw_depths
from relive.train.run import train
from relive.train.settings import read_settings
from test_codec import record


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> SessionStore:
    return unpack(record(tmp_path / "s.mcap", frames=24, size=(64, 80)), tmp_path / "cache")


def test_unpacking_is_exact_and_done_once(tmp_path: Path, store: SessionStore) -> None:
    with Session.open(tmp_path / "s.mcap") as session:
        assert np.array_equal(store.frames, session.frames(0, 24))
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


def test_depths_are_in_range_and_keyframes_always_coded() -> None:
    rng, error = np.random.default_rng(0), torch.rand(4, 5, 6)
    kinds = torch.tensor([0.0, 1, 1, 0])
    seen = torch.stack([draw_depths(error, kinds, 6, rng) for _ in range(60)])
    assert int(seen.min()) == 0
    assert int(seen.max()) == 6
    assert int(seen[:, [0, 3]].min()) >= 1


def test_deep_where_the_context_fails() -> None:
    rng = np.random.default_rng(0)
    error = torch.linspace(0, 1, 100).view(1, 10, 10) ** 4
    drawn = torch.stack([draw_depths(error, torch.ones(1), 6, rng)[0] for _ in range(200)]).float()
    assert drawn[:, 7:].mean() > drawn[:, :3].mean() + 0.8


CONFIG = """
data = "{folder}"
valid = "{folder}"
out = "{folder}/run"
cache = "{folder}/cache"
state_names = ["health", "@turn"]
checkpoint_minutes = 0.01
valid_minutes = 0.02
[[phase]]
name = "a"
minutes = 0.03
batch = 2
crop = [64, 64]
chain = 2
span = 1
quantize = false
[[phase]]
name = "b"
minutes = {minutes}
batch = 2
crop = [64, 64]
chain = 3
span = 2
"""


def test_a_run_stops_goes_on_and_becomes_a_model(tmp_path: Path, store: SessionStore) -> None:
    config = tmp_path / "run.toml"
    config.write_text(CONFIG.format(folder=tmp_path, minutes=0.01))
    run = train(config)
    before = json.loads((run / "checkpoint.json").read_text())["progress"]
    config.write_text(CONFIG.format(folder=tmp_path, minutes=0.05))
    train(config, resume=run)
    after = json.loads((run / "checkpoint.json").read_text())["progress"]
    assert after["update"] > before["update"] > 0
    assert after["seconds"] > before["seconds"]
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert any("valid" in line for line in lines)
    bundle = export_model(run, [store], tmp_path / "m.safetensors", per_store=1)
    report = encode(tmp_path / "s.mcap", tmp_path / "s.relive", model=bundle)
    with Replay.open(tmp_path / "s.relive", tmp_path / "m.safetensors") as replay:
        assert replay.frames(0, 24).shape == (24, 64, 80, 3)
    assert report.frames == 24


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


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sessions"):
        open_folder(tmp_path, tmp_path / "cache")
