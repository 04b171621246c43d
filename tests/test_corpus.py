"""A corpus with bad sessions in it: they are named and left out, and the rest is used."""

import errno
import json
import multiprocessing
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

from relive.cubes.corpus import family, open_corpus
from relive.cubes.store import META, SessionStore, open_folder, save_array, store_folder, unpack
from relive.errors import InputError
from relive.session import Camera, Recorder, Session, StateField, StateSchema

SCHEMA = StateSchema((StateField("x"), StateField("health", "percent", "linear", "other", 1.0)))
FRAMES = 40


def record(
    path: Path,
    *,
    frames: int = FRAMES,
    size: tuple[int, int] = (32, 48),
    schema: StateSchema = SCHEMA,
    game: str = "test:one",
    moving: bool = True,
    fps: int = 20,
) -> Path:
    """Record noise that moves, or one picture that does not."""
    rng = np.random.default_rng(len(path.name))
    picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Recorder(path, schema, game=game) as recorder:
        for i in range(frames):
            frame = np.roll(picture, i if moving else 0, axis=1)
            recorder.add(frame, np.full(schema.width, i), i * 10**9 // fps)
    return path


def test_bad_sessions_are_named_and_left_out(tmp_path: Path) -> None:
    folder, cache = tmp_path / "corpus", tmp_path / "cache"
    for name in ("a", "b", "deep/c"):
        record(folder / f"{name}.mcap")
    record(folder / "short.mcap", frames=33)
    record(folder / "still.mcap", moving=False)
    cut = record(folder / "cut.mcap")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    bent = record(folder / "bent.mcap")
    bytes_ = bytearray(bent.read_bytes())
    bytes_[len(bytes_) // 2] ^= 255
    bent.write_bytes(bytes_)
    (folder / "text.mcap").write_text("no recording")
    (folder / "empty.mcap").touch()
    (folder / "gone.mcap").symlink_to(folder / "nowhere.mcap")

    corpus = open_corpus(folder, cache)
    assert [store.name.rpartition("-")[0] for store in corpus.stores] == ["a", "b", "c"]
    reasons = {row.name: row.reason for row in corpus.skipped}
    assert list(reasons) == sorted(reasons)
    assert set(reasons) == {
        "short.mcap",
        "still.mcap",
        "cut.mcap",
        "bent.mcap",
        "text.mcap",
        "empty.mcap",
        "gone.mcap",
    }
    assert reasons["short.mcap"] == "it has 33 frames, training needs 34"
    assert reasons["still.mcap"] == "all its 40 frames are one picture"
    assert "relive repair" in reasons["cut.mcap"]
    assert "relive repair" in reasons["bent.mcap"]
    assert all("\n" not in reason for reason in reasons.values())
    manifest = json.loads(json.dumps(corpus.to_manifest()))
    assert (manifest["used"], manifest["skipped"], manifest["frames"]) == (3, 7, 3 * FRAMES)
    assert manifest["games"] == {"test:one": 3}
    assert {row["name"]: row["reason"] for row in manifest["skipped_sessions"]} == reasons
    assert not list(cache.glob("*.part"))
    again = open_corpus(folder, cache)  # from the cache
    assert again.to_manifest() == corpus.to_manifest()


def test_a_damaged_session_of_an_old_cache_is_found(tmp_path: Path) -> None:
    record(tmp_path / "corpus" / "a.mcap")
    cut = record(tmp_path / "corpus" / "cut.mcap", frames=120)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    store = unpack(cut, tmp_path / "cache")
    assert store.damaged
    assert len(store.frames) >= 34
    corpus = open_corpus(tmp_path / "corpus", tmp_path / "cache")
    assert [row.name for row in corpus.skipped] == ["cut.mcap"]


def test_the_usual_schema_and_size_of_a_game_win(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    for name in ("map1", "map2", "map3"):
        record(folder / f"{name}.mcap", game=f"doom:{name}")
    record(folder / "big.mcap", game="doom:map1", size=(64, 96))
    fewer = StateSchema((StateField("x"), StateField("mana")))
    record(folder / "mana.mcap", game="doom:map4", schema=fewer)
    record(folder / "steps.mcap", game="doom:map5", schema=_step(0.5))
    seen = StateSchema(SCHEMA.fields, Camera(90))
    record(folder / "camera.mcap", game="doom:map6", schema=seen)
    record(folder / "other.mcap", game="gym:A", size=(64, 96))
    record(folder / "another.mcap", game="gym:B", schema=fewer)

    corpus = open_corpus(folder, tmp_path / "cache")
    assert {store.game for store in corpus.stores} == {
        "doom:map1",
        "doom:map2",
        "doom:map3",
        "gym:A",
        "gym:B",
    }
    reasons = {row.name: row.reason for row in corpus.skipped}
    assert reasons == {
        "big.mcap": "it differs from most of doom: frames of 96x64, not 48x32",
        "mana.mcap": "it differs from most of doom: no state field health, "
        "state field mana of its own",
        "steps.mcap": "it differs from most of doom: unit, kind, role or step of state field x",
        "camera.mcap": "it differs from most of doom: its camera",
    }


def _step(step: float) -> StateSchema:
    return StateSchema((StateField("x", step=step), *SCHEMA.fields[1:]))


def test_stores_are_judged_too(tmp_path: Path) -> None:
    record(tmp_path / "s.mcap")
    good = unpack(tmp_path / "s.mcap", tmp_path / "stores")
    folder = tmp_path / "stores"
    for name in ("nan", "torn", "odd", "pickled", "old"):
        shutil.copytree(folder / good.name, folder / name)
    states = good.states.copy()
    states[7, 1] = np.nan
    save_array(folder / "nan" / "states.npy", states)
    whole = (folder / "torn" / "frames.npy").read_bytes()
    (folder / "torn" / "frames.npy").write_bytes(whole[: len(whole) // 2])
    save_array(folder / "odd" / "times_ns.npy", good.times_ns[:-1])
    np.save(folder / "pickled" / "states.npy", np.array([{}], dtype=object), allow_pickle=True)
    (folder / "old" / META).unlink()

    corpus = open_corpus(folder, tmp_path / "cache")
    assert [store.name for store in corpus.stores] == ["old", good.name]
    assert [store.game for store in corpus.stores] == ["", "test:one"]
    reasons = {row.name: row.reason for row in corpus.skipped}
    assert reasons["nan"] == "its state of frame 7 is not finite"
    assert "not an unpacked session" in reasons["torn"]
    assert "do not belong together" in reasons["odd"]
    assert "not an unpacked session" in reasons["pickled"]


def test_nothing_left_is_an_error_with_reasons(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        open_corpus(tmp_path / "nowhere", tmp_path / "cache")
    with pytest.raises(InputError, match=r"has no sessions \(.mcap\)"):
        open_corpus(tmp_path, tmp_path / "cache")
    for number in range(5):
        record(tmp_path / "c" / f"{number}.mcap", frames=5)
    with pytest.raises(InputError, match=r"0.mcap: it has 5 frames.*2.mcap.*and 2 more") as caught:
        open_corpus(tmp_path / "c", tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_a_store_knows_its_game_and_its_clock(tmp_path: Path) -> None:
    path = record(tmp_path / "s.mcap", fps=25)
    store = unpack(path, tmp_path / "cache")
    assert (store.game, store.damaged) == ("test:one", False)
    assert store.fps == 25
    with Session.open(path) as session:
        assert np.array_equal(store.frames, session.frames(0, FRAMES))
        assert np.array_equal(store.times_ns, session.times_ns)
    (tmp_path / "cache" / store.name / META).unlink()  # as an older program left it
    assert SessionStore.open(tmp_path / "cache" / store.name).game == ""
    assert unpack(path, tmp_path / "cache").game == "test:one"
    assert [s.game for s in open_folder(tmp_path / "cache", tmp_path / "x")] == ["test:one"]


def test_families() -> None:
    games = ["doom:freedoom2/map01", "crafter:survival", "gym:a:B-v0", "mine", ""]
    assert [family(game) for game in games] == ["doom", "crafter", "gym:a:B-v0", "mine", ""]


def _unpack(path: Path, cache: Path) -> str:
    return unpack(path, cache).name


def test_two_processes_unpack_at_once(tmp_path: Path) -> None:
    path = record(tmp_path / "s.mcap", frames=100)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        names = pool.starmap(_unpack, [(path, tmp_path / "cache")] * 4)
    assert {*names} == {store_folder(path, tmp_path / "cache").name}
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [names[0]]


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "states.npy").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        save_array(tmp_path / "states.npy", np.zeros((1000, 4), np.float32))
    assert caught.value.errno == errno.ENOSPC


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    path = record(tmp_path / "s.mcap")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            unpack(path, tmp_path / "cache")
        with pytest.raises(OSError, match="File too large"):
            open_corpus(tmp_path, tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(unpack(path, tmp_path / "cache").frames) == FRAMES


def _open_with_few_files(folder: Path, cache: Path, soft: int, hard: int) -> None:
    os.closerange(3, 4096)  # what other tests of this process hold open would count, too
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        count = len(open_corpus(folder, cache).stores)
    except OSError as error:
        os._exit(100 + (error.errno == errno.EMFILE))
    os._exit(count)


@pytest.mark.parametrize(("hard", "outcome"), [(200, 30), (25, 101)])
def test_the_limit_of_open_files_leaves_no_session_out(
    tmp_path: Path, hard: int, outcome: int
) -> None:
    first = unpack(record(tmp_path / "s.mcap", frames=34), tmp_path / "cache")
    for number in range(30):
        shutil.copytree(tmp_path / "cache" / first.name, tmp_path / f"corpus/{number:02d}")
    arguments = (tmp_path / "corpus", tmp_path / "cache", 25, hard)
    child = multiprocessing.get_context("fork").Process(target=_open_with_few_files, args=arguments)
    child.start()
    child.join()
    assert child.exitcode == outcome
