"""Codebooks that grow: what was there stays, and replays of before stay readable bit for bit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from relive.catalog import Catalog
from relive.cli.run import run
from relive.codec import Replay, encode, load_bundle
from relive.codec.earlier import load_earlier
from relive.codec.growing import grow
from relive.codec.novelty import misfit
from relive.errors import InputError, ModelMismatchError
from relive.quantizer.growing import grown
from relive.quantizer.rvq import nearest
from relive.session import Recorder, Session
from relive.torch import ReplayDataset
from short_replay import write_short

FRAMES = 12


def write_other(path: Path) -> Path:
    """Another game: large panels of saturated colours."""
    rng = np.random.default_rng(5)
    with Recorder(path, game="other") as recorder:
        for n in range(FRAMES):
            small = rng.integers(0, 2, (4, 6, 3), dtype=np.uint8) * 255
            recorder.add(small.repeat(8, 0).repeat(8, 1), [], n * 28_571_428)
    return path


def test_entries_are_added_where_vectors_are_far() -> None:
    generator = torch.Generator().manual_seed(0)
    books = torch.randn(2, 8, 4, generator=generator)
    far = 20 + torch.randn(500, 4, generator=generator)
    more = grown(books, far, 4, generator)
    assert torch.equal(more[:, :8], books)
    before = (far - books[0][nearest(far, books[0])]).square().sum(-1).mean()
    code = nearest(far, more[0])
    assert code.min() >= 8
    assert (far - more[0][code]).square().sum(-1).mean() < 0.02 * before


def test_entries_without_a_vector_are_never_taken() -> None:
    books = torch.zeros(1, 2, 3)
    books[0, 1] = 1
    more = grown(books, torch.ones(10, 3), 4, torch.Generator().manual_seed(0))
    vectors = torch.randn(1000, 3, generator=torch.Generator().manual_seed(1)) * 3
    assert nearest(vectors, more[0]).max() < 2


def test_old_replays_are_read_by_the_grown_model_bit_for_bit(tmp_path: Path) -> None:
    write_short(tmp_path)
    model, new = tmp_path / "m.safetensors", tmp_path / "grown.safetensors"
    other = write_other(tmp_path / "other.mcap")
    report = grow([other], new, model=model, entries=9, limit=0.0)
    old, larger = load_bundle(model), load_bundle(new)
    assert (report.earlier_id, report.model_id) == (old.model_id, larger.model_id)
    assert old.model_id != larger.model_id
    size = old.config.quantizer.codebook_size
    assert larger.quantizer.codebooks.shape[2] == size + 9
    assert torch.equal(larger.quantizer.codebooks[:, :, :size], old.quantizer.codebooks)
    with Replay.open(tmp_path / "s.relive", model) as replay:
        before = [frame.copy() for frame in replay.iter_frames()]
    with Replay.open(tmp_path / "s.relive", new) as replay:
        after = list(replay.iter_frames())
    np.testing.assert_array_equal(before, after)

    encode(other, tmp_path / "o.relive", model=new, tiers=1, keyframe_interval=4)
    with Replay.open(tmp_path / "o.relive", new) as replay:
        assert replay.codes().codes.max() >= size  # new entries are sent
        assert len(list(replay.iter_frames())) == FRAMES
    with Session.open(other) as session:
        assert misfit(larger, session) < 0.9 * misfit(old, session)

    twice = tmp_path / "twice.safetensors"
    grow([other], twice, model=new, entries=3, limit=0.0)
    first = load_earlier(old.model_id, twice)
    assert first is not None
    assert first.model_id == old.model_id
    with Replay.open(tmp_path / "s.relive", twice) as replay:
        np.testing.assert_array_equal(before[0], next(iter(replay.iter_frames())))


def test_old_replays_are_found_shown_and_loaded_with_the_grown_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("duckdb")
    lib = tmp_path / "lib"
    lib.mkdir()
    write_short(tmp_path)
    model, new = tmp_path / "m.safetensors", tmp_path / "grown.safetensors"
    other = write_other(tmp_path / "other.mcap")
    grow([other], new, model=model, entries=9, limit=0.0)
    (tmp_path / "s.relive").rename(lib / "old.relive")
    encode(other, lib / "new.relive", model=new, preset="fast")

    def said(*words: str) -> dict[str, Any]:
        assert run([*words, "--model", str(new), "--json"]) == 0
        values: dict[str, Any] = json.loads(capsys.readouterr().out)
        return values

    like = ("--like", f"{lib / 'old.relive'}@0.5", "--thumbnails", str(tmp_path / "thumbs"))
    ranges = said("search", str(lib), *like, "--gap", "0")["ranges"]
    assert {Path(row["file"]).name for row in ranges} == {"old.relive", "new.relive"}
    assert all(Path(row["thumbnail"]).is_file() for row in ranges)
    db = str(tmp_path / "c.duckdb")
    assert said("catalog", "add", db, str(lib))["undescribed"] == 0
    with Catalog.open(db) as catalog:
        assert catalog.rows("SELECT count(*) FROM files WHERE descriptors IS NULL") == [(0,)]
    assert said("catalog", "update", db)["unchanged"] == 2
    with Replay.open(lib / "old.relive", model) as replay:
        expected = replay.codes().codes
    data = ReplayDataset([lib / "old.relive"], 2, pixels=True, model=new)
    window = data.window(0, 4)
    np.testing.assert_array_equal(window["codes"].numpy(), expected[2:4])
    data.close()
    with pytest.raises(ModelMismatchError, match="needs model"):
        ReplayDataset([lib / "new.relive"], 2, model=model)[0]


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_short(tmp_path)
    (tmp_path / "data").mkdir()
    model, out = tmp_path / "m.safetensors", tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="nothing is new"):
        grow([tmp_path / "s.mcap"], out, model=model, limit=9.0)
    words = ["grow", "--data", str(tmp_path / "data"), "-o", str(out), "-q"]
    assert run(words) == 2
    assert "holds no session" in capsys.readouterr().err
    assert run([*words[:-1], "--model", str(model), "--force", "--json", "--known", "nowhere"]) == 2
    assert not out.exists()
    for folder in ("a", "b"):  # a name that stands twice is not one session
        (tmp_path / "data" / folder).mkdir()
    write_other(tmp_path / "data" / "a" / "x.mcap")
    (tmp_path / "s.mcap").rename(tmp_path / "data" / "b" / "x.mcap")
    words += ["--model", str(model), "--limit", "0", "--entries", "2", "--json"]
    assert run(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["used"] == ["a/x.mcap", "b/x.mcap"]
    assert said["misfits"]["a/x.mcap"] != said["misfits"]["b/x.mcap"]
    assert run(words) == 2
    assert "exists" in capsys.readouterr().err
