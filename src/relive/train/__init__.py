"""Settings, chains, loop, checkpoints."""
