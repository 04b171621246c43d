"""Search: what a condition may say, what is found of it, and what is told on the way."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from threading import Timer

import numpy as np
import pytest

from relive.catalog import Catalog, add
from relive.cli.run import run
from relive.codec import Bundle, Replay, encode
from relive.errors import InputError
from relive.search import Like, Place, Query, find, opened
from relive.session import Recorder, StateField, StateSchema
from short_replay import INTERVAL_NS, write_mixed
from small_model import write_small_model

duckdb = pytest.importorskip("duckdb")


@pytest.fixture
def folder(source: Path, tmp_path: Path) -> Path:
    """Replays that are whole, damaged, and none."""
    lib = tmp_path / "lib"
    lib.mkdir()
    write_mixed(source, lib)
    return lib


def write_replay(
    path: Path, model: Path, states: np.ndarray, fields: tuple[StateField, ...]
) -> Path:
    """Write a replay of grey frames with these states `[T, S]`."""
    with Recorder(path.with_suffix(".mcap"), StateSchema(fields), game="test") as recorder:
        for n, state in enumerate(states):
            recorder.add(np.full((32, 48, 3), 9 * n, np.uint8), state, n * 100_000_000)
    encode(path.with_suffix(".mcap"), path, model=model, preset="fast", keyframe_interval=4)
    return path


@pytest.mark.parametrize(
    "condition",
    [
        "1) UNION ALL SELECT 999, 0, (0",
        "1=0) UNION ALL SELECT file, bytes, (fps) FROM files WHERE (true",
        "true) LIMIT (1",
        "-- x",
        "true, true",
        "true FROM files",
        "true;",
        "true /*",
        "*",
        "health AS x",
        "select true",
        "count(*) > 1",
    ],
)
def test_a_condition_is_one_expression(
    condition: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["search", str(source / "s.relive"), f"--where={condition}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("relive: --where ")
    assert said.count("\n") == 1
    assert "internal" not in said


def test_a_condition_may_end_in_a_remark_and_hold_brackets(source: Path) -> None:
    with opened(source / "s.relive") as catalog:
        (found,), _ = find(catalog, Query(where="(health) < 90 and 'a)' <> ')' -- so low"))
    assert found.frames.start == 11


def test_fields_may_have_any_name(source: Path, tmp_path: Path) -> None:
    names = ("number", "state_file", "file_number", "file", "game", "states", "files")
    states = np.arange(8 * len(names), dtype=np.float32).reshape(8, -1)
    fields = tuple(StateField(name) for name in names)
    path = write_replay(tmp_path / "odd.relive", source / "m.safetensors", states, fields)
    with opened(path) as catalog:
        for column, name in enumerate(names):
            shown = "file_" if name == "file" else name
            where = f"{shown} >= {7 * 3 + column} and file = 'odd.relive'"
            (found,), _ = find(catalog, Query(where=where))
            assert (found.frames.start, found.frames.stop) == (3, 8), name


def test_a_place_needs_x_and_y(source: Path, tmp_path: Path) -> None:
    states = np.array([[n, 5] for n in range(4)], np.float32)
    lib = tmp_path / "lib"
    lib.mkdir()
    flat, cut = (
        tuple(StateField(axis, role=f"camera.{axis}") for axis in axes) for axes in ("xz", "xy")
    )
    write_replay(lib / "xz.relive", source / "m.safetensors", states, flat)
    place = Query(place=Place((2.0, 5.0, 0.0)), within=0.5)
    with opened(lib) as catalog, pytest.raises(InputError, match="has a camera"):
        find(catalog, place)
    write_replay(lib / "xy.relive", source / "m.safetensors", states, cut)
    with opened(lib) as catalog:
        found, _ = find(catalog, place)
    assert [(one.path.name, one.frames) for one in found] == [("xy.relive", range(2, 3))]


def test_what_cannot_be_read_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", str(folder), "--where", "frame = 3"]) == 0
    said = capsys.readouterr().err
    assert "hurt.relive" in said
    assert "none.relive" in said
    assert run(["search", str(folder / "hurt.relive"), "--where", "frame = 3", "-q"]) == 0
    assert capsys.readouterr().err == ""
    for name in ("a", "hurt"):
        (folder / f"{name}.relive").unlink()
    for where in ("frame = 3", "frame ="):  # nothing is readable, whatever is asked
        assert run(["search", str(folder), "--where", where]) == 2
        assert "none.relive" in capsys.readouterr().err


def test_a_condition_is_checked_where_no_replay_has_states() -> None:
    with Catalog.in_memory() as catalog, pytest.raises(InputError, match="syntax error"):
        find(catalog, Query(where="frame ="))


def test_other_models_are_passed_over_and_counted(
    folder: Path, source: Path, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_small_model(folder / "other.safetensors", seed=1)
    encode(source / "s.mcap", folder / "foreign.relive", model=other, preset="fast")
    words = ["search", str(folder), "--like", f"{source / 's.relive'}@0.5", "--model"]
    assert run([*words, str(source / "m.safetensors")]) == 0
    assert "1 replays have no codes of this model" in capsys.readouterr().err
    assert (
        run([*words[:2], "--like", f"{folder / 'foreign.relive'}@0.5", "--model", str(other)]) == 0
    )
    assert "2 replays have no codes" in capsys.readouterr().err


def test_ranges_are_told_though_a_thumbnail_is_lost(
    folder: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    thumbs, model = folder / "sub" / "thumbs", ["--model", str(source / "m.safetensors")]
    shutil.copyfile(folder / "a.relive", folder / "gone.relive")
    with Catalog.open(folder / "c.duckdb", write=True, create=True) as catalog:
        add(catalog, [folder])
    (folder / "gone.relive").unlink()
    words = ["search", str(folder / "c.duckdb"), "--where", "frame = 8 or frame = 0", *model]
    words += ["--gap", "0.1", "--json", "--thumbnails", str(thumbs)]
    assert run(words) == 3
    told = capsys.readouterr()
    rows = json.loads(told.out)["ranges"]
    lost = [(Path(row["file"]).stem, row["first_frame"]) for row in rows if not row["thumbnail"]]
    assert lost == [("gone", 0), ("gone", 8), ("hurt", 8)]
    assert told.err.count("no thumbnail of") == 3
    assert "3 of 6 ranges have no thumbnail" in told.err
    made = [row["thumbnail"] for row in rows if row["thumbnail"]]
    assert sorted(map(str, thumbs.iterdir())) == sorted(made)
    assert [path.name for path in thumbs.parent.iterdir()] == ["thumbs"]
    assert run(words) == 2
    assert "not an empty folder" in capsys.readouterr().err


def test_by_picture_and_state_ranges_are_where_both_hold(folder: Path, bundle: Bundle) -> None:
    with Replay.open(folder / "a.relive", bundle) as replay:
        like = Like.of(replay.frame(0), bundle)
    with opened(folder, bundle) as catalog:
        found, _ = find(catalog, Query(like=like, where="frame between 10 and 12", gap_s=0.0))
        whole, _ = find(catalog, Query(like=like, gap_s=0.0, limit=1))
    # of hurt.relive frames 8 to 15 are lost, and no keyframe before them stands for them
    assert [(f.path.name, f.frames, f.best_frame) for f in found] == [
        ("a.relive", range(10, 13), 10)
    ]
    assert found[0].end_s == pytest.approx(12 * INTERVAL_NS / 1e9)
    assert whole[0].frames == range(8)


def test_only_the_part_of_a_picture_counts(bundle: Bundle) -> None:
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (8, 10, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    part = (0, 0, 32, 32)  # of a cell of 40x43
    around = picture.copy()
    around[32:], around[:, 32:] = 0, 0
    inside = picture.copy()
    inside[:32, :32] = 0
    asked, same, other = (
        vector_of(Like.of(shown, bundle, part), bundle) for shown in (picture, around, inside)
    )
    assert len(asked) == 8  # one cell
    assert np.linalg.norm(same - asked) < 0.1 * np.linalg.norm(other - asked)
    with pytest.raises(InputError, match="too small"):
        Like.of(picture, bundle, (0, 0, 15, 16))


def vector_of(like: Like, bundle: Bundle) -> np.ndarray:
    """The numbers of a descriptor that are compared."""
    found = like.described(bundle.model_id)
    assert found is not None
    return found.vector.reshape(len(found.cells), -1)[found.cells].ravel()


def test_a_part_of_a_frame_of_a_replay(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", str(source / "s.relive"), "--model", str(source / "m.safetensors"), "--json"]
    assert run([*words, "--like", f"{source / 's.relive'}@0.5@0,0,32,16"]) == 0
    part = json.loads(capsys.readouterr().out)["ranges"]
    assert run([*words, "--like", f"{source / 's.relive'}@0.5"]) == 0
    assert json.loads(capsys.readouterr().out)["ranges"] != part


def test_ctrl_c_stops_a_condition_that_takes_long(source: Path) -> None:
    heavy = "(select count(*) from range(3000000) a(i), range(30000) b(j) where a.i * b.j % 7 = 3)"
    with opened(source / "s.relive") as catalog:
        stop = Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        stop.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            find(catalog, Query(where=f"{heavy} > frame"))
        assert time.monotonic() - began < 10
        assert find(catalog, Query(where="frame = 3"))[1] == 1
