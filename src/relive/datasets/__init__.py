"""Replays as training data, in the layouts of others, and back.

```
 .relive ──► steps: codes, states, events ──► Parquet, safetensors, NPZ, shards
    └─────► episodes: frames, states, actions ──► Minari, LeRobot, NPZ ──► session
```
"""

from relive.datasets.episodes import Episode, action_names, episodes, write_session
from relive.datasets.files import read_file, write_steps
from relive.datasets.lerobot import to_lerobot
from relive.datasets.lerobot_read import from_lerobot
from relive.datasets.minari import from_minari, to_minari
from relive.datasets.npz import from_npz, to_npz
from relive.datasets.steps import StepData, read_steps

__all__ = [
    "Episode",
    "StepData",
    "action_names",
    "episodes",
    "from_lerobot",
    "from_minari",
    "from_npz",
    "read_file",
    "read_steps",
    "to_lerobot",
    "to_minari",
    "to_npz",
    "write_session",
    "write_steps",
]
