"""Settings that every test runs under."""

import os

# Before torch, matplotlib or pygame can be imported: quiet threads, no screen, no sound.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
