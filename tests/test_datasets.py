"""Replays as training data: files and back, windows, episodes, Minari."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from relive.cli.run import run
from relive.codec import Replay, encode
from relive.datasets import (
    Episode,
    action_names,
    episodes,
    from_minari,
    read_file,
    read_steps,
    to_minari,
    write_session,
    write_steps,
)
from relive.datasets import files as files_module
from relive.errors import InputError
from relive.session import Recorder, Session
from relive.torch import ReplayDataset, split_sessions
from short_replay import FRAMES, write_short


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_short(tmp_path_factory.mktemp("short"))


def model_of(short: Path) -> str:
    return str(short / "m.safetensors")


@pytest.mark.parametrize("suffix", [".parquet", ".safetensors", ".npz"])
def test_export_and_back(
    short: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"x{suffix}"
    args = ["export", str(short / "s.relive"), "-o", str(out), "--model", model_of(short), "--json"]
    assert run(args) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == FRAMES // 2
    arrays, about = read_file(out)
    with Replay.open(short / "s.relive", model_of(short)) as replay:
        codes = replay.codes()
        assert np.array_equal(arrays["codes"], codes.codes)
        assert np.array_equal(arrays["keyframe"], codes.keyframe)
        assert np.array_equal(arrays["states"].reshape(FRAMES, -1), replay.states)
        assert [e[1] for e in about["events"]] == [e.name for e in replay.events]
    assert about["schema"]["fields"][0]["name"] == "health"
    assert run(args) == 2  # it exists


def test_export_to_shards_holds_every_step_once(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "STEPS_A_SHARD", 7)
    args = ["export", str(short / "s.relive"), "-o", str(tmp_path / "x"), "--model"]
    assert run([*args, model_of(short), "-q"]) == 0
    assert run([*args, model_of(short), "-q", "--force"]) == 0
    index = json.loads((tmp_path / "x" / "index.json").read_text())
    shards = [read_file(tmp_path / "x" / shard["file"])[0] for shard in index["shards"]]
    first = np.concatenate([shard["first_frame"] for shard in shards])
    assert first.tolist() == list(range(0, FRAMES, 2))
    assert [shard["steps"] for shard in index["shards"]] == [7, 7, 6]


@pytest.mark.parametrize("suffix", [".parquet", ".safetensors", ".npz"])
def test_a_replay_without_states_is_exported(short: Path, tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    bare, out = tmp_path / "bare.relive", tmp_path / f"x{suffix}"
    with Recorder(tmp_path / "bare.mcap") as recorder:
        for n in range(6):
            recorder.add(np.full((16, 16, 3), 30 * n, np.uint8), (), n * 10)
    encode(tmp_path / "bare.mcap", bare, model=model_of(short), preset="fast")
    assert run(["export", str(bare), "-o", str(out), "--model", model_of(short), "-q"]) == 0
    arrays, _ = read_file(out)
    assert arrays["states"].shape == (3, 2, 0)
    assert arrays["states"].dtype == np.float32
    assert arrays["stated"].shape == (3, 2)


def test_every_event_is_in_one_part(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause, count = 10, 11
    eventful = tmp_path / "e.relive"
    with Recorder(tmp_path / "e.mcap") as recorder:
        for n in range(count):
            recorder.event("before", str(n), pause * n + 5)
            recorder.add(np.full((16, 16, 3), 20 * n, np.uint8), (), pause * (n + 1))
        recorder.event("before", str(count), pause * count + 1000)
    encode(tmp_path / "e.mcap", eventful, model=model_of(short), preset="fast")
    monkeypatch.setattr(files_module, "STEPS_A_SHARD", 1)
    with Replay.open(eventful, model_of(short)) as replay:
        write_steps(replay, tmp_path / "all")
        assert write_steps(replay, tmp_path / "part", 1, 10) == 5
        cuts = [read_steps(replay, *span).events for span in ((0, 4), (4, 8), (8, count))]
    shards = [read_file(path) for path in sorted((tmp_path / "all").glob("*.safetensors"))]
    told = [event[2] for _, about in shards for event in about["events"]]
    assert told == [str(n) for n in range(count + 1)]
    assert [event.payload for cut in cuts for event in cut] == told
    part = [read_file(path)[0] for path in sorted((tmp_path / "part").glob("*.safetensors"))]
    first = np.concatenate([arrays["first_frame"] for arrays in part])
    assert first.tolist() == [0, 2, 4, 6, 8]  # frame 9 is of step 8


def test_windows_are_the_same_with_cache_workers_and_without(short: Path, tmp_path: Path) -> None:
    paths, settings = [short / "s.relive"] * 2, {"windows": 6, "seed": 3}
    plain = ReplayDataset(paths, 3, model=model_of(short), **settings)
    cached = ReplayDataset(paths, 3, model=model_of(short), cache=tmp_path / "cache", **settings)
    expected = [plain[n] for n in range(6)]
    for n in range(6):
        for key, value in expected[n].items():
            assert torch.equal(value, cached[n][key]), key
    loader = DataLoader(cached, batch_size=2, num_workers=1, multiprocessing_context="fork")
    batches = list(loader)
    assert torch.equal(batches[2]["codes"][1], expected[5]["codes"])
    assert batches[0]["states"].shape == (2, 3, 2, 5)
    cached.set_epoch(1)
    assert any(not torch.equal(cached[n]["frame"], expected[n]["frame"]) for n in range(6))


def test_windows_have_the_pictures_of_the_replay(short: Path) -> None:
    data = ReplayDataset(
        [short / "s.relive"], 2, pixels=True, keyframes=True, model=model_of(short)
    )
    window = data[0]
    start = int(window["frame"])
    assert bool(window["keyframe"][0])
    with Replay.open(short / "s.relive", model_of(short)) as replay:
        frames = replay.frames(start, start + 4)
    assert np.array_equal(window["pixels"].numpy().reshape(frames.shape), frames)
    data.close()


def test_datasets_that_do_not_go_together_are_refused(short: Path) -> None:
    with pytest.raises(InputError, match="steps in a row"):
        ReplayDataset([short / "s.relive"], FRAMES, model=model_of(short))
    train, held_out = split_sessions([f"{n}.relive" for n in range(10)], 0.2, seed=1)
    assert len(train) == 8
    assert not set(train) & set(held_out)
    with pytest.raises(InputError):
        split_sessions(["a.relive"], 0.5)


def test_a_replay_that_is_named_twice_is_on_one_side(tmp_path: Path) -> None:
    names = [tmp_path / f"{n}.relive" for n in range(10)]
    (tmp_path / "sub").mkdir()
    again = [tmp_path / "sub" / ".." / path.name for path in names]
    train, held_out = split_sessions([*names, *again], 0.2, seed=1)
    assert (len(train), len(held_out)) == (8, 2)
    assert {path.name for path in train}.isdisjoint(path.name for path in held_out)
    assert split_sessions([*reversed(again), *names], 0.2, seed=1) == (train, held_out)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_an_epoch_reaches_workers_that_go_on(short: Path, start: str) -> None:
    data = ReplayDataset([short / "s.relive"], 2, windows=4, model=model_of(short))
    settings = {"multiprocessing_context": start, "persistent_workers": True}
    loader = DataLoader(data, batch_size=4, num_workers=1, **settings)
    first = [next(iter(loader))["frame"] for _ in range(2)]
    assert torch.equal(first[0], first[1])
    data.set_epoch(1)
    assert not torch.equal(next(iter(loader))["frame"], first[0])


def test_windows_that_are_none_are_refused(short: Path) -> None:
    with pytest.raises(InputError, match="0 windows"):
        ReplayDataset([short / "s.relive"], 2, windows=0, model=model_of(short))
    data = ReplayDataset([short / "s.relive"], 2, model=model_of(short))
    for number, start in ((1, 0), (-1, 0), (0, -2), (0, 3), (0, FRAMES - 2)):
        with pytest.raises(InputError, match=r"replay|no window of 2 steps begins"):
            data.window(number, start)
    assert int(data.window(0, FRAMES - 4)["frame"]) == FRAMES - 4
    data.close()


def made_episodes() -> list[Episode]:
    rng = np.random.default_rng(0)
    return [
        Episode(
            rng.integers(0, 256, (n + 1, 16, 16, 3), dtype=np.uint8),
            rng.random((n + 1, 2), np.float32),
            rng.random((n, 1), np.float32),
            np.arange(n, dtype=np.float32),
            n == 3,
            np.arange(n + 1, dtype=np.int64),
        )
        for n in (3, 4)
    ]


def test_episodes_become_a_session_and_come_back(short: Path, tmp_path: Path) -> None:
    import relive

    written = made_episodes()
    assert write_session(written, tmp_path / "s.mcap", fps=10) == 9
    with Session.open(tmp_path / "s.mcap") as session:
        assert np.array_equal(session.frames(4, 9), written[1].frames)
    out = tmp_path / "s.relive"
    relive.encode(tmp_path / "s.mcap", out, model=model_of(short), quality=1, keyframe_interval=4)
    with Replay.open(out, model_of(short)) as replay:
        read = list(episodes(replay, pixels=False))
        assert action_names(replay) == ("action0",)
        assert action_names(replay, []) == ()
        with pytest.raises(InputError, match="no field 'jump'"):
            action_names(replay, ["jump"])
    assert [len(e) for e in read] == [3, 4]
    assert [e.terminated for e in read] == [True, False]
    assert np.array_equal(read[0].actions, written[0].actions)
    assert np.array_equal(read[1].rewards, written[1].rewards)
    assert read[1].truncations.tolist() == [False, False, False, True]


def test_minari_there_and_back(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    made = to_minari([short / "s.relive"], "test/short-v0", actions=["x"], model=model_of(short))
    assert made.total_steps == FRAMES - 1
    loaded = minari.load_dataset("test/short-v0")
    (episode,) = list(loaded.iterate_episodes())
    with Replay.open(short / "s.relive", model_of(short)) as replay:
        assert np.array_equal(episode.observations["frame"], replay.frames(0, FRAMES))
        assert np.array_equal(episode.actions[:, 0], replay.states[1:, 1])
    assert from_minari("test/short-v0", tmp_path / "back.mcap", frame="frame") == FRAMES
    with pytest.raises(InputError, match="no pictures"):
        from_minari("test/short-v0", tmp_path / "back.mcap", force=True)
    with pytest.raises(InputError, match="no Minari dataset"):
        from_minari("test/none-v0", tmp_path / "b.mcap")
