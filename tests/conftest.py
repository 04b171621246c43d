"""Settings that every test runs under."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

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
