"""Windows with pictures from a cache: the same pictures, made once, whole or not at all."""

import resource
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from relive.codec import Replay
from relive.errors import InputError, ReliveError
from relive.torch import ReplayDataset, cache
from relive.torch.pictures import resized
from short_replay import FRAMES, HEIGHT, WIDTH, write_short

SMALL = (8, 12)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_short(tmp_path_factory.mktemp("short"))


@pytest.fixture(scope="module")
def broken(short: Path) -> Path:
    """The replay with a byte of its second GOP changed."""
    with Replay.open(short / "s.relive", str(short / "m.safetensors")) as replay:
        at = replay.gops[1].codes_at
    data = bytearray((short / "s.relive").read_bytes())
    data[at + 40] ^= 255
    (short / "broken.relive").write_bytes(data)
    return short / "broken.relive"


def dataset(path: Path, **settings: object) -> ReplayDataset:
    model = str(path.parent / "m.safetensors")
    return ReplayDataset([path], 3, pixels=True, windows=6, seed=3, model=model, **settings)


def assert_same(some: ReplayDataset, others: ReplayDataset) -> None:
    for n in range(6):
        for key, value in some[n].items():
            assert torch.equal(value, others[n][key]), key


@pytest.mark.parametrize("settings", [{}, {"tiers": 1}, {"size": SMALL}])
def test_cached_pictures_are_those_of_the_replay(
    short: Path, tmp_path: Path, settings: dict[str, object]
) -> None:
    cached = dataset(short / "s.relive", cache=tmp_path, **settings)
    assert_same(dataset(short / "s.relive", **settings), cached)
    assert cached[0]["pixels"].shape == (3, 2, *(settings.get("size") or (HEIGHT, WIDTH)), 3)


def test_damaged_parts_are_cached_as_they_are_decoded(broken: Path, tmp_path: Path) -> None:
    with Replay.open(broken, str(broken.parent / "m.safetensors")) as replay:
        assert replay.condition(1) == "damaged"
    plain, cached = dataset(broken), dataset(broken, cache=tmp_path)
    for start in range(0, FRAMES - 6, 2):
        some, other = plain.window(0, start), cached.window(0, start)
        assert all(torch.equal(value, other[key]) for key, value in some.items())
    assert not bool(cached.window(0, 8)["readable"].any())
    assert bool((cached.window(0, 8)["pixels"][0] == 128).all())


def test_a_file_belongs_to_tiers_size_and_content(short: Path, tmp_path: Path) -> None:
    """Files are not told apart by age alone: what is kept belongs to the file that was read."""
    path = tmp_path / "r.relive"
    path.write_bytes((short / "s.relive").read_bytes())
    (tmp_path / "m.safetensors").write_bytes((short / "m.safetensors").read_bytes())
    kept = tmp_path / "cache"
    data = dataset(path, cache=kept)
    other = tmp_path / "other"
    other.write_bytes(path.read_bytes())
    other.replace(path)  # a new file of the name, while the old one is open
    old = data[0]
    assert len(list(kept.glob("*.npy"))) == 2  # codes and pictures
    dataset(path, cache=kept, tiers=1)[0]
    dataset(path, cache=kept, size=SMALL)[0]
    assert len(list(kept.glob("*.npy"))) == 2 + 3  # its codes, and pictures twice
    again = dataset(path, cache=kept)
    assert torch.equal(again[0]["pixels"], old["pixels"])
    dataset(path, cache=kept, tiers=2)[0]
    assert len(list(kept.glob("*.npy"))) == 2 + 3 + 1  # two tiers are all that it has


def test_workers_decode_a_replay_once(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    write = cache._write

    def counted(*arguments: object) -> None:
        made.append(threading.get_ident())
        write(*arguments)

    monkeypatch.setattr(cache, "_write", counted)
    sets = [dataset(short / "s.relive", cache=tmp_path) for _ in range(4)]
    threads = [threading.Thread(target=each.__getitem__, args=(0,)) for each in sets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2  # codes, pictures
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("cached", [True, False])
def test_forked_workers_decode_after_their_parent_has(
    short: Path, tmp_path: Path, cached: bool
) -> None:
    folder = tmp_path if cached else None
    plain, data = dataset(short / "s.relive"), dataset(short / "s.relive", cache=folder)
    expected = torch.stack([plain[n]["pixels"] for n in range(6)])  # starts threads here
    loader = DataLoader(
        data, batch_size=3, num_workers=2, multiprocessing_context="fork", timeout=60
    )
    assert torch.equal(torch.cat([batch["pixels"] for batch in loader]), expected)


def test_a_part_that_was_left_is_not_taken(short: Path, tmp_path: Path) -> None:
    dataset(short / "s.relive", cache=tmp_path)[0]
    for path in tmp_path.glob("*.npy"):
        path.rename(path.with_suffix(".part"))
        path.with_suffix(".part").write_bytes(b"cut off")
    assert_same(dataset(short / "s.relive"), dataset(short / "s.relive", cache=tmp_path))
    assert not list(tmp_path.glob("*.part"))
    largest = max(tmp_path.glob("*.npy"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"npy is not whole .* remove it"):
        dataset(short / "s.relive", cache=tmp_path)[0]


def test_a_full_disk_leaves_nothing(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it says so at the beginning, and, where space cannot be asked for, in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        for _ in range(2):
            with pytest.raises(ReliveError, match=r"^cannot write .*\.npy: File too large$"):
                dataset(short / "s.relive", cache=tmp_path)[0]
            assert not list(tmp_path.glob("*.part"))
            assert len(list(tmp_path.glob("*.npy"))) == 1  # the codes
            monkeypatch.delattr("os.posix_fallocate", raising=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert_same(dataset(short / "s.relive"), dataset(short / "s.relive", cache=tmp_path))


def test_small_pictures_are_means_of_their_areas() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 24, 36, 3), dtype=np.uint8)
    means = frames.reshape(3, 8, 3, 12, 3, 3).mean((2, 4))
    assert np.abs(resized(frames, SMALL) - means).max() <= 0.5
    assert np.array_equal(resized(frames[1:2], SMALL)[0], resized(frames, SMALL)[1])
    assert resized(frames, (24, 36)) is frames


def test_sizes_that_cannot_be_are_refused(short: Path) -> None:
    with pytest.raises(InputError, match="not within the frames, 31, 47"):
        dataset(short / "s.relive", size=(32, 10))
    with pytest.raises(InputError, match="pixels=True"):
        ReplayDataset([short / "s.relive"], 3, size=SMALL, model=str(short / "m.safetensors"))
