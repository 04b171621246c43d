"""Settings that every test runs under."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from relive.codec import Bundle

# Before torch, matplotlib or pygame can be imported: quiet threads, no screen, no sound.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
# One thread a process: the tests work on small pictures, where threads wait more than they work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")

# A shell starts background jobs with Ctrl-C ignored, and what they start inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = (
    *("test_train", "test_train_resume", "test_speed_paths", "test_crew", "test_cli_codec"),
    *("test_codec", "test_pretrain", "test_player_page", "test_sizes", "test_bench_ablation"),
    *("test_encode_batch", "test_bench_codec", "test_bench_speed", "test_wrong_uses"),
    *("test_report", "test_bundled", "test_memory", "test_datasets", "test_batch", "test_recipes"),
    *("test_growing", "test_stream", "test_adapter", "test_found_regions"),
)
"""Files that take longest begin first, so that no process is left with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; `make test` keeps this order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(autouse=True)
def _usual_floats() -> Iterator[None]:
    """Training and encoding flush denormals for their whole process; the next test does not."""
    yield
    if "torch" in sys.modules:
        import torch

        torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short session, a small model and a replay of both."""
    from short_replay import write_short

    return write_short(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def bundle(source: Path) -> "Bundle":
    """The model of `source`."""
    from relive.codec import load_bundle

    return load_bundle(source / "m.safetensors")
