"""A replay whose state stops half-way: what is not known is neither found, drawn nor taught."""

import json
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

import relive
from relive.cli.run import run
from relive.codec import Replay
from relive.datasets import read_file, to_minari, to_npz, write_steps
from relive.errors import InputError
from relive.player.app import create_app
from relive.player.catalogue import Catalogue
from relive.search import Place, Query, find, opened
from relive.session import Recorder, Session
from relive.torch import ReplayDataset
from short_replay import FRAMES, write_short

pytest.importorskip("duckdb")
pytest.importorskip("minari")

HALF = FRAMES // 2


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `half.relive`, whose states are known up to the middle, and its model."""
    folder = write_short(tmp_path_factory.mktemp("half"))
    with (
        Session.open(folder / "s.mcap") as whole,
        Recorder(folder / "half.mcap", whole.schema, game="test") as recorder,
    ):
        for index in range(FRAMES):
            frame = whole.frame(index) if whole.present[index] else None
            state = whole.states[index] if index < HALF else None
            recorder.add(frame, state, int(whole.times_ns[index]))
    model = folder / "m.safetensors"
    relive.encode(folder / "half.mcap", folder / "half.relive", model=model, preset="fast")
    return folder


def test_a_search_does_not_find_what_is_not_known(half: Path) -> None:
    with opened(half / "half.relive") as catalog:
        (low,), _ = find(catalog, Query(where="health < 90", gap_s=0.1))
        assert (low.frames.start, low.frames.stop) == (11, HALF)
        (unknown,), _ = find(catalog, Query(where="health IS NULL", gap_s=0.1))
        assert (unknown.frames.start, unknown.frames.stop) == (HALF, FRAMES)
        last = Place(((HALF - 1) / 10, 0.0, 0.0), float(HALF - 1))
        (near,), _ = find(catalog, Query(place=last, within=0.05))
        assert (near.frames.start, near.frames.stop) == (HALF - 1, HALF)


def test_info_counts_what_is_missing(half: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("half.mcap", "half.relive"):
        assert run(["info", str(half / name), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["missing_frames"], said["unstated_frames"]) == (1, FRAMES - HALF)
    assert run(["info", str(half / "half.relive")]) == 0
    assert f"{FRAMES - HALF} frames: their state is not known" in capsys.readouterr().out


def test_an_unknown_place_is_no_question(half: Path) -> None:
    with Replay.open(half / "half.relive", half / "m.safetensors") as replay:
        assert Place.of(replay, HALF - 1).position[0] == pytest.approx((HALF - 1) / 10)
        with pytest.raises(InputError, match=f"state of frame {HALF} is not known"):
            Place.of(replay, HALF)


def test_training_data_say_which_states_are_known(half: Path, tmp_path: Path) -> None:
    model, known = half / "m.safetensors", np.arange(FRAMES) < HALF
    with Replay.open(half / "half.relive", model) as replay:
        write_steps(replay, tmp_path / "x.npz")
    arrays, _ = read_file(tmp_path / "x.npz")
    assert arrays["stated"].reshape(-1).tolist() == known.tolist()
    window = ReplayDataset([half / "half.relive"], 4, model=model).window(0, HALF - 4)
    assert window["stated"].tolist() == [[True, True]] * 2 + [[False, False]] * 2
    with pytest.raises(InputError, match=f"state of frame {HALF} is not known"):
        to_npz([half / "half.relive"], tmp_path / "episodes", model=model)
    with pytest.raises(InputError, match=f"state of frame {HALF} is not known"):
        to_minari([half / "half.relive"], "test/half-v0", model=model)
    assert not (tmp_path / "episodes").exists()


def test_the_player_draws_no_states_that_are_not_known(half: Path) -> None:
    catalogue = Catalogue([half / "half.relive"], model=half / "m.safetensors")
    with TestClient(create_app(catalogue), base_url="http://127.0.0.1:8000") as client:
        (file,) = client.get("/api/files").json()["files"]
        health = np.frombuffer(
            client.get(f"/api/files/{file['id']}/states?fields=0").content, "<f4"
        )
    assert np.flatnonzero(np.isnan(health)).tolist() == list(range(HALF, FRAMES))


def test_rerun_draws_no_states_that_are_not_known(half: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    from rerun.chunk import RrdReader

    from relive.codec.rerun_log import write_rerun

    with Replay.open(half / "half.relive", half / "m.safetensors") as replay:
        write_rerun(replay, tmp_path / "r.rrd", HALF - 5, HALF + 5)
    health, sizes, path = [], [], []
    for chunk in RrdReader(tmp_path / "r.rrd").stream():
        batch = chunk.to_record_batch()
        if chunk.entity_path == "/state/health" and not chunk.is_static:
            health += batch.column("Scalars:scalars").to_pylist()
        if chunk.entity_path == "/world/camera":
            turned = batch.column("Transform3D:mat3x3").to_pylist()
            sizes += [float(np.abs(np.array(matrix)).sum()) for matrix in turned]
        if chunk.entity_path == "/world/path":
            (path,) = batch.column("LineStrips3D:strips").to_pylist()
    assert health == [[100.0 - n] for n in range(HALF - 5, HALF)] + [[]] * 5
    assert [size > 0 for size in sizes] == [True] * 5 + [False] * 5
    assert [len(strip) for strip in path] == [5]
