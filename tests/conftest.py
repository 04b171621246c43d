"""Settings that every test runs under."""

import os

# Before torch, matplotlib or pygame can be imported: quiet threads, no screen, no sound.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
# One thread a process: the tests work on small pictures, where threads wait more than they work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
