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
