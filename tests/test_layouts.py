"""Datasets of episodes in the layouts of others: LeRobot, NPZ; into them, and back."""

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import relive
from relive.cli.run import run
from relive.codec import Replay
from relive.container import ReplayReader
from relive.datasets import Episode, from_lerobot, from_npz, to_lerobot, to_npz, write_session
from relive.datasets.lerobot_layout import FRAME
from relive.datasets.rows import Columns, steps_of
from relive.errors import DamagedError, InputError
from relive.session import Recorder, Session, StateField, StateSchema
from small_model import write_small_model

ACTIONS, LENGTHS = ["turn", "push"], (5, 3, 4)


def made_episodes() -> Iterator[Episode]:
    """Three episodes; the game ends the second."""
    rng = np.random.default_rng(0)
    for number, count in enumerate(LENGTHS):
        yield Episode(
            rng.integers(0, 256, (count + 1, 3, 4, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2),
            rng.random((count + 1, 2), np.float32),
            rng.random((count, 2), np.float32),
            np.arange(count, dtype=np.float32) - 1,
            number == 1,
            np.arange(count + 1, dtype=np.int64),
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and a replay of the episodes, 10 frames a second."""
    folder = tmp_path_factory.mktemp("made")
    write_small_model(folder / "m.safetensors")
    write_session(
        made_episodes(), folder / "s.mcap", names=["x", "y"], action_names=ACTIONS, game="toy",
        fps=10,
    )  # fmt: skip
    encode(folder, "s")
    return folder


def encode(folder: Path, name: str, model: Path | None = None) -> Path:
    out = folder / f"{name}.relive"
    relive.encode(
        folder / f"{name}.mcap", out, model=model or folder / "m.safetensors", quality=1,
        keyframe_interval=4, preset="fast",
    )  # fmt: skip
    return out


def rows_of(dataset: Path) -> list[dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = parquet.read_table(
        dataset / "data" / "chunk-000" / "file-000.parquet"
    ).to_pylist()
    return rows


def places_of(dataset: Path) -> list[dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = parquet.read_table(
        dataset / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    ).to_pylist()
    return rows


def test_lerobot_there_and_back_and_there_again(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    settings: dict[str, Any] = {"actions": ACTIONS, "model": made / "m.safetensors", "crf": 0}
    assert to_lerobot([made / "s.relive"], tmp_path / "one", **settings) == sum(LENGTHS)
    assert from_lerobot(tmp_path / "one", tmp_path / "back.mcap") == sum(LENGTHS) + 3
    with (
        Replay.open(made / "s.relive", made / "m.safetensors") as replay,
        Session.open(tmp_path / "back.mcap") as back,
    ):
        names = ["x", "y", *ACTIONS, "reward", "episode", "ended"]
        assert [field.name for field in back.schema.fields] == names
        # of each episode the last picture is gone, and nothing else but its states
        there = np.ones(len(back), np.bool_)
        there[np.cumsum(np.add(LENGTHS, 1)) - 1] = False
        assert np.array_equal(back.present, there)
        assert np.array_equal(back.states[:, 2:], replay.states[:, 2:])
        assert np.array_equal(back.states[there], replay.states[there])
        shown = replay.frames(0, replay.num_frames)
        assert all(np.array_equal(back.frame(n), shown[n]) for n in np.flatnonzero(there))
        assert np.allclose(np.diff(back.times_ns), 1e8, atol=1)
    encode(tmp_path, "back", made / "m.safetensors")
    to_lerobot([tmp_path / "back.relive"], tmp_path / "two", **settings)
    assert rows_of(tmp_path / "two") == rows_of(tmp_path / "one")


def test_a_lerobot_dataset_is_found_as_lerobot_looks_for_it(made: Path, tmp_path: Path) -> None:
    """Every row finds its picture by its time, as `dataset_reader.py` of lerobot 0.6.1 does."""
    pyarrow = pytest.importorskip("pyarrow.parquet")
    twice = [made / "s.relive"] * 2
    to_lerobot(twice, tmp_path / "d", actions=ACTIONS, task="win", model=made / "m.safetensors")
    info = json.loads((tmp_path / "d" / "meta" / "info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_episodes"]) == ("v3.0", 10, 6)
    assert info["features"]["action"] == {"dtype": "float32", "shape": [2], "names": ACTIONS}
    rows, places = rows_of(tmp_path / "d"), places_of(tmp_path / "d")
    assert [row["index"] for row in rows] == list(range(2 * sum(LENGTHS)))
    path = info["video_path"].format(video_key=FRAME, chunk_index=0, file_index=0)
    with av.open(str(tmp_path / "d" / path)) as file:
        stream = file.streams.video[0]
        shown = {float(f.pts * stream.time_base): f.to_ndarray(format="rgb24")
                 for f in file.decode(stream)}  # fmt: skip
    assert len(shown) == len(rows)
    with Replay.open(made / "s.relive", made / "m.safetensors") as replay:
        frames = replay.frames(0, replay.num_frames)
    firsts = np.cumsum([0, *np.add(LENGTHS, 1)])
    for row in rows:
        place = places[row["episode_index"]]
        assert place["dataset_from_index"] <= row["index"] < place["dataset_to_index"]
        moment = place[f"videos/{FRAME}/from_timestamp"] + row["timestamp"]
        near = min(shown, key=lambda at: abs(at - moment))
        assert abs(near - moment) < 1e-4
        wanted = frames[firsts[row["episode_index"] % 3] + row["frame_index"]]
        assert np.abs(shown[near].astype(int) - wanted).mean() < 8
    ends = [row["next.done"] and not row["next.truncated"] for row in rows]
    assert [row["episode_index"] for row, end in zip(rows, ends, strict=True) if end] == [1, 4]
    tasks = pyarrow.read_table(tmp_path / "d" / "meta" / "tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    assert tasks.to_pylist() == [{"task_index": 0, "task": "win"}]
    stats = json.loads((tmp_path / "d" / "meta" / "stats.json").read_text())
    actions = np.array([row["action"] for row in rows])
    assert np.allclose(stats["action"]["mean"], actions.mean(0))
    assert np.allclose(stats["action"]["std"], actions.std(0))
    assert np.shape(stats[FRAME]["q99"]) == (3, 1, 1)


def test_long_datasets_are_split_into_files(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    model = made / "m.safetensors"
    to_lerobot([made / "s.relive"], tmp_path / "whole", model=model, crf=0)
    monkeypatch.setattr("relive.datasets.lerobot_write._MAX_VIDEO_S", 0.8)
    to_lerobot([made / "s.relive"], tmp_path / "split", model=model, crf=0)
    places = places_of(tmp_path / "split")
    assert [place["data/file_index"] for place in places] == [0, 0, 1]
    assert [place[f"videos/{FRAME}/from_timestamp"] for place in places] == [0, 0.5, 0]
    sessions = []
    for name in ("whole", "split"):
        from_lerobot(tmp_path / name, tmp_path / f"{name}.mcap")
        with Session.open(tmp_path / f"{name}.mcap") as session:
            sessions.append((session.states, session.frames(0, len(session))))
    assert all(np.array_equal(one, other) for one, other in zip(*sessions, strict=True))


def test_frames_at_no_one_rate_are_refused_or_held(made: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    schema = StateSchema((StateField("turn"), StateField("reward")))
    picture = np.zeros((24, 32, 3), np.uint8)
    with Recorder(tmp_path / "s.mcap", schema) as recorder:
        for number, at_ms in enumerate((0, 100, 200, 450, 500, 600)):
            recorder.add(picture + 40 * number, [number, number], at_ms * 1_000_000)
    replay = encode(tmp_path, "s", made / "m.safetensors")
    settings: dict[str, Any] = {"actions": ["turn"], "model": made / "m.safetensors"}
    with pytest.raises(InputError, match=r"frame 3 comes 250.0 ms after .* 100.0 ms; .*--fps"):
        to_lerobot([replay], tmp_path / "d", **settings)
    assert not list(tmp_path.glob("d*"))
    assert to_lerobot([replay], tmp_path / "d", fps=10, **settings) == 6
    rows = rows_of(tmp_path / "d")
    # the third picture is held for two ticks more; its reward comes once, with the step after it
    assert [row["action"] for row in rows] == [1, 2, 3, 3, 3, 5]
    assert [row["next.reward"] for row in rows] == [1, 2, 0, 0, 7, 5]
    with Replay.open(replay, made / "m.safetensors") as opened:
        columns = Columns.of(opened, ["turn"])
        slow = steps_of(opened, range(6), columns, Fraction(5), exact=False)
    assert slow.held.tolist() == [0, 2, 2, 5]
    assert slow.rewards.tolist() == [3, 0, 12]


@pytest.mark.parametrize("write", [to_lerobot, to_npz])
def test_damaged_replays_are_refused(made: Path, tmp_path: Path, write: Any) -> None:
    pytest.importorskip("pyarrow")
    data = bytearray((made / "s.relive").read_bytes())
    with ReplayReader.open(made / "s.relive") as reader:
        data[reader.gops[1].codes_at + 40] ^= 255
    (tmp_path / "bad.relive").write_bytes(data)
    with pytest.raises(DamagedError, match=r"bad.relive is damaged; nothing was written"):
        write([tmp_path / "bad.relive"], tmp_path / "d", model=made / "m.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.relive"]


def write_old_dataset(folder: Path) -> Path:
    """Write a dataset of v2.1 with two cameras, one of them as images, and names that clash."""
    pa = pytest.importorskip("pyarrow")
    joints = {"motors": ["hip", "knee"]}
    features = {
        "observation.images.top": {"dtype": "video", "shape": [16, 24, 3], "names": None},
        "observation.images.side": {"dtype": "image", "shape": [16, 24, 3], "names": None},
        "observation.state": {"dtype": "float32", "shape": [2], "names": joints},
        "action": {"dtype": "float64", "shape": [2], "names": joints},
        "map": {"dtype": "int64", "shape": [2, 2], "names": None},
        "next.success": {"dtype": "bool", "shape": [1], "names": None},
        "words": {"dtype": "string", "shape": [1], "names": None},
        **{n: {"dtype": "int64", "shape": [1]} for n in ("frame_index", "episode_index")},
    }
    info = {"codebase_version": "v2.1", "fps": 5, "features": features, "total_frames": 5}
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    lines = [{"episode_index": n, "tasks": [f"task {n}"], "length": 3 - n} for n in range(2)]
    text = "\n".join(map(json.dumps, lines))
    (folder / "meta" / "episodes.jsonl").write_text(text)
    for line in lines:
        number, count = line["episode_index"], line["length"]
        pictures = [np.full((16, 24, 3), 50 * n + 20 * number, np.uint8) for n in range(count)]
        write_film(folder / f"videos/chunk-000/observation.images.top/episode_{number:06d}.mp4",
                   pictures)  # fmt: skip
        write_film(folder / "one.png", pictures[-1:])
        values = np.arange(2.0 * count).reshape(count, 2) + 100 * number
        table = {
            "observation.images.side": [{"bytes": (folder / "one.png").read_bytes()}] * count,
            "observation.state": values.tolist(),
            "action": (values + 0.5).tolist(),
            "map": [[[1, 2], [3, 4 + n]] for n in range(count)],
            "next.success": [n == count - 1 for n in range(count)],
            "words": ["go"] * count,
            "frame_index": list(range(count)),
            "episode_index": [number] * count,
        }
        data = folder / f"data/chunk-000/episode_{number:06d}.parquet"
        data.parent.mkdir(parents=True, exist_ok=True)
        pa.parquet.write_table(pa.table(table), data)
    return folder


def write_film(path: Path, pictures: list[np.ndarray[Any, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    codec, pixels = ("png", "rgb24") if path.suffix == ".png" else ("libx264rgb", "rgb24")
    with av.open(str(path), "w", format="image2" if codec == "png" else "mp4") as file:
        stream = file.add_stream(codec, rate=5, width=24, height=16, pix_fmt=pixels)
        if codec != "png":
            stream.options = {"crf": "0"}
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))


def test_older_lerobot_datasets_are_read_and_broken_ones_refused(tmp_path: Path) -> None:
    old = write_old_dataset(tmp_path / "old")
    with pytest.raises(InputError, match=r"several cameras.*--frame observation.images.top"):
        from_lerobot(old, tmp_path / "s.mcap")
    assert from_lerobot(old, tmp_path / "s.mcap", frame="observation.images.top") == 7
    with Session.open(tmp_path / "s.mcap") as session:
        names = [field.name for field in session.schema.fields]
        joints = [f"{key}.{j}" for key in ("observation.state", "action") for j in ("hip", "knee")]
        maps = [f"map[{n}]" for n in range(4)]
        assert names == [*joints, *maps, "next.success", "episode", "ended"]
        assert session.states[:, 0].tolist() == [0, 2, 4, 4, 100, 102, 102]
        assert session.states[:, 3].tolist() == [0, 1.5, 3.5, 5.5, 0, 101.5, 103.5]
        assert session.states[:, 8].tolist() == [0, 0, 0, 1, 0, 0, 1]
        assert session.frame(5)[0, 0].tolist() == [70, 70, 70]
        assert [(e.payload, e.time_ns) for e in session.events] == [
            ("task 0", 0),
            ("task 1", 800_000_000),
        ]
    from_lerobot(old, tmp_path / "s.mcap", frame="observation.images.side", force=True)
    with Session.open(tmp_path / "s.mcap") as session:
        assert session.frame(0)[0, 0].tolist() == [100, 100, 100]
    kept = (tmp_path / "s.mcap").read_bytes()
    settings: dict[str, Any] = {"frame": "observation.images.top", "force": True}
    film = old / "videos/chunk-000/observation.images.top/episode_000001.mp4"
    write_film(film, [np.zeros((16, 24, 3), np.uint8)])
    with pytest.raises(InputError, match=r"episode_000001.mp4: 1 pictures of episode 1.* 2 rows"):
        from_lerobot(old, tmp_path / "s.mcap", **settings)
    film.unlink()
    with pytest.raises(InputError, match=r"episode_000001.mp4: No such file"):
        from_lerobot(old, tmp_path / "s.mcap", **settings)
    info = old / "meta" / "info.json"
    for old_word, new_word, says in (
        ('"shape": [2, 2]', '"shape": [3, 2]', "'map' of episode 0 does not hold 6 numbers"),
        ('"fps": 5', '"fps": 0', "have to be over 0"),
        ('"fps"', '"pace"', "'fps' is missing"),
        ("v2.1", "v1.6", "version v1.6 is none of v3.0, v2.1, v2.0"),
        ("{", "", "info.json is not that"),
    ):
        info.write_text(info.read_text().replace(old_word, new_word, 1))
        with pytest.raises(InputError, match=says):
            from_lerobot(old, tmp_path / "s.mcap", **settings)
    assert (tmp_path / "s.mcap").read_bytes() == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "s.mcap"]


def test_npz_there_and_back(made: Path, tmp_path: Path) -> None:
    assert to_npz([made / "s.relive"], tmp_path / "d", actions=ACTIONS,
                  model=made / "m.safetensors") == 3  # fmt: skip
    with np.load(tmp_path / "d" / "00001.npz", allow_pickle=False) as file:
        assert file["is_terminal"].tolist() == [False, False, False, True]
        assert file["reward"].tolist() == [0, -1, 0, 1]
    assert from_npz(tmp_path / "d", tmp_path / "s.mcap") == sum(LENGTHS) + 3
    with (
        Replay.open(made / "s.relive", made / "m.safetensors") as replay,
        Session.open(tmp_path / "s.mcap") as session,
    ):
        assert np.array_equal(session.frames(0, len(session)), replay.frames(0, len(session)))
        names = ["action[0]", "action[1]", "x", "y", "reward", "episode", "ended"]
        assert [field.name for field in session.schema.fields] == names
        assert np.array_equal(session.states[:, [2, 3, 0, 1, 4, 5, 6]], replay.states)
        assert session.fps == pytest.approx(10)


def test_npz_of_others_keeps_rows_where_they_belong(tmp_path: Path) -> None:
    pictures = np.arange(5, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 8, 8, 3), np.uint8)
    np.savez(
        tmp_path / "flat.npz", obs=pictures, actions=[1, 2, 3, 4, 5], rewards=[1.0, 2, 3, 4, 5],
        terminals=[0, 1, 0, 0, 0], timeouts=[0, 0, 0, 0, 1], seed=7,
    )  # fmt: skip
    out = tmp_path / "s.mcap"
    assert from_npz(tmp_path / "flat.npz", out, after=["actions", "rewards"], fps=20) == 7
    with Session.open(out) as session:
        assert [f.name for f in session.schema.fields] == ["actions", "reward", "episode", "ended"]
        assert session.present.tolist() == [True, True, False, True, True, True, False]
        assert session.states[:, 0].tolist() == [0, 1, 2, 0, 3, 4, 5]
        assert session.states[:, 2].tolist() == [0, 0, 0, 1, 1, 1, 1]
        assert session.states[:, 3].tolist() == [0, 0, 1, 0, 0, 0, 0]
        assert session.frame(3)[0, 0, 0] == 2
        assert session.fps == pytest.approx(20)
    np.savez(tmp_path / "one.npz", image=pictures, action=np.ones((4, 2)), is_first=[1, 0, 1, 0, 0])
    assert from_npz([tmp_path / "one.npz"], out, force=True) == 5
    with Session.open(out) as session:
        assert session.states[:, 0].tolist() == [0, 1, 1, 1, 1]
        assert session.states[:, 2].tolist() == [0, 0, 1, 1, 1]


PICTURES = np.zeros((4, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"image": PICTURES.astype(np.float32)}, r"no array is pictures.*image \(float32"),
        ({"image": PICTURES[..., 0]}, "no array is pictures"),
        ({"image": PICTURES, "goal": PICTURES}, "several arrays are pictures.*--frame image"),
        ({"image": PICTURES, "action": np.zeros(6)}, r"'action' is float64 \[6\].* 4 pictures"),
        ({"image": PICTURES, "info": np.array([{}] * 4)}, "'info' holds Python objects"),
        ({"image": PICTURES, "name": np.array(list("abcd"))}, "'name' is <U1"),
        ({"image": PICTURES, "map": np.zeros((4, 20, 20))}, "'map'.*over 256 numbers"),
        ({"image": PICTURES, "x": [0, 1, np.nan, 3]}, "frame 2: state 'x' is nan"),
        ({"image": PICTURES, "id": [0, 1, 2, 1 << 40]}, "'id' has whole numbers over 16777216"),
        ({"image": PICTURES, "episode": np.zeros(4)}, "'episode' is there twice"),
        ({"image": PICTURES, "done": np.zeros((4, 2))}, "'done' has not one value"),
        ({"image": PICTURES, "fps": np.array(-1.0)}, "fps -1.0 is not over 0"),
    ],
)
def test_npz_that_is_no_episode_is_refused(
    tmp_path: Path, arrays: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "e.npz", **arrays)
    with pytest.raises(InputError, match=says) as caught:
        from_npz(tmp_path / "e.npz", tmp_path / "s.mcap")
    assert "\n" not in str(caught.value)
    assert run(["import", str(tmp_path / "e.npz"), "-o", str(tmp_path / "s.mcap"), "-q"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["e.npz"]


def test_the_command_line_makes_and_reads_both(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    model = ["--model", str(made / "m.safetensors"), "--json"]
    for layout, counted in (("lerobot", {"rows": 12}), ("npz", {"episodes": 3})):
        export = ["export", str(made), "--layout", layout, "-o", str(tmp_path / layout)]
        assert run([*export, "--action", "turn", "--action", "push", *model]) == 0
        assert json.loads(capsys.readouterr().out).items() >= counted.items()
        assert run([*export, *model]) == 2
        assert run([*export, "--force", *model]) == 0
        capsys.readouterr()
        out = tmp_path / f"{layout}.mcap"
        args = ["import", str(tmp_path / layout), "-o", str(out), "--game", "toy", "--json"]
        assert run(args) == 0
        assert json.loads(capsys.readouterr().out)["frames"] == 15
    (tmp_path / "lerobot" / "letter.txt").write_text("mine")
    assert run([*export, "-o", str(tmp_path / "lerobot"), "--force", *model]) == 2
    assert (tmp_path / "lerobot" / "letter.txt").read_text() == "mine"
