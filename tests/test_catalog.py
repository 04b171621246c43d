"""Catalogue and search: what is filed, found, refused, and what survives changes of the tree."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relive.catalog import Catalog, add, filing, reading, remove, summary, sweep, tables, update
from relive.cli.run import run
from relive.codec import Bundle, Replay
from relive.container import ReplayReader, ReplayWriter, verify
from relive.container.messages import with_seal
from relive.errors import FormatError, InputError, ReliveError
from relive.search import Like, Place, Query, find, opened
from short_replay import FRAMES, MISSING, write_mixed

duckdb = pytest.importorskip("duckdb")


@pytest.fixture
def tree(source: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    write_mixed(source, folder)
    shutil.copyfile(source / "s.relive", folder / "sub" / "b.relive")
    (folder / "none.relive").rename(folder / "broken.relive")
    return folder


def test_a_tree_is_filed_once_and_told_apart(tree: Path, tmp_path: Path, bundle: Bundle) -> None:
    with Catalog.open(tmp_path / "c.duckdb", write=True, create=True) as catalog:
        report = add(catalog, [tree], bundle)
        assert (report.added, len(report.problems)) == (4, 2)
        assert add(catalog, [tree], bundle).unchanged == 4
        states = dict(catalog.rows("SELECT parse_filename(path), condition FROM files"))
        values = summary(catalog)
    assert (states["a.relive"], states["b.relive"]) == ("whole", "whole")
    assert (states["hurt.relive"], states["broken.relive"]) == ("damaged", "broken")
    assert values["files"] == 4
    assert values["copies"] == 1
    assert values["pictures"] == 5 + 5 + 4


def test_update_knows_moved_changed_and_gone(tree: Path, tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "c.duckdb", write=True, create=True) as catalog:
        add(catalog, [tree])
        (tree / "sub" / "b.relive").rename(tree / "moved.relive")
        (tree / "broken.relive").write_bytes((tree / "a.relive").read_bytes() + b"x")
        (tree / "hurt.relive").unlink()
        report = update(catalog)
        assert (report.moved, report.changed, report.missing) == (1, 1, 1)
        assert (report.added, report.unchanged) == (0, 1)
        assert update(catalog, prune=True).removed == 1
        assert remove(catalog, [tree / "moved.relive"]) == 1
        assert len(catalog.rows("SELECT 1 FROM files")) == 2
        for table in ("gops", "events", *catalog.tables("states")):
            orphans = f"SELECT 1 FROM {table} WHERE file NOT IN (SELECT file FROM files)"  # noqa: S608
            assert not catalog.rows(orphans)
        with pytest.raises(InputError, match="not in the catalogue"):
            remove(catalog, [tmp_path / "other"])


def test_sweep_goes_on_and_finds_silent_changes(tree: Path, tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "c.duckdb", write=True, create=True) as catalog:
        add(catalog, [tree])
        assert sweep(catalog).checked == 4
        assert sweep(catalog).checked == 0
        path = tree / "a.relive"
        stamp = path.stat()
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        report = sweep(catalog, again=True)
        assert report.checked == 4
        assert str(path) in report.problems
        sql, kept = "SELECT problems[-1] FROM files WHERE path = ?", [str(path)]
        assert "and its age has not" in catalog.rows(sql, kept)[0][0]
        sweep(catalog, again=True)
        assert "relive catalog update" in catalog.rows(sql, kept)[0][0]
        assert summary(catalog)["copies"] == 0
        assert update(catalog).changed == 1  # though it looks as it did
        assert update(catalog).unchanged == 4
        sweep(catalog)
        assert "GOPs are missing" in catalog.rows(sql, kept)[0][0]


def test_sweep_keeps_what_was_found_of_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    path = tree / "track.relive"  # every checksum is right, and the states of a GOP are none
    with (
        ReplayReader.open(tree / "a.relive") as reader,
        ReplayWriter(path, reader.header) as writer,
    ):
        for place in range(len(reader.gops)):
            gop = reader.read_gop(place)
            writer.add_gop(gop if place else replace(gop, track=with_seal(b"no states")))
    assert verify(path) == []
    with Catalog.open(tmp_path / "c.duckdb", write=True, create=True) as catalog:
        said = add(catalog, [tree]).problems[str(path)]
        for again in (False, True, True):
            assert sweep(catalog, again).problems[str(path)] == said
        sql = "SELECT condition, len(problems) FROM files WHERE path = ?"
        assert catalog.rows(sql, [str(path)]) == [("damaged", 1)]


def test_a_catalogue_that_is_none_or_busy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.duckdb").write_bytes(b"SQLite format 3")
    with pytest.raises(FormatError, match="not a catalogue"):
        Catalog.open(tmp_path / "x.duckdb")
    with pytest.raises(InputError, match="no such catalogue"):
        Catalog.open(tmp_path / "none.duckdb")
    with pytest.raises((InputError, ReliveError)):
        Catalog.open(tmp_path / "no" / "c.duckdb", write=True, create=True)


def test_a_catalogue_has_its_name_once_it_has_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.duckdb"
    with monkeypatch.context() as stopped:
        stopped.setattr(tables, "CREATE", "SELECT error('stopped')")
        with pytest.raises(Exception, match="stopped"):
            Catalog.open(path, write=True, create=True)
    assert not path.exists()
    with Catalog.open(path, write=True, create=True) as catalog:
        assert catalog.count("files") == 0
    assert [file.name for file in tmp_path.iterdir()] == ["c.duckdb"]
    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    assert run(["search", str(tmp_path / "empty.duckdb"), "--where", "frame > 3"]) == 2
    assert "not a catalogue" in capsys.readouterr().err


def test_search_by_state_merges_neighbours(source: Path) -> None:
    with opened(source / "s.relive") as catalog:
        found, total = find(catalog, Query(where="health < 90 and game = 'test'", gap_s=0.1))
        assert [(f.frames.start, f.frames.stop) for f in found] == [(11, FRAMES)]
        assert total == 1
        every, _ = find(catalog, Query(where="frame % 20 = 0", gap_s=0.1))
        assert [f.frames.start for f in every] == [0, 20]
        absent, _ = find(catalog, Query(where="not present"))
        assert [f.frames.start for f in absent] == [MISSING]


@pytest.mark.parametrize(
    "condition",
    [
        "healf < 3",
        "health <",
        "1=1); DROP TABLE files; --",
        "exists (select * from read_csv('/etc/passwd'))",
        "health < 3; select 1",
        "cast(game as integer) = 3",
        "",
    ],
)
def test_bad_conditions_are_one_line(
    condition: str, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["search", str(source / "s.relive"), "--where", condition]) == 2
    said = capsys.readouterr().err
    assert said.startswith("relive: ")
    assert said.count("\n") == 1


def test_search_by_place_takes_the_short_way_round(source: Path) -> None:
    with opened(source / "s.relive") as catalog:
        query = Query(place=Place((1.0, 0.0, 0.0), 355.0), within=1.0, angle_deg=20.0)
        (found,), _ = find(catalog, query)
    assert (found.frames.start, found.frames.stop) == (0, 16)  # yaw n°, x n / 10, one frame missing
    assert found.best_frame == 10


def test_search_by_picture_finds_the_keyframe(source: Path, bundle: Bundle) -> None:
    with Replay.open(source / "s.relive", bundle) as replay:
        like = Like.of(replay.frame(16), bundle)
        part = Like.of(replay.frame(16), bundle, (0, 0, 24, 16))
    with opened(source / "s.relive", bundle) as catalog:
        found, _ = find(catalog, Query(like=like, gap_s=0.0, limit=1))
        both, _ = find(catalog, Query(like=like, where="frame > 30", limit=1))
        assert find(catalog, Query(like=part))[0]
    assert len(found[0].frames) == 8
    assert both[0].frames.start >= 24
    with pytest.raises(InputError, match="does not lie in"):
        Like.of(np.zeros((32, 32, 3), np.uint8), bundle, (30, 0, 8, 8))


def test_codes_are_those_of_the_packets(source: Path, bundle: Bundle) -> None:
    with Replay.open(source / "s.relive", bundle) as replay:
        every, keyframes = replay.codes(), replay.codes(keyframes=True)
        integers = replay.integers(2)
        assert integers is not None
        part = replay.codes(17, 20)
        sent = every.dequantise(replay.codebooks)
    assert len(every) == FRAMES // 2
    assert keyframes.first_frame.tolist() == [0, 8, 16, 24, 32]
    assert np.array_equal(every[every.keyframe].codes, keyframes.codes)
    assert np.array_equal(every.codes[8:12], integers[0].codes.transpose(0, 2, 3, 1))
    assert part.first_frame.tolist() == [16, 18]
    assert not sent[every.skipped].any()


def test_codes_of_a_damaged_gop_say_so(tree: Path, bundle: Bundle) -> None:
    with Replay.open(tree / "hurt.relive", bundle) as replay:
        codes = replay.codes()
    assert np.flatnonzero(~codes.readable).tolist() == [4, 5, 6, 7]
    assert not codes.depths[4:8].any()


def test_the_verbs(tree: Path, source: Path, tmp_path: Path, capsys: Any) -> None:
    db, model = str(tmp_path / "c.duckdb"), str(source / "m.safetensors")

    def said(*args: str, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert run([*args, "--json"]) == code
        values: dict[str, Any] = json.loads(capsys.readouterr().out)
        return values

    assert said("catalog", "add", db, str(tree), "--model", model)["added"] == 4
    assert said("catalog", "update", db, "--model", model)["unchanged"] == 4
    assert len(said("catalog", "list", db)["files"]) == 4
    assert said("catalog", "stats", db)["damaged"] == 1
    assert said("catalog", "verify", db, code=3)["checked"] == 4
    moment = f"{tree / 'a.relive'}@0.5"
    place = said("search", db, "--place", moment, "--within", "0.2", "--limit", "3")
    assert place["ranges"][0]["distance"] == 0
    thumbs = tmp_path / "thumbs"
    like = said("search", db, "--like", moment, "--model", model, "--limit", "2",
                "--thumbnails", str(thumbs))  # fmt: skip
    assert all(Path(row["thumbnail"]).is_file() for row in like["ranges"])
    picture = f"{like['ranges'][0]['thumbnail']}@0,0,32,16"
    assert said("search", db, "--like", picture, "--model", model)["ranges"]
    assert said("catalog", "remove", db, str(tree))["removed"] == 4
    assert run(["search", db, "--like", "no.png", "--model", model]) == 2
    assert run(["search", db]) == 2


def test_odd_files_stop_nothing(tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "pipe.relive")
    (tree / "self.relive").symlink_to("self.relive")
    (tree / "up").symlink_to("..")
    (tree / "folder.relive").mkdir()
    try:
        Path(os.fsdecode(os.fsencode(tree) + b"/odd\xff.relive")).write_bytes(b"no replay")
        odd = 1
    except OSError:  # a disk whose names are text
        odd = 0
    with Catalog.open(tmp_path / "c.duckdb", write=True, create=True) as catalog:
        report = add(catalog, [tree])
        assert (report.added, len(report.problems)) == (4, 2 + odd)
        with pytest.raises(InputError, match="neither a file nor a folder"):
            add(catalog, [tree / "pipe.relive"])


def test_a_folder_that_cannot_be_read_is_refused(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Catalog.open(tmp_path / "c.duckdb", write=True, create=True) as catalog:
        add(catalog, [tree])
        close(monkeypatch, "sub")
        with pytest.raises(InputError, match=r"cannot read .*sub: Permission denied"):
            update(catalog)
        assert catalog.rows("SELECT count(*) FROM files WHERE missing") == [(0,)]


def close(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let nobody list a folder, not even root."""
    scandir = os.scandir

    def closed(path: str) -> Any:
        if Path(path).name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)


def test_an_update_reads_what_has_changed_alone(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(
        filing, "sha256_of", lambda path: read.append(path.name) or reading.sha256_of(path)
    )
    with Catalog.open(tmp_path / "c.duckdb", write=True, create=True) as catalog:
        add(catalog, [tree])
        read.clear()
        assert update(catalog).unchanged == 4
        assert read == []
        shutil.copyfile(tree / "hurt.relive", tree / "a.relive")
        assert update(catalog).changed == 1
    assert read == ["a.relive"]
