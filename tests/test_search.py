"""Search: what a condition may say, what is found of it, and what is told on the way."""

from pathlib import Path

import numpy as np
import pytest

from relive.cli.run import run
from relive.codec import Bundle, encode, load_bundle
from relive.search import Query, find, opened
from relive.session import Recorder, StateField, StateSchema
from short_replay import write_short

duckdb = pytest.importorskip("duckdb")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_short(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def bundle(source: Path) -> Bundle:
    return load_bundle(source / "m.safetensors")


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
