"""Encodes every session below a folder, in local processes or on a Ray cluster.

```
 folder ──► tasks ──► pool: local processes, or Ray ──► .part ──► a line in batch.jsonl ──► .relive
             ▲                     │
             └── once more ◄── what may pass: a killed process, a full disk
```

Workers write under hidden names alone. The process that holds the folder notes what they made and
renames it, so whatever is killed at whatever moment, a result is whole or absent.
"""

from relive.batch.run import encode_batch
from relive.batch.task import Settings

__all__ = ["Settings", "encode_batch"]
